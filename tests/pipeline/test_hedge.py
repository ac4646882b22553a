"""Two attempts at one request, as dialogues: who may start, who wins, what each cost, and that nothing is left behind."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gproxy.access.counters import Ask, Grant, MemoryCounters
from gproxy.access.limits import Claim
from gproxy.canonical.operation import Dialect, Operation
from gproxy.clock import SystemClock
from gproxy.errors import Failure, Kind, Refused
from gproxy.ledger.pricing import RateCard
from gproxy.pipeline.attempt import Failed
from gproxy.pipeline.exchange import Call, Cause, Exchange, Interrupted
from gproxy.pipeline.hedge import Hedge
from gproxy.pipeline.projection import Projection
from gproxy.pipeline.reserve import Granted
from gproxy.routing.budget import RetryBudgets
from gproxy.routing.health import HealthBoard
from gproxy.routing.pace import ENOUGH
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.plan import Board, Plan, Stop
from gproxy.routing.route import Resolution, resolve
from gproxy.routing.selection import Load
from gproxy.snapshot import Model, Snapshot
from tests.routing.world import broke, provider, said, world

CENT = 10_000_000
"""nano-USD: what one attempt costs at most, and what a finished one costs."""
WHERE = world(provider("p", "a", "b", "c"))


@dataclass
class Client:
    gone: bool = False
    started: bool = False


class Heard(HealthBoard):
    """Tells when it has been told something."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    def observe(self, *told: Any) -> bool:
        self.heard.set()
        return super().observe(*told)


