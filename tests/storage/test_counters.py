"""One suite for every way of keeping budgets and limits: the promises are the same, whoever keeps count."""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gproxy.access.counters import Ask, Counters, CountersUnavailable, Grant, MemoryCounters
from gproxy.access.limits import Claim, Exceeded
from gproxy.access.quotas import Short
from gproxy.access.shares import Shares
from gproxy.ledger.store import StoreUnavailable
from gproxy.storage.database_counters import DatabaseCounters
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.holds import HOLD_SECONDS
from gproxy.storage.migrate import upgrade
from gproxy.storage.redis_limits import RedisLimits
from gproxy.storage.usage import SqlLedger
from gproxy.workers.settler import Settler
from tests.storage import conftest
from tests.storage.rows import usage_row

KINDS = ("memory", "sqlite", "postgres", "mysql", "redis")
REDIS = os.environ.get("GPROXY_TEST_REDIS", "redis://127.0.0.1:6379/15")
QUOTA = 10_000


class Hands:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def monotonic(self) -> float:
        return self.at

    def now_us(self) -> int:
        return int((1_700_000_000 + self.at) * 1_000_000)


@dataclass
class Fleet:
    """Instances that share accounts, and a way to land rows and to look at the truth."""

    counters: list[Counters]
    clock: Hands
    land: Callable[[str, str, int], Any]
    """Let the row of an attempt land: (attempt id, user, cost)."""
    account: Callable[[str], Any]
    """What anybody can see: (used, reserved), everything that waits having been written."""
    kill: Callable[[int, str, Mapping[str, int]], Any]
    """An instance dies with what it holds and what it had not written; its journal is replayed: (index, user, costs)."""
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


def memory_fleet() -> Fleet:
    clock = Hands()
    counters = MemoryCounters(clock)
    landed: Counter[str] = Counter()
    fleet = Fleet([counters], clock, _nothing, _nothing, _nothing)

    async def land(attempt_id: str, user: str, cost: int) -> None:
        landed[user] += cost
        fleet.counters[0].landed([(attempt_id, user, cost, True)])  # type: ignore[attr-defined]

    async def account(user: str) -> tuple[int, int]:
        found = fleet.counters[0].quotas.account(user)  # type: ignore[attr-defined]
        return found.used, found.reserved

    async def kill(index: int, user: str, journal: Mapping[str, int]) -> None:
        for cost in journal.values():
            landed[user] += cost
        again = MemoryCounters(clock)
        again.quotas.restore(landed)
        fleet.counters[index] = again

    fleet.land, fleet.account, fleet.kill = land, account, kill
    return fleet


async def _knows_nothing(_: Shares) -> None:
    """The ledger is empty."""


def _nothing(*_: Any) -> Any:
    raise AssertionError("not set")


async def database_fleet(db: Database, size: int, *, redis: bool = False) -> Fleet:
    clock = Hands()
    ledger = SqlLedger(db)
    fleet = Fleet([], clock, _nothing, _nothing, _nothing)

    def start(index: int) -> DatabaseCounters:
        limits = (lambda shares: RedisLimits(REDIS, clock, shares, _knows_nothing)) if redis else None
        made = DatabaseCounters(db, clock, instance=str(uuid.uuid4()), limits=limits)
        fleet.tasks.append(asyncio.ensure_future(Settler(made, lambda *_: None).run()))
        return made

    async def land(attempt_id: str, user: str, cost: int) -> None:
        for one in fleet.counters:
            await one.flush()  # type: ignore[attr-defined]
        await ledger.insert_usages([usage_row(attempt_id=attempt_id, user_id=user, cost_nano_usd=cost)], None)

    async def account(user: str) -> tuple[int, int]:
        for one in fleet.counters:
            await one.retract(all_of_them=True)  # type: ignore[attr-defined]
            await one.flush()  # type: ignore[attr-defined]
        rows = await db.fetch(
            "SELECT cost_used_nano_usd, reserved_nano_usd FROM user_quotas WHERE user_id = ?", (user,)
        )
        held = await db.fetch("SELECT COALESCE(SUM(amount_nano_usd), 0) FROM quota_holds WHERE user_id = ?", (user,))
        found = (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)
        assert found[1] == int(held[0][0])
        return found

    async def kill(index: int, user: str, journal: Mapping[str, int]) -> None:
        dead = fleet.tasks[index]
        dead.cancel()
        with suppress(asyncio.CancelledError):
            await dead
        await fleet.counters[index].limits.close()  # type: ignore[attr-defined]
        fleet.counters[index] = start(index)
        fleet.tasks[index] = fleet.tasks.pop()
        for attempt_id, cost in journal.items():
            await land(attempt_id, user, cost)
        clock.at += HOLD_SECONDS + 1
        for one in fleet.counters:
            await one.tend_allowances()  # type: ignore[attr-defined]
            await one.flush()  # type: ignore[attr-defined]
            await one.renew()  # type: ignore[attr-defined]
        await fleet.counters[index].bury()  # type: ignore[attr-defined]

    fleet.counters = [start(index) for index in range(size)]
    fleet.land, fleet.account, fleet.kill = land, account, kill
    return fleet


