"""Who changed what: one row per write, in the same transaction as the write. Secrets are masked by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.pages import END, Cursor, newest_first


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One write. `before` and `after` are the resource as people may see it; None: it was not there."""

    id: str
    at: int
    actor_id: str | None
    actor_name: str
    address: str | None
    action: str
    resource: str
    resource_id: str | None
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


_COLUMNS: Final = (
    "id", "at", "actor_id", "actor_name", "address", "action", "resource", "resource_id", "before_json", "after_json",
)  # fmt: skip


async def note(
    tx: Session,
    *,
    actor_id: str | None,
    actor_name: str,
    address: str | None,
    action: str,
    resource: str,
    resource_id: str | None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Leave a row."""
    shown = [None if each is None else msgspec.json.encode(each).decode() for each in (before, after)]
    await tx.execute(
        sql.insert("audit", _COLUMNS),
        (new_id(), SystemClock.now_us(), actor_id, actor_name, address, action, resource, resource_id, *shown),
    )


FILTERS: Final = frozenset({"id", "actor_id", "actor_name", "address", "action", "resource", "resource_id"})


async def audit_rows(
    db: Session,
    *,
    equal: Mapping[str, str] | None = None,
    since: int = 0,
    until: int = END,
    before: Cursor | None = None,
    limit: int = 50,
) -> list[AuditRow]:
    """Rows in [since, until) (microseconds), the latest first; `before` is the (at, id) of the last one seen.

    `equal` may name the columns of `FILTERS`.
    """
    rows = await newest_first(
        db, "audit", _COLUMNS, equal=equal, filters=FILTERS, since=since, until=until, before=before, limit=limit
    )
    return [
        AuditRow(*row[:8], *(None if each is None else msgspec.json.decode(each) for each in row[8:])) for row in rows
    ]
