"""STARTING → READY → LAME_DUCK → DRAINING → FLUSHING → STOPPED: one way, one deadline, made at the signal.

This room owns the signals. It decides when each phase ends and calls the parts in order; what a part does in
its phase is the part's own business (`Parts`). It holds no part itself, so that the order can be read here and
tested with small honest parts.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from gproxy.clock import Clock
from gproxy.runtime.report import DrainReport

SETTLE_MARGIN: Final = 0.25
"""Seconds that requests cut at the drain deadline get to say goodbye and settle; part of the bound's 0.5 s."""

IDLE_LINGER: Final = 0.15
"""Seconds in which a request already under way on an idle keep-alive connection is still served."""


UPGRADE_LINGER: Final = 2.0
"""The same after an upgrade in place: nobody waits for this process any more, and a client's request that crosses the
end of its connection is a lost one. Clients that speak again are told with their answer and go at once."""


class State(StrEnum):
    """Where the process is in its life."""

    STARTING = "starting"
    READY = "ready"
    LAME_DUCK = "lame_duck"
    DRAINING = "draining"
    FLUSHING = "flushing"
    STOPPED = "stopped"


class Stop(Exception):  # noqa: N818 - an event: the signal came while starting
    """Raised out of a start that a signal ended."""


class Parts(Protocol):
    """What a shutdown acts on, in the order it does."""

    def in_flight(self) -> int:
        """Requests being served."""
        ...

    def announce_close(self) -> None:
        """From now every response says `connection: close`."""
        ...

    async def stop_accepting(self) -> None:
        """Empty the accept queue, then close the listener."""
        ...

    async def close_idle(self, linger: float) -> None:
        """Close keep-alive connections that carry no request."""
        ...

    async def wait_idle(self) -> None:
        """Return when no request is in flight."""
        ...

    def cut(self) -> int:
        """End every request still in flight with its dialect's error; how many there were."""
        ...

    def abort(self) -> None:
        """Drop every connection that is left."""
        ...

    async def flush(self, seconds: float, report: DrainReport) -> None:
        """Stop the workers within `seconds`; fill in what they flushed and who was late."""
        ...

    async def close(self, report: DrainReport) -> None:
        """Store the report, close pools and database."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long each phase may take, in seconds."""

    delay: float
    drain: float
    worker: float

    @property
    def total(self) -> float:
        """By when the process is over, whatever happens, counted from the signal."""
        return self.delay + self.drain + self.worker + 0.5


class Lifecycle:
    """The machine. Signals only set events; `shutdown` does the work in order."""

    def __init__(
        self, clock: Clock, *, on_third: Callable[[], None], on_state: Callable[[State], None] | None = None
    ) -> None:
        self._clock = clock
        self._on_third = on_third
        self._on_state = on_state
        self.state = State.STARTING
        self.signals = 0
        self.signal_name = ""
        self.signal_at = 0.0
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take SIGINT and SIGTERM from now on (also as PID 1, where they have no default action)."""
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop, number)

    def stop(self, number: signal.Signals) -> None:
        """A stop signal: the first begins the shutdown, the second ends the drain, the third ends the process."""
        self.signals += 1
        if self.signals == 1:
            self.signal_name = number.name
            self.signal_at = self._clock.monotonic()
            if self.state is State.READY:
                self._enter(State.LAME_DUCK)
            self._stop.set()
        elif self.signals == 2:
            self._hurry.set()
        else:
            self._on_third()

    @property
    def stopping(self) -> bool:
        """Whether a stop signal has come."""
        return self._stop.is_set()

    async def start(self, work: Awaitable[None]) -> None:
        """Run the start to its end, then be ready; raises `Stop` when a signal ends it first."""
        starting = asyncio.ensure_future(work)  # noqa: TID251 - this method owns it and ends it
        stopped = asyncio.ensure_future(self._stop.wait())  # noqa: TID251 - likewise
        try:
            await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                # The start undoes what it holds (a migration's transaction, a lock); what does not react in
                # time is left to the process's end, which the operating system cleans up after.
                await asyncio.wait({starting}, timeout=1.5)
                raise Stop
            await starting
        finally:
            stopped.cancel()
        self._enter(State.LAME_DUCK if self.stopping else State.READY)

    async def wait_for_signal(self) -> None:
        """Until it is time to go."""
        await self._stop.wait()

    async def shutdown(self, parts: Parts, bounds: Bounds, report: DrainReport) -> None:
        """Everything after the signal, each phase within its bound."""
        begin = self.signal_at
        report.in_flight_at_start = parts.in_flight()
        parts.announce_close()
        if bounds.delay > 0 and not self._hurry.is_set():
            await self._until(self._hurry.wait(), begin + bounds.delay)
        mark = self._phase(report, "lame_duck", begin)

        self._enter(State.DRAINING)
        await parts.stop_accepting()
        deadline = max(mark, begin + bounds.delay) + bounds.drain
        await self._drain(parts, deadline)
        report.cut = parts.cut() if parts.in_flight() else 0
        if report.cut:
            await self._until(parts.wait_idle(), self._clock.monotonic() + SETTLE_MARGIN)
        parts.abort()
        report.finished = max(0, report.in_flight_at_start - report.cut)
        mark = self._phase(report, "draining", mark)

        self._enter(State.FLUSHING)
        await parts.flush(bounds.worker, report)
        mark = self._phase(report, "flushing", mark)

        report.signals = self.signals
        report.decide()
        await self._until(parts.close(report), self._clock.monotonic() + SETTLE_MARGIN)
        self._phase(report, "closing", mark)
        self._enter(State.STOPPED)

    async def _drain(self, parts: Parts, deadline: float) -> None:
        """Until nothing is in flight, the deadline, or a second signal; idle connections go first."""
        if self._hurry.is_set():
            return
        await self._until(self._first(self._settled(parts), self._hurry.wait()), deadline)

    async def _settled(self, parts: Parts) -> None:
        linger = UPGRADE_LINGER if self.signal_name == signal.SIGUSR2.name else IDLE_LINGER
        await parts.close_idle(linger)
        await parts.wait_idle()
        # A stream whose head had left before the signal could not say `connection: close`: its client may well send
        # the next request on the same connection, and is owed the same linger as those that were idle at first.
        await parts.close_idle(linger)
        await parts.wait_idle()

    @staticmethod
    async def _first(*work: Awaitable[object]) -> None:
        tasks = [asyncio.ensure_future(one) for one in work]  # noqa: TID251 - ended below
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _until(self, work: Awaitable[object], deadline: float) -> None:
        """Await, but not beyond the deadline; what is late is cancelled and not waited for."""
        task = asyncio.ensure_future(work)  # noqa: TID251 - ended below
        try:
            await asyncio.wait({task}, timeout=max(0.0, deadline - self._clock.monotonic()))
            if task.done() and not task.cancelled() and task.exception() is not None:
                raise task.exception()  # type: ignore[misc]  # it is not None here
        finally:
            task.cancel()

    def _enter(self, state: State) -> None:
        self.state = state
        if self._on_state is not None:
            self._on_state(state)

    def _phase(self, report: DrainReport, name: str, since: float) -> float:
        now = self._clock.monotonic()
        report.phases_ms[name] = round((now - since) * 1000)
        return now
