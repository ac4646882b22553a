"""Limit windows in Redis: exact together, safe without it, filled again when it forgets."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from gproxy.access.limits import Claim, Counted, Exceeded, Windows
from gproxy.access.shares import Membership, Shares
from gproxy.clock import SystemClock
from gproxy.storage import redis_limits, redis_scripts
from gproxy.storage.redis_limits import RedisLimits
from tests.redis_server import RedisServer


class Ledger:
    """What everybody let through, as far as it has landed."""

    def __init__(self) -> None:
        self.landed: dict[tuple[str, str, float], list[float]] = {}

    async def fill(self, shares: Shares) -> None:
        for (row, dimension, length), moments in self.landed.items():
            sums: dict[float, int] = {}
            for at in moments:
                sums[at] = sums.get(at, 0) + 1
            shares.windows.raise_to(row, dimension, length, shares.membership.parts(sums))


class Group:
    """Several instances on one Redis."""

    def __init__(self, url: str, size: int) -> None:
        self.ledger = Ledger()
        self.clock = Moving()
        self.all: list[RedisLimits] = []
        for rank in range(size):
            shares = Shares()
            shares.membership = Membership(size, rank)
            self.all.append(RedisLimits(url, self.clock, shares, self.ledger.fill))

    async def ask(self, at: int, claim: Claim) -> Counted | Exceeded:
        outcome = await self.all[at].count([claim])
        if isinstance(outcome, Counted):
            self.ledger.landed.setdefault((claim.row_id, claim.dimension, claim.length), []).append(
                self.clock.monotonic()
            )
        return outcome

    async def tick(self) -> None:
        for one in self.all:
            await one.tick()

    async def close(self) -> None:
        for one in self.all:
            await one.close()


class Moving:
    """The system's clock, and a jump over the rest after a failure."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self.ahead

    @staticmethod
    def now_us() -> int:
        return SystemClock.now_us()


@pytest.fixture
async def group(server: RedisServer) -> AsyncIterator[Group]:
    if server.process is None:
        server.start()
    server.tell("FLUSHALL")
    made = Group(server.url, 3)
    await made.tick()
    yield made
    await made.close()


def rpm(limit: int) -> Claim:
    return Claim(str(uuid.uuid4()), "rpm", 60.0, limit, 1)


async def test_all_instances_together_let_through_exactly_the_limit(group: Group) -> None:
    claim = rpm(50)
    outcomes = await asyncio.gather(*(group.ask(number % 3, claim) for number in range(300)))
    assert sum(isinstance(one, Counted) for one in outcomes) == 50
    refused = outcomes[-1]
    assert isinstance(refused, Exceeded)
    assert 55 < refused.retry_after <= 61
    assert (refused.standings[0].claim.limit, refused.standings[0].remaining) == (50, 0)


async def test_a_refusal_counts_nothing_and_a_withdrawal_gives_back(group: Group) -> None:
    wide, narrow = rpm(100), rpm(1)
    limits, other = group.all[0], group.all[1]
    counted = await limits.count([wide, narrow])
    assert isinstance(counted, Counted)
    assert [standing.remaining for standing in counted.standings] == [99, 0]
    refused = await other.count([wide, narrow])
    assert isinstance(refused, Exceeded)
    assert refused.claim == narrow
    assert [standing.remaining for standing in refused.standings] == [99, 0]
    limits.withdraw(counted)
    await limits.flush()
    assert isinstance(await other.count([wide, narrow]), Counted)


async def test_tokens_are_granted_as_far_as_they_go_and_corrected(group: Group) -> None:
    row = str(uuid.uuid4())
    first = await group.all[0].count([Claim(row, "total_tokens", 600.0, 1000, 700)])
    assert isinstance(first, Counted)
    second = await group.all[1].count([Claim(row, "total_tokens", 600.0, 1000, 5000, least=256)])
    assert isinstance(second, Counted)
    assert (second.claims[0].cost, second.standings[0].remaining) == (300, 0)
    group.all[1].correct(second, 10)
    # The same instance knows at once.
    third = await group.all[1].count([Claim(row, "total_tokens", 600.0, 1000, 290)])
    assert isinstance(third, Counted)
    assert third.standings[0].remaining == 0


async def test_no_window_of_that_length_ever_holds_more_than_the_limit(group: Group) -> None:
    """In windows of a fraction of a second, so that real time passes through them."""
    dice = random.Random(3)
    claim, admitted = Claim(str(uuid.uuid4()), "total_tokens", 0.6, 10, 1), []
    for _ in range(300):
        before = SystemClock.monotonic()
        outcome = await group.all[dice.randrange(3)].count([claim])
        if isinstance(outcome, Counted):
            admitted.append((before, SystemClock.monotonic()))
        await asyncio.sleep(dice.uniform(0, 0.006))
    assert len(admitted) > 10
    for at, _ in admitted:
        assert sum(at <= begun and ended < at + 0.6 for begun, ended in admitted) <= 10


class Wound:
    """A clock for Redis and for us that stands where it is put: microseconds since an hour nobody knows."""

    def __init__(self) -> None:
        self.us = 1_000_000_000_000

    def monotonic(self) -> float:
        return self.us / 1_000_000

    def now_us(self) -> int:
        return self.us


HAND: Final = "{gproxy}:hand"


@pytest.fixture
def wound(monkeypatch: pytest.MonkeyPatch) -> Wound:
    """Redis's clock goes by a key in Redis; everything else in the scripts is as it is."""
    told = f"(function() local t = tonumber(redis.call('GET', '{HAND}')) return {{math.floor(t / 1e6), t % 1e6}} end)()"
    for name in ("COUNT", "RAISE"):
        script = getattr(redis_scripts, name)
        assert "redis.call('TIME')" in script
        monkeypatch.setattr(redis_scripts, name, script.replace("redis.call('TIME')", told))
    return Wound()


