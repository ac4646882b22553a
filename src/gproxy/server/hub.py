"""What the connections of one listener share, and the one coarse timer that holds all their deadlines.

A timer per request would cost more than parsing it. Four times a second the sweep looks at every open connection
(0.05 us each) and, closer, at the few that wait for a slow client. A deadline is late by at most one tick, never early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.server.encode import date_line
from gproxy.server.watch import Watch

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gproxy.clock import Clock
    from gproxy.errors import Failure
    from gproxy.server.connection import Connection
    from gproxy.server.exchange import Handler, Responder
    from gproxy.server.limits import ListenerConfig
    from gproxy.wire.http import Header

TICK: Final = 0.25
"""Seconds between two sweeps."""

NEVER: Final = float("inf")


class Hub:
    """The shared state. Times are on the event loop's clock, in seconds, as of the last sweep."""

    __slots__ = (
        "_clock",
        "_stopped",
        "_timer",
        "awaited",
        "closing",
        "config",
        "connections",
        "date_line",
        "exchanges",
        "handler",
        "idle_limit",
        "loop",
        "now",
        "on_unhandled",
        "render_error",
        "stuffed",
        "watch",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: Handler,
        config: ListenerConfig,
        render_error: Callable[[Failure, str | None], tuple[Sequence[Header], bytes]],
        on_unhandled: Callable[[BaseException], None],
        clock: Clock,
    ) -> None:
        self.loop = loop
        self.handler = handler
        self.config = config
        self.render_error = render_error
        self.on_unhandled = on_unhandled
        self.closing = False
        """Answers carry `connection: close` from now on."""
        self.idle_limit = config.idle_timeout
        self.connections: set[Connection] = set()
        self.exchanges: dict[Responder, asyncio.Task[None]] = {}
        """Requests whose handler runs."""
        self.awaited: set[Connection] = set()
        """Connections whose handler waits for body bytes."""
        self.stuffed: dict[Connection, tuple[int, float]] = {}
        """Connections whose client must take bytes before something goes on: fewest bytes left so far, and since when."""
        self.watch = Watch(loop)
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self.now = loop.time()
        self.date_line = date_line(clock.now_us())

    def start(self) -> None:
        """Begin sweeping."""
        if self._timer is None:
            self._sweep()

    def stop(self) -> None:
        """Sweep no more once the last connection is closed."""
        self._stopped = True
        if not self.connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def joined(self, conn: Connection) -> None:
        """A connection is open."""
        self.connections.add(conn)
        self.start()

    def left(self, conn: Connection) -> None:
        """A connection is closed."""
        self.connections.discard(conn)
        self.awaited.discard(conn)
        self.stuffed.pop(conn, None)
        self.watch.discard(conn)
        if self._stopped:
            self.stop()

    def deadline(self, seconds: float) -> float:
        """The time that is `seconds` away, rounded up by the age the last sweep may have."""
        return self.now + TICK + seconds

    def monitor(self, conn: Connection) -> None:
        """Cut this connection when its client takes nothing for the write deadline."""
        if conn not in self.stuffed:
            self.stuffed[conn] = (conn.unsent(), self.now)

    def _sweep(self) -> None:
        self._timer = self.loop.call_later(TICK, self._sweep)  # first: no fault below may end all deadlines
        self.now = now = self.loop.time()
        self.date_line = date_line(self._clock.now_us())
        for conn in [conn for conn in self.connections if conn.deadline <= now]:
            conn.expire()
        for conn in tuple(self.awaited):
            conn.body_tick(TICK)
        if self.stuffed:
            self._check_progress(now)

    def _check_progress(self, now: float) -> None:
        for conn, (fewest, since) in tuple(self.stuffed.items()):
            unsent = conn.unsent()
            if not unsent and not conn.stuffed:
                del self.stuffed[conn]
            elif unsent < fewest:
                self.stuffed[conn] = (unsent, now)
            elif now - since >= self.config.write_timeout:
                conn.reset()
