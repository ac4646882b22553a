"""Drain reports, kept: how each process of this database ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gproxy.ids import new_id
from gproxy.storage import sql
from gproxy.storage.drivers import Row
from gproxy.storage.engine import Database, Session
from gproxy.storage.pages import Cursor, newest_first


@dataclass(frozen=True, slots=True)
class Shutdown:
    """One end of a process. `at` is when the signal came (microseconds), `report` the whole drain report."""

    id: str
    at: int
    signal_name: str | None
    exit_code: int
    duration_ms: int
    report: Mapping[str, Any]


_COLUMNS: Final = ("id", "at", "signal_name", "exit_code", "duration_ms", "report_json")


async def record_shutdown(
    db: Database, *, at: int, signal_name: str | None, exit_code: int, duration_ms: int, report: Mapping[str, Any]
) -> str:
    """Keep a report; its id."""
    row_id = new_id()
    await db.execute(
        sql.insert("shutdowns", _COLUMNS),
        (row_id, at, signal_name, exit_code, duration_ms, msgspec.json.encode(report).decode()),
    )
    return row_id


async def shutdowns(db: Session, *, before: Cursor | None = None, limit: int = 50) -> list[Shutdown]:
    """The latest reports first; `before` is the (at, id) of the last one seen."""
    return [_read(row) for row in await newest_first(db, "shutdowns", _COLUMNS, before=before, limit=limit)]


async def shutdown(db: Session, row_id: str) -> Shutdown | None:
    """One report."""
    rows = await db.fetch(sql.select("shutdowns", _COLUMNS, "WHERE id = ?"), (row_id,))
    return _read(rows[0]) if rows else None


def _read(row: Row) -> Shutdown:
    row_id, at, signal_name, exit_code, duration_ms, report = row
    return Shutdown(row_id, at, signal_name, exit_code, duration_ms, msgspec.json.decode(report))