@asynccontextmanager
async def fleet_of(kind: str, place: str, size: int = 3) -> AsyncIterator[Fleet]:
    if kind == "memory":
        yield memory_fleet()
        return
    db = await connect(place)
    try:
        fleet = await database_fleet(db, size, redis=kind == "redis")
        try:
            yield fleet
        finally:
            for task in fleet.tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            for one in fleet.counters:
                await one.limits.close()  # type: ignore[attr-defined]
    finally:
        await db.close()


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if kind == "redis" and not conftest._answers(REDIS):
        if os.environ.get("CI") == "true":
            pytest.fail("Redis does not answer; in CI it must")
        pytest.skip("no Redis server")
    if kind in {"memory", "sqlite", "redis"}:
        path: Path = tmp_path_factory.mktemp("counters") / "gproxy.db"
        if kind != "memory":
            conftest.on_own_loop(upgrade(f"sqlite:///{path}"))
        yield f"sqlite:///{path}"
        return
    server = conftest._server(kind)
    name = f"gproxy_test_{uuid.uuid4().hex[:12]}"
    conftest.on_own_loop(conftest._statement(server, f"CREATE DATABASE {name}"))
    dsn = f"{server.rpartition('/')[0]}/{name}"
    conftest.on_own_loop(upgrade(dsn))
    yield dsn
    force = " WITH (FORCE)" if kind == "postgres" else ""
    conftest.on_own_loop(conftest._statement(server, f"DROP DATABASE {name}{force}"))


@pytest.fixture
def user() -> str:
    """Nobody has spent anything on this one yet."""
    return str(uuid.uuid4())


def ask(user: str, amount: int, *claims: Claim, least: int | None = None, quota: int | None = QUOTA) -> Ask:
    return Ask(str(uuid.uuid4()), user, quota, amount, amount if least is None else least, claims)


def rpm(limit: int, row: str) -> Claim:
    return Claim(row, "rpm", 60.0, limit, 1)


async def granted(counters: Counters, request: Ask) -> Grant:
    grant = await counters.admit(request)
    assert isinstance(grant, Grant), grant
    return grant


