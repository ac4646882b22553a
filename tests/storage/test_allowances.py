"""Allowances: a budget given out by Redis is never overspent, whatever becomes of Redis, and asks nobody else."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gproxy.access.counters import CountersUnavailable, Grant
from gproxy.access.limits import Exceeded
from gproxy.access.quotas import Short
from gproxy.access.shares import Shares
from gproxy.storage.allowances import (
    KEPT_SECONDS,
    OPEN_SECONDS,
    OWN_ROW_AFTER,
    Allowance,
    Draw,
    Drawn,
    NotCovered,
    portion,
)
from gproxy.storage.database_counters import DatabaseCounters
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.holds import HELD, OPEN
from gproxy.storage.migrate import upgrade
from gproxy.storage.redis_limits import RedisLimits
from gproxy.storage.usage import SqlLedger
from gproxy.workers.settler import Settler
from tests.redis_server import RedisServer
from tests.storage.rows import usage_row
from tests.storage.test_counters import Hands, _knows_nothing, ask, granted, rpm

QUOTA = 1_000_000


class Counting:
    """The real database, and how many transactions it was asked for."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.transactions = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def transaction(self) -> Any:
        self.transactions += 1
        if self.away:
            raise DatabaseUnavailable("gone")
        return self.db.transaction()


class Houses:
    """Three instances on one database and one Redis."""

    def __init__(self, db: Database, url: str) -> None:
        self.db = Counting(db)
        self.clock = Hands()
        self.ledger = SqlLedger(db)
        self.all: list[DatabaseCounters] = []
        self._settlers: list[tuple[Settler, asyncio.Task[None]]] = []
        self.url = url
        for _ in range(3):
            self.open()

    def open(self, limits: Callable[[Shares], RedisLimits] | None = None) -> DatabaseCounters:
        made = DatabaseCounters(
            self.db,  # type: ignore[arg-type]
            self.clock,
            instance=str(uuid.uuid4()),
            limits=limits or (lambda shares: RedisLimits(self.url, self.clock, shares, _knows_nothing)),
        )
        self.all.append(made)
        settler = Settler(made, lambda *_: None)
        self._settlers.append((settler, asyncio.ensure_future(settler.run())))
        return made

    async def kill(self, at: int) -> None:
        """This one is no more; a new one takes its place."""
        settler, gone = self._settlers.pop(at), self.all.pop(at)
        await _ended(*settler)
        await gone.limits.close()
        self.open()

    async def account(self, user: str) -> tuple[int, int]:
        """Spent and reserved; the sum of all holds is always what is reserved."""
        for one in self.all:
            await one.flush()
        rows = await self.db.fetch(
            "SELECT cost_used_nano_usd, reserved_nano_usd FROM user_quotas WHERE user_id = ?", (user,)
        )
        held = await self.db.fetch(
            "SELECT COALESCE(SUM(amount_nano_usd), 0) FROM quota_holds WHERE user_id = ?", (user,)
        )
        found = (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)
        assert found[1] == int(held[0][0])
        return found

    async def pass_time(self, seconds: float) -> None:
        """So many seconds go by, and everybody does once a second what is done then."""
        for _ in range(int(seconds)):
            self.clock.at += 1.0
            for one in self.all:
                await one.tend_allowances()
                await one.flush()
                await one.renew()
                await one.bury()

    async def land(self, user: str, costs: Mapping[str, int]) -> None:
        for one in self.all:
            await one.flush()
        rows = [usage_row(attempt_id=attempt, user_id=user, cost_nano_usd=cost) for attempt, cost in costs.items()]
        await self.ledger.insert_usages(rows, None)

    async def close(self) -> None:
        for settler in self._settlers:
            await _ended(*settler)
        for one in self.all:
            await one.limits.close()


async def _ended(settler: Settler, task: asyncio.Task[None]) -> None:
    settler.stop()  # it is told both: where it asks Redis, the driver may take the cancellation for an answer
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def houses(server: RedisServer, tmp_path: Path) -> AsyncIterator[Houses]:
    if server.process is None:
        server.start()
    server.tell("FLUSHALL")
    await upgrade(f"sqlite:///{tmp_path}/gproxy.db")
    db = await connect(f"sqlite:///{tmp_path}/gproxy.db")
    made = Houses(db, server.url)
    yield made
    await made.close()
    await db.close()


@pytest.fixture
def user() -> str:
    return str(uuid.uuid4())


async def rows_of(houses: Houses, user: str, kind: int) -> list[int]:
    found = await houses.db.fetch(
        "SELECT amount_nano_usd FROM quota_holds WHERE user_id = ? AND spent = ?", (user, kind)
    )
    return sorted(int(row[0]) for row in found)


async def calls(houses: Houses) -> int:
    """How many scripts Redis has run."""
    limits = houses.all[0].limits
    assert isinstance(limits, RedisLimits)
    stats: dict[str, Any] = await limits._redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))


