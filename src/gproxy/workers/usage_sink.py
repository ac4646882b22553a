"""Moves closed attempts from the journal into the database, in order, at least once; the store makes it once.

A batch stays at the front until it has landed. The database being away costs nothing but waiting: requests go on,
rows wait in the journal. At stop the sink closes the intake, lands what is there and says what is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gproxy.clock import Clock
from gproxy.ledger.batch import Window, backoff
from gproxy.ledger.intake import Intake
from gproxy.ledger.landing import Landed, land
from gproxy.ledger.store import StoreUnavailable, UsageStore
from gproxy.workers.bell import Bell, hurry
from gproxy.workers.worker_set import Log


class Source(Protocol):
    """The journal as the sink sees it."""

    @property
    def intake(self) -> Intake:
        """Rows that wait."""
        ...

    def landed(self, count: int) -> None:
        """So many from the front are in the database."""
        ...

    def close_intake(self) -> None:
        """No new attempts."""
        ...


@dataclass(slots=True)
class SinkReport:
    """What the sink has done. `failures` counts tries in a row that the database refused; 0 means it is well."""

    rows: int = 0
    new: int = 0
    quarantined: int = 0
    batches: int = 0
    failures: int = 0
    last_error: str | None = None
    flushed: int = 0
    """Rows that landed after the sink was told to stop."""
    left: int = 0
    """Rows that still wait; after the end: what the journal keeps for the next start."""


class UsageSink:
    """The worker. `try_seconds` bounds one try; `stop_seconds` bounds everything after `stop`."""

    name = "usage_sink"

    def __init__(
        self,
        journal: Source,
        store: UsageStore,
        clock: Clock,
        dice: Callable[[], float],
        log: Log,
        *,
        window: Window | None = None,
        try_seconds: float = 30.0,
        stop_seconds: float = 4.5,
    ) -> None:
        self._journal = journal
        self._store = store
        self._clock = clock
        self._dice = dice
        self._log = log
        self._window = window or Window()
        self._try_seconds = try_seconds
        self._stop_seconds = stop_seconds
        self._bell = Bell()
        self._stopping: float | None = None
        self._trying: asyncio.Timeout | None = None
        self._report = SinkReport()
        self._awaited = 0
        journal.intake.on_push = self._pushed

    def report(self) -> SinkReport:
        """Figures for readiness, metrics and the drain report."""
        self._report.left = len(self._journal.intake)
        return self._report

    def stop(self) -> None:
        """Close the intake, land what is there, return. The deadline runs from here."""
        if self._stopping is None:
            self._stopping = self._clock.monotonic() + self._stop_seconds
            self._journal.close_intake()
            hurry(self._trying, self._stop_seconds)
        self._bell.ring()

    async def run(self) -> None:
        """Land batches until stopped and empty, or stopped and out of time."""
        while True:
            due = await self._next()
            if not due:
                break
            await self._land()
        if len(self._journal.intake):
            self._log("usage rows left in the journal", {"rows": len(self._journal.intake)})

    def _pushed(self) -> None:
        # Most rows need not wake anybody: the sink wakes for the first, and when a batch is full.
        if len(self._journal.intake) >= self._awaited:
            self._bell.ring()

    async def _next(self) -> bool:
        """Wait until a batch is due; False when there is nothing more to do."""
        intake = self._journal.intake
        while True:
            now = self._clock.monotonic()
            if self._stopping is not None and (not len(intake) or now >= self._stopping):
                return False
            wait = self._window.wait(len(intake), intake.oldest, now, closing=self._stopping is not None)
            if wait == 0.0:
                return True
            self._awaited = 1 if wait is None else self._window.max_rows
            await self._bell.wait(wait)

    async def _land(self) -> None:
        batch = self._journal.intake.peek(self._window.max_rows)
        try:
            async with asyncio.timeout(self._seconds()) as self._trying:
                landed = await land(self._store, batch)
        except StoreUnavailable as error:
            await self._failed(str(error) or type(error).__name__)
        except TimeoutError:
            await self._failed("the database did not answer in time")
        else:
            self._landed(len(batch), landed)
        finally:
            self._trying = None

    def _landed(self, count: int, landed: Landed) -> None:
        self._journal.landed(count)
        report = self._report
        if report.failures:
            self._log("database is back", {"after_failures": report.failures, "waiting": len(self._journal.intake)})
        if landed.quarantined:
            self._log("usage rows quarantined", {"rows": landed.quarantined})
        report.rows += landed.rows
        report.new += landed.new
        report.quarantined += landed.quarantined
        report.batches += 1
        report.failures, report.last_error = 0, None
        if self._stopping is not None:
            report.flushed += landed.rows

    async def _failed(self, why: str) -> None:
        report = self._report
        report.failures += 1
        if why != report.last_error:
            self._log("database does not take usage rows", {"error": why, "waiting": len(self._journal.intake)})
        report.last_error = why
        rest = backoff(report.failures, self._dice())
        now = self._clock.monotonic()
        until = now + rest
        self._awaited = 1 << 62  # new rows do not shorten the rest; being stopped does, once
        while now < until:
            stopping = self._stopping
            if stopping is not None:
                until = min(until, stopping)
            await self._bell.wait(until - now)
            if stopping is None and self._stopping is not None:
                return
            now = self._clock.monotonic()

    def _seconds(self) -> float:
        if self._stopping is None:
            return self._try_seconds
        return max(0.0, min(self._try_seconds, self._stopping - self._clock.monotonic()))
