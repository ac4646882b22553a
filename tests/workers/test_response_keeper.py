from __future__ import annotations

import asyncio
from collections.abc import Callable

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.response_keeper import STOP_SECONDS, TRY_SECONDS, ResponseWriter
from tests.workers.virtual import Lines, virtually


class Answers:
    """Answers that wait, in a database of moods."""

    def __init__(self) -> None:
        self.on_work: Callable[[], None] | None = None
        self.waiting = 0
        self.tries = 0
        self.failures = 0
        self.hangs = False
        self.written = asyncio.Event()

    def come(self) -> None:
        self.waiting += 1
        assert self.on_work is not None
        self.on_work()

    async def flush(self) -> None:
        self.tries += 1
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.waiting = 0
        self.written.set()


def test_it_writes_when_something_comes_and_once_more_at_stop() -> None:
    async def work() -> None:
        answers, lines = Answers(), Lines()
        worker = ResponseWriter(answers, lines)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            answers.come()
            await answers.written.wait()
            assert answers.tries == 1
            answers.waiting = 1  # without a ring
            worker.stop()
        assert answers.waiting == 0
        assert not lines.lines

    virtually(work)


def test_a_database_that_is_away_is_tried_again_and_told_once() -> None:
    async def work() -> None:
        answers, lines = Answers(), Lines()
        answers.failures = 3
        worker = ResponseWriter(answers, lines)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            answers.come()
            await answers.written.wait()
            worker.stop()
        assert answers.tries >= 4
        assert len(lines.lines) == 1

    virtually(work)


def test_one_that_hangs_is_left_in_time() -> None:
    async def work() -> None:
        answers, lines = Answers(), Lines()
        answers.hangs = True
        worker = ResponseWriter(answers, lines)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run())
            answers.come()
            await asyncio.sleep(TRY_SECONDS / 2)
            began = loop.time()
            worker.stop()
        assert loop.time() - began <= STOP_SECONDS + 0.1
        assert lines.events == ["the database does not take kept responses", "kept responses not written"]

    virtually(work)
