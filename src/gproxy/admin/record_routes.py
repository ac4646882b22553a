"""What was written down: the ledger, the audit log, drain reports. Read only."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query

from gproxy.admin.errors import not_found
from gproxy.admin.fields import Shown
from gproxy.admin.groups import ALONE, Filters, check
from gproxy.admin.paging import FAR, Cursor, Limit, Listed, Since, Until, cursor_of, given, listed, page_of
from gproxy.admin.ports import Page, Ports, Row

Id = Annotated[str, Path(alias="id", max_length=500)]
Text = Annotated[str | None, Query(max_length=500)]

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US


class Usage(Shown):
    """One line of the ledger: one attempt. The names are those of the table; `cost` is `cost_nano_usd` in USD."""

    attempt_id: str
    request_id: str
    at: int
    user_id: str
    user_name: str
    key_id: str
    provider_name: str
    credential_id: str
    channel: str
    dialect_in: str
    dialect_out: str
    operation: str
    model_asked: str
    model_served: str
    route_name: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_tokens: int | None
    cost_nano_usd: int
    cost: str
    price_version: str
    source: str
    outcome: str
    status: int
    attempt_no: int
    first_byte_ms: int | None
    total_ms: int
    streamed: bool
    excess_nano_usd: int


class Figures(Shown):
    """Sums over attempts."""

    attempts: int
    failures: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int
    cost: str


class Summary(Figures):
    """Sums of the hours that begin in [since, until)."""

    since: int
    until: int


class Audit(Shown):
    """One write or reveal; secrets are masked."""

    id: str
    at: int
    actor_id: str | None
    actor_name: str
    address: str | None
    action: str
    resource: str
    resource_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Shutdown(Shown):
    """How a process ended."""

    id: str
    at: int
    signal_name: str | None
    exit_code: int
    duration_ms: int
    report: dict[str, Any]


async def usages_page(
    ports: Ports, equal: dict[str, Any], *, since: int, until: int | None, cursor: str, limit: int
) -> dict[str, Any]:
    """A page of the ledger, newest first."""
    rows = await ports.records.usages(given(equal), page_of(since, until, cursor, limit))
    return listed(rows, limit, lambda row: cursor_of(row["at"], row["attempt_id"]))


def span_of(since: int, until: int) -> tuple[str, int, int]:
    """The coarsest rollups that cover [since, until) exactly, from the hour in which it begins: period, since, until.

    Whole days are a twenty-fourth of the rows to add up.
    """
    if since % DAY_US == 0 and until % DAY_US == 0:
        return "day", since, until
    return "hour", since - since % HOUR_US, until


async def summary_of(ports: Ports, *, since: int, until: int | None, equal: dict[str, Any]) -> Row:
    """Sums of the hourly rollups, or of the daily ones where whole days are asked for. Raises `Problem`."""
    check(None, given(equal))
    until = ports.clock.now_us() + HOUR_US if until is None else until
    rows = await ports.records.totals(*span_of(since, until), (), given(equal))
    return {**rows[0], "since": since, "until": until}


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the reading routes."""

    async def list_usages(
        since: Since = 0,
        until: Until = None,
        limit: Limit = 100,
        cursor: Cursor = "",
        user_id: Text = None,
        user_name: Text = None,
        key_id: Text = None,
        provider_name: Text = None,
        credential_id: Text = None,
        channel: Text = None,
        model_asked: Text = None,
        model_served: Text = None,
        route_name: Text = None,
        operation: Text = None,
        request_id: Text = None,
        outcome: Text = None,
        status: Annotated[int | None, Query(ge=0, le=999)] = None,
    ) -> dict[str, Any]:
        equal = {
            "user_id": user_id, "user_name": user_name, "key_id": key_id, "provider_name": provider_name,
            "credential_id": credential_id, "channel": channel, "model_asked": model_asked,
            "model_served": model_served, "route_name": route_name, "operation": operation,
            "request_id": request_id, "outcome": outcome, "status": status,
        }  # fmt: skip
        return await usages_page(ports, equal, since=since, until=until, cursor=cursor, limit=limit)

    async def usage_summary(since: Since = 0, until: Until = None, *, equal: Filters) -> Row:
        return await summary_of(ports, since=since, until=until, equal=equal)

    async def read_usage(row_id: Id) -> Row:
        rows = await ports.records.usages({"attempt_id": row_id}, Page(0, FAR, None, 1))
        if not rows:
            raise not_found("usage row", row_id)
        return rows[0]

    async def list_audit(
        since: Since = 0,
        until: Until = None,
        limit: Limit = 100,
        cursor: Cursor = "",
        actor_id: Text = None,
        actor_name: Text = None,
        address: Text = None,
        action: Text = None,
        resource: Text = None,
        resource_id: Text = None,
    ) -> dict[str, Any]:
        equal = {
            "actor_id": actor_id, "actor_name": actor_name, "address": address, "action": action,
            "resource": resource, "resource_id": resource_id,
        }  # fmt: skip
        rows = await ports.records.audit(given(equal), page_of(since, until, cursor, limit))
        return listed(rows, limit, lambda row: cursor_of(row["at"], row["id"]))

    async def read_audit(row_id: Id) -> Row:
        rows = await ports.records.audit({"id": row_id}, Page(0, FAR, None, 1))
        if not rows:
            raise not_found("audit row", row_id)
        return rows[0]

    async def list_shutdowns(limit: Limit = 50, cursor: Cursor = "") -> dict[str, Any]:
        rows = await ports.records.shutdowns(page_of(0, None, cursor, limit))
        return listed(rows, limit, lambda row: cursor_of(row["at"], row["id"]))

    async def read_shutdown(row_id: Id) -> Row:
        row = await ports.records.shutdown(row_id)
        if row is None:
            raise not_found("shutdown", row_id)
        return row

    add = router.add_api_route
    add("/admin/usages", list_usages, response_model=Listed[Usage], operation_id="list_usages",
        summary="List attempts, newest first")  # fmt: skip
    add("/admin/usages/summary", usage_summary, response_model=Summary, operation_id="usage_summary",
        summary="Sum up attempts", description=f"From the hourly rollups: `since` is rounded down to its hour. {ALONE}")  # fmt: skip
    add("/admin/usages/{id}", read_usage, response_model=Usage, operation_id="get_usage", summary="Read an attempt")
    add("/admin/audit", list_audit, response_model=Listed[Audit], operation_id="list_audit",
        summary="List what was changed and revealed, newest first")  # fmt: skip
    add("/admin/audit/{id}", read_audit, response_model=Audit, operation_id="get_audit", summary="Read an audit row")
    add("/admin/shutdowns", list_shutdowns, response_model=Listed[Shutdown], operation_id="list_shutdowns",
        summary="List how processes ended, newest first")  # fmt: skip
    add("/admin/shutdowns/{id}", read_shutdown, response_model=Shutdown, operation_id="get_shutdown",
        summary="Read a drain report")  # fmt: skip
