"""A bounded set of connections. Knows nothing of SQL: it opens, lends, takes back and drops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gproxy.storage.drivers import Link
from gproxy.storage.errors import DatabaseUnavailable


class Pool:
    """At most `size` links; whoever waits longer than `acquire_timeout` seconds gets `DatabaseUnavailable`."""

    def __init__(self, opener: Callable[[], Awaitable[Link]], *, size: int, acquire_timeout: float) -> None:
        self._opener = opener
        self._slots = asyncio.Semaphore(size)
        self._acquire_timeout = acquire_timeout
        self._idle: list[Link] = []
        self._lent: set[Link] = set()
        self._closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Link]:
        """A usable link, the most recently used one first. Dropped instead of returned when it is no longer usable."""
        if self._closed:
            raise DatabaseUnavailable("the database is closed")
        try:
            async with asyncio.timeout(self._acquire_timeout):
                await self._slots.acquire()
        except TimeoutError:
            raise DatabaseUnavailable("all database connections are busy") from None
        try:
            link = await self._take()
            try:
                yield link
            finally:
                self._give_back(link)
        finally:
            self._slots.release()

    async def _take(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if link.usable:
                self._lent.add(link)
                return link
            link.abandon()
        link = await self._opener()
        self._lent.add(link)
        return link

    def _give_back(self, link: Link) -> None:
        self._lent.discard(link)
        if link.usable and not self._closed:
            self._idle.append(link)
        else:
            link.abandon()

    def forget_idle(self) -> None:
        """Drop the waiting links: one of them was found dead, so the others are likely dead too."""
        while self._idle:
            self._idle.pop().abandon()

    async def close(self) -> None:
        """Close what waits, drop what is lent. Bounded by the links' own second."""
        self._closed = True
        for link in tuple(self._lent):
            link.abandon()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(link.close() for link in idle), return_exceptions=True)
