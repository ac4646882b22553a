"""How workers wait: for a ring or a deadline, whichever comes first. No polling, one timer at most."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Rings are kept until somebody waits; any number of them wake the one waiter once."""

    __slots__ = ("_rung", "_waiter")

    def __init__(self) -> None:
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """Wake the waiter, or the next one at once."""
        self._rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for a ring, at most so long; whether it rang. Takes the ring with it."""
        if not self._rung:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiter = waiter
            timer = None if seconds is None else loop.call_later(max(0.0, seconds), _end, waiter)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        rung, self._rung = self._rung, False
        return rung


def _end(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def hurry(under_way: asyncio.Timeout | None, seconds: float) -> None:
    """Bring the deadline of what is under way forward to so many seconds from now; never push it back."""
    if under_way is None:
        return
    soon = asyncio.get_running_loop().time() + seconds
    when = under_way.when()
    if when is None or when > soon:
        with suppress(RuntimeError):  # it has just run out by itself
            under_way.reschedule(soon)
