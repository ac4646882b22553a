"""Every 60 s: drop rate-limit windows and sessions that have expired."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gproxy.clock import Clock
from gproxy.workers.periodic import Periodic
from gproxy.workers.worker_set import Log

EVERY_SECONDS = 60.0


class Sweepable(Protocol):
    """Something that keeps entries by time."""

    def sweep(self, now: float) -> int:
        """Drop what has expired by `now` (monotonic seconds); how many went."""
        ...


def rate_limit_gc(things: Sequence[Sweepable], clock: Clock, log: Log, *, every: float = EVERY_SECONDS) -> Periodic:
    """The worker. Sweeps are short and in memory; one that would block the loop belongs elsewhere."""

    async def turn() -> None:
        now = clock.monotonic()
        for thing in things:
            thing.sweep(now)

    return Periodic("rate_limit_gc", every, turn, log)
