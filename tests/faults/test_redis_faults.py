"""Sections A and C: the Redis that several instances share goes away, hangs, forgets, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.lab import Gateway, Lab, until_async
from tests.faults.lanes import Cell, Lanes, Matrix
from tests.faults.proxy import FaultProxy, Mode
from tests.faults.servers import Redis

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
LIMIT = 24


def _limited(limit: int, dimension: str = "rpm") -> str:
    return f'\n[[rate_limits]]\nuser_name = "alice"\nmodel_pattern = "*"\n{dimension} = {limit}\n'


@asynccontextmanager
async def _one(lab: Lab, rpm: int = 10_000) -> AsyncIterator[FaultProxy]:
    """The lab's gateway on a Redis behind a proxy."""
    async with Redis(lab.folder) as redis, FaultProxy("127.0.0.1", redis.port) as way:
        await lab.start(f"--redis-url=redis://127.0.0.1:{way.port}/0", extra=_limited(rpm))
        yield way


@MATRIX.cell("A24")
async def redis_is_down_at_the_end(lab: Lab) -> None:
    await _without_redis(lab, "refuse")


@MATRIX.cell("A24")
async def redis_hangs_at_the_end(lab: Lab) -> None:
    await _without_redis(lab, "blackhole")


async def _without_redis(lab: Lab, mode: Mode) -> None:
    async with _one(lab) as way:
        await lab.run(20)
        assert way.connections > 0
        await way.set(mode)
        assert all(call.complete for call in await lab.run(20)), lab.story()
        async with lab.loading(lab.plan(10, "tokens=6,gate_mid=hold,at=3", stream=True)) as work:
            await lab.vendor.gate("hold").arrived(10)
            lab.signal()
            await lab.state("draining")
            await lab.vendor.gate("hold").release()
            await work
        assert (await lab.exit()).code == 0
    assert [call.problem for call in lab.calls if not call.complete] == []
    assert len(await lab.judge()) == 50


@asynccontextmanager
async def _two(lab: Lab, redis: Redis, *ways: FaultProxy, dimension: str = "rpm") -> AsyncIterator[list[Gateway]]:
    """Two instances that know of each other, each on its own way to Redis."""
    made = []
    async with contextlib.AsyncExitStack() as stack:
        for number, way in enumerate(ways):
            url = f"--redis-url=redis://127.0.0.1:{way.port}/0"
            gateway = lab.make(url, name=f"instance-{number}", extra=_limited(LIMIT, dimension))
            stack.push_async_callback(asyncio.to_thread, gateway.end)
            await gateway.up()
            made.append(gateway)
        lab.gateway = made[0]
        await redis.tell("FLUSHALL")

        async def acquainted() -> bool:
            # Each looks at the others whenever it is seen itself; after two rounds both have.
            seen = await lab.place.query("SELECT seen_at FROM instances")
            return len(seen) == 2 and min(row["seen_at"] for row in seen) > both

        await until_async(lambda: _both(lab), lambda: "two instances")
        both = max(row["seen_at"] for row in await lab.place.query("SELECT seen_at FROM instances"))
        await until_async(acquainted, lambda: "instances that know of each other")
        yield made


async def _both(lab: Lab) -> bool:
    return await lab.place.count("instances") == 2


async def _burst(lab: Lab, gateways: list[Gateway], each: int) -> int:
    """So many calls through each instance, one after the other; how many were let through, and all of them landed."""
    statuses: Counter[int] = Counter()
    for gateway in gateways:
        lab.gateway = gateway
        statuses.update(call.status for call in await lab.run(each, concurrency=1))
    assert set(statuses) <= {200, 429}
    await lab.landed(sum(call.complete for call in lab.calls))
    return statuses[200]


@MATRIX.cell("C07", soak=True)
async def instances_that_lose_redis_keep_to_their_shares_and_come_back_without_a_reset(lab: Lab) -> None:
    async with (
        Redis(lab.folder) as redis,
        FaultProxy("127.0.0.1", redis.port) as one,
        FaultProxy("127.0.0.1", redis.port) as other,
        _two(lab, redis, one, other) as both,
    ):
        let = [await _burst(lab, both, 3)]
        await one.set("blackhole")
        await other.set("refuse")
        let.append(await _burst(lab, both, 6))
        await one.set("pass")
        await other.set("pass")

        async def back() -> bool:
            let.append(await _burst(lab, both, 1))
            return let[-1] > 0

        await until_async(back, lambda: "an instance that reaches Redis again and finds room there")
        let.append(await _burst(lab, both, LIMIT))
    # All of it in less than one window: together the limit, never more, and nobody was locked out meanwhile.
    assert let[0] == 6
    assert 6 < let[1] <= 12, let
    assert LIMIT - 6 < sum(let) <= LIMIT, let


@MATRIX.cell("C07")
async def one_of_two_that_loses_redis_is_left_its_share(lab: Lab) -> None:
    """The partition that tempts most: who still has Redis sees a whole limit there."""
    async with (
        Redis(lab.folder) as redis,
        FaultProxy("127.0.0.1", redis.port) as one,
        FaultProxy("127.0.0.1", redis.port) as other,
        _two(lab, redis, one, other) as both,
    ):
        let = [await _burst(lab, both, 2)]
        await other.set("blackhole")
        let.append(await _burst(lab, both[1:], 2 * LIMIT))
        let.append(await _burst(lab, both[:1], 2 * LIMIT))
        await other.set("pass")
        let.append(await _burst(lab, both[1:], LIMIT))
    assert let[0] == 4
    assert let[1] > 0
    assert let[2] > 0
    assert sum(let) <= LIMIT, let


@MATRIX.cell("C08")
async def a_redis_that_forgets_is_told_again_from_the_ledger(lab: Lab) -> None:
    async with (
        Redis(lab.folder) as redis,
        FaultProxy("127.0.0.1", redis.port) as way,
        # By the day: a slot of a minute's window is a second, and a request may be counted in one and land in the next.
        _two(lab, redis, way, way, dimension="rpd") as both,
    ):
        let = 0
        for _ in range(4):
            let += await _burst(lab, both, 4)
            assert (await redis.tell("FLUSHALL")).startswith(b"+OK")
        let += await _burst(lab, both, 4)
    assert let == LIMIT


@pytest.mark.parametrize("cell", MATRIX.params())
def test_redis(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
