"""The retention worker: small batches with pauses, every shelf gets its turn, what is kept for good is not touched."""

from __future__ import annotations

import asyncio

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.retention import BATCH, EVERY_SECONDS, Shelf, retention
from gproxy.workers.worker_set import WorkerSet
from tests.workers.virtual import Lines, LoopClock, even, virtually


class Table:
    """A table with so many old rows; deleting takes its time."""

    def __init__(self, rows: int, seconds: float = 0.0, *, fails: bool = False) -> None:
        self.rows = rows
        self.fails = fails
        self.batches: list[float] = []
        self.asked: set[tuple[int, int]] = set()
        self._seconds = seconds

    async def delete(self, before: int, limit: int) -> int:
        if self.fails:
            raise StoreUnavailable("down")
        self.asked.add((before, limit))
        self.batches.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self._seconds)
        gone = min(self.rows, limit)
        self.rows -= gone
        return gone


async def lived(seconds: float, *shelves: Shelf) -> Lines:
    lines = Lines()
    clock = LoopClock()
    them = WorkerSet([retention(shelves, clock, lines)], clock, even, lines)
    them.start()
    await asyncio.sleep(seconds)
    assert (await them.stop(5)).clean
    return lines


def test_everything_old_goes_in_small_batches_and_the_database_rests_between_them() -> None:
    async def work() -> None:
        table = Table(BATCH * 4 + 1, seconds=0.25)
        lines = await lived(EVERY_SECONDS + 10, Shelf("rows", lambda: 77, table.delete))
        assert table.rows == 0
        assert table.asked == {(77, BATCH)}
        assert [round(at - table.batches[0], 6) for at in table.batches] == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert lines.lines == []

    virtually(work)


def test_what_is_kept_for_good_is_not_asked_for() -> None:
    async def work() -> None:
        table = Table(10)
        await lived(EVERY_SECONDS * 3, Shelf("rows", lambda: None, table.delete))
        assert not table.batches

    virtually(work)


def test_one_endless_shelf_does_not_keep_the_others_from_theirs_nor_runs_out_of_time() -> None:
    async def work() -> None:
        endless, small = Table(10**9, seconds=1.0), Table(3)
        lines = await lived(
            EVERY_SECONDS * 2 + 1, Shelf("endless", lambda: 1, endless.delete), Shelf("small", lambda: 1, small.delete)
        )
        assert small.rows == 0
        # A quarter of the period is its share, and half of that are pauses.
        assert 7 <= sum(at < endless.batches[0] + EVERY_SECONDS for at in endless.batches) <= 8
        assert lines.lines == []

    virtually(work)


def test_a_database_that_is_away_skips_the_turn() -> None:
    async def work() -> None:
        table = Table(5, fails=True)
        shelf = Shelf("rows", lambda: 1, table.delete)

        async def back() -> None:
            await asyncio.sleep(EVERY_SECONDS * 1.5)
            table.fails = False

        async with asyncio.TaskGroup() as group:
            group.create_task(back())
            lines = await lived(EVERY_SECONDS * 2.5, shelf)
        assert table.rows == 0
        assert lines.events == ["periodic work skipped"]

    virtually(work)
