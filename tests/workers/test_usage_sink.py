"""The sink: everything lands in order, whatever the database does; at the end it says what is left."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gproxy.errors import Refused
from gproxy.ledger.batch import Window
from gproxy.ledger.intake import Intake
from gproxy.ledger.journal import Journal
from gproxy.ledger.recovery import recover
from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.usage_sink import UsageSink
from gproxy.workers.worker_set import WorkerSet
from tests.ledger.records import closed, opened
from tests.ledger.sqlite_store import SqliteStore
from tests.workers.virtual import Lines, LoopClock, even, virtually


class World:
    """A journal, a store and a sink between them, run by a worker set."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self.root = root
        self.journal = Journal.create(root, LoopClock(), segment_bytes=64 * 1024, intake=settings.pop("intake", None))
        self.store = SqliteStore()
        self.lines = Lines()
        self.sink = UsageSink(self.journal, self.store, LoopClock(), even, self.lines, **settings)
        self.set = WorkerSet([self.sink], LoopClock(), even, self.lines)
        self.written: list[str] = []

    def use(self, count: Any) -> None:
        for _ in range(count):
            name = f"a{len(self.written):05d}"
            self.journal.open(opened(name))
            self.journal.close(closed(name))
            self.written.append(name)

    async def stop(self, seconds: Any = 5.0) -> Any:
        report = await self.set.stop(seconds)
        self.store.check()
        return report


def now() -> Any:
    return asyncio.get_running_loop().time()


