"""Calls to a vendor on an administrator's own account: its live model list, and whether a credential works."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from gproxy.admin.clerk import Clerk
from gproxy.admin.errors import Problem, invalid, not_found
from gproxy.admin.fields import Flag, Name, Shape, Shown
from gproxy.admin.gate import caller_of
from gproxy.admin.ports import Ports, Row
from gproxy.admin.record_routes import Id
from gproxy.admin.upstream_resources import UPSTREAM, ModelCreate
from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.auth.scheme import Token, TokenNeeded
from gproxy.channels.request import prepare
from gproxy.channels.vendor import Endpoint
from gproxy.channels.verdicts import Verdict, VerdictKind, judge, judge_fault, read_error
from gproxy.errors import UpstreamFault
from gproxy.ids import CredentialId
from gproxy.routing.provider import Credential, Provider
from gproxy.seed.schema import NAME_LENGTH
from gproxy.wire.http import UpstreamRequest

_LARGEST: Final = 16 * 1024 * 1024
_MOST_PAGES: Final = 20
MODELS: Final = next(each for each in UPSTREAM if each.name == "models")


class Pull(Shape):
    """Which provider to ask, and whether to add what is missing."""

    provider_name: Name = Field(description="Name or id.")
    add: Flag = Field(default=False, description="Add the models that are not in the table yet.")


class PulledModel(Shown):
    """A model of the vendor's list."""

    model_id: str
    display_name: str | None
    known: bool = Field(description="Whether it was in the table before.")


class Pulled(BaseModel):
    """The vendor's list, in its order."""

    provider_name: str
    added: int
    items: list[PulledModel]


class Tested(BaseModel):
    """What came of calling the vendor with this credential."""

    ok: bool
    status: int | None
    verdict: str
    reason: str
    latency_ms: int
    models: int | None = Field(description="How many models the vendor listed.")


