"""Answers kept for their callers, looked at and deleted by their ids: only their own user sees that they are there."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from gproxy.canonical.operation import Operation
from gproxy.errors import Failure, Kind, Refused
from gproxy.ledger.store import StoreUnavailable
from gproxy.pipeline.elsewhere import Elsewhere
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.head import request_ids
from gproxy.pipeline.ports import Keeper
from gproxy.pipeline.recall import AWAY, LONGEST_ID
from gproxy.protocols.openai_responses.kept import KeptResponse, UnknownItem, input_page
from gproxy.wire.http import Header
from gproxy.wire.json import dumps

OPERATIONS: Final = frozenset({Operation.GET_RESPONSE, Operation.DELETE_RESPONSE, Operation.LIST_INPUT_ITEMS})
_JSON: Final[Header] = (b"content-type", b"application/json")
_OK: Final = 200
_GOOD: Final = 300
_GONE: Final = 404
_PAGE: Final = 20
_LARGEST_PAGE: Final = 100


async def serve(x: Exchange, keeper: Keeper, elsewhere: Elsewhere) -> None:
    """Answer from what is kept, or ask who keeps it. Raises `Refused`: 404 for what is not there or somebody else's."""
    assert x.principal is not None
    user_id, named = x.principal.user_id, x.call.path_model or ""
    if not named or len(named) > LONGEST_ID or "\0" in named:
        raise _missing(named)
    try:
        with x.interruptible():
            kept = await keeper.one(user_id, named)
            if kept is None:
                raise _missing(named)
            if kept.provider_name is not None:
                status, headers, content = await elsewhere.ask(x, kept)
                if x.call.operation is Operation.DELETE_RESPONSE and (status < _GOOD or status == _GONE):
                    await keeper.forget(user_id, named)
            else:
                status, headers, content = _OK, [_JSON, *request_ids(x)], await _content(x, kept, keeper)
    except StoreUnavailable:
        raise Refused(AWAY) from None
    x.outcome = "complete" if status < _GOOD else "failed"
    x.answered_status = status
    x.client.send(status, headers, content)


async def _content(x: Exchange, kept: KeptResponse, keeper: Keeper) -> bytes:
    if x.call.operation is Operation.DELETE_RESPONSE:
        if not await keeper.forget(kept.user_id, kept.id):
            raise _missing(kept.id)
        return dumps({"id": kept.id, "object": "response", "deleted": True})
    return _shown(x.call.operation, kept, {name: values[-1] for name, values in parse_qs(x.call.query).items()})


def _shown(operation: Operation, kept: KeptResponse, asked: dict[str, str]) -> bytes:
    if operation is Operation.LIST_INPUT_ITEMS:
        return dumps(_page(kept, asked))
    if asked.get("stream") == "true":
        raise _bad("stream", "a kept response is complete: ask for it without `stream`")
    return kept.answer.encode()


def _page(kept: KeptResponse, asked: dict[str, str]) -> dict[str, Any]:
    limit, order, after = asked.get("limit", str(_PAGE)), asked.get("order", "desc"), asked.get("after")
    if not limit.isascii() or not limit.isdecimal() or not 1 <= int(limit) <= _LARGEST_PAGE:
        raise _bad("limit", f"`limit` must be a number from 1 to {_LARGEST_PAGE}")
    if order not in {"asc", "desc"}:
        raise _bad("order", "`order` must be asc or desc")
    try:
        return input_page(kept, limit=int(limit), after=after, ascending=order == "asc")
    except UnknownItem:
        raise _bad("after", f"`after` names no input item of this response: {after!r}") from None


def _bad(field: str, text: str) -> Refused:
    return Refused(Failure(Kind.INVALID_REQUEST, text, param=field))


def _missing(named: str) -> Refused:
    return Refused(Failure(Kind.NOT_FOUND, f"there is no kept response {named[:80]!r}"))
