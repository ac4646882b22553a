"""Drain reports, kept: how each process of this database ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gproxy.ids import new_id
from gproxy.storage.engine import Database, Session


@dataclass(frozen=True, slots=True)
class Shutdown:
    """One end of a process. `at` is when the signal came (microseconds), `report` the whole drain report."""

    id: str
    at: int
    signal_name: str | None
    exit_code: int
    duration_ms: int
    report: Mapping[str, Any]


async def record_shutdown(
    db: Database, *, at: int, signal_name: str | None, exit_code: int, duration_ms: int, report: Mapping[str, Any]
) -> str:
    """Keep a report; its id."""
    row_id = new_id()
    await db.execute(
        "INSERT INTO shutdowns (id, at, signal_name, exit_code, duration_ms, report_json) VALUES (?, ?, ?, ?, ?, ?)",
        (row_id, at, signal_name, exit_code, duration_ms, msgspec.json.encode(report).decode()),
    )
    return row_id


async def shutdowns(db: Session, *, before: tuple[int, str] | None = None, limit: int = 50) -> list[Shutdown]:
    """The latest reports first; `before` is the (at, id) of the last one seen."""
    at, row_id = before or (2**63 - 1, "~")
    rows = await db.fetch(
        "SELECT id, at, signal_name, exit_code, duration_ms, report_json FROM shutdowns"
        " WHERE at < :at OR (at = :at AND id < :id) ORDER BY at DESC, id DESC LIMIT :limit",
        {"at": at, "id": row_id, "limit": limit},
    )
    return [
        Shutdown(row_id, at, signal_name, exit_code, duration_ms, msgspec.json.decode(report))
        for row_id, at, signal_name, exit_code, duration_ms, report in rows
    ]


async def shutdown(db: Session, row_id: str) -> Shutdown | None:
    """One report."""
    rows = await db.fetch(
        "SELECT id, at, signal_name, exit_code, duration_ms, report_json FROM shutdowns WHERE id = ?", (row_id,)
    )
    if not rows:
        return None
    row_id, at, signal_name, exit_code, duration_ms, report = rows[0]
    return Shutdown(row_id, at, signal_name, exit_code, duration_ms, msgspec.json.decode(report))
