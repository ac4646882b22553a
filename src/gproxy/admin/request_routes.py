"""Logs of requests, and what happened to one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from gproxy.admin.errors import not_found
from gproxy.admin.explain_routes import SkippedWay, Step
from gproxy.admin.fields import Shown
from gproxy.admin.paging import FAR, Cursor, Limit, Listed, Since, Until, cursor_of, given, listed, page_of
from gproxy.admin.ports import Page, Ports, Row
from gproxy.admin.record_routes import Id, Text, Usage

_MOST_PARTS = 200


class Logged(Shown):
    """One exchange with a client or with a vendor; secrets are dots."""

    id: str
    request_id: str
    side: Literal["downstream", "upstream"]
    at: int
    user_name: str | None
    provider_name: str | None
    model_asked: str | None
    status: int
    outcome: str
    total_ms: int
    envelope: dict[str, Any]


class LoggedWhole(Logged):
    """With its bodies, where they are kept."""

    request_body: str | None
    response_body: str | None
    truncated: bool = Field(description="Whether only the beginning of a body was kept.")


class RequestRead(Shown):
    """All that is logged of a request."""

    request_id: str
    downstream: LoggedWhole | None
    upstream: list[LoggedWhole]


class Considered(Shown):
    """A credential that was tried or passed over."""

    attempt: int = Field(description="Which attempt it was, from 1; 0: it was passed over.")
    provider_name: str
    model_id: str
    credential_id: str
    verdict: str = Field(
        description="`ok`, what an attempt failed of, how a broken answer ended, or `late`: a second one was started beside "
        "it. Empty: not tried."
    )
    reason: str


class Counted(Shown):
    """A rate limit that holds for the name, and how it stood."""

    id: str
    model_pattern: str
    dimension: Literal["rpm", "rpd", "total_tokens"]
    limit: int
    cost: int | None = Field(description="What the request was counted for; null: it was not counted.")
    before: int | None = Field(description="What was left of the limit before it was counted.")
    after: int | None


class Budget(Shown):
    """How the budget stood beside what other requests held."""

    quota: int = Field(description="Nano-USD, as are the others.")
    before: int | None = Field(description="What was left; null: the request did not come so far.")
    after: int | None


class Member(Shown):
    """A place that could serve."""

    provider_name: str
    model_id: str
    tier: int
    weight: int
    alias: str | None


class Trail(Shown):
    """The decisions about a request, in the words of `/admin/explain`."""

    at: int
    user_name: str | None
    key_id: str | None
    operation: str
    dialect: str
    model_asked: str
    status: int
    code: str | None
    outcome: str
    steps: list[Step]
    permissions: list[dict[str, Any]] = Field(description="The user's permissions that fit the name.")
    rate_limits: list[Counted]
    quota: Budget | None
    route: str | None
    strategy: str | None
    candidates: list[Member]
    skipped: list[SkippedWay]
    credentials: list[Considered] = Field(description="In order: tried, passed over, and those that are switched off.")


class Happened(Shown):
    """What happened to a request."""

    request_id: str
    status: int | None = Field(description="What the client was answered; null: the request was not logged.")
    error: str | None
    error_text: str | None
    steps: list[str]
    attempts: list[Usage] = Field(description="Its lines in the ledger, in order.")
    cost_nano_usd: int
    trail: Trail | None = Field(description="Kept for every failure and for a share of the others; null: none was.")


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the routes."""

    async def list_requests(
        since: Since = 0,
        until: Until = None,
        limit: Limit = 100,
        cursor: Cursor = "",
        side: Literal["downstream", "upstream"] | None = None,
        user_name: Text = None,
        provider_name: Text = None,
        model_asked: Text = None,
        request_id: Text = None,
        outcome: Text = None,
        status: Annotated[int | None, Query(ge=0, le=999)] = None,
    ) -> dict[str, Any]:
        equal = {
            "side": side, "user_name": user_name, "provider_name": provider_name, "model_asked": model_asked,
            "request_id": request_id, "outcome": outcome, "status": status,
        }  # fmt: skip
        rows = await ports.records.requests(given(equal), page_of(since, until, cursor, limit), bodies=False)
        return listed(rows, limit, lambda row: cursor_of(row["at"], row["id"]))

    async def parts(request_id: str) -> list[Row]:
        rows = await ports.records.requests({"request_id": request_id}, Page(0, FAR, None, _MOST_PARTS), bodies=True)
        return rows[::-1]

    async def read_request(row_id: Id) -> Row:
        rows = await parts(row_id)
        if not rows:
            raise not_found("logged request", row_id)
        return {
            "request_id": row_id,
            "downstream": next((row for row in rows if row["side"] == "downstream"), None),
            "upstream": [row for row in rows if row["side"] == "upstream"],
        }

    async def happened(row_id: Id) -> Row:
        rows = await parts(row_id)
        attempts = await ports.records.usages({"request_id": row_id}, Page(0, FAR, None, _MOST_PARTS))
        trail = await ports.records.trail(row_id)
        if not rows and not attempts and trail is None:
            raise not_found("request", row_id)
        attempts.sort(key=lambda row: row["attempt_no"])
        whole = next((row for row in rows if row["side"] == "downstream"), None)
        envelope = {} if whole is None else whole["envelope"]
        return {
            "request_id": row_id,
            "status": whole["status"] if whole is not None else None if trail is None else trail["status"],
            "error": envelope.get("error") if whole is not None else None if trail is None else trail["code"],
            "error_text": envelope.get("error_text"),
            "steps": _steps(whole, attempts, trail),
            "attempts": attempts,
            "cost_nano_usd": sum(row["cost_nano_usd"] for row in attempts),
            "trail": trail,
        }

    add = router.add_api_route
    add("/admin/requests", list_requests, response_model=Listed[Logged], operation_id="list_requests",
        summary="List logged requests, newest first",
        description="Nothing is logged unless `enable_downstream_log` or `enable_upstream_log` is set.")  # fmt: skip
    add("/admin/requests/{id}", read_request, response_model=RequestRead, operation_id="get_request",
        summary="Read a logged request with its bodies", description="`id` is the request's id.")  # fmt: skip
    add("/admin/requests/{id}/explain", happened, response_model=Happened, operation_id="explain_request",
        summary="What happened to a request",
        description="From its lines in the ledger, its trail, and its log where there is one.")  # fmt: skip


