"""Access tokens for credentials that sign with one: fetched when needed, kept until shortly before their end.

One fetch is in flight per credential however many requests wait for it, and a credential that waits never holds up
another. A fetch belongs to no request: a client that leaves does not end it. What a token endpoint says is judged
like any other answer; the plan tells it to the health board. Nothing here signs or reveals anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gproxy.channels.auth.scheme import Token, TokenExchange
from gproxy.channels.auth.tokens import read_token
from gproxy.channels.verdicts import Scope, Verdict, judge_fault, judge_token, read_error
from gproxy.clock import Clock
from gproxy.errors import UpstreamFault
from gproxy.ids import CredentialId
from gproxy.pipeline.ports import Upstream
from gproxy.secret import Secret
from gproxy.wire.http import Deadlines, UpstreamRequest
from gproxy.wire.json import JsonProblem, loads

MARGIN_US: Final = 300_000_000
"""A token counts as spent five minutes before its end, or at half its life when it lives shorter than ten."""
_LIMIT: Final = 64 * 1024
_LONGEST: Final = 20.0
"""Seconds that fetching a token may take, connecting included."""


class Provider(Protocol):
    """What a fetch needs of a provider."""

    @property
    def deadlines(self) -> Deadlines:
        """Its deadlines."""
        ...

    @property
    def proxy(self) -> str | None:
        """Its own proxy, if it has one."""
        ...


class Credential(Protocol):
    """What a fetch needs of a credential."""

    @property
    def id(self) -> CredentialId:
        """Its id."""
        ...

    @property
    def fields(self) -> Mapping[str, Secret]:
        """Its secrets; a token is good for the ones it was fetched with."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    token: Token
    renew_at_us: int
    fields: Mapping[str, Secret]


class Tokens:
    """Every credential's token, in memory only. One per process."""

    def __init__(self, upstream: Upstream, clock: Clock, proxy: str | None = None) -> None:
        self.fetched = 0
        """Exchanges sent, for people."""
        self._upstream = upstream
        self._clock = clock
        self._proxy = proxy
        self._held: dict[CredentialId, _Held] = {}
        self._fetches: dict[CredentialId, tuple[Mapping[str, Secret], asyncio.Task[Token | Verdict]]] = {}

    def held(self, credential: Credential) -> Token | None:
        """The credential's token, if there is one that need not be renewed."""
        held = self._held.get(credential.id)
        if held is None or self._clock.now_us() >= held.renew_at_us or held.fields != credential.fields:
            return None
        return held.token

    def refused(self, credential: Credential, token: Token | None) -> None:
        """A vendor did not take this token. One that was fetched since then is kept."""
        held = self._held.get(credential.id)
        if held is not None and held.token is token:
            del self._held[credential.id]

    async def fetch(self, provider: Provider, credential: Credential, exchange: TokenExchange) -> Token | Verdict:
        """A new token, or the verdict on the credential that has none. Joins a fetch that is under way."""
        under_way = self._fetches.get(credential.id)
        if under_way is None or under_way[0] != credential.fields:
            work = self._fetch(provider, credential, exchange)
            task = asyncio.create_task(work, name=f"token {credential.id}")  # noqa: TID251 - owned here, ended by `close`
            under_way = self._fetches[credential.id] = (credential.fields, task)
            task.add_done_callback(lambda done: self._over(credential.id, done))
        return await asyncio.shield(under_way[1])

    def keep(self, credentials: Iterable[CredentialId]) -> None:
        """After a snapshot swap: forget the tokens of credentials that are no more."""
        known = set(credentials)
        for gone in [one for one in self._held if one not in known]:
            del self._held[gone]

    async def close(self) -> None:
        """End what is under way."""
        tasks = [task for _, task in self._fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _over(self, credential: CredentialId, done: asyncio.Task[Token | Verdict]) -> None:
        under_way = self._fetches.get(credential)
        if under_way is not None and under_way[1] is done:
            del self._fetches[credential]

    async def _fetch(self, provider: Provider, credential: Credential, exchange: TokenExchange) -> Token | Verdict:
        found = await self._ask(provider, exchange)
        now_us = self._clock.now_us()
        if isinstance(found, Token):
            left = found.expires_at_us - now_us
            renew_at_us = found.expires_at_us - min(MARGIN_US, left // 2)
            self._held[credential.id] = _Held(found, renew_at_us, credential.fields)
            return found
        old = self._held.get(credential.id)
        if found.curable and old is not None and old.fields == credential.fields and old.token.fresh(now_us, 5):
            return old.token  # the endpoint is in trouble; what we hold is good for a while yet
        return found

    async def _ask(self, provider: Provider, exchange: TokenExchange) -> Token | Verdict:
        limit = min(provider.deadlines.total, _LONGEST)
        request = UpstreamRequest(
            b"POST",
            exchange.origin,
            exchange.target,
            list(exchange.headers),
            exchange.body,
            replace(provider.deadlines, first_byte=min(provider.deadlines.first_byte, limit), total=limit),
            provider.proxy or self._proxy,
        )
        self.fetched += 1
        try:
            reply = await self._upstream.send(request)
            body = await reply.read(_LIMIT)
        except UpstreamFault as fault:
            # Whatever broke, the vendor itself was asked nothing: another credential may be tried.
            return replace(judge_fault(fault), retryable=True, scope=Scope.CREDENTIAL)
        now_us = self._clock.now_us()
        if reply.status == 200:
            try:
                return read_token(body, now_us)
            except ValueError:
                return judge_token(502, reply.headers, None, now_us)
        try:
            parsed = loads(body)
        except JsonProblem:
            parsed = None
        return judge_token(reply.status, reply.headers, read_error(reply.status, parsed), now_us)
