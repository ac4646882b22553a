"""The listener: accepts clients, knows what is in flight, and stops without losing anyone.

    start → announce_close → stop_accepting → close_idle → wait_idle → cancel_requests → abort_all

is the order of a shutdown; each step is the caller's to take and to bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import socket
import struct
import sys
from typing import TYPE_CHECKING

from gproxy.clock import Clock, SystemClock
from gproxy.server.bind import BindError, bind
from gproxy.server.connection import Connection
from gproxy.server.hub import Hub
from gproxy.server.limits import ListenerConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from gproxy.errors import Failure
    from gproxy.server.exchange import Handler
    from gproxy.wire.http import Header

__all__ = ["BindError", "Listener", "ListenerConfig", "bind"]

_POLL = 0.01  # seconds between two looks while a shutdown waits
_SETTLE = 0.02  # seconds that handshakes already begun get to complete once new ones are held off


class Listener:
    """Serves HTTP/1.1 on listening sockets with one handler. Lives on one event loop; `start` is called once.

    `render_error` turns a failure (and the request path, if known) into headers and body for answers given without
    the handler: malformed requests, deadlines, `Refused` and exceptions it let out. `on_unhandled` is told the latter.
    """

    def __init__(
        self,
        handler: Handler,
        config: ListenerConfig,
        *,
        render_error: Callable[[Failure, str | None], tuple[Sequence[Header], bytes]],
        on_unhandled: Callable[[BaseException], None],
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._config = config
        self._new_hub = functools.partial(
            Hub,
            handler=handler,
            config=config,
            render_error=render_error,
            on_unhandled=on_unhandled,
            clock=self._clock,
        )
        self._hub: Hub | None = None
        self._servers: list[asyncio.Server] = []
        self._sockets: list[socket.socket] = []
        self._ssl: ssl.SSLContext | None = None
        self._handshake: float | None = None
        self._shutdown: float | None = None

    async def start(self, sockets: Sequence[socket.socket], ssl: ssl.SSLContext | None = None) -> None:
        """Accept clients on these listening sockets, which are the listener's from now on."""
        loop = asyncio.get_running_loop()
        self._hub = hub = self._new_hub(loop)
        self._ssl = ssl
        self._handshake = self._config.tls_handshake_timeout if ssl else None
        self._shutdown = self._config.linger if ssl else None
        hub.start()
        for sock in sockets:
            # Our own handle of the same kernel socket: closing the server's must not drop the accept queue.
            self._sockets.append(sock.dup())
            create = loop.create_unix_server if _is_unix(sock) else loop.create_server
            server = await create(
                self._connection,
                sock=sock,
                backlog=self._config.backlog,
                ssl=ssl,
                ssl_handshake_timeout=self._handshake,
                ssl_shutdown_timeout=self._shutdown,
            )
            self._servers.append(server)

    @property
    def in_flight(self) -> int:
        """Requests whose handler has not returned."""
        return len(self._hub.exchanges) if self._hub else 0

    @property
    def connections(self) -> int:
        """Open connections, idle and closing ones included."""
        return len(self._hub.connections) if self._hub else 0

    def announce_close(self) -> None:
        """From now on every answer that begins says `connection: close`; new requests are still served."""
        if self._hub:
            self._hub.closing = True

    async def stop_accepting(self, *, exclusive: bool = False) -> None:
        """Close the listening sockets without dropping a client the kernel has already accepted for us.

        `exclusive`: no other process holds these sockets (no sibling worker, no successor, no systemd). Then, on
        Linux, new SYNs are held off for a moment so that the queue is truly empty when the socket closes; their
        senders repeat them and meet whoever listens by then. Never set it on a shared socket: it would deafen all.
        """
        assert self._hub is not None, "start comes first"
        for server in self._servers:
            server.close()
        self._servers.clear()
        sockets, self._sockets = self._sockets, []
        accepted: list[socket.socket] = []
        try:
            if exclusive and any([_hold_off_new(sock) for sock in sockets]):  # noqa: C419 - all of them, not up to the first
                await asyncio.sleep(_SETTLE)
        finally:
            for sock in sockets:
                accepted += _accept_all(sock)
                sock.close()
        await asyncio.gather(
            *map(self._adopt, accepted),
            return_exceptions=True,  # a client may have left meanwhile
        )
        self._hub.stop()

    async def close_idle(self, linger: float) -> None:
        """Close the connections without a request, silent new ones included.

        They get up to `linger` seconds in which a request that is already on its way is still served; whoever falls idle
        later gets as long. They end by FIN, never by a reset with unread data (after a 408 where half a head had
        arrived). Returns early when none is left.
        """
        hub = self._hub
        if hub is None:
            return
        hub.idle_limit = min(hub.idle_limit, linger)
        until = self._clock.monotonic() + linger
        while any(conn.idle for conn in hub.connections):
            left = until - self._clock.monotonic()
            if left <= 0:
                for conn in tuple(hub.connections):
                    conn.retire()
                if not any(conn.idle for conn in hub.connections):
                    return
                # What is left has a request in the kernel's hands: the loop reads it before it comes back here.
                await asyncio.sleep(_POLL)
                continue
            await asyncio.sleep(min(_POLL, left))

    async def wait_idle(self, deadline: float) -> bool:
        """Wait until no request is in flight and every answer has left this process.

        `deadline` is a time on the monotonic clock (`Clock.monotonic`), not a duration. False when it passed first.
        """
        hub = self._hub
        if hub is None:
            return True
        while hub.exchanges or any(conn.unsent() for conn in hub.connections):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(_POLL, left))
        return True

    def cancel_requests(self, reason: str) -> int:
        """Cancel the handlers still running and tell how many; what they leave unanswered gets a 503 or is cut."""
        if self._hub is None:
            return 0
        tasks = list(self._hub.exchanges.values())
        for task in tasks:
            # By way of the loop: a task that has not made its first step could not clean up after itself.
            self._hub.loop.call_soon(task.cancel, reason)
        return len(tasks)

    def abort_all(self) -> None:
        """Drop every connection at once: those with an answer in progress by a reset. For the very end."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._hub is None:
            return
        for conn in tuple(self._hub.connections):
            conn.drop()
        self.cancel_requests("the listener is closed")
        self._hub.stop()

    def _connection(self) -> Connection:
        assert self._hub is not None
        return Connection(self._hub, "https" if self._ssl else "http")

    async def _adopt(self, client: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            self._connection,
            client,
            ssl=self._ssl,
            ssl_handshake_timeout=self._handshake,
            ssl_shutdown_timeout=self._shutdown,
        )


def _is_unix(sock: socket.socket) -> bool:
    return sock.family == getattr(socket, "AF_UNIX", None)


def _accept_all(sock: socket.socket) -> list[socket.socket]:
    """Every client the kernel holds for us."""
    found: list[socket.socket] = []
    while True:
        try:
            client, _ = sock.accept()
        except ConnectionAbortedError:
            continue
        except OSError:  # would block, or out of descriptors: then nothing more can be done for the rest
            return found
        client.setblocking(False)
        found.append(client)


def _hold_off_new(sock: socket.socket) -> bool:
    """Let the kernel drop SYNs to this listening socket, by a socket filter: handshakes in progress still complete.

    The program: load the TCP flags (byte 13 of the segment, where the filter of a TCP socket begins); of SYN and ACK only
    SYN set → drop, else accept. Linux only; False when not done.
    """
    if sys.platform != "linux" or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (0x30, 0, 0, 13),  # A = byte[13]
            (0x54, 0, 0, 0x12),  # A &= SYN | ACK
            (0x15, 0, 1, 0x02),  # A == SYN ?
            (0x06, 0, 0, 0),  # drop
            (0x06, 0, 0, 0xFFFF_FFFF),  # accept
        )
    )
    code = ctypes.create_string_buffer(program)
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(code))
    attach_filter = 26  # SO_ATTACH_FILTER, asm-generic/socket.h
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, attach_filter, header)
        return True
    return False
