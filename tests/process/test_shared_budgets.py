"""Three gateways on one database server, each with a data folder of its own, as if on three machines; with Redis too.

What they share is the budget. Nothing that one of them, Redis, or a kill does may let more through than it is worth.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gproxy.storage.engine import connect
from gproxy.storage.migrate import upgrade
from tests.process import rig
from tests.process.test_budgets import ask, chat, control, seed
from tests.redis_server import RedisServer, redis_needed
from tests.storage import conftest

pytestmark = pytest.mark.process

HOLD = 10_000_000
"""Nano-USD that a call of `words` with 100 tokens at most holds; it costs a tenth of that when 10 are written."""
COST = HOLD // 10
GONE = 30.0
"""Seconds after which nothing a dead process held may still be held."""


class House:
    """The database that the gateways share."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    async def rows(self, query: str) -> list[Any]:
        """What a query finds, on a connection of its own."""
        db = await connect(self.dsn)
        try:
            return await db.fetch(query)
        finally:
            await db.close()

    async def account(self) -> tuple[int, int]:
        """What alice has spent and holds."""
        ((used, held),) = await self.rows(
            "SELECT cost_used_nano_usd, reserved_nano_usd FROM user_quotas q JOIN users u ON u.id = q.user_id"
            " WHERE u.name = 'alice'"
        )
        return int(used), int(held)

    async def billed(self) -> int:
        """The sum of all usage rows."""
        ((total,),) = await self.rows("SELECT COALESCE(SUM(cost_nano_usd), 0) FROM usages")
        return int(total)

    async def held(self) -> set[str]:
        """Requests that hold something."""
        return {row[0] for row in await self.rows("SELECT id FROM quota_holds WHERE spent = 0")}

    async def until(self, what: str, holds: Callable[[tuple[int, int]], bool]) -> None:
        """Wait until the account is as it should be; ends with what it was instead."""
        deadline = time.monotonic() + GONE
        while not holds(found := await self.account()):
            assert time.monotonic() < deadline, f"{what}: (spent, held) is {found}"
            await asyncio.sleep(0.05)


