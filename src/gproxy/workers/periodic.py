"""A worker that does one thing every so often and leaves at its next turn when told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.bell import Bell, hurry
from gproxy.workers.worker_set import Log


class Periodic:
    """Calls `turn` every `every` seconds, first after one period.

    An unavailable database skips a turn; any other exception ends the run, and the worker set starts it again. A turn
    under way when `stop` comes gets `stop_seconds` to finish.
    """

    def __init__(
        self,
        name: str,
        every: float,
        turn: Callable[[], Awaitable[None]],
        log: Log,
        *,
        stop_seconds: float = 1.0,
    ) -> None:
        self.name = name
        self._every = every
        self._turn = turn
        self._log = log
        self._stop_seconds = stop_seconds
        self._bell = Bell()
        self._stopping = False
        self._skipping = False
        self._under_way: asyncio.Timeout | None = None

    def stop(self) -> None:
        """Leave at the next turn."""
        self._stopping = True
        hurry(self._under_way, self._stop_seconds)
        self._bell.ring()

    async def run(self) -> None:
        """Turn by turn until stopped."""
        while not self._stopping:
            await self._bell.wait(self._every)
            if not self._stopping:
                await self._take_turn()

    async def _take_turn(self) -> None:
        try:
            async with asyncio.timeout(self._every) as self._under_way:
                await self._turn()
        except (StoreUnavailable, TimeoutError) as error:
            if not self._skipping:
                self._log("periodic work skipped", {"worker": self.name, "error": str(error) or "out of time"})
            self._skipping = True
        else:
            self._skipping = False
        finally:
            self._under_way = None
