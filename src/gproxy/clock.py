"""The two times the product knows: monotonic for deadlines, wall for what people read."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rooms ask for instead of importing `time`; tests bring a hand-wound one."""

    def monotonic(self) -> float:
        """Seconds on a clock that never steps; only differences mean something."""
        ...

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...


class SystemClock:
    """The machine's clocks."""

    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def now_us() -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000
