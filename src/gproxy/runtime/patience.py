"""Waits for a database that is away while we start: it may start after us, or go away in the middle.

Steps of the start are asked again, so each must change nothing when it is repeated, also when its first try was
committed and only the answer was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from gproxy.runtime.logs import Log
from gproxy.storage.errors import DatabaseUnavailable

PAUSE: Final = 0.5
"""Seconds between two tries."""

_T = TypeVar("_T")


class Patience:
    """Takes steps until they succeed; without `endless` (a database file) the first refusal is the last."""

    def __init__(self, log: Log, *, endless: bool) -> None:
        self._log = log
        self._endless = endless

    async def take(self, step: Callable[[], Awaitable[_T]]) -> _T:
        """The step's result. Raises what it raises, but for `DatabaseUnavailable` of a server."""
        told = ""
        while True:
            try:
                return await step()
            except DatabaseUnavailable as error:
                if not self._endless:
                    raise
                if str(error) != told:
                    self._log.warning("waiting for the database", error=str(error))
                told = str(error)
            await asyncio.sleep(PAUSE)
