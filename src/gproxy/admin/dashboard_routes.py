"""The dashboard: sums, their course over time, the largest, and how long answers took. All from kept totals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from gproxy.admin.fields import Shown
from gproxy.admin.groups import ALONE, Dimension, Filters, check, name_of
from gproxy.admin.paging import Since, Until, given
from gproxy.admin.ports import Ports, Row
from gproxy.admin.record_routes import DAY_US, HOUR_US, Figures, Summary, Text, span_of, summary_of
from gproxy.admin.upstream_resources import WELL, ailments
from gproxy.ledger.latency import BOUNDS_MS, percentile

Period = Literal["hour", "day"]

_MOST_BUCKETS: Final = 2000


class Overview(Summary):
    """The whole at a glance."""

    success_rate: float | None
    users: int = Field(description="Users with at least one attempt.")
    models: int
    providers: int
    in_flight: int
    credentials: dict[str, int] = Field(description="How many are healthy, in cooldown, disabled.")


class Point(Figures):
    """One bucket."""

    starts_at: int
    group: str | None = Field(description="null: not grouped. Empty: by route, what no route led.")


class Series(Shown):
    """Buckets in the order of time; those without attempts are left out."""

    period: Period
    bucket_us: int
    points: list[Point]


class Spread(Shown):
    """How long whole answers took. Percentiles are read from the counts, so they are right to a few per cent."""

    count: int
    p50: int | None = Field(description="Milliseconds; null: there were none.")
    p90: int | None
    p95: int | None
    p99: int | None
    counts: list[tuple[int, int]] = Field(
        description="How many fell into each bucket that holds any: number of the bucket, count. A bucket's upper end "
        "is `bounds_ms` at its number; the number behind the last one stands for longer."
    )


class LatencyPoint(Shown):
    """One bucket of time."""

    starts_at: int
    first_byte: Spread
    total: Spread


class Latency(Shown):
    """The span as a whole and over time; buckets without whole answers are left out."""

    period: Period
    bucket_us: int
    bounds_ms: list[int]
    first_byte: Spread
    total: Spread
    points: list[LatencyPoint]


class Top(Figures):
    """One of the largest."""

    group: str
    name: str


class Tops(Shown):
    """The largest first."""

    by: Dimension
    items: list[Top]


def _buckets(ports: Ports, since: int, until: int | None, period: Period) -> tuple[int, int, int]:
    """The size of a bucket of time, and which ones: from, to (microseconds)."""
    size = HOUR_US if period == "hour" else DAY_US
    end = ports.clock.now_us() + size if until is None else until
    return size, max(since - since % size, end - _MOST_BUCKETS * size), end


async def series_of(
    ports: Ports, *, since: int, until: int | None, period: Period, by: Dimension | None, equal: Row
) -> Row:
    """Figures over time. Raises `Problem` for groups and filters that no totals are kept of together."""
    check(by, given(equal))
    size, start, end = _buckets(ports, since, until, period)
    columns = ("starts_at",) if by is None else ("starts_at", by)
    rows = await ports.records.totals(period, start, end, columns, given(equal))
    points = [{**row, "group": None if by is None else row[by]} for row in rows]
    return {"period": period, "bucket_us": size, "points": points}


def _spread(rows: Sequence[Row], measure: Literal["first_bytes", "totals"]) -> Row:
    counts: dict[int, int] = {}
    for row in rows:
        if row[measure]:
            counts[row["bucket"]] = counts.get(row["bucket"], 0) + row[measure]
    return {
        "count": sum(counts.values()),
        **{f"p{share}": percentile(counts, share / 100) for share in (50, 90, 95, 99)},
        "counts": sorted(counts.items()),
    }


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add `/admin/dashboard/*`."""

    async def overview(since: Since = 0, until: Until = None) -> Row:
        summary = await summary_of(ports, since=since, until=until, equal={})
        span = span_of(since, summary["until"])

        async def distinct(column: str) -> int:
            return len(await ports.records.totals(*span, (column,), {}))

        attempts = summary["attempts"]
        unwell = ailments(ports)
        states = {"healthy": 0, "cooldown": 0, "disabled": 0}
        for provider in ports.snapshot().providers.values():
            for credential in provider.credentials:
                health = unwell.get((credential.id, None), WELL)
                states[health["state"] if credential.enabled else "disabled"] += 1
        return {
            **summary,
            "success_rate": None if not attempts else (attempts - summary["failures"]) / attempts,
            "users": await distinct("user_id"),
            "models": await distinct("model_served"),
            "providers": await distinct("provider_name"),
            "in_flight": len(ports.in_flight),
            "credentials": states,
        }

    async def series(
        since: Since = 0,
        until: Until = None,
        period: Period = "hour",
        *,
        by: Dimension | None = None,
        equal: Filters,
    ) -> Row:
        return await series_of(ports, since=since, until=until, period=period, by=by, equal=equal)

    async def latency(
        since: Since = 0,
        until: Until = None,
        period: Period = "hour",
        provider_name: Text = None,
        model_served: Text = None,
    ) -> Row:
        equal = {"provider_name": provider_name, "model_served": model_served}
        size, start, end = _buckets(ports, since, until, period)
        counts = await ports.records.latencies(period, start, end, given(equal))
        points: dict[int, list[Row]] = {}
        for row in counts:
            points.setdefault(row["starts_at"], []).append(row)
        return {
            "period": period,
            "bucket_us": size,
            "bounds_ms": BOUNDS_MS,
            "first_byte": _spread(counts, "first_bytes"),
            "total": _spread(counts, "totals"),
            "points": [
                {"starts_at": at, "first_byte": _spread(rows, "first_bytes"), "total": _spread(rows, "totals")}
                for at, rows in points.items()
            ],
        }

    async def top(
        by: Dimension,
        since: Since = 0,
        until: Until = None,
        order: Literal["cost", "attempts", "failures", "tokens"] = "cost",
        limit: Annotated[int, Query(ge=1, le=100)] = 10,
    ) -> Row:
        end = ports.clock.now_us() + HOUR_US if until is None else until
        rows = await ports.records.totals(*span_of(since, end), (by,), {})

        def size(row: Row) -> int:
            if order == "tokens":
                return int(row["input_tokens"]) + int(row["output_tokens"])
            return int(row["cost_nano_usd" if order == "cost" else order])

        rows = sorted(rows, key=size, reverse=True)[:limit]
        for row in rows:
            row["group"] = row[by]
            row["name"] = await name_of(ports.desk, by, row[by])
        return {"by": by, "items": rows}

    add = router.add_api_route
    add("/admin/dashboard/overview", overview, response_model=Overview, operation_id="dashboard_overview",
        summary="The figures of a span of time")  # fmt: skip
    add("/admin/dashboard/series", series, response_model=Series, operation_id="dashboard_series",
        summary="Figures over time, in total or by user, key, provider, model or another column of the ledger",
        description=f"At most the last {_MOST_BUCKETS} buckets. {ALONE}")  # fmt: skip
    add("/admin/dashboard/latency", latency, response_model=Latency, operation_id="dashboard_latency",
        summary="How long whole answers took, over time",
        description=f"Percentiles and counts by duration. At most the last {_MOST_BUCKETS} buckets.")  # fmt: skip
    add("/admin/dashboard/top", top, response_model=Tops, operation_id="dashboard_top",
        summary="The largest users, keys, providers, models or groups by another column of the ledger")  # fmt: skip