@dataclass(frozen=True, slots=True)
class Listing:
    """The vendor's answer; `items` is None when it is no list of models."""

    status: int | None
    verdict: Verdict
    items: list[tuple[str, str | None]] | None


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the routes."""
    clerk = Clerk(ports)

    async def pull(request: Request, body: Pull) -> Row:
        provider = await _provider(ports, body.provider_name)
        credential = _credential(ports, provider)
        found = await list_models(ports, provider, credential)
        if found.items is None:
            raise Problem(502, f"the vendor did not list its models: {_why(found)}")
        known = {model for owner, model in ports.snapshot().models if owner == provider.name}
        rows: list[Row] = [
            {"model_id": model, "display_name": shown, "known": model in known} for model, shown in found.items
        ]
        added = 0
        if body.add:
            async with ports.desk.write(caller_of(request).actor) as writer:
                for row in rows:
                    if row["known"]:
                        continue
                    wanted = ModelCreate(
                        provider_name=provider.name, model_id=row["model_id"], display_name=row["display_name"]
                    )
                    await clerk.create(writer, MODELS, wanted.model_dump())
                    added += 1
        return {"provider_name": provider.name, "added": added, "items": rows}

    async def test(request: Request, row_id: Id) -> Row:
        provider, credential = _held(ports, row_id)
        begin = ports.clock.monotonic()
        found = await list_models(ports, provider, credential)
        ok = found.items is not None
        if ok:
            ports.board.health.enable(CredentialId(row_id))
            ports.health_changed()
        await ports.desk.record(caller_of(request).actor, "test", "credentials", row_id)
        return {
            "ok": ok,
            "status": found.status,
            "verdict": found.verdict.kind.value,
            "reason": "" if ok else _why(found),
            "latency_ms": int((ports.clock.monotonic() - begin) * 1000),
            "models": None if found.items is None else len(found.items),
        }

    router.add_api_route("/admin/models/pull", pull, methods=["POST"], response_model=Pulled, operation_id="pull_models",
                         summary="Fetch a provider's live model list")  # fmt: skip
    router.add_api_route("/admin/credentials/{id}/test", test, methods=["POST"], response_model=Tested,
                         operation_id="test_credential", summary="Call the vendor with a credential",
                         description="Lists the vendor's models. Success makes the credential healthy again.")  # fmt: skip


async def _provider(ports: Ports, reference: str) -> Provider:
    row = await ports.desk.one("providers", reference)
    provider = None if row is None else ports.snapshot().providers.get(row["name"])
    if row is None or provider is None:
        raise invalid(f"provider_name: there is no provider {reference!r}", "provider_name")
    return provider


def _credential(ports: Ports, provider: Provider) -> Credential:
    """A credential that is likely to work: a healthy one if there is any."""
    now = ports.clock.monotonic()
    usable = [each for each in provider.credentials if each.enabled]
    usable.sort(key=lambda each: ports.board.health.free_at(each.id, "", now) or 0.0)
    if usable:
        return usable[0]
    if provider.vendor.keyless:
        return Credential(CredentialId(provider.id), None, enabled=True, weight=1, fields={})
    raise Problem(409, f"the provider {provider.name!r} has no enabled credential")


def _held(ports: Ports, credential_id: str) -> tuple[Provider, Credential]:
    for provider in ports.snapshot().providers.values():
        for credential in provider.credentials:
            if credential.id == credential_id:
                return provider, credential
    raise not_found("credential", credential_id)


async def list_models(ports: Ports, provider: Provider, credential: Credential) -> Listing:
    """Ask the vendor. Raises `Problem` (501) where it has no list."""
    entries = (provider.vendor.endpoint(Operation.LIST_MODELS, dialect) for dialect in Dialect)
    endpoint = next((entry for entry in entries if entry is not None), None)
    if endpoint is None or not endpoint.path:
        raise Problem(501, f"the channel {provider.vendor.name} has no list of models")
    items: dict[str, str | None] = {}
    query = ""
    for _ in range(_MOST_PAGES):
        status, verdict, document = await _ask(ports, provider, credential, endpoint, query)
        if verdict.kind is not VerdictKind.OK:
            return Listing(status, verdict, None)
        found, query = read_models(document)
        if found is None:
            return Listing(status, verdict, None)
        items |= dict(found)
        if not query:
            break
    return Listing(status, verdict, list(items.items()))


async def _ask(
    ports: Ports, provider: Provider, credential: Credential, endpoint: Endpoint, query: str
) -> tuple[int | None, Verdict, Any]:
    now_us = ports.clock.now_us()

    def made(token: Token | None) -> UpstreamRequest:
        return prepare(
            provider,
            credential,
            endpoint,
            model="",
            body=b"",
            query=query,
            now_us=now_us,
            token=token,
            content_type=b"",
        )

    try:
        try:
            request = made(ports.tokens.held(credential))
        except TokenNeeded as needed:
            granted = await ports.tokens.fetch(provider, credential, needed.exchange)
            if isinstance(granted, Verdict):
                return granted.status, granted, None
            request = made(granted)
    except ValueError as error:  # `Unsendable`, or a credential that holds nothing to sign with
        raise Problem(400, str(error)) from None
    if request.proxy is None:
        request.proxy = ports.proxy
    try:
        reply = await ports.upstream.send(request)
        body = await reply.read(_LARGEST)
    except UpstreamFault as fault:
        return None, judge_fault(fault), None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    told = read_error(reply.status, document) if reply.status >= 300 else None
    return reply.status, judge(provider.vendor, reply.status, reply.headers, told, now_us), document


def read_models(document: Any) -> tuple[list[tuple[str, str | None]] | None, str]:
    """The (id, display name) pairs of a list in any vendor's shape, and the query of its next page.

    OpenAI `{data: [{id}]}`; Anthropic the same with `has_more` and `last_id`; Gemini `{models: [{name}],
    nextPageToken}`; some vendors a bare list. None: it is no list of models.
    """
    rows = document
    query = ""
    if isinstance(document, dict):
        rows = next((document[key] for key in ("data", "models") if isinstance(document.get(key), list)), None)
        token, last = document.get("nextPageToken"), document.get("last_id")
        if isinstance(token, str) and token:
            query = f"pageToken={token}"
        elif document.get("has_more") is True and isinstance(last, str) and last:
            query = f"after_id={last}"
    if not isinstance(rows, list):
        return None, ""
    found = [pair for row in rows if (pair := _pair(row)) is not None]
    return found, query


def _pair(row: Any) -> tuple[str, str | None] | None:
    if isinstance(row, str):
        row = {"id": row}
    if not isinstance(row, dict):
        return None
    name = row.get("id") or row.get("name") or row.get("model")
    if not isinstance(name, str):
        return None
    name = name.removeprefix("models/").strip()
    if not 0 < len(name) <= NAME_LENGTH or not name.isprintable():
        return None
    shown = row.get("display_name") or row.get("displayName")
    if not isinstance(shown, str) or not 0 < len(shown.strip()) <= NAME_LENGTH or not shown.isprintable():
        return name, None
    return name, shown.strip()


def _why(found: Listing) -> str:
    if found.verdict.kind is VerdictKind.OK:
        return "the answer is not a list of models"
    return found.verdict.reason or f"status {found.status}"
