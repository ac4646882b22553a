"""One client connection: requests read by llhttp, answers written as raw bytes.

Raw because a judge must be able to send what no well-behaved library would. One request is answered at a time;
pipelined ones wait. It is not `gproxy.server` on purpose: two independent implementations check each other.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httptools

MAX_HEAD: Final = 1 << 20
MAX_BODY: Final = 512 << 20
_RST: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


class Gone(Exception):  # noqa: N818 - it is an event, not a defect
    """The client has left."""


@dataclass(slots=True)
class Request:
    """A request, read to its end. Header names in lower case; of repeated ones the last."""

    method: str
    target: str
    headers: dict[bytes, bytes]
    body: bytes
    keep_alive: bool
    path: str = ""
    query: str = ""


@dataclass(slots=True)
class _Reading:
    target: bytes = b""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: list[bytes] = field(default_factory=list)
    size: int = 0
    head_size: int = 0


class Connection(asyncio.Protocol):
    """Feeds requests to `serve` in order; `serve` answers with `write`, then calls `done`."""

    def __init__(
        self,
        serve: Callable[[Connection, Request], None],
        refused: Callable[[Connection, int, str], None],
        all_of_them: set[Connection],
        number: int,
    ) -> None:
        self.number = number
        self.bytes_out = 0
        self.gone = False
        self._serve = serve
        self._refused = refused
        self._all = all_of_them
        self._parser = httptools.HttpRequestParser(self)
        self._reading = _Reading()
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._ended = False
        self._paused: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = cast("asyncio.Transport", transport)
        # Zero: a drained write is one the kernel has taken, which is what "sent" means in the count.
        self._transport.set_write_buffer_limits(high=0)
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client left: whoever waits is told, the answer under way is cancelled."""
        self.gone = True
        self._all.discard(self)
        self._waiting.clear()
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """The client will send no more; it is taken to have left."""
        return False

    def pause_writing(self) -> None:
        """The kernel took not everything."""
        if self._paused is None or self._paused.done():
            self._paused = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """The kernel has taken everything."""
        if self._paused is not None and not self._paused.done():
            self._paused.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._ended:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(426, "upgrade not supported")
        except httptools.HttpParserCallbackError as error:
            reason = error.__context__
            self._refuse(413 if isinstance(reason, OverflowError) else 400, "too large or not readable")
        except httptools.HttpParserError as error:
            self._refuse(400, str(error))

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        """A request starts."""
        self._reading = _Reading()

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._reading.target += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._grow(len(name) + len(value))
        self._reading.headers[name.lower()] = value

    def _grow(self, size: int) -> None:
        self._reading.head_size += size
        if self._reading.head_size > MAX_HEAD:
            raise OverflowError

    def on_headers_complete(self) -> None:
        """The head ended; a waiting client is told to go on."""
        if self._reading.headers.get(b"expect", b"").lower() == b"100-continue" and not self._busy:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._reading.size += len(body)
        if self._reading.size > MAX_BODY:
            raise OverflowError
        self._reading.body.append(body)

    def on_message_complete(self) -> None:
        """The request ended: serve it, or let it wait its turn."""
        reading = self._reading
        target = reading.target.decode("latin-1")
        path, _, query = target.partition("?")
        body = reading.body[0] if len(reading.body) == 1 else b"".join(reading.body)
        method = self._parser.get_method().decode("latin-1")
        keep = self._parser.should_keep_alive()
        request = Request(method, target, reading.headers, body, keep, path, query)
        if self._parser.should_upgrade():
            return  # feed_data raises right after this, and the connection is refused there
        self._waiting.append(request)
        if not self._busy:
            self._next()

    def _next(self) -> None:
        if self._waiting and not self.gone:
            self._busy = True
            self._serve(self, self._waiting.popleft())

    def _refuse(self, status: int, reason: str) -> None:
        self._ended = True
        if not self._busy:
            self._refused(self, status, reason)
        self.close()

    # What answers are made with

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run the answer as this connection's task; it is cancelled when the client leaves."""
        self._task = asyncio.get_running_loop().create_task(coroutine, name=name)

    def stop(self) -> asyncio.Task[None] | None:
        """Cancel the answer that is under way and drop the connection."""
        task = self._task
        if task is not None:
            task.cancel()
        self._transport.abort()
        return task

    def write(self, data: bytes) -> None:
        """Send bytes as they are. Raises `Gone`."""
        if self.gone or self._transport.is_closing():
            raise Gone
        self.bytes_out += len(data)
        self._transport.write(data)

    @property
    def flushed(self) -> bool:
        """Whether the kernel has taken everything."""
        return self._paused is None or self._paused.done()

    async def drain(self) -> None:
        """Wait until the kernel has taken everything. Raises `Gone`."""
        if self._paused is not None:
            await self._paused
        if self.gone:
            raise Gone

    def done(self, *, keep_alive: bool) -> None:
        """The answer ended: read on, or close."""
        self._task = None
        self._busy = False
        if keep_alive and not self._ended:
            self._next()
        else:
            self.close()

    def close(self) -> None:
        """Close in an orderly way (FIN) after what was written."""
        self._ended = True
        if not self.gone:
            self._transport.close()

    def reset(self) -> None:
        """End the connection with RST."""
        self._ended = True
        if self.gone:
            return
        plain = self._transport.get_extra_info("socket")
        # A duplicate, because event loops hand out a wrapper that may not set options.
        twin = socket.socket(fileno=socket.dup(plain.fileno()))
        try:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        finally:
            twin.close()
        self._transport.abort()
