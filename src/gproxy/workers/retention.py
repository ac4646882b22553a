"""Every minute: delete what is older than it is kept, a small batch at a time.

Each batch is a transaction of its own and is followed by a pause as long as it took, so that those who write the
ledger find the database free at least half of the time, however much there is to delete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gproxy.clock import Clock
from gproxy.workers.periodic import Periodic
from gproxy.workers.worker_set import Log

EVERY_SECONDS: Final = 60.0
BATCH: Final = 500
"""Rows per transaction: some ten milliseconds of a disk that is not fast."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """One table of things that are kept for a time."""

    name: str
    cutoff: Callable[[], int | None]
    """Microseconds since the epoch before which rows go; None: all stay."""
    delete: Callable[[int, int], Awaitable[int]]
    """Delete at most so many rows older than that; how many went. Raises `StoreUnavailable`."""


def retention(shelves: Sequence[Shelf], clock: Clock, log: Log, *, every: float = EVERY_SECONDS) -> Periodic:
    """The worker. A turn ends after half of its period; what is left then is for the next one."""

    async def emptied(shelf: Shelf, until: float) -> None:
        cutoff = shelf.cutoff()
        if cutoff is None:
            return
        while (began := clock.monotonic()) < until:
            if await shelf.delete(cutoff, BATCH) < BATCH:
                return
            await asyncio.sleep(clock.monotonic() - began)

    async def turn() -> None:
        # Shares of what time is left: one shelf with a year to delete must not keep the others from theirs.
        end = clock.monotonic() + every / 2
        for place, shelf in enumerate(shelves):
            now = clock.monotonic()
            await emptied(shelf, now + (end - now) / (len(shelves) - place))

    return Periodic("retention", every, turn, log)
