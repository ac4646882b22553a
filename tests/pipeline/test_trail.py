"""What a trail tells of a request that ended at each of its steps, and that it holds nothing that was said."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

from gproxy.access.limits import Claim, Standing
from gproxy.access.permissions import compile_glob
from gproxy.access.principal import Permission, Principal, RateLimit
from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.verdicts import Verdict
from gproxy.errors import Failure, Kind
from gproxy.ids import KeyId, UserId
from gproxy.pipeline.exchange import Admission, Call, Cause, Exchange
from gproxy.pipeline.trail import read, trail_of, written
from gproxy.routing.budget import RetryBudgets
from gproxy.routing.health import HealthBoard
from gproxy.routing.plan import Attempt, Board, Plan, Stop
from gproxy.routing.route import Resolution, resolve
from gproxy.routing.selection import Load
from gproxy.snapshot import Snapshot
from tests.routing.world import World, credential, provider, route, said, world

LIMIT = RateLimit("limit-1", "*", compile_glob("*"), rpm=10, total_tokens=1000)


def alice(*permissions: tuple[str | None, str], quota: int | None = None) -> Principal:
    rows = tuple(Permission(where, glob, compile_glob(glob)) for where, glob in permissions)
    return Principal(
        UserId("user-1"), "alice", False, KeyId("key-1"), None, None, rows, (LIMIT,), frozenset(), quota
    )  # fmt: skip


HOUSE = world(
    provider("main", credential("one"), credential("two"), credential("off", enabled=False)),
    provider("spare", "three"),
    provider("shut", "four", enabled=False),
    models=("main/m", "spare/m"),
    aliases={"short": "main/m"},
    routes=(route("best", "shut/m", "main/m@1", "spare/m@2"),),
)


@dataclass
class Standings:
    """What a request was granted, as far as a trail asks."""

    cap: int | None = None
    left: int | None = None
    sent: bool = True
    standings: list[Standing] = field(default_factory=list)


def exchange(
    model: str = "m", who: Principal | None = None, operation: Operation = Operation.GENERATE, scoped: str | None = None
) -> Exchange:
    house: World = HOUSE
    snapshot = Snapshot(
        1, b"", {}, house.providers, house.models, {k: tuple(v) for k, v in house.model_names.items()}, house.aliases,
        house.routes,
    )  # fmt: skip
    call = Call(operation, Dialect.OPENAI_CHAT, scoped, None, "", ())
    x = Exchange(
        request_id="request-1", call=call, client=cast("Any", None), snapshot=snapshot, started_at=0.0, started_us=1,
        method="POST", path="/v1/chat/completions", peer=None,
    )  # fmt: skip
    x.principal, x.model_asked = who, model
    return x


def refused(x: Exchange, kind: Kind, text: str = "no") -> Exchange:
    x.failure = Failure(kind, text)
    x.answered_status = x.failure.status
    return x


def told(x: Exchange) -> dict[str, Any]:
    return read(written(trail_of(x)))


def steps(trail: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(step["step"], step["ok"]) for step in trail["steps"]]


async def test_a_caller_nobody_knows_is_told_as_that_and_no_more() -> None:
    trail = told(refused(exchange("m"), Kind.INVALID_API_KEY, "invalid API key"))
    assert trail["steps"] == [{"step": "identify", "ok": False, "text": "401 invalid_api_key: invalid API key"}]
    assert (trail["status"], trail["key_id"], trail["permissions"], trail["candidates"]) == (401, None, [], [])


async def test_a_body_that_cannot_be_read() -> None:
    trail = told(refused(exchange("", alice((None, "*"))), Kind.INVALID_REQUEST, "`model` is missing"))
    assert steps(trail) == [("identify", True), ("read", False)]
    assert "`model` is missing" in trail["steps"][1]["text"]


async def test_a_name_that_is_not_permitted() -> None:
    trail = told(refused(exchange("m", alice((None, "other-*"), ("spare", "x"))), Kind.FORBIDDEN))
    assert steps(trail) == [("identify", True), ("permit", False)]
    assert trail["permissions"] == []
    assert [row["dimension"] for row in trail["rate_limits"]] == ["rpm", "total_tokens"]


async def test_a_name_that_leads_nowhere_tells_why_each_member_does_not() -> None:
    trail = told(refused(exchange("shut/m", alice((None, "*"))), Kind.MODEL_NOT_FOUND))
    assert steps(trail) == [("identify", True), ("permit", True), ("resolve", False)]
    assert trail["skipped"] == [{"provider_name": "shut", "model_id": "m", "reason": "the provider is disabled"}]


async def test_members_that_are_barred_or_cannot_do_it_are_told_apart() -> None:
    who = alice(("spare", "*"), ("spare", "b*"), ("main", "elsewhere"))
    trail = told(refused(exchange("best", who, Operation.REALTIME), Kind.UNSUPPORTED))
    assert steps(trail) == [("identify", True), ("permit", True), ("resolve", False)]
    assert [(row["provider_name"], row["reason"].split(" ")[0]) for row in trail["skipped"]] == [
        ("shut", "the"),
        ("main", "not"),
        ("spare", "the"),
    ]
    assert trail["permissions"] == [
        {"provider_name": "spare", "model_pattern": "*"},
        {"provider_name": "spare", "model_pattern": "b*"},
    ]


async def test_a_budget_that_does_not_cover_it() -> None:
    trail = told(refused(exchange("short", alice((None, "*"), quota=5)), Kind.QUOTA_EXCEEDED, "could cost up to 1 USD"))
    assert steps(trail) == [("identify", True), ("permit", True), ("resolve", True), ("reserve", False)]
    assert trail["quota"] == {"quota": 5, "before": None, "after": None}
    assert trail["rate_limits"][0]["before"] is None
    assert [(row["model_id"], row["alias"]) for row in trail["candidates"]] == [("m", "short")]


def attempt(plan: Plan, last: Verdict | None = None) -> Attempt | Stop:
    return plan.next(last, 1.0, 0.0)


async def test_attempts_credentials_and_figures() -> None:
    x = exchange("best", alice((None, "*"), quota=1_000_000))
    found = resolve(HOUSE, "best")
    assert isinstance(found, Resolution)
    board = Board(HealthBoard(), Load(), RetryBudgets())
    resting = next(iter(found.candidates[0].provider.credentials))
    board.health.disable(resting.id, "leaked")
    plan = Plan(found, board)
    step = attempt(plan)
    assert isinstance(step, Attempt)
    assert step.credential.id == "two"
    step = attempt(plan, said(503))
    assert isinstance(step, Attempt)
    assert step.provider.name == "spare"
    x.notes = plan.notes
    x.admission = cast(
        "Admission",
        Standings(
            left=700_000,
            standings=[
                Standing(Claim("limit-1", "rpm", 60.0, 10, 1), 4, 1.0),
                Standing(Claim("limit-1", "total_tokens", 60.0, 1000, 300), 700, 1.0),
            ],
        ),
    )
    x.attempts, x.provider_name, x.credential_id, x.model_served = 2, "spare", "three", "m-2026"
    x.outcome, x.answered_status, x.cost_nano_usd = "complete", 200, 50_000
    trail = told(x)
    assert steps(trail) == [
        ("identify", True), ("permit", True), ("resolve", True), ("reserve", True), ("attempt", False), ("answer", True),
    ]  # fmt: skip
    assert [(one["attempt"], one["credential_id"], one["verdict"], one["reason"]) for one in trail["credentials"]] == [
        (0, "one", "", "leaked"),
        (1, "two", "overloaded", "the vendor is overloaded (503)"),
        (2, "three", "ok", ""),
        (0, "off", "", "switched off"),
    ]
    assert trail["quota"] == {"quota": 1_000_000, "before": 750_000, "after": 700_000}
    assert [(row["dimension"], row["cost"], row["before"], row["after"]) for row in trail["rate_limits"]] == [
        ("rpm", 1, 5, 4),
        ("total_tokens", 300, 1000, 700),
    ]
    assert (trail["route"], trail["strategy"]) == ("best", "failover")
    assert [row["tier"] for row in trail["candidates"]] == [1, 2]


async def test_an_answer_that_broke_and_a_client_that_left() -> None:
    x = exchange("m", alice((None, "*")))
    x.attempts, x.provider_name, x.credential_id = 1, "main", "one"
    x.outcome, x.answered_status = "interrupted", 200
    trail = told(x)
    assert trail["credentials"][0] == {
        "attempt": 1, "provider_name": "main", "model_id": "", "credential_id": "one", "verdict": "interrupted", "reason": "",
    }  # fmt: skip
    assert trail["steps"][-1] == {"step": "answer", "ok": False, "text": "200 interrupted, cost 0 USD"}
    x.cause, x.outcome = Cause.CLIENT_GONE, "cancelled"
    assert told(x)["steps"][-1] == {"step": "answer", "ok": False, "text": "the client left"}


async def test_a_vendors_words_and_odd_names_stay_out() -> None:
    x = exchange("half \ud800 and \0 nul" + "x" * 150, alice((None, "*")))
    x.attempts, x.outcome = 1, "failed"
    x.failure = Failure(Kind.UPSTREAM_ERROR, "you said: my secret prompt", upstream_status=400)
    x.answered_status = 400
    text = written(trail_of(x))
    text.encode("utf-8")
    assert "\\u0000" not in text
    assert "secret prompt" not in text
    assert read(text)["steps"][-1]["text"] == "400 upstream_error: the vendor's own answer was passed on"


async def test_a_trail_of_a_thousand_members_stays_small() -> None:
    many = world(
        *(provider(f"p{number}", "k", enabled=number % 2 == 0) for number in range(1000)),
        routes=(route("all", *(f"p{number}/m" for number in range(1000))),),
    )
    x = exchange("all", alice((None, "*")))
    object.__setattr__(x.snapshot, "providers", many.providers)
    object.__setattr__(x.snapshot, "routes", many.routes)
    trail = refused(x, Kind.QUOTA_EXCEEDED)
    text = written(trail_of(trail))
    assert len(read(text)["candidates"]) == len(read(text)["skipped"]) == 50
    assert len(text) < 10_000


def test_a_trail_of_an_older_version_is_still_read() -> None:
    whole = json.loads(written(trail_of_nothing()))
    assert read(json.dumps(whole[:8]))["credentials"] == []


def trail_of_nothing() -> Any:
    from gproxy.pipeline.trail import Trail

    return Trail(200, None, "complete", "generate", "openai_chat", "m", None, ())
