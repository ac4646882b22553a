"""After how long a member's answer is late: what a hedge's second attempt waits for, learned from first-byte times.

    the first answers ──their percentile──► late after s seconds ──each further answer──► a little more, a little less

The mark is moved so that in the long run exactly the chosen share of answers is late: up for an answer that was, down
for one that was not, in steps whose ratio is that share. Only whether an answer was late is needed for that, not how
late: a late answer is often outrun by the second attempt and its real time is never known. Kept per member, kind of
answer (a stream begins with its first word, a buffered answer when all are there) and percentile, in one number.
No clock here, and no dice; times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

ENOUGH: Final = 20
"""Answers before anything is said: the 95th percentile of fewer is just the slowest."""

STEP: Final = 0.1
"""How fast the mark follows: a vendor that has become twice as slow is followed within seven late answers."""

SHORTEST: Final = 0.001
LONGEST: Final = 3600.0
"""Bounds of the mark, in seconds: it is moved by factors and must neither vanish nor grow for ever."""

MOST_MARKS: Final = 4096
"""Marks kept at most, so that the memory has a bound whatever is configured."""


class Mark:
    """After how long one member is late. `late_after` is None until enough answers have been seen."""

    __slots__ = ("_first", "_share", "late_after")

    def __init__(self, percent: int) -> None:
        self._share = percent / 100
        self._first: list[float] = []
        self.late_after: float | None = None

    def answered(self, seconds: float, against: float | None) -> None:
        """An answer began after so long; `against` is the mark it was held against when it was asked for."""
        if self.late_after is not None:
            self._move(late=seconds > (self.late_after if against is None else against))
            return
        self._first.append(seconds)
        if len(self._first) == ENOUGH:
            ordered = sorted(self._first)
            self.late_after = self._bounded(ordered[math.ceil(ENOUGH * self._share) - 1])
            self._first.clear()

    def outrun(self) -> None:
        """An answer was late, and another came before it."""
        self._move(late=True)

    def _move(self, *, late: bool) -> None:
        assert self.late_after is not None
        by = self._share if late else self._share - 1
        self.late_after = self._bounded(self.late_after * math.exp(STEP * by))

    @staticmethod
    def _bounded(seconds: float) -> float:
        return min(max(seconds, SHORTEST), LONGEST)


class Pace:
    """The marks of every member of hedged routes, in this process. Beside the snapshot; survives its swaps."""

    def __init__(self) -> None:
        self._marks: dict[tuple[str, bool, int], Mark] = {}

    def of(self, member: str, streams: bool, percent: int) -> Mark:
        """The mark of a member; made when first asked for."""
        key = (member, streams, percent)
        found = self._marks.get(key)
        if found is None:
            if len(self._marks) >= MOST_MARKS:
                del self._marks[next(iter(self._marks))]
            found = self._marks[key] = Mark(percent)
        return found

    def keep(self, members: Collection[str]) -> None:
        """After a snapshot swap: forget members that no route hedges any more."""
        for gone in [key for key in self._marks if key[0] not in members]:
            del self._marks[gone]