async def test_what_an_allowance_covers_is_one_round_trip_to_redis_and_none_to_the_database(
    houses: Houses, user: str
) -> None:
    async def one(at: int, amount: int) -> Grant:
        return await granted(houses.all[at % 3], ask(user, amount, rpm(1000, user), quota=QUOTA))

    first = await one(0, 1_000)
    await houses.all[0].flush()
    warm = []
    for house in houses.all:  # each has loaded its scripts and been seen
        await house.limits.tick()
        warm.append(await granted(house, ask(user, 1, rpm(1000, user), quota=QUOTA)))
    transactions, before = houses.db.transactions, await calls(houses)
    grants = [await one(at, 1_000) for at in range(60)]
    assert houses.db.transactions == transactions
    assert await calls(houses) - before == 60
    assert {grant.hold.quota for grant in grants} == {QUOTA}
    assert [grant.hold.left for grant in grants] == [QUOTA - 3 - 1_000 * (count + 2) for count in range(60)]
    assert [grant.counted.standings[0].remaining for grant in grants[:2]] == [995, 994]
    # Nobody asks the database before an answer is given either: what they cost is written behind it.
    for at, grant in enumerate(grants):
        houses.all[at % 3].charge(grant, str(uuid.uuid4()), 10)
        houses.all[at % 3].settle(grant, 0)
    houses.all[0].settle(first, 0)
    for house, grant in zip(houses.all, warm, strict=True):
        house.settle(grant, 0)
    for house in houses.all:
        await house.retract(all_of_them=True)
    assert await houses.account(user) == (0, 600)


async def test_a_limit_that_refuses_draws_nothing(houses: Houses, user: str) -> None:
    counters = houses.all[0]
    await granted(counters, ask(user, 1_000, rpm(2, user), quota=QUOTA))
    await counters.flush()
    second = await granted(counters, ask(user, 1_000, rpm(2, user), quota=QUOTA))
    assert second.hold.drawn_from
    left = second.hold.left
    assert isinstance(await counters.admit(ask(user, 1_000, rpm(2, user), quota=QUOTA)), Exceeded)
    counters.withdraw(second)
    await counters.flush()
    again = await granted(counters, ask(user, 1_000, rpm(2, user), quota=QUOTA))
    assert again.hold.left == left


async def test_a_budget_that_was_lowered_is_obeyed_by_the_next_request(houses: Houses, user: str) -> None:
    one, other = houses.all[:2]
    held = await granted(one, ask(user, 1_000, quota=QUOTA))
    await one.flush()
    assert (await granted(other, ask(user, 1_000, quota=QUOTA))).hold.drawn_from
    assert await other.admit(ask(user, 1_000, quota=2_500)) == Short(500)
    assert await one.admit(ask(user, 1_000, quota=0)) == Short(0)
    one.settle(held, 0)
    await one.flush()
    assert isinstance(await other.admit(ask(user, 1_500, quota=2_500)), Grant)


async def test_a_hold_that_lasts_gets_a_row_of_its_own(houses: Houses, user: str) -> None:
    one = houses.all[0]
    await granted(one, ask(user, 5_000, quota=QUOTA))
    await one.flush()
    long = await granted(houses.all[1], ask(user, 3_000, quota=QUOTA))
    assert long.hold.drawn_from
    await houses.pass_time(OWN_ROW_AFTER + 1)
    assert not long.hold.drawn_from
    assert await rows_of(houses, user, HELD) == [3_000, 5_000]
    await houses.pass_time(10 * KEPT_SECONDS)
    assert await houses.account(user) == (0, 8_000)
    houses.all[1].charge(long, "attempt", 2_000)
    houses.all[1].settle(long, 0)
    assert await houses.account(user) == (0, 7_000)


async def test_an_allowance_nobody_uses_comes_back(houses: Houses, user: str) -> None:
    one = houses.all[0]
    one.settle(await granted(one, ask(user, 1_000, quota=QUOTA)), 0)
    await one.flush()
    assert await rows_of(houses, user, OPEN) == [portion(QUOTA - 1_000, 1_000)]
    await houses.pass_time(OPEN_SECONDS + 1)
    assert await houses.account(user) == (0, 0)


async def test_what_is_drawn_after_its_time_or_from_another_redis_is_not_given(
    server: RedisServer, houses: Houses, user: str
) -> None:
    """A command that was stuck, an older state, another process under the same address: none gives anything out."""
    limits = houses.all[0].limits
    assert isinstance(limits, RedisLimits)
    now = houses.clock.now_us()
    made = Allowance(str(uuid.uuid4()), user, 1_000, QUOTA, 0, now + 1_000_000)

    async def drawn(at: int = now, quota: int = QUOTA) -> bool:
        answer = await limits.draw([], Draw(user, 100, quota, at))
        assert isinstance(answer, Drawn | NotCovered)
        return isinstance(answer, Drawn)

    assert await limits.give(made) == ("", 0)
    assert await drawn()
    assert not await drawn(at=now + 1_000_000)
    assert not await drawn()  # it was taken out by the one before
    assert await limits.give(made) == ("", 0)
    assert not await drawn(quota=QUOTA + 1)
    assert await limits.give_back(user, made.id, 100) is False
    assert await limits.give(made) == ("", 0)
    server.tell("SAVE")
    assert await drawn()
    server.stop()
    server.start()
    await limits._redis.connection_pool.disconnect()
    assert await limits._redis.exists(f"{{gproxy}}:a:{user}")
    assert not await drawn()
    (server.folder / "dump.rdb").unlink()


