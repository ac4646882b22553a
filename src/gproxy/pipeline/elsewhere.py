"""Answers that a provider keeps: looked at and deleted there, with the key that made them, for their own user only.

One call upstream, no attempt: nothing is generated, nothing is used, and no other key could help.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import quote

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.auth.scheme import Token, TokenNeeded
from gproxy.channels.request import prepare
from gproxy.channels.verdicts import Verdict
from gproxy.clock import Clock
from gproxy.errors import Failure, Kind, Refused, UpstreamFault
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.head import request_ids, safe
from gproxy.pipeline.ports import Upstream
from gproxy.pipeline.refresh import Tokens
from gproxy.protocols.openai_responses.kept import KeptResponse
from gproxy.routing.provider import Credential, Provider
from gproxy.wire.http import Header, UpstreamRequest

INPUT_ITEMS: Final = "/input_items"
_LIMIT: Final = 64 * 1024 * 1024
"""Largest answer that is read, in bytes."""


class Elsewhere:
    """Asks providers for what they keep. One instance serves all requests."""

    def __init__(self, *, upstream: Upstream, tokens: Tokens, clock: Clock, proxy: str | None = None) -> None:
        self._upstream = upstream
        self._tokens = tokens
        self._clock = clock
        self._proxy = proxy

    async def ask(self, x: Exchange, kept: KeptResponse) -> tuple[int, list[Header], bytes]:
        """Ask the provider; its answer as it is: status, headers for the client, body.

        Raises `Refused`: 404 when provider or key are no more, 502 or 504 when it cannot be reached.
        """
        provider, credential = _place(x, kept)
        x.provider_name, x.credential_id = provider.name, credential.id
        try:
            reply = await self._upstream.send(await self._request(x, kept.id, provider, credential))
            body = await reply.read(_LIMIT)
        except UpstreamFault as fault:
            kind = Kind.UPSTREAM_TIMEOUT if fault.timeout else Kind.UPSTREAM_ERROR
            raise Refused(Failure(kind, f"the provider {provider.name!r} did not answer: {fault.reason}")) from None
        x.upstream_status = reply.status
        headers: list[Header] = [pair for pair in reply.headers if pair[0] == b"content-type"]
        return reply.status, [*headers, *request_ids(x), (b"x-gproxy-provider", safe(provider.name))], body

    async def _request(
        self, x: Exchange, response_id: str, provider: Provider, credential: Credential
    ) -> UpstreamRequest:
        token = self._tokens.held(credential)
        try:
            return self._prepared(x, response_id, provider, credential, token)
        except TokenNeeded as needed:
            granted = await self._tokens.fetch(provider, credential, needed.exchange)
        if isinstance(granted, Verdict):
            text = f"the provider {provider.name!r} gives out no access token: try again later"
            raise Refused(Failure(Kind.NO_CREDENTIAL, text, retry_after=5.0))
        return self._prepared(x, response_id, provider, credential, granted)

    def _prepared(
        self, x: Exchange, response_id: str, provider: Provider, credential: Credential, token: Token | None
    ) -> UpstreamRequest:
        endpoint = provider.vendor.endpoint(Operation.GENERATE, Dialect.OPENAI_RESPONSES)
        if endpoint is None:
            raise Refused(_unknown(response_id))
        method = "DELETE" if x.call.operation is Operation.DELETE_RESPONSE else "GET"
        below = INPUT_ITEMS if x.call.operation is Operation.LIST_INPUT_ITEMS else ""
        path = f"{endpoint.path}/{quote(response_id, safe='')}{below}"
        try:
            request = prepare(
                provider,
                credential,
                replace(endpoint, method=method, path=path),
                model="",
                body=b"",
                caller_headers=x.call.headers,
                query=x.call.query,
                now_us=self._clock.now_us(),
                token=token,
                content_type=b"",
            )
        except ValueError as problem:
            raise Refused(Failure(Kind.NO_CREDENTIAL, str(problem))) from None
        request.proxy = request.proxy or self._proxy
        return request


def _place(x: Exchange, kept: KeptResponse) -> tuple[Provider, Credential]:
    provider = x.snapshot.providers.get(kept.provider_name or "")
    for credential in () if provider is None or not provider.enabled else provider.credentials:
        if credential.id == kept.credential_id:
            assert provider is not None
            return provider, credential
    raise Refused(_unknown(kept.id))


def _unknown(response_id: str) -> Failure:
    return Failure(Kind.NOT_FOUND, f"there is no kept response {response_id[:80]!r}: its provider or its key is gone")
