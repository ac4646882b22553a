"""Health: the last state within each window is written, and the last window at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.health_broadcaster import HealthBroadcaster
from gproxy.workers.worker_set import WorkerSet
from tests.workers.virtual import Lines, LoopClock, even, virtually


class Store:
    def __init__(self) -> None:
        self.writes: list[tuple[float, dict[str, str]]] = []
        self.trouble: Callable[[], Any] = lambda: None

    async def save_health(self, states: Any) -> None:
        wait = self.trouble()
        if wait is not None:
            await wait
        self.writes.append((asyncio.get_running_loop().time(), dict(states)))

    @property
    def now(self) -> Any:
        merged: dict[str, str] = {}
        for _, states in self.writes:
            merged |= states
        return merged


def world() -> Any:
    store, lines = Store(), Lines()
    worker = HealthBroadcaster[str](store, LoopClock(), even, lines)
    them = WorkerSet([worker], LoopClock(), even, lines)
    them.start()
    return store, worker, them, lines


def away() -> None:
    raise StoreUnavailable("down")


def test_changes_within_half_a_second_go_together() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        await asyncio.sleep(10)
        worker.mark("a", "cooling")
        await asyncio.sleep(0.3)
        worker.mark("b", "cooling")
        worker.mark("a", "well")
        await asyncio.sleep(0.3)
        worker.mark("c", "disabled")
        assert store.writes == [(1010.5, {"a": "well", "b": "cooling"})]
        await asyncio.sleep(5)
        assert store.writes[1][1] == {"c": "disabled"}
        assert worker.waiting == 0
        assert (await them.stop()).clean

    virtually(work)


def test_a_credential_that_flaps_costs_one_write_a_window() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        for n in range(100):
            worker.mark("a", str(n))
            await asyncio.sleep(0.1)
        assert len(store.writes) <= 21
        await them.stop()
        assert store.now == {"a": "99"}

    virtually(work)


def test_what_is_in_the_window_is_flushed_at_the_end() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        await asyncio.sleep(1)
        for n in range(50):
            worker.mark(f"c{n}", "cooling")
        report = await them.stop()
        assert report.clean
        assert report.seconds == 0.0
        assert len(store.now) == 50
        assert worker.flushed == 50

    virtually(work)


def test_an_unavailable_database_is_tried_again_with_the_newest_state() -> None:
    async def work() -> None:
        store, worker, them, lines = world()
        store.trouble = away
        worker.mark("a", "old")
        worker.mark("b", "same")
        await asyncio.sleep(3)
        worker.mark("a", "new")
        await asyncio.sleep(3)
        assert lines.events == ["database does not take health states"]
        store.trouble = lambda: None
        await asyncio.sleep(10)
        assert store.now == {"a": "new", "b": "same"}
        assert (await them.stop()).clean

    virtually(work)


def test_at_the_end_it_tries_at_once_and_until_its_time_is_up() -> None:
    async def work() -> None:
        store, worker, them, lines = world()
        store.trouble = away
        worker.mark("a", "x")
        await asyncio.sleep(60)
        report = await them.stop()
        assert report.clean
        assert report.seconds <= 4.6
        assert worker.waiting == 1
        assert ("health states not written", {"states": 1}) in lines.lines

    virtually(work)


def test_a_hanging_database_is_left_in_time() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        store.trouble = lambda: asyncio.sleep(10**6)
        worker.mark("a", "x")
        await asyncio.sleep(2)
        report = await them.stop()
        assert report.clean
        assert report.seconds <= 4.6
        assert worker.waiting == 1

    virtually(work)


def test_a_bug_in_the_store_loses_no_state() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        bugs = iter([True])

        def buggy() -> None:
            if next(bugs, False):
                raise ZeroDivisionError

        store.trouble = buggy
        worker.mark("a", "x")
        await asyncio.sleep(10)
        assert them.states()[0].crashes == 1
        assert store.now == {"a": "x"}
        assert (await them.stop()).clean

    virtually(work)


def test_marks_after_stop_are_still_written() -> None:
    async def work() -> None:
        store, worker, them, _ = world()
        worker.stop()
        worker.mark("a", "x")
        assert (await them.stop()).clean
        assert store.now == {"a": "x"}

    virtually(work)
