"""Measures how long a request waits to be let through where processes share their budgets.

One request after the other, each charged and settled, of one user with a budget and a limit: with the hold in the
database, and with Redis giving it out. Wall time, so the machine should be quiet; only the two figures of one database
compare. The databases must be empty and may be written to.

    .venv/bin/python -m dev.bench_shared redis://127.0.0.1:6379/15 postgresql://… [mysql://…]
"""

from __future__ import annotations

import argparse
import asyncio
import time

from gproxy.access.counters import Ask, Grant
from gproxy.access.limits import Claim
from gproxy.access.shares import Shares
from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.runtime.accounts import TEND_EVERY
from gproxy.storage.database_counters import DatabaseCounters
from gproxy.storage.engine import Database, connect
from gproxy.storage.migrate import upgrade
from gproxy.storage.redis_limits import RedisLimits
from gproxy.workers.settler import Settler

_BUDGET = 10**12
_HELD = 10**7


async def _nothing(_: Shares) -> None:
    """Nothing was let through before."""


async def waits(db: Database, redis: str | None, count: int) -> list[float]:
    """How long each waited, microseconds, the shortest first."""
    clock = SystemClock()
    limits = None if redis is None else lambda shares: RedisLimits(redis, clock, shares, _nothing)
    counters = DatabaseCounters(db, clock, instance=new_id(), limits=limits)
    settler = Settler(counters, lambda *_: None)
    async with asyncio.TaskGroup() as group:
        group.create_task(settler.run(), name="settler")
        found = await _admitted(counters, count)
        await counters.retract(all_of_them=True)
        settler.stop()
    await counters.limits.close()
    return sorted(found)


async def _admitted(counters: DatabaseCounters, count: int) -> list[float]:
    user, found, tended = new_id(), [], float("-inf")
    claim = Claim(user, "rpm", 60.0, 10**6, 1)
    for _ in range(count):
        if time.monotonic() >= tended + TEND_EVERY:
            tended = time.monotonic()
            await counters.limits.tick()
            await counters.tend_allowances()
        began = time.perf_counter()
        grant = await counters.admit(Ask(new_id(), user, _BUDGET, _HELD, _HELD, (claim,)))
        found.append((time.perf_counter() - began) * 1e6)
        assert isinstance(grant, Grant)
        counters.charge(grant, new_id(), _HELD // 10)
        counters.settle(grant, 0)
    return found


async def run(arguments: argparse.Namespace) -> None:
    for dsn in arguments.dsn:
        await upgrade(dsn)
        db = await connect(dsn)
        for how, redis in (("database alone", None), ("with Redis", arguments.redis)):
            found = await waits(db, redis, arguments.requests)
            share = [found[len(found) * part // 100] for part in (50, 95, 99)]
            print(
                f"{db.dialect:>10}, {how:<14}: p50 {share[0]:6.0f} us, p95 {share[1]:6.0f} us, p99 {share[2]:6.0f} us"
            )
        await db.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("redis")
    parser.add_argument("dsn", nargs="+")
    parser.add_argument("--requests", type=int, default=3_000)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
