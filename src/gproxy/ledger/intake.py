"""Closed attempts on their way from the journal to the database, in order, in bounded memory.

Up to `limit` rows wait in memory. When more do, the rows stay where they are safe anyway, in the journal's
segments, and only the place to go on reading from is kept. The sink does not notice: `peek` reads on from disk
when memory has run empty.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

import msgspec

from gproxy.ledger.record import UsageRow
from gproxy.ledger.store import Position

MEMORY_LIMIT: Final = 10_000


class Waiting(msgspec.Struct, frozen=True):
    """A row that has not landed. `since` is monotonic seconds; rows read back from disk are due at once."""

    row: UsageRow
    position: Position
    since: float


class Intake:
    """A queue whose front is only removed once it has landed."""

    def __init__(self, limit: int = MEMORY_LIMIT) -> None:
        self._limit = limit
        self._rows: deque[Waiting] = deque()
        self._spilled = 0
        self._read_on: Iterator[Waiting] | None = None
        self.on_push: Callable[[], None] | None = None
        """Called after a row came in; the sink's bell."""

    def __len__(self) -> int:
        return len(self._rows) + self._spilled

    @property
    def spilling(self) -> bool:
        """Whether rows are on disk only."""
        return self._read_on is not None

    @property
    def full(self) -> bool:
        """Whether the next row must be left on disk."""
        return len(self._rows) >= self._limit

    @property
    def oldest(self) -> float | None:
        """Since when the front row waits, monotonic seconds."""
        if self._rows:
            return self._rows[0].since
        return 0.0 if self._spilled else None

    def push(self, waiting: Waiting) -> None:
        """A row, behind all others. Only while not spilling."""
        self._rows.append(waiting)
        if self.on_push is not None:
            self.on_push()

    def spill(self, read_on: Iterator[Waiting]) -> None:
        """From now on rows stay on disk; `read_on` gives them in order and ends when it has caught up."""
        self._read_on = read_on

    def left_on_disk(self) -> None:
        """One more row that is on disk only."""
        self._spilled += 1
        if self.on_push is not None:
            self.on_push()

    def peek(self, most: int) -> list[Waiting]:
        """The front rows, at most so many, without removing them."""
        if self._read_on is not None and len(self._rows) < most:
            self._refill(most - len(self._rows))
        return list(islice(self._rows, most))

    def landed(self, count: int) -> None:
        """The first `count` rows are in the database (or in quarantine)."""
        for _ in range(count):
            self._rows.popleft()

    def _refill(self, most: int) -> None:
        assert self._read_on is not None
        before = len(self._rows)
        self._rows.extend(islice(self._read_on, most))
        got = len(self._rows) - before
        self._spilled = max(0, self._spilled - got)
        if got < most:
            # Caught up: everything written so far has been read, and nothing else ran in between.
            self._read_on, self._spilled = None, 0