@dataclass
class Scene:
    """One request, and attempts that do what they are told to."""

    quota: int | None = None
    claims: tuple[Claim, ...] = ()
    known: bool = True
    """Whether it is known what late is."""
    name: str = "r"
    health: Heard = field(default_factory=Heard)
    board: Board = field(init=False)
    counters: MemoryCounters = field(default_factory=lambda: MemoryCounters(SystemClock))
    sent: list[Step] = field(default_factory=list)
    told: dict[int, asyncio.Future[str | Failed]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def begin(self, board: Board | None = None) -> Scene:
        self.board = board or Board(self.health, Load(), RetryBudgets())
        self.x = Exchange(
            request_id=self.name,
            call=Call(Operation.GENERATE, Dialect.OPENAI_CHAT, None, None, "", []),
            client=cast("Any", Client()),
            snapshot=Snapshot(
                1, b"", {}, {}, {("p", "m"): Model("p", "m", None, enabled=True, card=_card())}, {}, {}, {}
            ),
            started_at=0.0,
            started_us=0,
            method="POST",
            path="/",
            peer=None,
        )
        grant = await self.counters.admit(Ask("r", "alice", self.quota, CENT, CENT, self.claims))
        assert isinstance(grant, Grant)
        self.granted = Granted(self.counters, grant, Projection(0, 0, stated=True), None, None)
        self.x.admission = self.granted
        resolution = resolve(WHERE, "p/m")
        assert isinstance(resolution, Resolution)
        self.plan = Plan(resolution, self.board, max_attempts=6)
        mark = self.board.pace.of("p/m", False, 95)
        for _ in range(ENOUGH if self.known else 0):
            mark.answered(0.0, None)
        self.hedge = Hedge(
            self.x, self.plan, self.granted, pace=self.board.pace, percentile=95, talk=None, clock=SystemClock,
            dice=lambda: 0.0,
        )  # fmt: skip
        step = self.plan.next(None, 0.0, 0.0)
        assert isinstance(step, Step)
        self.running = asyncio.ensure_future(self._serve(step))
        await self.seen(1)
        return self

    async def _serve(self, step: Step) -> Failed | None:
        self.x.owner = asyncio.current_task()
        return await self.hedge.run(step, self._attempt)

    async def _attempt(self, x: Exchange, step: Step) -> Failed | None:
        assert x.admission is not None
        x.attempts += 1
        x.provider_name = step.credential.id
        x.admission.sent = True
        told = self.told[step.number] = asyncio.get_running_loop().create_future()
        self.sent.append(step)
        self.news.set()
        cost = CENT // 10
        try:
            with x.interruptible():
                word = await told
            if isinstance(word, Failed):
                cost = 0
                return word
            if word == "refused":
                raise Refused(Failure(Kind.LEDGER_UNAVAILABLE, "no"))
            assert x.race is not None
            await x.race.won(x, 1e9)
            cost, x.outcome = CENT, "complete"
        except Interrupted:
            x.outcome = "cancelled"
            raise
        else:
            return None
        finally:
            x.cost_nano_usd += cost
            x.tokens_out += 7 if cost else 0
            x.admission.charge(f"a{step.number}", cost)
            if cost:
                x.admission.finish(x.tokens_in + x.tokens_out)
            self.ends.append(f"{step.number} {x.outcome} {x.cause or ''}".strip())

    async def seen(self, count: int) -> None:
        """Until so many attempts are under way."""
        async with asyncio.timeout(10):
            while len(self.sent) < count:
                self.news.clear()
                await self.news.wait()

    def says(self, number: int, word: str | Failed) -> None:
        """Attempt `number` has its answer, or its failure."""
        self.told[number].set_result(word)

    async def over(self) -> Failed | None:
        async with asyncio.timeout(10):
            found = await self.running
        assert not [task for task in asyncio.all_tasks() if task.get_name().endswith(f" of {self.name}")]
        return found

    @property
    def account(self) -> tuple[int, int]:
        account = self.counters.quotas.account("alice")
        return account.used, account.reserved


def _card() -> RateCard:
    return RateCard.from_fields({"price_each_call": 0.01})


async def test_the_second_wins_and_the_first_is_settled_before_its_answer_leaves() -> None:
    scene = await Scene(quota=10 * CENT).begin()
    await scene.seen(2)
    assert [step.credential.id for step in scene.sent] == ["a", "b"]
    assert scene.account == (0, 2 * CENT), "both bounds are held"
    scene.says(2, "answer")
    assert await scene.over() is None
    assert scene.ends == ["1 cancelled outrun", "2 complete"]
    x = scene.x
    assert (x.attempts, x.provider_name, x.outcome, x.cause) == (2, "b", "complete", None)
    assert x.cost_nano_usd == CENT + CENT // 10
    assert scene.account == (CENT + CENT // 10, 0)


async def test_the_first_wins_after_all() -> None:
    scene = await Scene(quota=10 * CENT).begin()
    await scene.seen(2)
    scene.says(1, "answer")
    assert await scene.over() is None
    assert scene.ends == ["2 cancelled outrun", "1 complete"]
    assert (scene.x.attempts, scene.x.provider_name, scene.x.outcome) == (2, "a", "complete")


async def test_both_at_the_same_moment_have_one_winner() -> None:
    scene = await Scene().begin()
    await scene.seen(2)
    scene.says(1, "answer")
    scene.says(2, "answer")
    assert await scene.over() is None
    assert scene.ends == ["2 cancelled outrun", "1 complete"]


async def test_before_anything_is_known_nothing_is_late() -> None:
    scene = await Scene(known=False).begin()
    scene.says(1, "answer")
    assert await scene.over() is None
    assert len(scene.sent) == 1


@pytest.mark.parametrize("fault", [said(500), said(429), said(400), said(401), broke()])
async def test_a_failure_never_wins(fault: Any) -> None:
    scene = await Scene(quota=10 * CENT).begin()
    await scene.seen(2)
    scene.says(1, Failed(fault))
    async with asyncio.timeout(10):
        await scene.health.heard.wait()
    scene.says(2, "answer")
    assert await scene.over() is None
    assert scene.ends == ["1 refused", "2 complete"]
    assert scene.account == (CENT, 0)


async def test_a_failure_beside_another_attempt_is_heard_of_at_once() -> None:
    scene = await Scene().begin()
    await scene.seen(2)
    scene.says(2, Failed(said(429, "30")))
    async with asyncio.timeout(10):
        await scene.health.heard.wait()
    [rest] = scene.board.health.listing(0.0, 0)
    assert rest.credential_id == "b"
    scene.says(1, "answer")
    await scene.over()


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
async def test_where_both_fail_the_plan_goes_on(order: tuple[int, int]) -> None:
    scene = await Scene(quota=10 * CENT).begin()
    await scene.seen(2)
    for number in order:
        scene.says(number, Failed(said(500)))
        await asyncio.sleep(0)
    failed = await scene.over()
    assert failed is not None
    following = scene.plan.next(failed.verdict, 0.0, 0.0)
    assert isinstance(following, Step)
    assert (following.number, following.credential.id) == (3, "c")
    assert {one.streak for one in scene.board.health.listing(0.0, 0)} == {1}, "each failure was told once"
    assert scene.account == (0, 2 * CENT), "what follows is covered"
    scene.granted.finish(0)
    assert scene.account == (0, 0)


async def test_a_last_word_on_the_request_goes_before_a_breakdown() -> None:
    scene = await Scene().begin()
    await scene.seen(2)
    scene.says(1, Failed(said(400), status=400, body=b"no"))
    await asyncio.sleep(0)
    scene.says(2, Failed(said(500), status=500, body=b"oops"))
    failed = await scene.over()
    assert failed is not None
    assert failed.body == b"no"
    assert isinstance(scene.plan.next(failed.verdict, 0.0, 0.0), Stop)


async def test_a_budget_for_one_has_no_room_for_a_second() -> None:
    scene = await Scene(quota=2 * CENT - 1).begin()
    await _late(scene)
    scene.says(1, "answer")
    assert await scene.over() is None
    assert len(scene.sent) == 1
    assert (scene.x.attempts, scene.plan.attempts) == (1, 1)
    assert scene.account == (CENT, 0)


@pytest.mark.parametrize(("limit", "attempts"), [(100, 2), (99, 1)])
async def test_the_tokens_of_both_must_fit_the_callers_limit(limit: int, attempts: int) -> None:
    scene = await Scene(claims=(Claim("row", "total_tokens", 60.0, limit, 50), Claim("row", "rpm", 60.0, 1, 1))).begin()
    if attempts == 2:
        await scene.seen(2)
    else:
        await _late(scene)
    scene.says(1, "answer")
    assert await scene.over() is None
    assert len(scene.sent) == attempts
    used = {key[1]: sum(moments.values()) for key, moments in scene.counters.shares.windows.moments().items()}
    assert used == {"total_tokens": 7 * attempts, "rpm": 1}, "all tokens count, and the request once"


async def _late(scene: Scene) -> None:
    """Until the moment for a second attempt has passed: another request at the same board, begun later, has had its own."""
    other = await Scene(name="later").begin(scene.board)
    await other.seen(2)
    other.says(2, "answer")
    await other.over()


async def test_the_client_leaves_and_both_end() -> None:
    scene = await Scene(quota=10 * CENT).begin()
    await scene.seen(2)
    scene.x.client_left()
    with pytest.raises(Interrupted):
        await scene.over()
    assert sorted(scene.ends) == ["1 cancelled client_gone", "2 cancelled client_gone"]
    scene.granted.finish(scene.x.tokens_in + scene.x.tokens_out)
    assert scene.account == (2 * (CENT // 10), 0)
    assert scene.x.cause is Cause.CLIENT_GONE


async def test_a_cancellation_nobody_announced_leaves_no_task_behind() -> None:
    scene = await Scene().begin()
    await scene.seen(2)
    scene.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scene.over()
    assert len(scene.ends) == 2


async def test_a_refusal_of_the_only_attempt_is_the_requests() -> None:
    scene = await Scene(known=False).begin()
    scene.says(1, "refused")
    with pytest.raises(Refused):
        await scene.over()


async def test_a_refusal_beside_an_answer_is_nothing() -> None:
    scene = await Scene().begin()
    await scene.seen(2)
    scene.says(2, "refused")
    await asyncio.sleep(0)
    scene.says(1, "answer")
    assert await scene.over() is None
