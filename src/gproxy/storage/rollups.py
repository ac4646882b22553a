"""The hour and day totals of the ledger, moved by exactly the rows that are new to it.

Two tables: by user, provider and model together, and by each of `usage_values.DIMENSIONS` alone. Whoever wants figures
reads these, however long the ledger is. Reading them is in `usage_reading`.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import add, attrgetter
from typing import Any, Final

from gproxy.ledger.record import Outcome, UsageRow
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.latencies import DAY_US, HOUR_US
from gproxy.storage.usage_values import BY_KEY, DIMENSIONS, ROLLUP_KEY, ROLLUP_SUMS

_Sums = dict[tuple[Any, ...], list[int]]

_TOGETHER: Final = ("user_id", "provider_name", "model_served")
_who: Final = attrgetter(*_TOGETHER, *DIMENSIONS)


async def roll_up(tx: Session, fresh: Iterable[UsageRow]) -> None:
    """Add the rows to both tables; a batch is summed up first, so that it costs few statements."""
    hours: _Sums = {}
    for row in fresh:
        sums = hours.setdefault((row.at - row.at % HOUR_US, *_who(row)), [0] * len(ROLLUP_SUMS))
        sums[0] += 1
        sums[1] += row.outcome == Outcome.FAILED
        sums[2] += row.input_tokens or 0
        sums[3] += row.output_tokens or 0
        sums[4] += row.cache_read_tokens or 0
        sums[5] += (row.cache_write_5m_tokens or 0) + (row.cache_write_1h_tokens or 0)
        sums[6] += row.reasoning_tokens or 0
        sums[7] += row.cost_nano_usd
    together: _Sums = {}
    single: _Sums = {}
    for (hour, *who), sums in hours.items():
        _add(together, (hour, *who[: len(_TOGETHER)]), sums)
        for dimension, value in zip(DIMENSIONS, who[len(_TOGETHER) :], strict=True):
            _add(single, (hour, dimension, value), sums)
    totals: _Sums = {}
    for (hour, *rest), sums in together.items():
        for period, start in (("hour", hour), ("day", hour - hour % DAY_US)):
            _add(totals, (period, start, *rest), sums)
    await _write(tx, "usage_rollups", ROLLUP_KEY, totals)
    totals = {}
    for (hour, dimension, value), sums in single.items():
        for period, start in (("hour", hour), ("day", hour - hour % DAY_US)):
            _add(totals, (period, dimension, start, _shown(value)), sums)
    await _write(tx, "usage_rollups_by", BY_KEY, totals)


def _add(into: _Sums, key: tuple[Any, ...], sums: list[int]) -> None:
    before = into.get(key)
    into[key] = sums if before is None else list(map(add, before, sums))


def _shown(value: str | bool | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value or "")


async def _write(tx: Session, table: str, key: tuple[str, ...], totals: _Sums) -> None:
    statement = sql.upsert(tx.dialect, table, key + ROLLUP_SUMS, key, add=ROLLUP_SUMS)
    # In one order everywhere, so that two batches can wait for each other but never in a circle.
    await tx.executemany(statement, [(*each, *totals[each]) for each in sorted(totals)])