async def test_a_thousand_at_once_on_a_budget_for_ten(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        outcomes = await asyncio.gather(
            *(fleet.counters[number % len(fleet.counters)].admit(ask(user, QUOTA // 10)) for number in range(1000))
        )
        grants = [(index % len(fleet.counters), one) for index, one in enumerate(outcomes) if isinstance(one, Grant)]
        assert len(grants) == 10
        assert all(isinstance(one, Short) and one.left <= QUOTA for one in outcomes if not isinstance(one, Grant))
        assert await fleet.account(user) == (0, QUOTA)
        # Each used a tenth of what it held: as soon as that is known, nine more fit, on whichever instance.
        for at, grant in grants:
            fleet.counters[at].charge(grant, str(uuid.uuid4()), QUOTA // 100)
            fleet.counters[at].settle(grant, 0)
        again = [
            await fleet.counters[number % len(fleet.counters)].admit(ask(user, QUOTA // 10)) for number in range(10)
        ]
        if kind == "memory":
            assert [isinstance(one, Grant) for one in again] == [True] * 9 + [False]
        used, reserved = await fleet.account(user)
        assert used + reserved <= QUOTA


async def test_what_one_instance_settles_another_may_hold_at_once(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        one, other = fleet.counters[0], fleet.counters[-1]
        for _ in range(20):
            one.settle(await granted(one, ask(user, QUOTA)), 0)
            # The same instance never refuses what its own settlement has freed.
            one.settle(await granted(one, ask(user, QUOTA)), 0)
            await fleet.account(user)
            other.withdraw(await granted(other, ask(user, QUOTA)))
            await fleet.account(user)
        assert await fleet.account(user) == (0, 0)


async def test_a_refusal_leaves_no_trace(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place, 1) as fleet:
        counters = fleet.counters[0]
        first = await granted(counters, ask(user, 100, rpm(1, user)))
        assert isinstance(await counters.admit(ask(user, 100, rpm(1, user))), Exceeded)
        assert await fleet.account(user) == (0, 100)
        refused = await counters.admit(ask(user, QUOTA, rpm(1, user)))
        assert refused == Short(QUOTA - 100)  # the budget's word comes before the limit's
        counters.withdraw(first)
        second = await granted(counters, ask(user, QUOTA, rpm(1, user)))
        counters.settle(second, 0)
        counters.settle(second, 0)
        assert await fleet.account(user) == (0, 0)


async def test_a_budget_that_covers_the_least_gives_what_it_has(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        one, other = fleet.counters[0], fleet.counters[-1]
        held = await granted(one, ask(user, QUOTA - 300))
        assert (held.hold.amount, held.hold.left) == (QUOTA - 300, 300)
        await fleet.account(user)
        assert await other.admit(ask(user, 5_000, least=301)) == Short(300)
        rest = await granted(other, ask(user, 5_000, least=256))
        assert (rest.hold.amount, rest.hold.left) == (300, 0)


async def test_attempts_are_charged_and_a_further_one_must_be_covered(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        counters = fleet.counters[0]
        grant = await granted(counters, ask(user, 4_000))
        first, second = str(uuid.uuid4()), str(uuid.uuid4())
        counters.charge(grant, first, 3_000)
        assert await counters.extend(grant, 4_000) is None
        assert sum(await fleet.account(user)) == 7_000
        counters.charge(grant, second, 4_000)
        assert await counters.extend(grant, 4_000) == Short(3_000)
        counters.settle(grant, 0)
        assert sum(await fleet.account(user)) == 7_000
        await fleet.land(first, user, 3_000)
        await fleet.land(second, user, 4_000)
        assert await fleet.account(user) == (7_000, 0)


async def test_more_than_was_held_is_spent_all_the_same(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        grant = await granted(fleet.counters[0], ask(user, 100))
        attempt = str(uuid.uuid4())
        fleet.counters[0].charge(grant, attempt, 150)
        fleet.counters[0].settle(grant, 0)
        assert sum(await fleet.account(user)) == 150
        await fleet.land(attempt, user, 150)
        assert await fleet.account(user) == (150, 0)


async def any_interleaving(fleet: Fleet, user: str, dice: random.Random, steps: int) -> None:
    """One random life of a budget: after every step it holds what was spent and what is held, and never more than it is."""
    spent = 0
    open_: list[tuple[int, Grant]] = []
    waiting: dict[str, int] = {}
    for _ in range(steps):
        at = dice.randrange(len(fleet.counters))
        match dice.choice(("admit", "admit", "charge", "settle", "withdraw", "extend", "land", "kill", "look")):
            case "admit":
                outcome = await fleet.counters[at].admit(ask(user, dice.randrange(4_000), least=dice.randrange(4_000)))
                if isinstance(outcome, Grant):
                    open_.append((at, outcome))
            case "charge" if open_:
                at, grant = dice.choice(open_)
                cost = dice.randint(0, grant.hold.amount)
                attempt = str(uuid.uuid4())
                fleet.counters[at].charge(grant, attempt, cost)
                waiting[attempt] = cost
                spent += cost
            case "settle" | "withdraw" as how if open_:
                at, grant = open_.pop(dice.randrange(len(open_)))
                getattr(fleet.counters[at], how)(*((grant, 0) if how == "settle" else (grant,)))
            case "extend" if open_:
                at, grant = dice.choice(open_)
                await fleet.counters[at].extend(grant, dice.randrange(4_000))
            case "land" if waiting:
                attempt, cost = waiting.popitem()
                await fleet.land(attempt, user, cost)
            case "kill" if dice.random() < 0.2:
                await fleet.kill(at, user, waiting)
                waiting.clear()
                open_ = [(owner, grant) for owner, grant in open_ if owner != at]
        used, reserved = await fleet.account(user)
        assert used + reserved == spent + sum(grant.hold.amount for _, grant in open_)
        assert used + reserved <= QUOTA
    for at, grant in open_:
        fleet.counters[at].settle(grant, 0)
    for attempt, cost in waiting.items():
        await fleet.land(attempt, user, cost)
    assert await fleet.account(user) == (spent, 0)


@pytest.mark.parametrize("seed", range(6))
async def test_any_interleaving_keeps_within_the_budget(kind: str, place: str, user: str, seed: int) -> None:
    async with fleet_of(kind, place) as fleet:
        await any_interleaving(fleet, user, random.Random(seed), 60 if kind != "memory" else 600)


@pytest.mark.soak
@pytest.mark.timeout(1800)
async def test_ten_thousand_interleavings_keep_within_the_budget(kind: str, place: str) -> None:
    """In memory ten thousand; where each step is a transaction, as many as a minute or two have room for."""
    seeds = range(100, 10_100) if kind == "memory" else range(100, 130)
    async with fleet_of(kind, place) as fleet:
        for seed in seeds:
            await any_interleaving(fleet, str(uuid.uuid4()), random.Random(seed), 60)


async def test_limits_are_never_passed_by_all_instances_together(kind: str, place: str, user: str) -> None:
    async with fleet_of(kind, place) as fleet:
        if kind == "redis":
            pytest.skip("Redis has a clock of its own: see test_redis_limits.py")
        if kind != "memory":
            for one in [*fleet.counters, *fleet.counters]:
                await one.beat()  # type: ignore[attr-defined]
        dice, admitted = random.Random(7), []
        for _ in range(400):
            fleet.clock.at += dice.expovariate(2.0)
            outcome = await dice.choice(fleet.counters).admit(ask(user, 0, rpm(10, user), quota=None))
            if isinstance(outcome, Grant):
                admitted.append(fleet.clock.at)
        assert len(admitted) > 20
        for at in admitted:
            assert sum(at <= when < at + 60.0 for when in admitted) <= 10
        outcomes = [await fleet.counters[0].admit(ask(user, 0, rpm(10, user), quota=None)) for _ in range(50)]
        refusal = next(one for one in outcomes if isinstance(one, Exceeded))
        assert refusal.claim.limit == 10
        assert all(standing.claim.limit == 10 for standing in refusal.standings)


class Broken:
    """A database that is away as long as it is told to be; otherwise the real one."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    def transaction(self) -> Any:
        if self.away:
            raise DatabaseUnavailable("gone")
        return self.db.transaction()


async def test_without_the_database_a_budget_is_not_overspent_but_refused(tmp_path: Path, user: str) -> None:
    await upgrade(f"sqlite:///{tmp_path}/x.db")
    db = await connect(f"sqlite:///{tmp_path}/x.db")
    broken = Broken(db)
    counters = DatabaseCounters(broken, Hands(), instance="one", patience=0.3)  # type: ignore[arg-type]
    told: list[Mapping[str, object]] = []
    settler = Settler(counters, lambda _, fields: told.append(fields))
    task = asyncio.ensure_future(settler.run())
    try:
        grant = await granted(counters, ask(user, 100))
        broken.away = True
        with pytest.raises(CountersUnavailable):
            await counters.admit(ask(user, 100))
        assert isinstance(await counters.admit(ask(user, 100, quota=None)), Grant)
        counters.charge(grant, "attempt", 40)
        counters.settle(grant, 0)
        with pytest.raises(StoreUnavailable):
            await counters.flush()
        broken.away = False
        await counters.flush()
        rows = await db.fetch("SELECT id, amount_nano_usd, spent FROM quota_holds")
        assert rows == [("attempt", 40, 1)]
        assert len(told) == 1
    finally:
        settler.stop()
        await task
        await db.close()