async def lived(dice: random.Random, clock: Wound, workers: list[RedisLimits], alone: Windows) -> int:
    """One random schedule, asked of any of the workers and of one process alone; how many were let through by both."""
    redis = workers[0]._redis
    row, through = str(uuid.uuid4()), 0
    open_: list[tuple[RedisLimits, Counted, Counted]] = []
    limits = {length: dice.randint(1, 20) for length in (60.0, 600.0, 86_400.0)}
    for _ in range(dice.randint(10, 30)):
        clock.us += int(1_000_000 * dice.choice((0.0, dice.expovariate(5.0), dice.uniform(0.0, 90.0))))
        await redis.set(HAND, clock.us)
        claims = [
            Claim(row, "rpm", 60.0, limits[60.0], 1),
            Claim(row, "total_tokens", 600.0, limits[600.0], dice.randint(1, 5), dice.choice((None, 1))),
            Claim(row, "rpd", 86_400.0, limits[86_400.0], 1),
        ]
        worker = dice.choice(workers)
        together, by_one = await worker.count(claims), alone.count(claims, clock.monotonic())
        assert type(together) is type(by_one), (claims, together, by_one)
        if isinstance(together, Counted) and isinstance(by_one, Counted):
            through += 1
            assert together.claims == by_one.claims
            open_.append((worker, together, by_one))
        left, same = (
            [(one.claim.dimension, one.remaining) for one in outcome.standings] for outcome in (together, by_one)
        )
        assert left == same
        if isinstance(together, Exceeded) and isinstance(by_one, Exceeded):
            assert abs(together.retry_after - by_one.retry_after) < 0.001
        if open_ and dice.random() < 0.3:
            worker, together, by_one = open_.pop(dice.randrange(len(open_)))
            if dice.random() < 0.7:
                used = dice.randint(0, 5)
                worker.correct(together, used)
                alone.correct(by_one, used)
            else:
                worker.withdraw(together)
                alone.withdraw(by_one)
            await worker.flush()
    return through


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("size", "seeds"),
    [
        (1, range(40)),
        (8, range(40)),
        *(pytest.param(8, range(at, at + 1_000), marks=pytest.mark.soak) for at in range(1_000, 11_000, 1_000)),
    ],
)
async def test_one_process_alone_and_eight_on_one_redis_let_through_the_same(
    server: RedisServer, wound: Wound, size: int, seeds: range
) -> None:
    if server.process is None:
        server.start()
    server.tell("FLUSHALL")
    ledger = Ledger()
    workers = []
    for rank in range(size):
        shares = Shares()
        shares.membership = Membership(size, rank)
        workers.append(RedisLimits(server.url, wound, shares, ledger.fill))
    try:
        # All of them are there for as long as it takes: hours go by between two requests.
        await workers[0]._redis.zadd(redis_limits._THERE, {one._id: 10**18 for one in workers})
        through = 0
        for seed in seeds:
            through += await lived(random.Random(seed), wound, workers, Windows())
        assert through > len(seeds)
    finally:
        for one in workers:
            await one.close()


async def test_without_redis_the_shares_of_all_stay_within_what_is_left(server: RedisServer, group: Group) -> None:
    claim = rpm(30)
    before = [isinstance(await group.ask(0, claim), Counted) for _ in range(12)]
    assert all(before)
    server.stop()
    outcomes = [await group.ask(number % 3, claim) for number in range(90)]
    let_through = sum(isinstance(one, Counted) for one in outcomes)
    assert 0 < let_through <= 18
    assert all(one.away for one in group.all)
    server.start()
    group.clock.ahead += 1.0
    outcomes = [await group.ask(number % 3, claim) for number in range(90)]
    assert let_through + 12 + sum(isinstance(one, Counted) for one in outcomes) <= 30
    assert not any(one.away for one in group.all)


async def test_a_redis_that_forgot_is_told_by_the_ledger(server: RedisServer, group: Group) -> None:
    claim = rpm(20)
    for _ in range(15):
        assert isinstance(await group.ask(0, claim), Counted)
    server.tell("FLUSHALL")
    outcomes = await asyncio.gather(*(group.ask(number % 3, claim) for number in range(60)))
    assert sum(isinstance(one, Counted) for one in outcomes) == 5


async def test_an_instance_that_was_not_heard_of_lives_on_a_share_that_the_others_leave_alone(
    server: RedisServer, group: Group
) -> None:
    """Two reach Redis and one does not: whoever asks first, together they let through the limit and no more."""
    claim = rpm(30)
    cut = RedisLimits("redis://127.0.0.1:1/0", group.clock, group.all[2]._shares, group.ledger.fill)
    await group.all[2].close()
    group.all[2] = cut
    greedy = [isinstance(await group.ask(0, claim), Counted) for _ in range(40)]
    assert sum(greedy) == 20
    shared = [isinstance(await group.ask(2, claim), Counted) for _ in range(40)]
    assert 0 < sum(shared) <= 10
    assert cut.away
    late = [isinstance(await group.ask(1, claim), Counted) for _ in range(40)]
    assert sum(late) == 0


async def test_nobody_there_from_the_start(tmp_path: Path) -> None:
    group = Group("redis://127.0.0.1:1/0", 2)
    claim = rpm(10)
    outcomes = [await group.ask(number % 2, claim) for number in range(40)]
    assert sum(isinstance(one, Counted) for one in outcomes) == 10
    await group.close()