def _steps(whole: Row | None, attempts: list[Row], trail: Row | None) -> list[str]:
    """The story in lines: the trail where there is one, and what each attempt took and cost."""
    told = []
    asked = whole or trail
    if asked is not None:
        who = asked["user_name"] or "nobody who is known"
        operation = asked["operation"] if whole is None else whole["envelope"].get("operation")
        told.append(f"{who} asked {operation} of {asked['model_asked'] or 'no model'}")
    last = [] if trail is None else trail["steps"]
    if trail is not None:
        told += [f"{step['step']}: {step['text']}" for step in last if step["step"] != "answer"]
        told += [
            f"passed over: {one['provider_name']}/{one['model_id']} with credential {one['credential_id']}, {one['reason']}"
            for one in trail["credentials"]
            if not one["attempt"]
        ]
        told += [f"skipped: {one['provider_name']}/{one['model_id']}, {one['reason']}" for one in trail["skipped"]]
    for row in attempts:
        through = f" through route {row['route_name']}" if row["route_name"] else ""
        told.append(
            f"attempt {row['attempt_no']}{through}: {row['provider_name']}/{row['model_served']} with credential "
            f"{row['credential_id']}, {row['outcome']} ({row['status']}) after {row['total_ms']} ms"
        )
        told.append(
            f"cost {row['cost']} USD at price {row['price_version']}: {row['input_tokens'] or 0} tokens in, "
            f"{row['cache_read_tokens'] or 0} of them from the cache, {row['output_tokens'] or 0} out ({row['source']})"
        )
    if whole is not None:
        why = whole["envelope"].get("error")
        told.append(f"answered {whole['status']}" + (f": {why}" if why else ""))
    elif trail is not None:
        why = trail["code"]
        told.append(f"answered {trail['status']}" + (f": {why}" if why else ""))
    return told
