"""Rows about requests on their way to the database: bounded, in the background, and never in anybody's way.

What does not fit is dropped and counted; what no database takes is dropped, and the others of its batch are tried
alone; what a database does not take now waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from gproxy.ledger.store import StoreUnavailable
from gproxy.storage.engine import Database, Session
from gproxy.storage.errors import DatabaseUnavailable, Poison

_BATCH: Final = 100
Row = TypeVar("Row")


class Backlog(Generic[Row]):
    """`what` names the rows in the log line about drops; `put` stores some, so that storing them again changes nothing."""

    def __init__(
        self,
        what: str,
        put: Callable[[Session, Sequence[Row]], Awaitable[None]],
        say: Callable[[str, Mapping[str, Any]], None],
        *,
        most_rows: int,
        most_bytes: int,
    ) -> None:
        self._what = what
        self._put = put
        self._say = say
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[Row, int]] = deque()
        self._bytes = 0
        self._told = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether another row would be dropped, however small."""
        return len(self._waiting) >= self._most_rows or self._bytes >= self._most_bytes

    def add(self, row: Row, size: int) -> None:
        """Take a row of about so many bytes."""
        if len(self._waiting) >= self._most_rows or self._bytes + size > self._most_bytes:
            self.dropped += 1
            return
        self._waiting.append((row, size))
        self._bytes += size

    async def flush(self, db: Database, most: int | None = None) -> None:
        """Write what waits, at most so many rows. Raises `StoreUnavailable`; then it waits on."""
        if self.dropped > self._told:
            self._say(f"{self._what} dropped: there are too many for the database", {"dropped": self.dropped})
            self._told = self.dropped
        left = len(self._waiting) if most is None else most
        while self._waiting and left > 0:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, left, len(self._waiting)))]
            left -= len(batch)
            try:
                await self._write(db, [row for row, _ in batch])
            except (DatabaseUnavailable, asyncio.CancelledError) as error:
                self._waiting.extendleft(reversed(batch))  # repeating them changes nothing
                if isinstance(error, DatabaseUnavailable):
                    raise StoreUnavailable(str(error)) from error
                raise
            self._bytes -= sum(size for _, size in batch)

    async def _write(self, db: Database, rows: Sequence[Row]) -> None:
        try:
            async with db.transaction() as tx:
                await self._put(tx, rows)
        except Poison:
            if len(rows) == 1:
                self.dropped += 1
                return
            for row in rows:
                await self._write(db, [row])
