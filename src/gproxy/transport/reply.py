"""An answer whose head has arrived: what the pipeline holds while a `Connection` fills it.

The connection owns the socket until the message ends; then it lets go, and what is left here is only bytes.
Nothing here parses HTTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.coding import CodingError, Decoder

if TYPE_CHECKING:
    from gproxy.transport.connection import Connection
    from gproxy.wire.http import Header


class Reply:
    """One vendor answer. One reader at a time.

    The public part is `status`, `headers`, `next`, `read`, `abort`; the rest belongs to the connection and the client.
    """

    __slots__ = (
        "chunks",
        "complete",
        "conn",
        "decoder",
        "fault",
        "headers",
        "idle",
        "loop",
        "max_decoded",
        "size",
        "stale",
        "status",
        "total_at",
        "waiter",
    )

    def __init__(
        self, conn: Connection, loop: asyncio.AbstractEventLoop, *, idle: float, total_at: float, max_decoded: int
    ) -> None:
        self.status = 0  # until the head is complete
        self.headers: list[Header] = []
        self.conn: Connection | None = conn  # until the message ended or broke
        self.loop = loop
        self.idle = idle
        self.total_at = total_at
        self.max_decoded = max_decoded
        self.chunks: list[bytes] = []
        self.size = 0  # what `chunks` costs, for the high-water mark
        self.decoder: Decoder | None = None
        self.complete = False
        self.fault: UpstreamFault | None = None
        self.stale = False  # the pooled connection was dead before the peer had taken this request
        self.waiter: asyncio.Future[None] | None = None

    async def next(self) -> bytes:
        """The next piece of the body without its content coding, everything that waits in one; b"" at its proper end.

        Returns without suspending when data waits. Pieces of a coded body are at most `coding.PIECE` bytes.
        Raises `UpstreamFault` after the last good byte when the body broke. Cancelling it drops the connection.
        """
        while True:
            if self.decoder is not None:
                piece = self._decoded()
                if piece:
                    return piece
            elif self.chunks:
                return self._drain()
            if self.fault is not None:
                raise self.fault
            if self.complete:
                return b""
            await self._more()

    async def read(self, limit: int) -> bytes:
        """The whole rest of the body. More than `limit` bytes is an `UpstreamFault`, and the connection is dropped."""
        if self.decoder is not None:
            limit = min(limit, self.max_decoded)
        pieces: list[bytes] = []
        room = limit
        while piece := await self.next():
            room -= len(piece)
            if room < 0:
                self.fail(UpstreamFault(Phase.BODY, "body larger than the limit"))
                self.chunks, self.size = [], 0
                raise self.fault or AssertionError
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self) -> None:
        """Drop the answer now: the connection is closed unless the body had ended. Safe to call twice."""
        self.chunks, self.size, self.decoder = [], 0, None
        self.fail(UpstreamFault(Phase.BODY, "answer dropped"))

    def fail(self, fault: UpstreamFault) -> None:
        """The body is broken from here on. The first fault stays; the connection is closed; the reader wakes."""
        if self.fault is None:
            self.fault = fault
        conn, self.conn = self.conn, None
        if conn is not None:
            conn.close()
        self.wake()

    def wake(self) -> None:
        """Something happened that the reader should look at."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            if not waiter.done():
                waiter.set_result(None)

    def _drain(self) -> bytes:
        chunks = self.chunks
        piece = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self.chunks = []
        self.size = 0
        conn = self.conn
        if conn is not None and conn.read_paused:
            conn.resume()
        return piece

    def _decoded(self) -> bytes:
        """A piece from the decoder; input is handed to it only when it has nothing left to say, so it stays bounded."""
        decoder = self.decoder
        assert decoder is not None
        try:
            piece = decoder.take()
            while not piece and self.chunks:
                decoder.feed(self._drain())
                piece = decoder.take()
            if not piece and self.complete:
                decoder.end()
        except CodingError as error:
            self.chunks, self.size, self.decoder = [], 0, None
            self.fail(UpstreamFault(Phase.BODY, str(error)))
        else:
            return piece
        return b""

    async def _more(self) -> None:
        """Sleep until the connection has news, at most for the idle deadline."""
        conn = self.conn
        assert conn is not None
        assert self.waiter is None, "one reader at a time"
        waiter = self.waiter = self.loop.create_future()
        conn.set_deadline(min(self.loop.time() + self.idle, self.total_at))
        try:
            await waiter
        except asyncio.CancelledError:
            self.waiter = None
            self.abort()
            raise
        if self.conn is conn:
            conn.set_deadline(self.total_at)
