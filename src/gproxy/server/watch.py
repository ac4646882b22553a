"""Noticing within 250 ms that a client left although nothing is read from it.

Two cases hide a departure. Reading is paused (backpressure, pipelining): the end of the stream lies behind unread
bytes. Or the client sent FIN: that is either `close()` or `shutdown(SHUT_WR)` by a client that still reads, and TCP
tells them apart only when something is sent: one that left answers with a reset. So the few connections concerned are
polled, and one that sent FIN is sent bytes that mean nothing: `100 Continue`, which any HTTP/1.1 client discards (RFC
9110 section 15.2.1), or in a chunked answer a leading zero of the next chunk size. Not at once: most answers come within
the two ticks and need no probe. HTTP/1.0 has neither: there FIN counts as leaving after the two ticks, for its usual
speaker is a proxy whose own client left (nginx), which closes and does not half-close. An answer of declared length that
has begun cannot be probed either; its next write tells.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from gproxy.server.connection import Connection

WATCH_TICK: Final = 0.05
"""Seconds between two looks: FIN + at most 2 ticks = probe, + 1 tick = noticed, which leaves 100 ms for the network."""

_LEFT: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL
_HALF_CLOSED: Final = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere only what reading itself shows


class Watch:
    """The connections to look at; its timer runs only while there are any."""

    __slots__ = ("_loop", "_seen", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seen: dict[Connection, int] = {}  # how many looks found the client's side closed; probed at the second
        self._timer: asyncio.TimerHandle | None = None

    def add(self, conn: Connection) -> None:
        """Look at this connection until it is discarded."""
        self._seen.setdefault(conn, 0)
        if self._timer is None:
            self._timer = self._loop.call_later(WATCH_TICK, self._look)

    def discard(self, conn: Connection) -> None:
        """Its exchange is over, or reading shows everything again."""
        if self._seen and self._seen.pop(conn, None) is not None and not self._seen and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._loop.call_later(WATCH_TICK, self._look)
        for conn, looks in tuple(self._seen.items()):
            poller = select.poll()
            poller.register(conn.fileno(), _HALF_CLOSED)
            events = next((found for _, found in poller.poll(0)), 0)
            if events & _LEFT:
                conn.reset()
            elif conn.eof or events & _HALF_CLOSED:
                self._seen[conn] = looks + 1
                if looks == 1:
                    conn.probe()
