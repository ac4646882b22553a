"""Owns the background workers: starts them, starts them again when they crash, stops them within a bound.

Each worker runs in a task of its own, so one that raises, cancels itself or swallows a cancellation is nobody
else's trouble. Nothing here knows what a worker does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from gproxy.clock import Clock
from gproxy.ledger.batch import backoff
from gproxy.workers.bell import Bell

Log = Callable[[str, Mapping[str, object]], None]
"""Takes an event's name and its fields; `runtime` gives one that writes the structured log."""

STEADY_SECONDS = 30.0
"""A worker that ran this long before it crashed starts again as if for the first time."""


class Worker(Protocol):
    """One long-running task.

    `stop` may be called at any time, before `run` too; `run` then does what is left to do and returns. `run` may be
    called again after it raised.
    """

    @property
    def name(self) -> str:
        """What people see in readiness and reports."""
        ...

    async def run(self) -> None:
        """Work until stopped."""
        ...

    def stop(self) -> None:
        """Ask `run` to finish. Returns at once."""
        ...


class Phase(StrEnum):
    """Where a worker stands."""

    RUNNING = "running"
    RESTING = "resting"
    """It crashed and will be started again."""
    STOPPED = "stopped"
    FAILED = "failed"
    """It crashed while it was being stopped, twice."""
    LATE = "late"
    """It was still busy when its time was up."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker, for readiness."""

    name: str
    phase: Phase
    crashes: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class StopReport:
    """How the stop went. `late` and `failed` are names; `seconds` is what it took."""

    late: tuple[str, ...]
    failed: tuple[str, ...]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether every worker left in time and in order."""
        return not self.late and not self.failed


class WorkerSet:
    """The workers of this process. `start` once, `stop` once, both on the loop the workers live on."""

    def __init__(self, workers: Sequence[Worker], clock: Clock, dice: Callable[[], float], log: Log) -> None:
        self._clock = clock
        self._dice = dice
        self._log = log
        self._stopping = False
        self._settled = Bell()
        self._kept = [_Kept(worker) for worker in workers]

    def start(self) -> None:
        """Start all workers. Raises `RuntimeError` outside a running loop."""
        for kept in self._kept:
            self._launch(kept)

    def states(self) -> tuple[WorkerState, ...]:
        """How the workers are, in the order they were given."""
        return tuple(WorkerState(k.worker.name, k.phase, k.crashes, k.last_error) for k in self._kept)

    async def stop(self, seconds: float = 5.0) -> StopReport:
        """Tell all workers to stop and wait at most so long. Those still busy are named, cancelled and left."""
        began = self._clock.monotonic()
        self._stopping = True
        for kept in self._kept:
            self._tell(kept)
        while any(kept.phase in _BUSY for kept in self._kept):
            left = began + seconds - self._clock.monotonic()
            if left <= 0 or not await self._settled.wait(left):
                break
        late = [kept for kept in self._kept if kept.phase in _BUSY]
        for kept in late:
            kept.phase = Phase.LATE
            if kept.timer is not None:
                kept.timer.cancel()
            if kept.task is not None:
                kept.task.cancel()
        if late:
            await asyncio.sleep(0)  # one turn, so that the willing ones are gone before pools close
        report = StopReport(
            late=tuple(kept.worker.name for kept in late),
            failed=tuple(kept.worker.name for kept in self._kept if kept.phase is Phase.FAILED),
            seconds=self._clock.monotonic() - began,
        )
        if report.late:
            self._log("workers late", {"late": report.late, "after_seconds": seconds})
        return report

    def _launch(self, kept: _Kept) -> None:
        kept.timer = None
        kept.phase = Phase.RUNNING
        kept.since = self._clock.monotonic()
        kept.task = asyncio.get_running_loop().create_task(kept.worker.run(), name=f"worker:{kept.worker.name}")
        kept.task.add_done_callback(lambda task: self._ended(kept, task))

    def _tell(self, kept: _Kept) -> None:
        try:
            kept.worker.stop()
        except Exception as error:
            kept.last_error = _told(error)
            self._log("worker stop failed", {"worker": kept.worker.name, "error": kept.last_error})
            if kept.task is not None:
                kept.task.cancel()
        if kept.phase is Phase.RESTING:
            # It crashed and still has its last duty to do (a flush): now, not after its rest.
            if kept.timer is not None:
                kept.timer.cancel()
            self._launch(kept)

    def _ended(self, kept: _Kept, task: asyncio.Task[None]) -> None:
        error = asyncio.CancelledError("it cancelled itself") if task.cancelled() else task.exception()
        kept.task = None
        if kept.phase is Phase.LATE:
            return
        if error is None and self._stopping:
            kept.phase = Phase.STOPPED
            self._settled.ring()
            return
        self._crashed(kept, error)

    def _crashed(self, kept: _Kept, error: BaseException | None) -> None:
        kept.crashes += 1
        kept.last_error = "it returned without being asked to" if error is None else _told(error)
        fields = {"worker": kept.worker.name, "error": kept.last_error, "crashes": kept.crashes}
        self._log("worker crashed", fields)
        if self._stopping:
            kept.last_chances -= 1
            if kept.last_chances < 0:
                kept.phase = Phase.FAILED
                self._settled.ring()
                return
            self._launch(kept)
            return
        steady = self._clock.monotonic() - kept.since >= STEADY_SECONDS
        kept.in_a_row = 1 if steady else kept.in_a_row + 1
        kept.phase = Phase.RESTING
        rest = backoff(kept.in_a_row, self._dice())
        kept.timer = asyncio.get_running_loop().call_later(rest, self._launch, kept)


_BUSY = frozenset({Phase.RUNNING, Phase.RESTING})


class _Kept:
    """A worker and what the set knows about it."""

    __slots__ = ("crashes", "in_a_row", "last_chances", "last_error", "phase", "since", "task", "timer", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.phase = Phase.RESTING
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.since = 0.0
        self.crashes = 0
        self.in_a_row = 0
        self.last_chances = 1
        self.last_error: str | None = None


def _told(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
