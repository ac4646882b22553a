"""The ledger for readers: rows newest first in keyset pages, and totals from the rollups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gproxy.ledger.record import UsageRow
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.usage_values import COLUMNS

FILTERS: Final = frozenset(
    {
        "user_id", "user_name", "key_id", "provider_name", "credential_id", "channel", "model_asked", "model_served",
        "route_name", "operation", "request_id", "attempt_id", "outcome", "status",
    }
)  # fmt: skip
GROUPS: Final = ("period", "starts_at", "user_id", "provider_name", "model_served")
_NEWEST: Final = (2**63 - 1, "~")


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
    until: int = _NEWEST[0],
    before: tuple[int, str] | None = None,
    limit: int = 100,
) -> list[UsageRow]:
    """Rows in [since, until) (microseconds), newest first, after the cursor `before` = (at, attempt_id).

    `equal` may name the columns of `FILTERS`.
    """
    chosen = dict(equal or {})
    assert FILTERS.issuperset(chosen), "not a column to filter by"
    conditions = [f"{column} = ?" for column in sorted(chosen)]
    params: list[Any] = [chosen[column] for column in sorted(chosen)]
    at, attempt_id = before or _NEWEST
    conditions += ["at >= ?", "at < ?", "(at < ? OR (at = ? AND attempt_id < ?))"]
    tail = f"WHERE {' AND '.join(conditions)} ORDER BY at DESC, attempt_id DESC LIMIT ?"
    rows = await db.fetch(sql.select("usages", COLUMNS, tail), [*params, since, until, at, at, attempt_id, limit])
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
    """Sums of the hour or day totals that start in [since, until), grouped by columns of `GROUPS`."""
    chosen = dict(equal or {})
    assert set(GROUPS).issuperset((*by, *chosen)), "not a column of the rollups"
    sums = (
        "attempts",
        "failures",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "cost_nano_usd",
    )
    conditions = ["period = ?", "starts_at >= ?", "starts_at < ?", *(f"{column} = ?" for column in sorted(chosen))]
    grouped = f" GROUP BY {', '.join(by)} ORDER BY {', '.join(by)}" if by else ""
    rows = await db.fetch(
        sql.select(
            "usage_rollups",
            (*by, *(f"COALESCE(SUM({column}), 0)" for column in sums)),
            f"WHERE {' AND '.join(conditions)}{grouped}",
        ),
        [period, since, until, *(chosen[column] for column in sorted(chosen))],
    )
    width = len(by)
    return [Totals(tuple(row[:width]), *(int(figure) for figure in row[width:])) for row in rows]


async def quarantined(db: Session, *, after: str = "", limit: int = 100) -> list[Quarantined]:
    """Rows set aside, in pages by id."""
    rows = await db.fetch(
        "SELECT id, attempt_id, at, reason, raw FROM usage_quarantine WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    )
    return [Quarantined(*row) for row in rows]
