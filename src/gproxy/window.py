"""A rolling counter as pure arithmetic: what was counted in the last so many seconds.

The window is exact and rolling: whoever adds only what fits lets no more than the limit through in any stretch of
`length` seconds. Hits are kept in slots of 1/60 of the window, and a slot counts until it has wholly left the window,
so an answer is conservative by at most one slot and the state is bounded, whatever the traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SLOTS: Final = 60
MINUTE: Final = 60.0


class Window:
    """One rolling counter."""

    __slots__ = ("_counts", "_edge", "_newest", "_slot", "_total", "length")

    def __init__(self, length: float) -> None:
        self.length = length
        self._slot = length / SLOTS
        self._counts: dict[int, int] = {}
        self._total = 0
        self._edge = -1
        """The latest slot at which what is too old was dropped: once per slot is enough."""
        self._newest = -1

    def used(self, now: float) -> int:
        """What counts at `now` (seconds, monotonic)."""
        self._forget(now)
        return self._total

    def add(self, cost: int, now: float) -> int:
        """Count `cost`; returns the slot, so that the cost can be corrected later."""
        slot = self._forget(now)
        counts = self._counts
        counts[slot] = counts.get(slot, 0) + cost
        self._total += cost
        self._newest = max(self._newest, slot)
        return slot

    def standing(self, now: float) -> tuple[int, float]:
        """What counts, and the seconds until nothing does, as of the last `used` or `add`, which was at `now`."""
        if not self._counts:
            return self._total, 0.0
        after = (self._newest + 1 + SLOTS) * self._slot - now
        return self._total, max(0.0, after)

    def moments(self) -> dict[float, int]:
        """How much counts at which moment: the middle of each slot, monotonic seconds."""
        return {(slot + 0.5) * self._slot: count for slot, count in self._counts.items() if count}

    def raise_to(self, costs: Mapping[float, int]) -> None:
        """See to it that at least so much counts at each of these moments."""
        slots: dict[int, int] = {}
        for at, cost in costs.items():
            slot = int(at // self._slot)
            slots[slot] = slots.get(slot, 0) + cost
        for slot, cost in slots.items():
            missing = cost - self._counts.get(slot, 0)
            if missing > 0 and slot >= self._edge - SLOTS:
                self._newest = max(self._newest, slot)
                self._counts[slot] = self._counts.get(slot, 0) + missing
                self._total += missing

    def correct(self, slot: int, difference: int) -> None:
        """Change what an earlier `add` counted; a slot that has left the window is past correcting."""
        if slot in self._counts:
            self._counts[slot] += difference
            self._total += difference

    def wait_for(self, cost: int, limit: int, now: float) -> float:
        """Seconds until `cost` fits under `limit`, if nothing else comes; the whole window when it never does."""
        self._forget(now)
        excess = self._total + cost - limit
        if excess <= 0:
            return 0.0
        for slot in sorted(self._counts):
            excess -= self._counts[slot]
            if excess <= 0:
                return max(0.0, (slot + 1 + SLOTS) * self._slot - now)
        return self.length

    def _forget(self, now: float) -> int:
        """Drop what no longer overlaps (now - length, now]; the slot of `now`."""
        slot = int(now // self._slot)
        if slot > self._edge:
            self._edge = slot
            for old in [old for old in self._counts if old < slot - SLOTS]:
                self._total -= self._counts.pop(old)
        return slot
