"""The connections to one origin through one proxy: which are free, how many there are, who waits for one.

Last in, first out: under light load a few connections stay warm and the others reach their keep-alive end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.connection import Connection
from gproxy.transport.dial import Dial

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.transport.config import TransportConfig
    from gproxy.transport.proxy import Proxy
    from gproxy.wire.http import Origin

_CLOSING = "the gateway is closing"


class Pool:
    """Not thread-safe; lives on one loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: TransportConfig,
        origin: Origin,
        proxy: Proxy | None,
        emptied: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._config = config
        self._emptied = emptied
        self._retired = False
        self._dials: set[asyncio.Timeout] = set()
        self._leaving: set[Connection] = set()  # closed by us, the socket not yet gone
        self.origin = origin
        self.proxy = proxy
        self.host = origin.host_header
        # An HTTP proxy wants the whole URL of a plain-text origin, and its own credentials with each request.
        absolute = proxy is not None and proxy.is_http and origin.scheme == "http"
        self.prefix = b"http://" + self.host if absolute else b""
        self.extra = proxy.authorization() if proxy is not None and absolute else b""
        self.secure = origin.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        self.idle: list[Connection] = []
        self.all: set[Connection] = set()
        self.waiting: deque[asyncio.Future[None]] = deque()
        self.empty_since = loop.time()

    @property
    def empty(self) -> bool:
        """No socket, no wish for one."""
        return not (self.all or self._dials or self.waiting or self._leaving)

    def take(self) -> Connection | None:
        """A free connection, the one used last."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return None

    async def acquire(self, connect_at: float, *, fresh: bool) -> Connection:
        """A connection by the deadline: a free one unless it must be `fresh`, else a new one.

        At the cap it waits its turn. Raises `UpstreamFault(connect | tls)`.
        """
        while True:
            if self._retired:
                raise UpstreamFault(Phase.CONNECT, _CLOSING, unprocessed=True)
            if not fresh and (connection := self.take()) is not None:
                return connection
            if len(self.all) + len(self._dials) < self._config.max_connections_per_origin:
                return await self._open(connect_at)
            if fresh and self.idle:
                self.idle[0].close()
                continue
            await self._turn(connect_at)

    def retire(self) -> None:
        """Open nothing more and keep nothing: idle connections close now, those in use when their answer ends."""
        self._retired = True
        for connection in list(self.idle):
            connection.close()
        for _ in range(len(self.waiting)):
            self._call_next()

    def abort(self) -> None:
        """Close everything, in use or being opened."""
        for connection in list(self.all):
            connection.drop(_CLOSING)
        for dial in self._dials:
            dial.reschedule(self._loop.time())

    def released(self, connection: Connection) -> None:
        """Its answer ended cleanly."""
        if self._retired or len(self.idle) >= self._config.max_idle_per_origin:
            connection.close()
            return
        self.idle.append(connection)
        if self.waiting:
            self._call_next()

    def gone(self, connection: Connection) -> None:
        """It is closed; the socket follows."""
        self.all.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)
        if connection.transport is not None:
            self._leaving.add(connection)
        self._call_next()
        self._settle()

    def lost(self, connection: Connection) -> None:
        """The socket is gone."""
        self._leaving.discard(connection)
        self._settle()

    async def _open(self, connect_at: float) -> Connection:
        dial = Dial(self._loop, self._config, self.origin, self.proxy, self._make)
        connection: Connection | None = None
        timeout = asyncio.timeout_at(connect_at)
        self._dials.add(timeout)
        try:
            async with timeout:
                connection = await dial.run()
        except TimeoutError:
            reason = "tls handshake timeout" if dial.phase is Phase.TLS else "connect timeout"
            raise UpstreamFault(dial.phase, reason, timeout=True, unprocessed=True) from None
        finally:
            self._dials.discard(timeout)
            if connection is None:
                self._call_next()
                self._settle()
        if not connection.usable:
            connection.close()
            raise UpstreamFault(Phase.CONNECT, "connection closed at once", unprocessed=True)
        self.all.add(connection)
        return connection

    def _make(self) -> Connection:
        return Connection(self._loop, self._config, self)

    async def _turn(self, connect_at: float) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self.waiting.append(turn)
        try:
            async with asyncio.timeout_at(connect_at):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._call_next()  # the call came, but nobody is here to follow it
            with contextlib.suppress(ValueError):
                self.waiting.remove(turn)
            self._settle()
            if isinstance(error, TimeoutError):
                raise UpstreamFault(
                    Phase.CONNECT, "no free connection in time", timeout=True, unprocessed=True
                ) from None
            raise

    def _call_next(self) -> None:
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _settle(self) -> None:
        if self.empty:
            self.empty_since = self._loop.time()
            self._emptied()
