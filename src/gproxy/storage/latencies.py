"""How long answers took, by hour and day: counts per bucket of `ledger.latency`, moved with the rows they count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gproxy.ledger.latency import bucket_of
from gproxy.ledger.record import Outcome, UsageRow
from gproxy.storage import sql
from gproxy.storage.engine import Session

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US

_KEY: Final = ("period", "starts_at", "provider_name", "model_served", "bucket")
_SUMS: Final = ("first_bytes", "totals")
FILTERS: Final = frozenset({"provider_name", "model_served"})


@dataclass(frozen=True, slots=True)
class Held:
    """How many answers of the bucket of time that begins at `starts_at` fell into one bucket of duration."""

    starts_at: int
    bucket: int
    first_bytes: int
    totals: int


async def count_latencies(tx: Session, fresh: Iterable[UsageRow]) -> None:
    """Count rows that are new to the ledger. Only whole answers count: how long a failure took says something else."""
    counts: dict[tuple[Any, ...], list[int]] = {}
    for row in fresh:
        if row.outcome != Outcome.COMPLETE:
            continue
        who = (row.provider_name, row.model_served)
        for period, size in (("day", DAY_US), ("hour", HOUR_US)):
            starts_at = row.at - row.at % size
            counts.setdefault((period, starts_at, *who, bucket_of(row.total_ms)), [0, 0])[1] += 1
            if row.first_byte_ms is not None:
                counts.setdefault((period, starts_at, *who, bucket_of(row.first_byte_ms)), [0, 0])[0] += 1
    statement = sql.upsert(tx.dialect, "latency_rollups", _KEY + _SUMS, _KEY, add=_SUMS)
    # In one order everywhere, so that two batches can wait for each other but never in a circle.
    await tx.executemany(statement, [(*key, *counts[key]) for key in sorted(counts)])


async def latencies(
    db: Session, *, period: str, since: int, until: int, equal: Mapping[str, str] | None = None
) -> list[Held]:
    """The counts of the hours or days that start in [since, until), in the order of time and duration."""
    chosen = sorted((equal or {}).items())
    assert FILTERS.issuperset(name for name, _ in chosen), "not a column to filter by"
    conditions = ["period = ?", "starts_at >= ?", "starts_at < ?", *(f"{name} = ?" for name, _ in chosen)]
    rows = await db.fetch(
        sql.select(
            "latency_rollups",
            ("starts_at", "bucket", *(f"SUM({column})" for column in _SUMS)),
            f"WHERE {' AND '.join(conditions)} GROUP BY starts_at, bucket ORDER BY starts_at, bucket",
        ),
        [period, since, until, *(value for _, value in chosen)],
    )
    return [Held(starts_at, bucket, int(first), int(whole)) for starts_at, bucket, first, whole in rows]
