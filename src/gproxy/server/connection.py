"""One client connection: which bytes belong to which request, and when the connection ends.

    IDLE ──► HEAD ──► BODY ──► HELD ──► IDLE …        HELD: the request is complete, its answer is not
      └───────────────────────────┴──► DEAF ──► closed     DEAF: nothing more is read for its meaning

One request is served at a time; what a client pipelines behind it is held, unparsed, up to a bound. A connection ends
by FIN first and reading on for a while (RFC 9112 section 9.6), so that no answer is lost to a reset; a truncated
answer ends by a reset, so that it cannot look complete.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from gproxy.errors import ClientGone, Failure, Kind, Refused
from gproxy.server.chunked import BadChunk, ChunkedDecoder
from gproxy.server.encode import CONTINUE, encode_head
from gproxy.server.exchange import Request, Responder
from gproxy.server.head import BadHead, Scout, parse_head
from gproxy.server.hub import NEVER

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows
    ioctl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from gproxy.server.hub import Hub

_IDLE, _HEAD, _BODY, _HELD, _DEAF, _LOST = range(6)
_RESET: Final = struct.pack("ii", 1, 0)


class Connection(asyncio.Protocol):
    """The protocol object of one accepted socket."""

    __slots__ = (
        "_deaf_bytes",
        "_decoder",
        "_drains",
        "_forgave",
        "_head",
        "_held",
        "_held_at",
        "_left",
        "_must_close",
        "_paused",
        "_request",
        "_responder",
        "_scout",
        "_state",
        "_transport",
        "deadline",
        "eof",
        "gone",
        "hub",
        "peer",
        "scheme",
        "soon",
        "stuffed",
        "write",
        "writelines",
    )

    _transport: asyncio.Transport

    def __init__(self, hub: Hub, scheme: str) -> None:
        self.hub = hub
        self.scheme = scheme
        self.soon = hub.loop.call_soon
        self.peer: str | None = None
        self.deadline = NEVER
        self.eof = False
        """The client has closed its sending side."""
        self.gone = False
        """The client left, or we cut it off."""
        self.stuffed = False
        """More is unsent than the high-water mark allows."""
        self._state = _IDLE
        self._request: Request | None = None  # the exchange in progress
        self._responder: Responder | None = None
        self._head = bytearray()  # an unfinished head
        self._scout: Scout | None = None
        self._left = 0  # body bytes still to come, when their number is declared
        self._decoder: ChunkedDecoder | None = None  # when it is not
        self._held = b""  # input behind the current request, from `_held_at` on
        self._held_at = 0
        self._forgave = False
        self._paused = False
        self._must_close = False
        self._deaf_bytes = 0
        self._drains: list[asyncio.Future[None]] = []

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client was accepted."""
        hub = self.hub
        self._transport = transport = cast("asyncio.Transport", transport)  # uvloop's is one only by its methods
        self.write = transport.write
        self.writelines = transport.writelines
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            # A dual-stack socket shows IPv4 clients in mapped form (RFC 4291 section 2.5.5.2).
            self.peer = peer[0].removeprefix("::ffff:") if "." in peer[0] else peer[0]
        transport.set_write_buffer_limits(hub.config.write_high_water, hub.config.write_low_water)
        hub.joined(self)
        if len(hub.connections) > hub.config.max_connections:
            self._refuse(503, Failure(Kind.OVERLOADED, "too many connections are open", retry_after=1.0), None)
        else:
            self.deadline = hub.deadline(hub.idle_limit)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        state = self._state
        if state == _IDLE:
            self._parse(data, 0)
        elif state == _BODY:
            self._take_body(data, 0)
        elif state == _HELD:
            self._hold(data)
        elif state == _HEAD:
            self._more_head(data)
        else:
            self._deaf_bytes += len(data)
            if self._responder is None and self._deaf_bytes > self.hub.config.linger_bytes:
                self._transport.close()

    def eof_received(self) -> bool:
        """The client sends no more; it may still read, unless the connection is encrypted (asyncio cannot half-close TLS)."""
        self.eof = True
        if self._responder is None or self._state == _BODY or self.scheme == "https":
            self._leave()
            if self.unsent():
                self.hub.monitor(self)
            return False
        self.hub.watch.add(self)
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's signature
        """The connection is closed, by whomever."""
        self._state = _LOST
        self.hub.left(self)
        self._leave()

    def pause_writing(self) -> None:
        """The send buffer rose above the high-water mark."""
        self.stuffed = True
        self.hub.monitor(self)

    def resume_writing(self) -> None:
        """The send buffer fell below the low-water mark."""
        self.stuffed = False
        self.hub.stuffed.pop(self, None)
        self._wake_drains()

    # Input.

    def _parse(self, data: bytes, at: int) -> None:
        """A request begins at `data[at:]`."""
        if data.startswith(b"\r\n", at):  # RFC 9112 section 2.2: one empty line before a request is forgiven
            if self._forgave:
                bad = BadHead(400, "empty lines before the request line")
                self._refuse(bad.status, bad.failure, None)
                return
            self._forgave = True
            at += 2
            if at == len(data):
                return
        end = data.find(b"\r\n\r\n", at)
        if end >= 0:
            self._open(data, at, end + 4)
            return
        self._state = _HEAD
        self._scout = Scout()
        self.deadline = self.hub.deadline(self.hub.config.header_timeout)
        self._more_head(data[at:])

    def _more_head(self, data: bytes) -> None:
        head = self._head
        start = max(len(head) - 3, 0)
        head += data
        end = head.find(b"\r\n\r\n", start)
        if end >= 0:
            whole = bytes(head)
            self._head = bytearray()
            self._scout = None
            self._state = _IDLE
            self._parse(whole, 0)
            return
        try:
            if len(head) > self.hub.config.max_header_bytes:
                raise _head_too_large(head)
            assert self._scout is not None
            self._scout.look(data)
        except BadHead as bad:
            self._refuse(bad.status, bad.failure, bad.path)

    def _open(self, data: bytes, at: int, end: int) -> None:
        """A head is complete: `data[at:end]`. Start serving it."""
        hub = self.hub
        size = len(data)
        raw = data if not at and end == size else data[at:end]
        try:
            if len(raw) > hub.config.max_header_bytes:
                raise _head_too_large(raw)
            head = parse_head(raw, hub.config.max_headers)
        except BadHead as bad:
            self._refuse(bad.status, bad.failure, bad.path)
            return
        self._forgave = False
        self._request = request = Request(head, self)
        self._responder = responder = Responder(request, self)
        self.deadline = NEVER
        if request.complete:
            self._state = _HELD
            if end < size:
                self._keep(data, end)
        else:
            self._state = _BODY
            self._left = head.length
            self._decoder = ChunkedDecoder() if head.chunked else None
            if end < size:
                self._take_body(data, end)
        name = f"{request.method} {request.path}"
        hub.exchanges[responder] = hub.loop.create_task(self._serve(request, responder), name=name)

    def _take_body(self, data: bytes, at: int) -> None:
        """Content of the current request, or of one that was answered before it was read."""
        request = self._request
        decoder = self._decoder
        if decoder is None:
            used = min(len(data), at + self._left)
            piece = data if not at and used == len(data) else data[at:used]
            self._left -= used - at
            done = not self._left
            if request is not None:
                request.feed(piece)
        else:
            try:
                pieces, used = decoder.feed(data, at)
            except BadChunk as bad:
                self._spoilt(str(bad))
                return
            done = decoder.done
            if request is not None:
                for piece in pieces:
                    request.feed(piece)
        if done:
            self._decoder = None
            if used < len(data):
                self._keep(data, used)
            if request is None:
                self._next()
            else:
                self._state = _HELD
                request.finish()
        elif request is not None and request.unread > self.hub.config.read_high_water and not request.bounded:
            self._pause()

    def _spoilt(self, text: str) -> None:
        """The body is malformed: where the next request begins is unknown."""
        self._state = _DEAF
        self._must_close = True
        if self._request is None:
            self._close()
        else:
            self._request.fail(Failure(Kind.INVALID_REQUEST, text))

    def _hold(self, data: bytes) -> None:
        """More came while a request is being answered."""
        rest = self._held[self._held_at :] if self._held else b""
        self._keep(rest + data if rest else data, 0)

    def _keep(self, data: bytes, at: int) -> None:
        self._held, self._held_at = data, at
        if len(data) - at > self.hub.config.read_ahead:
            self._pause()

    def _next(self) -> None:
        """The exchange is over in both directions."""
        self._state = _IDLE
        self.deadline = self.hub.deadline(self.hub.idle_limit)
        if self._held:
            data, at = self._held, self._held_at
            self._held, self._held_at = b"", 0
            self._parse(data, at)
        if self._paused and len(self._held) - self._held_at <= self.hub.config.read_ahead:
            self._resume()
        if self._responder is not None:
            if self._paused or self.eof:
                self.hub.watch.add(self)
        elif self.eof and self._state != _DEAF:
            self._close()

    def _pause(self) -> None:
        if not self._paused and not self.eof:
            self._paused = True
            self._transport.pause_reading()
            self.hub.watch.add(self)

    def _resume(self) -> None:
        self._paused = False
        if not self.eof:
            self.hub.watch.discard(self)
            self._transport.resume_reading()

    # Called by the exchange.

    def want_body(self) -> None:
        """The handler asks for the body: tell a client that waits for it, and read on."""
        request = self._request
        if request is None:
            return
        if request.expects and not request.complete:
            request.expects = False
            if not request.received and not self.gone and self._responder is not None and not self._responder.started:
                self.write(CONTINUE)
        if self._paused and self._state == _BODY:
            self._resume()

    def body_was_read(self) -> None:
        """The handler took what was unread."""
        if self._paused and self._state == _BODY:
            self._resume()

    def body_awaited(self, waiting: bool) -> None:
        """The handler waits for body bytes: the client's silence is limited from now on."""
        if waiting:
            self.hub.awaited.add(self)
        else:
            self.hub.awaited.discard(self)

    def last_answer(self, request: Request) -> bool:
        """The answer that begins now must be the connection's last."""
        if not request.keep_alive or self._must_close:
            return True
        if not request.complete and (request.chunked or request.expects or self._left > self.hub.config.discard_bytes):
            return True
        # Requests already pipelined behind this one are served before the connection is announced to close.
        return not self._held and (self.hub.closing or self.eof)

    def answered(self, close: bool) -> None:
        """The answer is complete."""
        request = self._request
        if self.gone or request is None:
            return
        self._request = self._responder = None
        self.hub.watch.discard(self)
        if close:
            self._close()
        elif request.complete:
            self._next()
        else:
            self.deadline = self.hub.deadline(self.hub.config.linger)
            if self._paused:
                self._resume()

    async def drained(self) -> None:
        """Wait until the send buffer fell below the low-water mark or the client is gone."""
        waiter: asyncio.Future[None] = self.hub.loop.create_future()
        self._drains.append(waiter)
        await waiter

    def reset(self) -> None:
        """Cut the connection: TCP RST, unsent bytes are dropped."""
        if self._state == _LOST:
            return  # the descriptor may be another socket's by now
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()
        self._leave()

    async def _serve(self, request: Request, responder: Responder) -> None:
        """Run the handler. Whatever it does, the client gets a whole answer, an error, or a visibly cut connection."""
        hub = self.hub
        try:
            await hub.handler(request, responder)
            if not responder.ended and not self.gone:
                raise RuntimeError("the handler returned without completing its answer")
        except ClientGone:
            responder.abort()
        except Refused as refusal:
            self._fail(request, responder, refusal.failure)
        except asyncio.CancelledError:
            self._fail(request, responder, Failure(Kind.DRAINING, "the server is shutting down", retry_after=1.0))
            raise
        except Exception as error:
            hub.on_unhandled(error)
            self._fail(request, responder, Failure(Kind.INTERNAL, "internal error"))
        finally:
            del hub.exchanges[responder]

    def _fail(self, request: Request, responder: Responder, failure: Failure) -> None:
        if responder.started:
            responder.abort()
            return
        try:
            headers, body = self.hub.render_error(failure, request.path)
            responder.send(failure.status, headers, body)
        except Exception as error:
            self.hub.on_unhandled(error)
            responder.abort()

    # Endings.

    def _refuse(self, status: int, failure: Failure, path: str | None) -> None:
        """Answer what is not a request, and close."""
        self._state = _DEAF
        try:
            headers, body = self.hub.render_error(failure, path)
            head = encode_head(status, headers)
        except Exception as error:
            self.hub.on_unhandled(error)
            self.reset()
            return
        length = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.write(b"".join((head, self.hub.date_line, length, body)))
        self._close(unread=True)

    def _refuse_late(self) -> None:
        self._refuse(408, Failure(Kind.REQUEST_TIMEOUT, "the request head did not arrive in time"), None)

    def _close(self, *, unread: bool = False) -> None:
        """End in order: send FIN, read on and discard until the client's FIN or the linger time."""
        unread = unread or self._state == _BODY or bool(self._held)
        self._state = _DEAF
        self._held, self._held_at = b"", 0
        self._head = bytearray()
        self._scout = None
        if self._paused:
            self._resume()
        self.deadline = self.hub.deadline(self.hub.config.linger)
        if self._transport.is_closing():
            return
        if self.eof or (self.scheme == "https" and not unread):
            if self.unsent():
                self.hub.monitor(self)
            self._transport.close()
        elif self.scheme != "https":
            self._transport.write_eof()

    def retire(self) -> None:
        """Close if no request is in progress; one whose head has not arrived by now is told so."""
        if self._state == _IDLE:
            # A busy loop looks at its timers before it looks at its sockets: what has arrived is read first.
            if not self._has_unread():
                self._close()
        elif self._state == _HEAD:
            self._refuse_late()

    def _has_unread(self) -> bool:
        """Whether the kernel holds bytes for us (or the client's end) that this loop has not come to yet."""
        sock = self._transport.get_extra_info("socket")
        if sock is None or self._paused or self._transport.is_closing():
            return False
        poller = select.poll()
        poller.register(sock.fileno(), select.POLLIN)
        return bool(poller.poll(0))

    def drop(self) -> None:
        """Close at once: by a reset while an answer is owed, else by FIN."""
        if self._responder is not None or self.unsent():
            self.reset()
        else:
            self._state = _DEAF
            self._transport.close()

    @property
    def idle(self) -> bool:
        """No request is in progress, though the head of one may be arriving."""
        return self._state in (_IDLE, _HEAD)

    def expire(self) -> None:
        """The deadline passed (called by the sweep)."""
        self.deadline = NEVER
        if self.unsent() and self._state in (_IDLE, _DEAF):
            # The client is still taking an answer: its progress is what counts now.
            self.hub.monitor(self)
            self.deadline = self.hub.deadline(self.hub.config.linger)
        elif self._state == _IDLE and self._has_unread():
            self.deadline = self.hub.deadline(0.0)
        elif self._state == _IDLE:
            self._close()
        elif self._state == _HEAD:
            self._refuse_late()
        else:
            self._transport.close()

    def body_tick(self, seconds: float) -> None:
        """The handler has waited `seconds` more for body bytes (called by the sweep)."""
        request = self._request
        if request is None:
            return
        config = self.hub.config
        request.waited += seconds
        request.silent += seconds
        slow = request.waited > config.body_timeout + request.received / config.min_body_rate
        if slow or request.silent > config.body_timeout:
            self._must_close = True
            request.fail(Failure(Kind.REQUEST_TIMEOUT, "the request body did not arrive in time"))

    def probe(self) -> None:
        """Find out whether a client that sent FIN is still there (called by the watch)."""
        if self._responder is None or self._request is None:
            return
        if not self._request.http11:
            self.reset()
        elif not self.unsent():  # else what is on its way is probe enough
            data = self._responder.probe()
            if data:
                self.write(data)

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._transport.get_extra_info("socket").fileno()  # type: ignore[no-any-return]

    def unsent(self) -> int:
        """Bytes the client has not acknowledged, ours and the kernel's; 0 when that is not known."""
        ours = self._transport.get_write_buffer_size()
        if not ours or ioctl is None:
            return ours
        room = bytearray(4)
        with contextlib.suppress(OSError, ValueError):  # not on every kind of socket; already closed
            ioctl(self.fileno(), TIOCOUTQ, room)
        return ours + struct.unpack("i", room)[0]  # type: ignore[no-any-return]

    def _leave(self) -> None:
        """The client is gone: tell everyone who waits for it."""
        if self.gone:
            return
        self.gone = True
        if self._request is not None:
            self._request.wake()
        self._wake_drains()
        if self._responder is not None:
            self._responder.client_left()

    def _wake_drains(self) -> None:
        drains, self._drains = self._drains, []
        for waiter in drains:
            if not waiter.done():
                waiter.set_result(None)


def _head_too_large(head: bytes | bytearray) -> BadHead:
    if b"\r\n" not in head:
        return BadHead(414, "the request target is too long", Kind.HEADERS_TOO_LARGE)
    return BadHead(431, "the request head is too large", Kind.HEADERS_TOO_LARGE)
