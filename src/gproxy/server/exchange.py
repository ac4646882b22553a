"""One request and the answer to it, as a handler sees them. Parsing and sockets are the connection's (connection.py).

A handler may be cancelled, may raise and may be left by its client at any await. It asks for the body when it wants
it, answers once, and never waits for anything here without a deadline: silence of the client ends every wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from gproxy.errors import ClientGone, Failure, Kind, Refused
from gproxy.server.encode import CONTINUE, LAST_CHUNK, encode_head

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from gproxy.server.connection import Connection
    from gproxy.server.head import Head
    from gproxy.wire.http import Header

__all__ = ["ClientGone", "Handler", "Request", "Responder"]

_COPY_LIMIT: Final = 16_384  # below it one copy is cheaper than a second buffer in the system call
_NO_LIMIT: Final = -1


class Request:
    """One request. The head is complete; the body may still be on its way.

    `path` is the raw path: not percent-decoded, without the query, and always begins with `/`. `headers` have
    lower-cased names and are in the order sent.
    """

    __slots__ = (
        "_conn",
        "_failure",
        "_first",
        "_limit",
        "_parts",
        "_waiter",
        "chunked",
        "complete",
        "expects",
        "headers",
        "http11",
        "keep_alive",
        "length",
        "method",
        "path",
        "peer",
        "query",
        "received",
        "scheme",
        "silent",
        "unread",
        "waited",
    )

    def __init__(self, head: Head, conn: Connection) -> None:
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.http11 = head.http11
        self.peer = conn.peer
        self.scheme = conn.scheme
        self.length = head.length
        """Declared length of the body; 0 when chunked or absent."""
        self.chunked = head.chunked
        self.keep_alive = head.keep_alive
        self.expects = head.expects
        """The client waits for `100 Continue` before it sends its body."""
        self.complete = not head.chunked and not head.length
        """Every byte of the body has arrived."""
        self.received = 0
        self.unread = 0
        self.waited = 0.0
        self.silent = 0.0
        self._conn = conn
        self._first = dict(head.headers[::-1])  # of several of one name the first stays
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._limit = _NO_LIMIT
        self._failure: Failure | None = None

    def header(self, name: bytes) -> bytes | None:
        """The value of the first header of that (lower-case) name."""
        return self._first.get(name)

    async def body(self, limit: int) -> bytes:
        """The whole body (once; afterwards it is gone).

        Raises Refused: PAYLOAD_TOO_LARGE as soon as the declared or received length exceeds `limit` bytes,
        REQUEST_TIMEOUT when the client falls silent or drips, INVALID_REQUEST when its chunks are malformed.
        Raises ClientGone when the client left before the body was complete.
        """
        if self.length > limit:
            raise Refused(_too_large(limit))
        if self._lacks(limit):
            self._limit = limit
            self._conn.want_body()
            try:
                while self._lacks(limit):
                    await self._wait()
            finally:
                self._limit = _NO_LIMIT
        if self.received > limit:
            raise Refused(_too_large(limit))
        return self._take()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, never empty pieces. Reading from the client pauses while too much is unread.

        Raises as `body` does, but knows no size limit.
        """
        self._conn.want_body()
        while True:
            if self._parts:
                data = self._take()
                self._conn.body_was_read()
                if data:
                    yield data
            elif self.complete:
                return
            else:
                await self._wait()

    def _lacks(self, limit: int) -> bool:
        return not self.complete and self.received <= limit

    def _take(self) -> bytes:
        parts = self._parts
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        self.unread = 0
        return data

    async def _wait(self) -> None:
        if self._failure is not None:
            raise Refused(self._failure)
        if self._conn.gone:
            raise ClientGone
        self._waiter = asyncio.get_running_loop().create_future()
        self._conn.body_awaited(True)
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._conn.body_awaited(False)

    # What follows is called by the connection.

    def feed(self, data: bytes) -> None:
        """More content arrived."""
        size = len(data)
        self._parts.append(data)
        self.received += size
        self.unread += size
        self.silent = 0.0
        if self._limit == _NO_LIMIT or self.received > self._limit:
            self.wake()

    def finish(self) -> None:
        """The last byte of the body was seen."""
        self.complete = True
        self.wake()

    def fail(self, failure: Failure) -> None:
        """The rest of the body will not come, by the client's fault."""
        self._failure = failure
        self._parts.clear()
        self.wake()

    def wake(self) -> None:
        """Let a waiting reader look again."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    @property
    def bounded(self) -> bool:
        """A reader collects the whole body under a limit, so unread bytes need no other bound."""
        return self._limit != _NO_LIMIT


class Responder:
    """The answer to one request: `send` it whole, or `start`, `write` …, `end`.

    The listener adds `content-length` or `transfer-encoding`, `date` and `connection` and leaves out a handler's own.
    Once the client is gone every call is a silent no-op, except that `drain` raises ClientGone.
    """

    __slots__ = (
        "_chunked",
        "_close",
        "_conn",
        "_gone_calls",
        "_left",
        "_pending",
        "_request",
        "ended",
        "started",
        "status",
    )

    def __init__(self, request: Request, conn: Connection) -> None:
        self.started = False
        self.ended = False
        self.status = 0
        self._request = request
        self._conn = conn
        self._close = False
        self._chunked = False
        self._left = _NO_LIMIT  # bytes of a declared length still to be written
        self._pending: bytes | None = None  # the head, held back for one turn to leave together with the first write
        self._gone_calls: list[Callable[[], None]] | None = None

    @property
    def gone(self) -> bool:
        """The client's connection is lost."""
        return self._conn.gone

    @property
    def stuffed(self) -> bool:
        """More is unsent than the high-water mark allows: `drain` would wait."""
        return self._conn.stuffed

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back once when the client leaves before the answer is complete; at once if it already left.

        Noticed within 250 ms, also while nothing is being sent (see watch.py).
        """
        if self._conn.gone:
            callback()
        elif not self.ended:
            if self._gone_calls is None:
                self._gone_calls = []
            self._gone_calls.append(callback)

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """The whole answer in one write. For HEAD the body only gives the length; 204 and 304 have none.

        Raises ValueError for headers that would break the framing, RuntimeError when the answer has already begun.
        """
        head = self._begin(status, headers)
        conn = self._conn
        request = self._request
        close = self._closes()
        if not conn.gone:
            tail = b"\r\n" if status in (204, 304) else b"content-length: %d\r\n\r\n" % len(body)
            head = b"".join((head, conn.hub.date_line, self._connection_line(close), tail))
            if not body or request.method == "HEAD" or status in (204, 304):
                conn.write(head)
            elif len(body) < _COPY_LIMIT:
                conn.write(head + body)
            else:
                conn.writelines((head, body))
        self._finish(close)

    def start(self, status: int, headers: Sequence[Header], length: int | None = None) -> None:
        """Begin a streamed answer of `length` bytes, or of unknown length: chunked in HTTP/1.1, else ended by closing.

        The head leaves with the first write, or at the end of this turn of the loop. Raises as `send` does.
        """
        head = self._begin(status, headers)
        request = self._request
        bodiless = request.method == "HEAD" or status in (204, 304)
        if status in (204, 304):
            framing = b"\r\n"
        elif length is not None:
            framing = b"content-length: %d\r\n\r\n" % length
        elif request.http11:
            framing = b"transfer-encoding: chunked\r\n\r\n"
            self._chunked = not bodiless
        else:
            framing = b"\r\n"
            self._close = self._close or not bodiless
        self._left = 0 if bodiless else _NO_LIMIT if length is None else length
        close = self._close = self._closes()
        conn = self._conn
        if not conn.gone:
            self._pending = b"".join((head, conn.hub.date_line, self._connection_line(close), framing))
            conn.soon(self._flush)

    def write(self, data: bytes) -> None:
        """A piece of the body. Empty pieces are skipped; for HEAD, 204 and 304 all are.

        Raises RuntimeError before `start`, after `end`, or when more than the declared length is written.
        """
        if not self.started or self.ended:
            raise RuntimeError("write outside of start … end")
        conn = self._conn
        if conn.gone or not data or self._bodiless():
            return
        size = len(data)
        if self._left != _NO_LIMIT:
            if size > self._left:
                raise RuntimeError("more was written than the declared length")
            self._left -= size
        head = self._pending or b""
        self._pending = None
        if self._chunked:
            if size < _COPY_LIMIT:
                conn.write(b"%b%x\r\n%b\r\n" % (head, size, data))
            else:
                conn.writelines((b"%b%x\r\n" % (head, size), data, b"\r\n"))
        elif size < _COPY_LIMIT:
            conn.write(head + data if head else data)
        else:
            conn.writelines((head, data) if head else (data,))

    async def drain(self) -> None:
        """Wait until the client has taken enough of what was written; returns at once below the high-water mark.

        Raises ClientGone when the client left, also when it stopped reading for longer than the write deadline.
        """
        conn = self._conn
        if conn.stuffed:
            await conn.drained()
        if conn.gone:
            raise ClientGone

    def end(self) -> None:
        """Complete the answer. An answer shorter than its declared length is cut instead, so that it cannot look whole."""
        if self.ended:
            return
        if not self.started:
            raise RuntimeError("end before start")
        conn = self._conn
        if not conn.gone:
            if self._left > 0:
                self.abort()
                return
            tail = LAST_CHUNK if self._chunked else b""
            if self._pending is not None:
                tail = self._pending + tail
                self._pending = None
            if tail:
                conn.write(tail)
        self._finish(self._close)

    def abort(self) -> None:
        """Drop the connection at once, by a reset: nothing that was sent so far can be taken for the whole answer."""
        if not self.ended:
            self.started = True
            self._pending = None
            self._gone_calls = None
            self.ended = True
            self._conn.reset()

    def _begin(self, status: int, headers: Sequence[Header]) -> bytes:
        if self.started:
            raise RuntimeError("the answer has already begun")
        head = encode_head(status, headers)
        self.started = True
        self.status = status
        return head

    def _bodiless(self) -> bool:
        return self._request.method == "HEAD" or self.status in (204, 304)

    def _closes(self) -> bool:
        return self._close or self._conn.last_answer(self._request)

    def _connection_line(self, close: bool) -> bytes:
        if close:
            return b"connection: close\r\n"
        return b"" if self._request.http11 else b"connection: keep-alive\r\n"

    def _flush(self) -> None:
        if self._pending is not None:
            head, self._pending = self._pending, None
            if not self._conn.gone:
                self._conn.write(head)

    def _finish(self, close: bool) -> None:
        self.ended = True
        self._gone_calls = None
        self._conn.answered(close)

    # What follows is called by the connection and its watch.

    def client_left(self) -> None:
        """Tell those who asked, once."""
        calls, self._gone_calls = self._gone_calls, None
        for call in calls or ():
            try:
                call()
            except Exception as error:
                self._conn.hub.on_unhandled(error)

    def probe(self) -> bytes:
        """Bytes without meaning to an HTTP/1.1 client that still reads; one that left answers with a reset (watch.py)."""
        if not self.started:
            return CONTINUE
        # A leading zero of the next chunk size: `chunk-size = 1*HEXDIG` (RFC 9112 section 7.1).
        return b"0" if self._chunked and self._pending is None and not self.ended else b""


def _too_large(limit: int) -> Failure:
    return Failure(Kind.PAYLOAD_TOO_LARGE, f"the request body is larger than {limit} bytes")


Handler: TypeAlias = Callable[[Request, Responder], Awaitable[None]]
"""Serves one request; runs in a task of its own. What it raises becomes a 500 (or cuts an answer that has begun);
`Refused` becomes its failure; a return without an answer is a bug and answered 500."""
