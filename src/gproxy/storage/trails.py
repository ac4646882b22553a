"""Trails of requests: what was decided about each, as one compact text. What is in it is the caller's business."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Final

from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.pruning import delete_before


@dataclass(frozen=True, slots=True)
class StoredTrail:
    """One trail. `at` is when the request came, in microseconds since the epoch."""

    request_id: str
    at: int
    user_name: str | None
    status: int
    trail_json: str


_COLUMNS: Final = tuple(each.name for each in fields(StoredTrail))


async def put_trails(tx: Session, trails: Sequence[StoredTrail]) -> None:
    """Store some; those that are there already are left alone, so that a batch may be sent twice."""
    keep = sql.upsert(tx.dialect, "request_trails", _COLUMNS, ("request_id",))
    await tx.executemany(keep, [astuple(each) for each in trails])


async def stored_trail(db: Session, request_id: str) -> StoredTrail | None:
    """The trail of a request, where one was kept."""
    rows = await db.fetch(sql.select("request_trails", _COLUMNS, "WHERE request_id = ?"), (request_id,))
    return StoredTrail(*rows[0]) if rows else None


async def delete_trails_before(db: Session, before: int, limit: int) -> int:
    """Delete at most `limit` trails older than that (microseconds); how many."""
    return await delete_before(db, "request_trails", before, limit, key="request_id")
