"""Writes answers that are kept for their callers, as soon as they are there; nobody waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from gproxy.ledger.store import StoreUnavailable
from gproxy.workers.bell import Bell, hurry
from gproxy.workers.worker_set import Log

REST_SECONDS = 0.5
"""After a try that failed."""
TRY_SECONDS = 30.0
STOP_SECONDS = 3.0
"""For the last try, once the worker is told to stop."""


class Waiting(Protocol):
    """Answers that wait to be written."""

    on_work: Callable[[], None] | None

    @property
    def waiting(self) -> int:
        """How many."""
        ...

    async def flush(self) -> None:
        """Write all that waits. Raises `StoreUnavailable`."""
        ...


class ResponseWriter:
    """The worker. At stop it writes once more what waits, and says what it could not write."""

    name = "response_keeper"

    def __init__(self, keeper: Waiting, log: Log) -> None:
        self._keeper = keeper
        self._log = log
        self._bell = Bell()
        self._stopping = False
        self._failing = False
        self._trying: asyncio.Timeout | None = None
        keeper.on_work = self._bell.ring

    def stop(self) -> None:
        """Write once more, then leave."""
        self._stopping = True
        hurry(self._trying, STOP_SECONDS)
        self._bell.ring()

    async def run(self) -> None:
        """Write whenever something waits."""
        while True:
            await self._bell.wait()
            await self._write()
            if self._stopping:
                break
        if self._keeper.waiting:
            self._log("kept responses not written", {"responses": self._keeper.waiting})

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS if self._stopping else TRY_SECONDS) as self._trying:
                await self._keeper.flush()
        except (StoreUnavailable, TimeoutError) as error:
            if not self._failing:
                self._log("the database does not take kept responses", {"error": str(error) or "out of time"})
            self._failing = True
            if not self._stopping:
                await self._bell.wait(REST_SECONDS)
                self._bell.ring()
        else:
            self._failing = False
        finally:
            self._trying = None
