"""Persists credential health: what changed within half a second goes to the database together.

Only the last state of a credential matters, so a credential that flaps costs one write per window. At stop what
is still in the window is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Generic, Protocol, TypeVar

from gproxy.clock import Clock
from gproxy.ledger.batch import backoff
from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.bell import Bell, hurry
from gproxy.workers.worker_set import Log

StateT = TypeVar("StateT")
StateIn_contra = TypeVar("StateIn_contra", contravariant=True)


class HealthStore(Protocol[StateIn_contra]):
    """Where health is kept."""

    async def save_health(self, states: Mapping[str, StateIn_contra]) -> None:
        """Replace the stored state of each key. Raises `StoreUnavailable`."""
        ...


class HealthBroadcaster(Generic[StateT]):
    """The worker. `mark` is what the health board calls on every change."""

    name = "health_broadcaster"

    def __init__(
        self,
        store: HealthStore[StateT],
        clock: Clock,
        dice: Callable[[], float],
        log: Log,
        *,
        debounce: float = 0.5,
        try_seconds: float = 10.0,
        stop_seconds: float = 4.5,
    ) -> None:
        self._store = store
        self._clock = clock
        self._dice = dice
        self._log = log
        self._debounce = debounce
        self._try_seconds = try_seconds
        self._stop_seconds = stop_seconds
        self._bell = Bell()
        self._dirty: dict[str, StateT] = {}
        self._due: float | None = None
        self._stopping: float | None = None
        self._trying: asyncio.Timeout | None = None
        self._failures = 0
        self.flushed = 0
        """States written since `stop`, for the drain report."""

    @property
    def waiting(self) -> int:
        """States that are not in the database yet."""
        return len(self._dirty)

    def mark(self, key: str, state: StateT) -> None:
        """A credential (or credential x model) is now in this state. Cheap; called on the request path."""
        self._dirty[key] = state
        if self._due is None:
            self._due = self._clock.monotonic() + (self._debounce if self._stopping is None else 0.0)
            self._bell.ring()

    def stop(self) -> None:
        """Write what waits and return."""
        if self._stopping is None:
            self._stopping = self._clock.monotonic() + self._stop_seconds
            hurry(self._trying, self._stop_seconds)
            self._failures = 0
            if self._dirty:
                self._due = self._clock.monotonic()
        self._bell.ring()

    async def run(self) -> None:
        """Write states as their window ends, until stopped and clean."""
        while True:
            now = self._clock.monotonic()
            if self._stopping is not None and (not self._dirty or now >= self._stopping):
                break
            if self._due is not None and self._due <= now:
                await self._write()
            else:
                await self._bell.wait(None if self._due is None else self._until(now))
        if self._dirty:
            self._log("health states not written", {"states": len(self._dirty)})

    async def _write(self) -> None:
        taken, self._dirty, self._due = self._dirty, {}, None
        seconds = self._try_seconds
        if self._stopping is not None:
            seconds = max(0.0, min(seconds, self._stopping - self._clock.monotonic()))
        written = False
        why = "the database did not answer in time"
        try:
            async with asyncio.timeout(seconds) as self._trying:
                await self._store.save_health(taken)
            written = True
        except StoreUnavailable as error:
            why = str(error) or type(error).__name__
        except TimeoutError:
            pass
        finally:
            self._trying = None
            if not written:
                self._dirty = {**taken, **self._dirty}  # what came meanwhile is newer
                self._failures += 1
                self._due = self._clock.monotonic() + backoff(self._failures, self._dice())
        if written:
            self._failures = 0
            if self._stopping is not None:
                self.flushed += len(taken)
        elif self._failures == 1:
            self._log("database does not take health states", {"error": why, "states": len(self._dirty)})

    def _until(self, now: float) -> float:
        assert self._due is not None
        due = self._due if self._stopping is None else min(self._due, self._stopping)
        return max(0.0, due - now)