@pytest.fixture(params=["postgres", "mysql"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    server = conftest._server(request.param)
    name = f"gproxy_test_{uuid.uuid4().hex[:12]}"
    conftest.on_own_loop(conftest._statement(server, f"CREATE DATABASE {name}"))
    dsn = f"{server.rpartition('/')[0]}/{name}"
    conftest.on_own_loop(upgrade(dsn))
    yield House(dsn)
    force = " WITH (FORCE)" if request.param == "postgres" else ""
    conftest.on_own_loop(conftest._statement(server, f"DROP DATABASE {name}{force}"))


@pytest.fixture(params=["alone", "redis"])
def redis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    if request.param == "alone":
        yield None
        return
    redis_needed()
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


def three(stack: ExitStack, folder: Path, text: str, house: House, redis: RedisServer | None) -> list[rig.Gateway]:
    """Three gateways; the first brings in the configuration."""
    flags = ["--dsn", house.dsn, "--max-in-flight", "2000", *(["--redis-url", redis.url] if redis else [])]
    made = []
    for number in range(3):
        own = folder / f"machine-{number}"
        own.mkdir()
        made.append(stack.enter_context(rig.gateway(own, text, *flags)))
    return made


def words(script: str, **more: Any) -> dict[str, Any]:
    return chat("words", f"tokens=10,{script}", max_tokens=100, **more)


class Burst:
    """Calls to several gateways in turn; tells when so many of them have been answered with one status."""

    def __init__(self, gateways: list[rig.Gateway], body: dict[str, Any], count: int, *, refused: int = 0) -> None:
        self.statuses: Counter[int] = Counter()
        self._wanted = refused
        self._refused = asyncio.Event()
        ports = itertools.cycle([one.port for one in gateways])
        self.calls = [asyncio.ensure_future(ask(next(ports), body, self._done)) for _ in range(count)]

    def _done(self, status: int) -> None:
        self.statuses[status] += 1
        if self.statuses[402] >= self._wanted:
            self._refused.set()

    async def refused(self) -> None:
        """Wait until as many were refused as should be."""
        async with asyncio.timeout(90):
            await self._refused.wait()

    async def over(self) -> Counter[int]:
        """Wait for all of them."""
        async with asyncio.timeout(90):
            await asyncio.gather(*self.calls)
        return self.statuses


async def waiting(vendor: rig.Vendor, gate: str, count: int) -> None:
    found = await asyncio.to_thread(control, vendor, "GET", f"gates/{gate}?waiting={count}")
    assert found["waiting"] == count


async def opened(vendor: rig.Vendor, gate: str) -> None:
    await asyncio.to_thread(control, vendor, "POST", f"gates/{gate}")


@pytest.mark.timeout(240)
async def test_a_thousand_at_once_on_three_machines(
    folder: Path, vendor: rig.Vendor, house: House, redis: RedisServer | None
) -> None:
    gate = uuid.uuid4().hex
    text = seed(vendor, quota="0.1", limits="rpm = 100000")
    with ExitStack() as stack:
        gateways = three(stack, folder, text, house, redis)
        burst = Burst(gateways, words(f"gate={gate}"), 1_000, refused=990)
        await burst.refused()
        await waiting(vendor, gate, 10)
        assert await house.account() == (0, 10 * HOLD)
        if redis is not None:
            # Whatever becomes of Redis while they run, nobody is let through on money that is held.
            mishaps: list[Callable[[], object]] = [partial(redis.tell, "FLUSHALL"), redis.stop, redis.start]
            for happens in mishaps:
                happens()
                assert await Burst(gateways, words("at=1"), 30).over() == {402: 30}
            redis.stop()
        await opened(vendor, gate)
        assert await burst.over() == {200: 10, 402: 990}
        await house.until("settled", lambda found: found == (10 * COST, 0))
        # Each spent a tenth of what it held: nine more fit, on whichever machine, and a tenth does not.
        burst = Burst(gateways, words(f"gate={gate}-again"), 9)
        await waiting(vendor, f"{gate}-again", 9)
        assert await Burst(gateways, words("at=1"), 3).over() == {402: 3}
        if redis is not None:
            redis.start()
        await opened(vendor, f"{gate}-again")
        assert await burst.over() == {200: 9}
        await house.until("settled", lambda found: found == (19 * COST, 0))
        assert await house.billed() == 19 * COST


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("house", "redis", "turns"),
    [
        ("postgres", "redis", 2),
        *(
            pytest.param(engine, beside, 50, marks=pytest.mark.soak)
            for engine in ("postgres", "mysql")
            for beside in ("alone", "redis")
        ),
    ],
    indirect=["house", "redis"],
)
async def test_one_of_three_is_killed_in_the_middle_again_and_again(
    folder: Path, vendor: rig.Vendor, house: House, redis: RedisServer | None, turns: int
) -> None:
    name, calls = uuid.uuid4().hex, 12
    with ExitStack() as stack:
        gateways = three(stack, folder, seed(vendor, quota="6", limits="rpm = 1000000"), house, redis)
        dead: list[tuple[float, set[str]]] = []
        for turn in range(turns):
            gate = f"{name}-{turn}"
            # Every second time half of an answer has been written when its process dies.
            body = words(f"gate_mid={gate},at=6" if turn % 2 else f"gate={gate}", stream=bool(turn % 2))
            burst = Burst(gateways, body, 3 * calls, refused=1)
            found = await asyncio.to_thread(control, vendor, "GET", f"gates/{gate}?waiting={2 * calls}")
            assert found["waiting"] >= 2 * calls, burst.statuses
            victim = gateways[turn % 3]
            victim.signal(signal.SIGKILL)
            await asyncio.to_thread(victim.wait)
            killed = time.monotonic()
            await opened(vendor, gate)
            statuses = await burst.over()
            assert set(statuses) <= {200, 0}, statuses
            await asyncio.to_thread(victim.start)
            held = await house.held()
            dead.append((killed, held - {one for _, ids in dead for one in ids}))
            for at, ids in dead:
                if time.monotonic() > at + GONE:
                    assert not ids & held
        await house.until("holds of the dead", lambda found: found[1] == 0)
        assert any(ids for _, ids in dead), "nobody held anything when it died"
        used, _ = await house.account()
        assert await house.billed() == used <= 6_000_000_000
        # What is left is worth exactly so many holds.
        room = (6_000_000_000 - used) // HOLD
        burst = Burst(gateways, words(f"gate={name}-last"), room + 10, refused=10)
        await burst.refused()
        await opened(vendor, f"{name}-last")
        assert await burst.over() == {200: room, 402: 10}