def test_a_lone_row_lands_within_half_a_second(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.set.start()
        await asyncio.sleep(10)
        world.use(1)
        await asyncio.sleep(0.49)
        assert world.store.ids() == []
        await asyncio.sleep(0.02)
        assert world.store.ids() == world.written
        assert (await world.stop()).clean
        assert world.journal.end() == 0

    virtually(work)


def test_a_full_batch_lands_at_once_and_no_batch_is_larger(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.set.start()
        await asyncio.sleep(1)
        world.use(250)
        began = now()
        await asyncio.sleep(0.001)
        assert len(world.store.ids()) == 200
        assert now() < began + 0.01
        await asyncio.sleep(0.6)
        assert world.store.batches == [100, 100, 50]
        assert world.store.ids() == world.written
        assert world.store.position(world.journal.id) is not None
        await world.stop()

    virtually(work)


def test_segments_go_as_rows_land(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.set.start()
        for _ in range(40):
            world.use(50)
            await asyncio.sleep(0.3)
        assert world.journal.state().segments <= 2
        await world.stop()
        assert world.journal.end() == 0

    virtually(work)
    assert list(tmp_path.iterdir()) == []


def test_stop_flushes_at_once_and_closes_the_intake(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.set.start()
        await asyncio.sleep(1)
        world.use(30)
        report = await world.stop()
        assert report.seconds == 0.0
        assert world.store.ids() == world.written
        figures = world.sink.report()
        assert (figures.flushed, figures.left, figures.new) == (30, 0, 30)
        with pytest.raises(Refused):
            world.use(1)

    virtually(work)


def test_a_database_that_is_away_costs_only_waiting(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        tries = []

        def away() -> None:
            tries.append(now())
            raise StoreUnavailable("database is locked")

        world.store.trouble = away
        world.set.start()
        for _ in range(100):
            world.use(10)
            await asyncio.sleep(1)
        assert world.store.ids() == []
        figures = world.sink.report()
        assert figures.failures == len(tries)
        assert figures.last_error == "database is locked"
        assert figures.left == 1000
        assert len(tries) < 40, "it backs off"
        assert max(b - a for a, b in pairwise(tries)) < 5.1
        assert world.lines.events.count("database does not take usage rows") == 1
        world.store.trouble = lambda: None
        await asyncio.sleep(10)
        assert world.store.ids() == world.written
        assert world.sink.report().failures == 0
        assert "database is back" in world.lines.events
        assert (await world.stop()).clean

    virtually(work)


def test_new_rows_do_not_hammer_a_resting_database(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        tries = []

        def away() -> None:
            tries.append(now())
            raise StoreUnavailable("down")

        world.store.trouble = away
        world.set.start()
        for _ in range(300):
            world.use(100)
            await asyncio.sleep(0.01)
        assert len(tries) < 12
        await world.stop(0.1)

    virtually(work)


def test_a_database_that_is_away_at_the_end_leaves_rows_to_the_journal(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)

        def away() -> None:
            raise StoreUnavailable("down")

        world.store.trouble = away
        world.set.start()
        world.use(30)
        await asyncio.sleep(7)
        report = await world.stop()
        assert report.clean, "it leaves in time"
        assert report.seconds <= 4.6
        assert world.sink.report().left == 30
        assert ("usage rows left in the journal", {"rows": 30}) in world.lines.lines
        assert world.journal.end() == 30
        world.store.trouble = lambda: None
        await recover(tmp_path, world.store)
        assert world.store.ids() == world.written
        world.store.check()

    virtually(work)


def test_a_database_that_hangs_is_given_up_and_tried_again(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path, try_seconds=30.0)
        hangs = iter([True, True, False])
        world.store.trouble = lambda: asyncio.sleep(10**6) if next(hangs, False) else None
        world.set.start()
        world.use(5)
        await asyncio.sleep(100)
        assert world.store.ids() == world.written
        assert world.sink.report().rows == 5
        await world.stop()

    virtually(work)


def test_a_database_that_hangs_at_the_end_is_left_in_time(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.store.trouble = lambda: asyncio.sleep(10**6)
        world.set.start()
        world.use(5)
        await asyncio.sleep(3)
        report = await world.stop()
        assert report.clean
        assert report.seconds <= 4.6
        assert world.sink.report().left == 5

    virtually(work)


def test_a_store_that_swallows_its_cancellation_is_late_and_named(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)

        async def deaf() -> None:
            for _ in range(2):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    continue

        world.store.trouble = deaf
        world.set.start()
        world.use(5)
        await asyncio.sleep(1)
        report = await world.stop()
        assert report.late == ("usage_sink",)
        assert report.seconds == 5.0

    virtually(work)


def test_poison_is_set_aside_and_its_mates_land(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        world.store.poison = lambda row: row.attempt_id in {"a00013", "a00100"}
        world.set.start()
        world.use(250)
        await asyncio.sleep(2)
        assert world.store.quarantined() == ["a00013", "a00100"]
        assert len(world.store.ids()) == 248
        assert world.sink.report().quarantined == 2
        assert (await world.stop()).clean
        assert world.journal.end() == 0

    virtually(work)


def test_a_crash_of_the_store_starts_the_sink_again_and_loses_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        bugs = iter([True, True, True])

        def buggy() -> None:
            if next(bugs, False):
                raise ZeroDivisionError

        world.store.trouble = buggy
        world.set.start()
        world.use(1)
        await asyncio.sleep(30)
        assert world.set.states()[0].crashes == 3
        assert world.store.ids() == world.written
        assert (await world.stop()).clean

    virtually(work)


def test_a_commit_whose_answer_was_lost_does_not_double(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path)
        dice = random.Random(11)
        real = world.store.insert_usages

        async def ambiguous(rows: Any, position: Any) -> Any:
            result = await real(rows, position)
            if dice.random() < 0.4:
                raise StoreUnavailable("connection lost after COMMIT")
            return result

        world.store.insert_usages = ambiguous  # type: ignore[method-assign]
        world.set.start()
        for _ in range(50):
            world.use(dice.randrange(1, 90))
            await asyncio.sleep(dice.random())
        await asyncio.sleep(60)
        assert world.store.ids() == world.written
        assert (await world.stop()).clean

    virtually(work)


def test_many_rows_queued_at_the_end_beyond_memory(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path, intake=Intake(500))
        world.set.start()
        world.use(5000)
        assert world.journal.intake.spilling
        report = await world.stop()
        assert report.clean
        assert world.store.ids() == world.written
        assert world.sink.report().flushed == 5000
        assert world.journal.end() == 0

    virtually(work)


def test_the_window_is_a_setting(tmp_path: Path) -> None:
    async def work() -> None:
        world = World(tmp_path, window=Window(max_rows=7, max_seconds=2.0))
        world.set.start()
        world.use(8)
        await asyncio.sleep(1.9)
        assert world.store.batches == [7]
        await asyncio.sleep(0.2)
        assert world.store.batches == [7, 1]
        await world.stop()

    virtually(work)
