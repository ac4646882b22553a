"""Writes down what happened to shared budgets, as soon as it happens; requests never wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.bell import Bell
from gproxy.workers.worker_set import Log

REST_SECONDS = 0.25
"""After a try that failed; requests that wait for an answer were told so."""


class Waiting(Protocol):
    """Counters with something to write."""

    on_work: Callable[[], None] | None

    async def flush(self) -> None:
        """Write all that waits. Raises `StoreUnavailable`."""
        ...


class Settler:
    """The worker. At stop it writes once more what waits; what cannot be written expires by itself."""

    name = "quota_settler"

    def __init__(self, counters: Waiting, log: Log) -> None:
        self._counters = counters
        self._log = log
        self._bell = Bell()
        self._stopping = False
        self._failing = False
        counters.on_work = self._bell.ring

    def stop(self) -> None:
        """Write once more, then leave."""
        self._stopping = True
        self._bell.ring()

    async def run(self) -> None:
        """Write whenever something waits."""
        while True:
            await self._bell.wait()
            try:
                await self._counters.flush()
            except StoreUnavailable as error:
                if not self._failing:
                    self._log("shared budgets cannot be reached", {"error": str(error)})
                self._failing = True
                if not self._stopping:
                    await self._bell.wait(REST_SECONDS)
                    self._bell.ring()
            else:
                self._failing = False
            if self._stopping:
                return
