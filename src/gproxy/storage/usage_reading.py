"""The ledger for readers: rows newest first in keyset pages, and totals from the rollups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gproxy.ledger.record import UsageRow
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.pages import END, Cursor, newest_first
from gproxy.storage.usage_values import COLUMNS, DIMENSIONS, ROLLUP_KEY, ROLLUP_SUMS

FILTERS: Final = frozenset(
    {
        "user_id", "user_name", "key_id", "provider_name", "credential_id", "channel", "model_asked", "model_served",
        "route_name", "operation", "request_id", "attempt_id", "outcome", "status",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that could not be stored, as JSON text, and why."""

    id: str
    attempt_id: str | None
    at: int
    reason: str
    raw: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over one group of the rollups; `group` holds the values of the columns asked for."""

    group: tuple[Any, ...]
    attempts: int
    failures: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int


async def usage_page(
    db: Session,
    *,
    equal: Mapping[str, Any] | None = None,
    since: int = 0,
    until: int = END,
    before: Cursor | None = None,
    limit: int = 100,
) -> list[UsageRow]:
    """Rows in [since, until) (microseconds), newest first, after the cursor `before` = (at, attempt_id).

    `equal` may name the columns of `FILTERS`.
    """
    rows = await newest_first(
        db,
        "usages",
        COLUMNS,
        key="attempt_id",
        equal=equal,
        filters=FILTERS,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
    streamed = COLUMNS.index("streamed")
    found: list[list[Any]] = [list(row) for row in rows]
    for row in found:
        row[streamed] = bool(row[streamed])
    return [UsageRow(*row) for row in found]


async def totals(
    db: Session,
    *,
    period: str,
    since: int,
    until: int,
    by: tuple[str, ...] = (),
    equal: Mapping[str, str] | None = None,
) -> list[Totals]:
    """Sums of the hour or day totals that start in [since, until), grouped by columns of `ROLLUP_KEY`.

    Or by one of `DIMENSIONS`, and the start; then `equal` may name that dimension, and nothing else is kept beside it.
    """
    chosen = dict(equal or {})
    asked = {*by, *chosen}
    dimension = next((each for each in DIMENSIONS if each in asked), None)
    if dimension is None:
        assert asked.issubset(ROLLUP_KEY), "not a column of the rollups"
        table, columns, conditions, values = "usage_rollups", by, ["period = ?"], [period]
    else:
        assert asked.issubset({"starts_at", dimension}), "not kept together"
        table, columns = "usage_rollups_by", tuple("value" if each == dimension else each for each in by)
        conditions, values = ["period = ?", "dimension = ?"], [period, dimension]
        if chosen:
            chosen = {"value": chosen[dimension]}
    conditions += ["starts_at >= ?", "starts_at < ?", *(f"{column} = ?" for column in sorted(chosen))]
    grouped = f" GROUP BY {', '.join(columns)} ORDER BY {', '.join(columns)}" if by else ""
    rows = await db.fetch(
        sql.select(
            table,
            (*columns, *(f"COALESCE(SUM({column}), 0)" for column in ROLLUP_SUMS)),
            f"WHERE {' AND '.join(conditions)}{grouped}",
        ),
        [*values, since, until, *(chosen[column] for column in sorted(chosen))],
    )
    width = len(by)
    return [Totals(tuple(row[:width]), *(int(figure) for figure in row[width:])) for row in rows]


async def quarantined(db: Session, *, after: str = "", limit: int = 100) -> list[Quarantined]:
    """Rows set aside, in pages by id."""
    rows = await db.fetch(
        "SELECT id, attempt_id, at, reason, raw FROM usage_quarantine WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [Quarantined(*row) for row in rows]
