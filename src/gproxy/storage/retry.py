"""Repeating a transaction that lost against another one. Time and dice are arguments."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from gproxy.clock import Clock, SystemClock
from gproxy.storage.errors import Conflict, Contention

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long: at most `attempts`, and none begins later than `patience` seconds after the first.

    The pause before attempt n is `dice() * base * 2**n` seconds, at most `longest`: full jitter, so that writers
    who collided once do not meet again.
    """

    attempts: int = 12
    patience: float = 10.0
    base: float = 0.005
    longest: float = 0.5
    clock: Clock = SystemClock
    dice: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Call until it does not lose. A `Conflict` counts as losing: another writer inserted the same row first.

        Only for calls that change nothing when they fail, and that look anew at what is there each time.
        """
        began = self.clock.monotonic()
        for attempt in range(self.attempts):
            try:
                return await call()
            except (Contention, Conflict):
                spent = self.clock.monotonic() - began
                if attempt + 1 == self.attempts or spent > self.patience:
                    raise
            await self.sleep(self.dice() * min(self.longest, self.base * 2**attempt))
        raise AssertionError("unreachable")
