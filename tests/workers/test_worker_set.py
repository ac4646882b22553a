"""The set: restarts with back-off, stops within its bound, and no worker can stop another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from gproxy.workers.bell import Bell
from gproxy.workers.worker_set import Phase, WorkerSet, WorkerState
from tests.workers.virtual import Lines, LoopClock, even, virtually


class Good:
    def __init__(self, name: Any = "good", work: Any = 0.0) -> None:
        self.name = name
        self.work = work
        self.bell = Bell()
        self.starts: list[float] = []
        self.left: float | None = None

    def stop(self) -> None:
        self.bell.ring()

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        await self.bell.wait()
        await asyncio.sleep(self.work)
        self.left = asyncio.get_running_loop().time()


class Crashing(Good):
    """Raises at once, or so long after each start."""

    def __init__(self, name: Any = "crashing", after: Any = 0.0, times: Any = 10**9, error: Any = None) -> None:
        super().__init__(name)
        self.after = after
        self.times = times
        self.error = error or ValueError("bad luck")

    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        if len(self.starts) <= self.times:
            await asyncio.sleep(self.after)
            raise self.error
        await self.bell.wait()


class Stubborn(Good):
    """Swallows its cancellation and goes on."""

    async def run(self) -> None:
        self.starts.append(0.0)
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            if len(self.starts) > 1:
                return
            self.starts.append(1.0)


class SelfCancelling(Good):
    async def run(self) -> None:
        self.starts.append(asyncio.get_running_loop().time())
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)


class BadStop(Good):
    def stop(self) -> None:
        raise ValueError("no")


def the_set(*workers: Any) -> Any:
    lines = Lines()
    return WorkerSet(workers, LoopClock(), even, lines), lines


def test_all_leave_when_told() -> None:
    async def work() -> None:
        one, two = Good("one", 0.5), Good("two", 1.0)
        them, lines = the_set(one, two)
        them.start()
        await asyncio.sleep(10)
        assert [state.phase for state in them.states()] == [Phase.RUNNING, Phase.RUNNING]
        report = await them.stop(5.0)
        assert report.clean
        assert report.seconds == 1.0
        assert (one.left, two.left) == (1010.5, 1011.0)
        assert [state.phase for state in them.states()] == [Phase.STOPPED, Phase.STOPPED]
        assert lines.events == []

    virtually(work)


def test_a_crashed_worker_starts_again_later_and_later() -> None:
    async def work() -> None:
        bad, good = Crashing(times=5), Good()
        them, lines = the_set(bad, good)
        them.start()
        await asyncio.sleep(0.01)
        assert them.states()[0] == WorkerState("crashing", Phase.RESTING, 1, "ValueError: bad luck")
        assert them.states()[1].phase is Phase.RUNNING
        await asyncio.sleep(60)
        gaps = [later - first for first, later in zip(bad.starts, bad.starts[1:], strict=False)]
        assert [round(gap, 3) for gap in gaps] == [0.075, 0.15, 0.3, 0.6, 1.2]
        assert them.states()[0] == WorkerState("crashing", Phase.RUNNING, 5, "ValueError: bad luck")
        assert lines.events == ["worker crashed"] * 5
        assert (await them.stop()).clean

    virtually(work)


def test_a_worker_that_ran_well_for_long_rests_briefly_again() -> None:
    async def work() -> None:
        bad = Crashing(after=100.0)
        them, _ = the_set(bad)
        them.start()
        await asyncio.sleep(1000)
        gaps = {round(later - first - 100.0, 3) for first, later in zip(bad.starts, bad.starts[1:], strict=False)}
        assert gaps == {0.075}
        await them.stop()

    virtually(work)


def test_a_worker_that_returns_unasked_or_cancels_itself_has_crashed() -> None:
    class Returning(Good):
        async def run(self) -> None:
            self.starts.append(0.0)

    async def work() -> None:
        them, _ = the_set(Returning("returning"), SelfCancelling("selfish"), Good())
        them.start()
        await asyncio.sleep(1)
        returning, selfish, good = them.states()
        assert returning.crashes > 1
        assert returning.last_error == "it returned without being asked to"
        assert selfish.crashes > 1
        assert selfish.last_error is not None
        assert selfish.last_error.startswith("CancelledError")
        assert good == WorkerState("good", Phase.RUNNING, 0, None)
        report = await them.stop()
        assert report.late == ()
        assert report.failed == ("selfish",)

    virtually(work)


def test_those_who_do_not_leave_are_named_and_left() -> None:
    async def work() -> None:
        stubborn, slow, good = Stubborn("stubborn"), Good("slow", 60.0), Good("good", 0.1)
        them, lines = the_set(stubborn, slow, good)
        them.start()
        await asyncio.sleep(1)
        report = await them.stop(5.0)
        assert report.late == ("stubborn", "slow")
        assert report.seconds == 5.0
        assert not report.clean
        assert good.left == 1001.1
        assert [state.phase for state in them.states()] == [Phase.LATE, Phase.LATE, Phase.STOPPED]
        assert lines.lines == [("workers late", {"late": ("stubborn", "slow"), "after_seconds": 5.0})]

    virtually(work)


def test_a_resting_worker_gets_its_last_duty_at_once() -> None:
    async def work() -> None:
        bad = Crashing(times=1)
        them, _ = the_set(bad)
        them.start()
        await asyncio.sleep(0.01)
        assert them.states()[0].phase is Phase.RESTING
        report = await them.stop()
        assert report.clean
        assert report.seconds == 0.0
        assert len(bad.starts) == 2

    virtually(work)


def test_a_crash_while_stopping_gets_one_more_chance() -> None:
    class Late(Good):
        async def run(self) -> None:
            self.starts.append(asyncio.get_running_loop().time())
            await self.bell.wait()
            self.bell.ring()
            if len(self.starts) <= self.work:
                raise OSError("flush failed")

    async def work() -> None:
        once, ever, good = Late("once", 1), Late("ever", 99), Good()
        them, _ = the_set(once, ever, good)
        them.start()
        await asyncio.sleep(1)
        report = await them.stop()
        assert report.failed == ("ever",)
        assert report.late == ()
        assert len(once.starts) == 2
        assert len(ever.starts) == 2
        assert good.left is not None

    virtually(work)


def test_a_stop_that_raises_stops_nobody_else() -> None:
    async def work() -> None:
        bad, good = BadStop("bad"), Good()
        them, lines = the_set(bad, good)
        them.start()
        await asyncio.sleep(1)
        report = await them.stop(5.0)
        assert good.left == 1001.0
        assert "worker stop failed" in lines.events
        assert "bad" in report.failed + report.late
        assert report.seconds <= 5.0

    virtually(work)


def test_stop_before_the_first_turn_and_with_no_workers() -> None:
    async def work() -> None:
        good = Good()
        them, _ = the_set(good)
        them.start()
        assert (await them.stop()).clean
        assert good.left is not None
        nobody, _ = the_set()
        nobody.start()
        assert (await nobody.stop()).clean

    virtually(work)
