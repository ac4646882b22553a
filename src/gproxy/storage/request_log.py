"""Logs of requests: envelopes in one table, bodies in another with a retention of its own. Redacted by the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.pages import END, Cursor, newest_first
from gproxy.storage.pruning import delete_before

_COLUMNS: Final = (
    "id", "request_id", "side", "at", "user_name", "provider_name", "model_asked", "status", "outcome", "total_ms",
    "envelope_json",
)  # fmt: skip
_BODY: Final = ("id", "at", "request_text", "response_text", "truncated")
FILTERS: Final = frozenset(
    {"id", "request_id", "side", "user_name", "provider_name", "model_asked", "status", "outcome"}
)


@dataclass(frozen=True, slots=True)
class Logged:
    """One exchange with a client (`downstream`) or a vendor (`upstream`). Bodies are None when they are not kept."""

    id: str
    request_id: str
    side: str
    at: int
    user_name: str | None
    provider_name: str | None
    model_asked: str | None
    status: int
    outcome: str
    total_ms: int
    envelope: Mapping[str, Any]
    request_body: str | None = None
    response_body: str | None = None
    truncated: bool = False


async def put(tx: Session, rows: Sequence[Logged]) -> None:
    """Store some; ids that are there already are left alone, so that a batch may be sent twice."""
    keep = sql.upsert(tx.dialect, "request_logs", _COLUMNS, ("id",))
    await tx.executemany(
        keep,
        [
            (
                row.id, row.request_id, row.side, row.at, row.user_name, row.provider_name, row.model_asked, row.status,
                row.outcome, row.total_ms, msgspec.json.encode(row.envelope).decode(),
            )
            for row in rows
        ],
    )  # fmt: skip
    await tx.executemany(
        sql.upsert(tx.dialect, "request_bodies", _BODY, ("id",)),
        [
            (row.id, row.at, row.request_body or "", row.response_body or "", int(row.truncated))
            for row in rows
            if row.request_body is not None or row.response_body is not None
        ],
    )


async def logged(
    db: Session,
    *,
    equal: Mapping[str, Any],
    since: int = 0,
    until: int = END,
    before: Cursor | None = None,
    limit: int = 100,
    bodies: bool = False,
) -> list[Logged]:
    """Rows in [since, until) (microseconds), the latest first; `before` is the (at, id) of the last one seen."""
    rows = await newest_first(
        db, "request_logs", _COLUMNS, equal=equal, filters=FILTERS, since=since, until=until, before=before, limit=limit
    )
    texts: dict[str, tuple[Any, ...]] = {}
    if bodies and rows:
        where, ids = sql.one_of("id", [row[0] for row in rows])
        texts = {row[0]: row for row in await db.fetch(sql.select("request_bodies", _BODY, f"WHERE {where}"), ids)}
    found = []
    for row in rows:
        body = texts.get(row[0])
        one = Logged(**dict(zip(_COLUMNS[:-1], row[:-1], strict=True)), envelope=msgspec.json.decode(row[-1]))
        if body is not None:
            one = replace(one, request_body=body[2], response_body=body[3], truncated=bool(body[4]))
        found.append(one)
    return found


async def delete_logs_before(db: Session, before: int, limit: int) -> int:
    """Delete at most `limit` logs older than that (microseconds); how many."""
    return await delete_before(db, "request_logs", before, limit)


async def delete_bodies_before(db: Session, before: int, limit: int) -> int:
    """Delete at most `limit` bodies older than that (microseconds); how many."""
    return await delete_before(db, "request_bodies", before, limit)
