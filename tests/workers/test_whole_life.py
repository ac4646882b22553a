"""Seeded lives of a gateway's ledger: traffic, a moody database, full disks, crashes and clean ends, in any order.

After each life everything is recovered, and then: every attempt that was let through has exactly one row, no other
row is there, and what was charged is the sum of the rows to the nano-USD.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest

from gproxy.errors import Refused
from gproxy.ledger.intake import Intake
from gproxy.ledger.journal import Journal
from gproxy.ledger.recovery import recover
from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.usage_sink import UsageSink
from gproxy.workers.worker_set import WorkerSet
from tests.ledger.records import closed, opened, progress
from tests.ledger.sqlite_store import SqliteStore
from tests.workers.virtual import Lines, LoopClock, virtually

SMALL = 64 * 1024


class Life:
    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.dice = random.Random(seed)
        self.store = SqliteStore()
        self.mood = "well"
        self.through: set[str] = set()
        self.ended: dict[str, int] = {}
        real = self.store.insert_usages

        async def moody(rows: Any, position: Any) -> Any:
            mood = self.mood if self.dice.random() < 0.7 else "well"
            if mood == "down":
                raise StoreUnavailable("down")
            if mood == "hanging":
                await asyncio.sleep(10**5)
            result = await real(rows, position)
            if mood == "ambiguous":
                raise StoreUnavailable("the answer was lost")
            return result

        self.store.insert_usages = moody  # type: ignore[method-assign]

    async def run(self, pwrite: Any) -> None:
        for _ in range(self.dice.randrange(1, 5)):
            await self.process(pwrite)
        self.mood = "well"
        pwrite.failing = False
        report = await recover(self.root, self.store)
        assert report.left == []
        assert report.orphans == 0
        # A write that failed half way, just before the process died, is seen for what it is and costs nothing.
        assert all(what == "torn or damaged end" for one in report.damaged for _, _, what in one.damage)

    async def process(self, pwrite: Any) -> None:
        """One process: starts, recovers what it finds, works, and ends one way or another."""
        journal = Journal.create(
            self.root,
            LoopClock(),
            segment_bytes=SMALL,
            max_bytes=self.dice.choice([4, 8, 100]) * SMALL,
            intake=Intake(self.dice.choice([3, 50, 10_000])),
        )
        sink = UsageSink(journal, self.store, LoopClock(), self.dice.random, Lines())
        them = WorkerSet([sink], LoopClock(), self.dice.random, Lines())
        them.start()
        landed = self.store.db.execute("SELECT journal, segment, at FROM positions").fetchall()
        await recover(self.root, self.store, own=journal.id, landed={j: (s, a) for j, s, a in landed})
        live: list[str] = []
        for _ in range(self.dice.randrange(1, 60)):
            self.mood = self.dice.choice(["well", "well", "well", "down", "hanging", "ambiguous"])
            pwrite.failing = self.dice.random() < 0.05
            for _ in range(self.dice.choice([0, 1, 5, 60])):
                self.request(journal, live)
            await asyncio.sleep(self.dice.choice([0, 0.01, 0.6, 20]))
        pwrite.failing = False
        if self.dice.random() < 0.5:
            for _ in range(20):
                await asyncio.sleep(1 if journal.state().held else 0)
            for attempt in live:
                self.end(journal, attempt)
            await them.stop(self.dice.choice([0.0, 5.0]))
            assert journal.end() == sink.report().left
        else:
            # As SIGKILL would: nothing is flushed, the operating system closes the files and drops the lock.
            # What the disk had refused dies with the process, which is said in the open (JournalState.held).
            for held in journal._held:
                self.ended.pop(held.live.record.attempt_id, None)
            await them.stop(0.0)
            if journal._segment is not None:
                os.close(journal._segment.fd)
                journal._segment = None
            journal._directory.unlock()

    def request(self, journal: Journal, live: list[str]) -> None:
        attempt = f"{len(self.through):06d}"
        try:
            journal.open(opened(attempt))
        except Refused:
            return
        self.through.add(attempt)
        live.append(attempt)
        for name in live:
            if self.dice.random() < 0.1:
                journal.progress(progress(name))
        while live and self.dice.random() < 0.9:
            self.end(journal, live.pop(self.dice.randrange(len(live))))

    def end(self, journal: Journal, attempt: str) -> None:
        cost = self.dice.randrange(10**9)
        journal.close(closed(attempt, cost_nano_usd=cost))
        self.ended[attempt] = cost


class FailingAtTimes:
    def __init__(self, dice: random.Random) -> None:
        self.real = os.pwrite
        self.failing = False
        self.dice = dice

    def __call__(self, fd: int, data: bytes, at: int) -> int:
        if self.failing and self.dice.random() < 0.5:
            if self.dice.random() < 0.5:
                raise OSError(errno.EIO, "Input/output error")
            return self.real(fd, data[: self.dice.randrange(len(data) + 1)], at)
        return self.real(fd, data, at)


@pytest.mark.parametrize("seed", range(40))
def test_every_attempt_has_exactly_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    life = Life(tmp_path, seed)
    pwrite = FailingAtTimes(life.dice)
    monkeypatch.setattr(os, "pwrite", pwrite)
    virtually(lambda: life.run(pwrite))
    rows = dict(life.store.db.execute("SELECT attempt_id, cost_nano_usd FROM usages"))
    assert rows.keys() == life.through
    outcomes = life.store.outcomes()
    for attempt, cost in life.ended.items():
        assert (outcomes[attempt], rows[attempt]) == ("complete", cost)
    life.store.check()
    assert {path.name for path in tmp_path.iterdir()} <= {"set-aside"}
