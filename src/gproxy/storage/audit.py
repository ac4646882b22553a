"""Who changed what: one row per write, in the same transaction as the write. Secrets are masked by the caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.storage.engine import Session


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
        "INSERT INTO audit (id, at, actor_id, actor_name, address, action, resource, resource_id, before_json,"
        " after_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (new_id(), SystemClock.now_us(), actor_id, actor_name, address, action, resource, resource_id, *shown),
    )


async def audit_rows(db: Session, *, before: tuple[int, str] | None = None, limit: int = 50) -> list[AuditRow]:
    """The latest first; `before` is the (at, id) of the last one seen."""
    at, row_id = before or (2**63 - 1, "~")
    rows = await db.fetch(
        "SELECT id, at, actor_id, actor_name, address, action, resource, resource_id, before_json, after_json"
        " FROM audit WHERE at < :at OR (at = :at AND id < :id) ORDER BY at DESC, id DESC LIMIT :limit",
        {"at": at, "id": row_id, "limit": limit},
    )
    return [
        AuditRow(*row[:8], *(None if each is None else msgspec.json.decode(each) for each in row[8:])) for row in rows
    ]
