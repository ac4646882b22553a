"""A vendor made of raw sockets: it writes exactly the bytes a test gives it and tells what it saw.

A test hands it one script, called per accepted connection. Order comes from reading, writing and events, never from
sleeping. What a script raises is raised again when the peer is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from gproxy.transport.client import UpstreamClient
from gproxy.transport.pool import Pool
from gproxy.wire.http import Deadlines, Header, Origin, UpstreamRequest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass(frozen=True)
class Seen:
    """One request as it stood on the wire."""

    line: bytes
    headers: list[Header]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1
        return found[0] if found else None


class Gone(Exception):  # noqa: N818 - not an error but how every conversation ends
    """The client closed the connection before a whole request came."""


class Line:
    """One accepted connection."""

    def __init__(self, peer: Peer, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peer = peer
        self.number = number
        self.reader = reader
        self.writer = writer

    async def head(self) -> Seen:
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error
        line, *rest = raw[:-4].split(b"\r\n")
        headers = [(name, value) for name, _, value in (header.partition(b": ") for header in rest)]
        return Seen(line, headers, b"")

    async def request(self) -> Seen:
        head = await self.head()
        try:
            body = await self.reader.readexactly(int(head.header(b"content-length") or 0))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone from error
        seen = Seen(head.line, head.headers, body)
        self.peer.requests.append(seen)
        return seen

    async def write(self, *pieces: bytes) -> None:
        """Each piece in its own turn of the loop, so that the client reads them apart as far as the kernel lets it."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
        except (ConnectionError, RuntimeError) as error:  # uvloop: "the handler is closed"
            raise Gone from error

    async def answer(self, *pieces: bytes) -> None:
        await self.request()
        await self.write(*pieces)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """A RST instead of a FIN."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Return when the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Line], Awaitable[None]]


class Peer:
    """Listens on 127.0.0.1; `host` is only what its origin is called."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._script = script
        self._tls = tls
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._errors: list[BaseException] = []
        self._server: asyncio.Server | None = None
        self.requests: list[Seen] = []
        self.accepted = 0
        self.port = 0

    @property
    def origin(self) -> Origin:
        return Origin("https" if self._tls else "http", self._host, self.port)

    def ask(
        self,
        body: bytes = b"{}",
        *,
        method: bytes = b"POST",
        target: bytes = b"/v1/x",
        headers: list[Header] | None = None,
        proxy: str | None = None,
        **deadlines: float,
    ) -> UpstreamRequest:
        """A request for this peer."""
        return UpstreamRequest(method, self.origin, target, headers or [], body, Deadlines(**deadlines), proxy)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._errors and kind is None:
            raise self._errors[0]

    async def seen(self, count: int) -> None:
        """Return when so many requests have come."""
        while len(self.requests) < count:  # noqa: ASYNC110 - the lists are what a test asserts on anyway
            await asyncio.sleep(0)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        try:
            await self._script(Line(self, self.accepted, reader, writer))
        except Gone:
            pass
        except asyncio.CancelledError:
            pass
        except Exception as error:
            self._errors.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


def answering(*pieces: bytes) -> Script:
    """Answers every request on a connection with the same pieces."""

    async def script(line: Line) -> None:
        while True:
            await line.answer(*pieces)

    return script


@contextlib.asynccontextmanager
async def elsewhere(
    script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Peer, Callable[[asyncio.Event], None]]]:
    """A peer on a thread and loop of its own, which goes on while the test blocks this loop; and how to set an event there."""
    ready = threading.Event()
    found: list[tuple[Peer, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        end = asyncio.Event()
        async with Peer(script, tls=tls, host=host) as peer:
            found.append((peer, asyncio.get_running_loop(), end))
            ready.set()
            await end.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    peer, loop, end = found[0]

    def trigger(event: asyncio.Event) -> None:
        loop.call_soon_threadsafe(event.set)

    try:
        yield peer, trigger
    finally:
        trigger(end)
        await asyncio.get_running_loop().run_in_executor(None, thread.join)


def pools(client: UpstreamClient) -> list[Pool]:
    """The client's connections, per origin and proxy."""
    return list(client._pools.values())


async def emptied(client: UpstreamClient) -> None:
    """Return when the client has no connection open."""
    while any(pool.all for pool in pools(client)):  # noqa: ASYNC110 - there is nobody to set an event
        await asyncio.sleep(0)


def once(*pieces: bytes) -> Script:
    """Answers one request and closes."""

    async def script(line: Line) -> None:
        await line.answer(*pieces)

    return script
