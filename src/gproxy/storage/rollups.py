"""The hour and day totals of the ledger, moved by exactly the rows that are new to it.

Two tables: by user, provider and model together, and by each of `usage_values.DIMENSIONS` alone. Whoever wants figures
reads these, however long the ledger is. Reading them is in `usage_reading`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

from gproxy.ledger.record import Outcome, UsageRow
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.latencies import DAY_US, HOUR_US
from gproxy.storage.usage_values import BY_KEY, DIMENSIONS, ROLLUP_KEY, ROLLUP_SUMS

_Figures: TypeAlias = tuple[int, ...]
"""In the order of `ROLLUP_SUMS`."""

_values: Final = attrgetter(*DIMENSIONS)


async def roll_up(tx: Session, fresh: Iterable[UsageRow]) -> None:
    """Add the rows to both tables; a batch is summed up first, so that it costs few statements."""
    together: defaultdict[tuple[Any, ...], list[_Figures]] = defaultdict(list)
    single: defaultdict[tuple[Any, ...], list[_Figures]] = defaultdict(list)
    for row in fresh:
        hour, figures = row.at - row.at % HOUR_US, _figures(row)
        together[hour, row.user_id, row.provider_name, row.model_served].append(figures)
        for dimension, value in zip(DIMENSIONS, _values(row), strict=True):
            single[hour, dimension, value].append(figures)
    totals: defaultdict[tuple[Any, ...], list[_Figures]] = defaultdict(list)
    for (hour, *who), parts in together.items():
        figures = _sum(parts)
        totals["hour", hour, *who].append(figures)
        totals["day", hour - hour % DAY_US, *who].append(figures)
    await _write(tx, "usage_rollups", ROLLUP_KEY, totals)
    totals.clear()
    for (hour, dimension, value), parts in single.items():
        shown, figures = _shown(value), _sum(parts)
        totals["hour", dimension, hour, shown].append(figures)
        totals["day", dimension, hour - hour % DAY_US, shown].append(figures)
    await _write(tx, "usage_rollups_by", BY_KEY, totals)


def _figures(row: UsageRow) -> _Figures:
    return (
        1,
        int(row.outcome == Outcome.FAILED),
        row.input_tokens or 0,
        row.output_tokens or 0,
        row.cache_read_tokens or 0,
        (row.cache_write_5m_tokens or 0) + (row.cache_write_1h_tokens or 0),
        row.reasoning_tokens or 0,
        row.cost_nano_usd,
    )


def _sum(parts: Sequence[_Figures]) -> _Figures:
    return parts[0] if len(parts) == 1 else tuple(map(sum, zip(*parts, strict=True)))


def _shown(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value or "")


async def _write(
    tx: Session, table: str, key: tuple[str, ...], totals: Mapping[tuple[Any, ...], Sequence[_Figures]]
) -> None:
    statement = sql.upsert(tx.dialect, table, key + ROLLUP_SUMS, key, add=ROLLUP_SUMS)
    # In one order everywhere, so that two batches can wait for each other but never in a circle.
    await tx.executemany(statement, [(*each, *_sum(totals[each])) for each in sorted(totals)])
