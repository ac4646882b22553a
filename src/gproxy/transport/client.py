"""The upstream client: one `send`, one answer. Finds or opens a connection, writes, waits for the head.

Not here: what a status means, which vendor to try next, what an answer costs. Redirects are answers like any other.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.config import TransportConfig
from gproxy.transport.head import request_head
from gproxy.transport.pool import Pool
from gproxy.transport.proxy import parse_proxy
from gproxy.transport.reply import Reply

if TYPE_CHECKING:
    from gproxy.wire.http import Origin, UpstreamRequest

__all__ = ["TransportConfig", "UpstreamClient"]

# When a pooled connection turns out to be dead, the answer tells whether the request may go again (see `Connection`).
# Not always: a body of this size goes out in several writes, and the second breaks with an error that tells nothing;
# and under TLS the loops lose track of how the end came. These connections are looked at before they are used again,
# for one system call.
_LARGE: Final = 256 * 1024
# More pools than this, and those empty for this many seconds are forgotten.
_MANY: Final = 64
_OLD: Final = 60.0
_GRACE: Final = 0.25


class UpstreamClient:
    """Keeps `pipeline.ports.Upstream`. Belongs to the loop it is first used on."""

    def __init__(self, config: TransportConfig | None = None) -> None:
        self._config = config or TransportConfig()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pools: dict[tuple[Origin, str | None], Pool] = {}
        self._closed = False
        self._emptied = asyncio.Event()

    async def send(self, request: UpstreamRequest) -> Reply:
        """Send and wait for the head of the answer.

        Raises `UpstreamFault`. Cancelling it drops the connection. A request is written a second time only when the
        pooled connection turned out to be dead before the peer had taken any of it, or when its method is idempotent
        and not a byte of the answer had come; and then once, on a fresh connection.
        """
        if self._closed:
            raise UpstreamFault(Phase.CONNECT, "the gateway is closing", unprocessed=True)
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        key = (request.origin, request.proxy)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._new_pool(loop, key)
        deadlines, method, body = request.deadlines, request.method, request.body
        head = request_head(request, pool.host, prefix=pool.prefix, extra=pool.extra)
        began = loop.time()
        total_at = began + deadlines.total
        connection = pool.take()
        if pool.secure or len(body) > _LARGE:
            while connection is not None and connection.peer_gone():
                connection.close()
                connection = pool.take()
        if connection is None:
            try:
                connection = await pool.acquire(min(began + deadlines.connect, total_at), fresh=False)
            except asyncio.CancelledError:
                request.unsent = True
                raise
        again = True
        while True:
            reply = connection.begin(method, head, body, deadlines=deadlines, total_at=total_at)
            if reply.fault is None:
                waiter = reply.waiter = loop.create_future()
                try:
                    await waiter
                except asyncio.CancelledError:
                    reply.abort()
                    raise
            if reply.status:
                return reply
            if reply.stale and again:
                again = False
                connection = await pool.acquire(min(loop.time() + deadlines.connect, total_at), fresh=True)
                continue
            raise reply.fault or AssertionError

    async def close(self, deadline: float) -> None:
        """Close idle connections now and those in use as they end; at `deadline` (monotonic seconds) all that is left.

        Requests from now on are refused. Returns when every socket is gone. May be called again.
        """
        self._closed = True
        for pool in self._pools.values():
            pool.retire()
        try:
            async with asyncio.timeout_at(deadline):
                await self._all_gone()
        except TimeoutError:
            for pool in self._pools.values():
                pool.abort()
            with contextlib.suppress(TimeoutError):
                # The loop needs a turn or two to let go of what was aborted; nothing may hold up the exit.
                async with asyncio.timeout(_GRACE):
                    await self._all_gone()

    async def _all_gone(self) -> None:
        while not all(pool.empty for pool in self._pools.values()):
            self._emptied.clear()
            await self._emptied.wait()

    def _new_pool(self, loop: asyncio.AbstractEventLoop, key: tuple[Origin, str | None]) -> Pool:
        origin, proxy = key
        if origin.scheme not in {"http", "https"} or not origin.host.isascii():
            raise UpstreamFault(Phase.CONNECT, "the origin is not a valid http(s) one", unprocessed=True)
        if len(self._pools) > _MANY:
            self._forget_old(loop.time())
        pool = self._pools[key] = Pool(
            loop, self._config, origin, None if proxy is None else parse_proxy(proxy), self._emptied.set
        )
        return pool

    def _forget_old(self, now: float) -> None:
        """Providers come and go; their empty pools need not stay."""
        for key, pool in list(self._pools.items()):
            if pool.empty and now - pool.empty_since > _OLD:
                del self._pools[key]
