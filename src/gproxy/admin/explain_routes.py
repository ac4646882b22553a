"""What would happen to a request: the decisions in their order, without asking anybody upstream."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, Field

from gproxy.access.permissions import Denied, may_call
from gproxy.access.principal import Principal
from gproxy.admin.errors import Problem
from gproxy.admin.fields import Count, Name, Shape, Shown
from gproxy.admin.people_resources import remaining
from gproxy.admin.ports import Ports, Row
from gproxy.admin.reach import principal_of
from gproxy.canonical.operation import VENDOR_ONLY, Dialect, Operation
from gproxy.channels.vendor import Support
from gproxy.pipeline.decisions import Step as Decision
from gproxy.pipeline.decisions import able, fitting_limits, fitting_permissions, narrowed, permitted
from gproxy.pipeline.head import usd as usd_of
from gproxy.pipeline.projection import FREE, SMALLEST_CAP, Projection, Tariff, dearest
from gproxy.pipeline.roads import barrier
from gproxy.pipeline.tariffs import tariff_of
from gproxy.routing.route import Candidate, Resolution, Skipped, Unresolved, resolve


def _of_clients(dialect: Dialect) -> Dialect:
    if dialect in VENDOR_ONLY:
        raise ValueError("no client speaks it: it leads to vendors only")
    return dialect


class Question(Shape):
    """A request that somebody might send."""

    user: Name = Field(description="Id or name.")
    model: Name = Field(description="As the client would send it.")
    provider: Name | None = Field(default=None, description="For a scoped path, `/{provider}/v1/…`.")
    dialect: Annotated[Dialect, AfterValidator(_of_clients)] = Dialect.OPENAI_CHAT
    operation: Operation = Operation.GENERATE
    input_tokens: Count = 1000
    max_output_tokens: Count | None = None


class Step(Shown):
    """One decision."""

    step: str
    ok: bool
    text: str


class Way(Shown):
    """A member that could serve, with the credentials that would be tried."""

    provider_name: str
    model_id: str
    tier: int
    weight: int
    support: str = Field(description="native, translate, local or unsupported, for this dialect and operation.")
    price_version: str | None
    cost_bound: str | None = Field(description="USD: the most the request can cost here; null: unpriced.")
    credentials: list[dict[str, Any]]


class SkippedWay(Shown):
    """A member that cannot serve now."""

    provider_name: str
    model_id: str
    reason: str


class Limit(Shown):
    """A rate limit that holds for this name."""

    id: str
    model_pattern: str
    rpm: int | None
    rpd: int | None
    total_tokens: int | None


class Explanation(BaseModel):
    """The decisions up to the first refusal, and what was found on the way."""

    allowed: bool
    status: int = Field(description="What the client would be answered by the gateway itself; 200: it would be tried.")
    code: str | None
    steps: list[Step]
    permissions: list[dict[str, Any]] = Field(description="The user's permissions that fit the name.")
    rate_limits: list[Limit]
    quota: dict[str, Any] | None
    route: str | None
    strategy: str | None
    candidates: list[Way]
    skipped: list[SkippedWay]


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the route."""

    async def explain(body: Question) -> Row:
        user = await ports.desk.one("users", body.user)
        if user is None:
            raise Problem(400, f"user: there is no user {body.user!r}", field="user")
        quota = await ports.desk.one("quotas", user["id"])
        return explained(ports, user, await principal_of(ports, user), quota, body)

    router.add_api_route("/admin/explain", explain, methods=["POST"], response_model=Explanation,
                         operation_id="explain", summary="What would happen to this request",
                         description="A dry run against the configuration in force; nothing is counted or reserved.")  # fmt: skip


def explained(ports: Ports, user: Row, principal: Principal, quota: Row | None, asked: Question) -> Row:
    """The answer, from values alone."""
    told: Row = {
        "allowed": False, "status": 200, "code": None, "steps": [], "route": None, "strategy": None,
        "candidates": [], "skipped": [],
        "permissions": [
            {"provider_name": row.provider_name, "model_pattern": row.pattern}
            for row in fitting_permissions(principal, asked.model, asked.provider)
        ],
        "rate_limits": [
            {"id": row.id, "model_pattern": row.pattern, "rpm": row.rpm, "rpd": row.rpd, "total_tokens": row.total_tokens}
            for row in fitting_limits(principal, asked.model)
        ],
        "quota": None if quota is None else {
            "quota": quota["quota"], "cost_used": quota["cost_used"], "reserved": quota["reserved"],
            "remaining": remaining(quota),
        },
    }  # fmt: skip
    keys = any(held.user_id == user["id"] for held in ports.snapshot().keys.values())
    why = "an enabled key" if keys else "the user is disabled or has no enabled key"
    _step(told, Decision("identify", keys, why), refused=(401, "invalid_api_key"))
    verdict = may_call(principal, asked.model, provider=asked.provider)
    _step(told, permitted(verdict), refused=(403, "forbidden"))
    if isinstance(verdict, Denied):
        return told
    found = resolve(ports.snapshot(), asked.model, asked.provider)
    if isinstance(found, Unresolved):
        told["skipped"] = _skipped(found.skipped)
        failure = found.failure
        _step(told, Decision("resolve", ok=False, text=failure.text), refused=(failure.status, failure.kind.value))
        return told
    _resolved(ports, told, found, verdict.providers, asked)
    return told


