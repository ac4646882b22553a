"""Periodic workers: on time, undisturbed by one bad turn, gone when told."""

from __future__ import annotations

import asyncio
from typing import Any

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.periodic import Periodic
from gproxy.workers.quota_reconciler import quota_reconciler
from gproxy.workers.rate_limit_gc import rate_limit_gc
from gproxy.workers.worker_set import WorkerSet
from tests.workers.virtual import Lines, LoopClock, even, virtually


def now() -> Any:
    return asyncio.get_running_loop().time()


def started(worker: Any, lines: Any) -> Any:
    them = WorkerSet([worker], LoopClock(), even, lines)
    them.start()
    return them


class Quotas:
    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.turns: list[float] = []

    async def reconcile(self) -> Any:
        self.turns.append(now())
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_the_reconciler_logs_each_repair_and_survives_an_absent_database() -> None:
    async def work() -> None:
        lines = Lines()
        quotas = Quotas([], ["alice: 5"], StoreUnavailable("down"), StoreUnavailable("down"), ["bob: 7", "eve: 1"])
        them = started(quota_reconciler(quotas, lines), lines)
        await asyncio.sleep(155)
        assert quotas.turns == [1030, 1060, 1090, 1120, 1150]
        assert [fields["drift"] for event, fields in lines.lines if event == "quota drift repaired"] == [
            "alice: 5",
            "bob: 7",
            "eve: 1",
        ]
        assert lines.events.count("periodic work skipped") == 1
        assert them.states()[0].crashes == 0
        report = await them.stop()
        assert report.clean
        assert report.seconds == 0.0

    virtually(work)


def test_a_bug_in_a_turn_is_a_crash_and_the_next_turn_comes() -> None:
    async def work() -> None:
        lines = Lines()
        quotas = Quotas(ZeroDivisionError())
        them = started(quota_reconciler(quotas, lines), lines)
        await asyncio.sleep(70)
        assert them.states()[0].crashes == 1
        assert len(quotas.turns) == 2
        assert (await them.stop()).clean

    virtually(work)


def test_the_sweeper_sweeps_everything_every_minute() -> None:
    class Shelf:
        def __init__(self) -> None:
            self.swept: list[float] = []

        def sweep(self, moment: Any) -> Any:
            self.swept.append(moment)
            return 1

    async def work() -> None:
        lines = Lines()
        windows, sessions = Shelf(), Shelf()
        them = started(rate_limit_gc([windows, sessions], LoopClock(), lines), lines)
        await asyncio.sleep(130)
        assert windows.swept == sessions.swept == [1060, 1120]
        assert (await them.stop()).clean

    virtually(work)


def test_a_turn_under_way_at_the_end_gets_a_moment() -> None:
    async def work() -> None:
        lines = Lines()
        ended = []

        async def turn(seconds: Any) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        quick = started(Periodic("quick", 10, lambda: turn(0.5), lines), lines)
        slow = started(Periodic("slow", 10, lambda: turn(9.0), lines), lines)
        await asyncio.sleep(10.1)
        assert (await quick.stop()).seconds < 0.5
        assert (await slow.stop()).seconds == 1.0
        assert ended == [0.5]

    virtually(work)


def test_a_hanging_turn_is_given_up() -> None:
    async def work() -> None:
        lines = Lines()
        turns = []

        async def turn() -> None:
            turns.append(now())
            await asyncio.sleep(10**6)

        them = started(Periodic("hanging", 10, turn, lines), lines)
        await asyncio.sleep(65)
        assert len(turns) == 3
        assert (await them.stop()).clean

    virtually(work)
