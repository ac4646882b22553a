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
from gproxy.pipeline.head import usd as usd_of
from gproxy.pipeline.projection import FREE, SMALLEST_CAP, Projection, Tariff, dearest
from gproxy.pipeline.tariffs import tariff_of
from gproxy.routing.route import Candidate, Resolution, Unresolved, resolve


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
            for row in principal.permissions
            if _fits(row.provider_name, row.matcher, asked)
        ],
        "rate_limits": [
            {"id": row.id, "model_pattern": row.pattern, "rpm": row.rpm, "rpd": row.rpd, "total_tokens": row.total_tokens}
            for row in principal.rate_limits
            if row.matcher.match(asked.model)
        ],
        "quota": None if quota is None else {
            "quota": quota["quota"], "cost_used": quota["cost_used"], "reserved": quota["reserved"],
            "remaining": remaining(quota),
        },
    }  # fmt: skip
    keys = any(held.user_id == user["id"] for held in ports.snapshot().keys.values())
    _step(told, "identify", keys, "an enabled key" if keys else "the user is disabled or has no enabled key",
          refused=(401, "invalid_api_key"))  # fmt: skip
    verdict = may_call(principal, asked.model, provider=asked.provider)
    if isinstance(verdict, Denied):
        _step(told, "permit", False, f"forbidden: {verdict.what}", refused=(403, "forbidden"))
        return told
    through = "any provider" if verdict.providers is None else ", ".join(sorted(verdict.providers))
    _step(told, "permit", True, f"through {through}")
    found = resolve(ports.snapshot(), asked.model, asked.provider)
    told["skipped"] = [
        {"provider_name": one.provider_name, "model_id": one.model_id, "reason": one.reason} for one in found.skipped
    ]
    if isinstance(found, Unresolved):
        failure = found.failure
        _step(told, "resolve", False, failure.text, refused=(failure.status, failure.kind.value))
        return told
    _resolved(ports, told, found, verdict.providers, asked)
    return told


def _resolved(ports: Ports, told: Row, found: Resolution, providers: frozenset[str] | None, asked: Question) -> None:
    told["route"], told["strategy"] = found.route, found.strategy
    ways = [one for one in found.candidates if providers is None or one.provider.name in providers]
    told["skipped"] += [
        {"provider_name": one.provider.name, "model_id": one.model_id, "reason": "not permitted"}
        for one in found.candidates
        if one not in ways
    ]
    kind = f"route {found.route!r}, {found.strategy}" if found.route else "by name"
    if found.hedge_percentile is not None:
        kind += f", hedged after the {found.hedge_percentile}th percentile"
    _step(told, "resolve", bool(ways), f"{kind}: {len(ways)} of {len(found.candidates)} permitted",
          refused=(403, "forbidden"))  # fmt: skip
    tariffs = [tariff_of(ports.snapshot(), one) for one in ways]
    projection = _projected(tariffs, asked)
    told["candidates"] = [
        _way(ports, one, tariff, projection, asked) for one, tariff in zip(ways, tariffs, strict=True)
    ]
    if ways:
        _quota(told, tariffs, projection)
        usable = any(key["usable"] for way in told["candidates"] for key in way["credentials"])
        text = "at least one credential is usable" if usable else "no credential is usable now"
        _step(told, "credential", usable, text, refused=(503, "no_credential"))
    told["allowed"] = all(step["ok"] for step in told["steps"])


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
        _step(told, "quota", True, "unlimited")
        return
    left = int(Decimal(quota["remaining"]).scaleb(9))
    bound = dearest(tariffs, projection, projection.output, None)
    least = bound if projection.stated else dearest(tariffs, projection, SMALLEST_CAP, None)
    text = f"{usd_of(bound)} USD at most, {quota['remaining']} USD left"
    if least <= left < bound:
        text += ": the answer would be capped"
    _step(told, "quota", least <= left, text, refused=(402, "quota_exceeded"))


def _step(told: Row, step: str, ok: bool, text: str, *, refused: tuple[int, str] = (500, "")) -> None:
    told["steps"].append({"step": step, "ok": ok, "text": text})
    if not ok and told["status"] == 200:  # the first refusal is the answer
        told["status"], told["code"] = refused


def _fits(provider: str | None, matcher: Any, asked: Question) -> bool:
    if asked.provider is not None and provider not in {None, asked.provider}:
        return False
    head, slash, tail = asked.model.partition("/")
    return bool(matcher.match(asked.model) or (slash and provider in {None, head} and matcher.match(tail)))


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