def _resolved(ports: Ports, told: Row, found: Resolution, providers: frozenset[str] | None, asked: Question) -> None:
    told["route"], told["strategy"] = found.route, found.strategy
    allowed = narrowed(found, providers)
    ways = able(allowed, lambda one: barrier(one, asked.operation, asked.dialect))
    told["skipped"] = _skipped(ways.skipped)
    _step(told, ways.step, refused=(501, "unsupported") if allowed.candidates else (403, "forbidden"))
    tariffs = [tariff_of(ports.snapshot(), one) for one in ways.candidates]
    projection = _projected(tariffs, asked)
    told["candidates"] = [
        _way(ports, one, tariff, projection, asked) for one, tariff in zip(ways.candidates, tariffs, strict=True)
    ]
    if ways.candidates:
        _quota(told, tariffs, projection)
        usable = any(key["usable"] for way in told["candidates"] for key in way["credentials"])
        text = "at least one credential is usable" if usable else "no credential is usable now"
        _step(told, Decision("credential", usable, text), refused=(503, "no_credential"))
    told["allowed"] = all(step["ok"] for step in told["steps"])


def _skipped(skipped: Sequence[Skipped]) -> list[Row]:
    return [{"provider_name": one.provider_name, "model_id": one.model_id, "reason": one.reason} for one in skipped]


def _projected(tariffs: Sequence[Tariff], asked: Question) -> Projection:
    if asked.operation in FREE:
        return Projection(0, 0, stated=True)
    output = asked.max_output_tokens
    longest = max((one.longest for one in tariffs), default=0)
    return Projection(asked.input_tokens, longest if output is None else output, stated=output is not None)


def _quota(told: Row, tariffs: Sequence[Tariff], projection: Projection) -> None:
    """As `pipeline.reserve`: without a stated output cap, the answer is capped to what the budget can bear."""
    quota = told["quota"]
    if quota is None or quota["remaining"] is None:
        _step(told, Decision("quota", ok=True, text="unlimited"))
        return
    left = int(Decimal(quota["remaining"]).scaleb(9))
    bound = dearest(tariffs, projection, projection.output, None)
    least = bound if projection.stated else dearest(tariffs, projection, SMALLEST_CAP, None)
    text = f"{usd_of(bound)} USD at most, {quota['remaining']} USD left"
    if least <= left < bound:
        text += ": the answer would be capped"
    _step(told, Decision("quota", least <= left, text), refused=(402, "quota_exceeded"))


def _step(told: Row, decision: Decision, *, refused: tuple[int, str] = (500, "")) -> None:
    told["steps"].append({"step": decision.step, "ok": decision.ok, "text": decision.text})
    if not decision.ok and told["status"] == 200:  # the first refusal is the answer
        told["status"], told["code"] = refused


def _way(ports: Ports, one: Candidate, tariff: Tariff, projection: Projection, asked: Question) -> Row:
    now = ports.clock.monotonic()
    endpoint = one.provider.vendor.endpoint(asked.operation, asked.dialect, one.model_id)
    health = ports.board.health
    tokens = projection.tokens(projection.output)
    credentials = []
    for key in one.provider.credentials:
        free = health.free_at(key.id, one.model_id, now)
        full = key.caps is not None and ports.board.caps.wait_for(key.id, key.caps, tokens, now) > 0
        usable = key.enabled and free is None and not full
        reason = "" if usable else "switched off" if not key.enabled else health.reason(key.id, one.model_id)
        if full and not reason:
            reason = "at its caps"
        credentials.append({"id": key.id, "label": key.label, "usable": usable, "reason": reason})
    card = tariff.card
    return {
        "provider_name": one.provider.name,
        "model_id": one.model_id,
        "tier": one.tier,
        "weight": one.weight,
        "support": Support.UNSUPPORTED.value if endpoint is None else endpoint.support.value,
        "price_version": None if card is None else card.version,
        "cost_bound": None if card is None else usd_of(dearest([tariff], projection, projection.output, None)),
        "credentials": credentials,
    }