async def test_what_was_perhaps_given_back_is_not_freed_twice(houses: Houses, user: str) -> None:
    class Deaf(RedisLimits):
        async def give_back(self, user_id: str, allowance_id: str, amount: int) -> bool | None:
            await super().give_back(user_id, allowance_id, amount)
            return None  # the answer was lost

    made = houses.open(lambda shares: Deaf(houses.url, houses.clock, shares, _knows_nothing))
    await granted(made, ask(user, 1_000, quota=QUOTA))
    await made.flush()
    one, other = [await granted(made, ask(user, amount, quota=QUOTA)) for amount in (3_000, 2_000)]
    assert one.hold.drawn_from == other.hold.drawn_from != ""
    made.settle(one, 0)
    await made.flush()
    await made.retract(all_of_them=True)
    assert await houses.account(user) == (0, 3_000)


async def test_of_two_allowances_the_one_that_ends_later_stays(houses: Houses, user: str) -> None:
    limits = houses.all[0].limits
    assert isinstance(limits, RedisLimits)
    early, late = (
        Allowance(name, user, 1_000, QUOTA, 0, houses.clock.now_us() + at) for name, at in (("a", 1), ("b", 2))
    )
    assert await limits.give(late) == ("", 0)
    assert await limits.give(early) == ("a", 1_000)
    assert await limits.take(user, "a") == ("", 0)
    assert await limits.give(late) == ("b", 1_000)
    assert await limits.take(user) == ("b", 1_000)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1_000, 1_300))]
)
async def test_nothing_that_becomes_of_redis_or_of_a_process_overspends(
    server: RedisServer, houses: Houses, user: str, seed: int
) -> None:
    """After every step at least what was spent and is held counts; in the end exactly what was spent does."""
    dice, quota = random.Random(seed), 100_000
    spent, waiting = 0, dict[str, int]()
    open_: list[tuple[DatabaseCounters, Grant]] = []
    actions = ("admit",) * 8 + ("charge",) * 3 + ("settle",) * 3 + ("withdraw", "extend", "land", "time", "kill")
    for _ in range(120):
        at = dice.randrange(3)
        match dice.choice((*actions, "flushall", "save", "restart", "stop")):
            case "admit":
                outcome = await houses.all[at].admit(
                    ask(user, dice.randrange(9_000), least=dice.randrange(9_000), quota=quota)
                )
                if isinstance(outcome, Grant):
                    open_.append((houses.all[at], outcome))
            case "charge" if open_:
                owner, grant = dice.choice(open_)
                attempt, cost = str(uuid.uuid4()), dice.randint(0, grant.hold.amount)
                owner.charge(grant, attempt, cost)
                waiting[attempt] = cost
                spent += cost
            case "settle" | "withdraw" as how if open_:
                owner, grant = open_.pop(dice.randrange(len(open_)))
                getattr(owner, how)(*((grant, 0) if how == "settle" else (grant,)))
            case "extend" if open_:
                owner, grant = dice.choice(open_)
                await owner.extend(grant, dice.randrange(9_000))
            case "land" if waiting:
                await houses.land(user, waiting)
                waiting = {}
            case "time":
                await houses.pass_time(dice.randrange(1, 8))
            case "kill":
                dead = houses.all[at]
                await houses.kill(at)
                await houses.land(user, waiting)  # the dead one's journal is read
                waiting = {}
                open_ = [(owner, grant) for owner, grant in open_ if owner is not dead]
            case "flushall" if server.process is not None:
                server.tell("FLUSHALL")
            case "save" if server.process is not None:
                server.tell("SAVE")
            case "restart":
                server.stop()
                server.start()
            case "stop":
                server.stop()
        used, reserved = await houses.account(user)
        assert spent + sum(grant.hold.amount for _, grant in open_) <= used + reserved <= quota
    for owner, grant in open_:
        owner.settle(grant, 0)
    await houses.land(user, waiting)
    await houses.pass_time(KEPT_SECONDS + 2)
    assert await houses.account(user) == (spent, 0)
    (server.folder / "dump.rdb").unlink(missing_ok=True)


async def test_an_empty_redis_without_a_database_lets_nobody_through(
    server: RedisServer, houses: Houses, user: str
) -> None:
    async def nobody_knows(_: Shares) -> None:
        raise DatabaseUnavailable("gone")

    made = houses.open(lambda shares: RedisLimits(houses.url, houses.clock, shares, nobody_knows))
    server.tell("FLUSHALL")
    await made.limits.tick()
    houses.db.away = True
    with pytest.raises(CountersUnavailable):
        await made.admit(ask(user, 1_000, rpm(5, user), quota=QUOTA))
    houses.db.away = False
