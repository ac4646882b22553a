"""One connection to one origin: writes requests, parses answers, knows its deadlines.

The hot loop of the upstream side: plain attributes, no task, one timer per connection that is re-armed only when a
deadline moves forward past it. Knows nothing of pools (it tells its `Owner`), names, proxies or TLS.
Framing is llhttp's, strict; what it leaves open (trailers, interim answers, several codings) is decided here.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import ssl
import struct
import sys
import termios
from typing import Final, Protocol, cast

import httptools

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.coding import CodingError, codings, decoder_for
from gproxy.transport.config import TransportConfig
from gproxy.transport.reply import Reply
from gproxy.wire.http import Deadlines, Header

_NEVER: Final = float("inf")
# What goes to the transport in one write; larger bodies are pumped in slices of it as the socket takes them.
_SLICE: Final = 256 * 1024
# Below it one copy is cheaper than a second buffer in the system call.
_COPY_LIMIT: Final = 16 * 1024
# A bytes object and its place in a list cost about this much beside its content; counted, so that a body of one-byte
# chunks cannot hide its real size from the high-water mark.
_CHUNK_COST: Final = 48
# Headers that decide something here. Everything else is only carried.
_WATCHED: Final = frozenset({b"content-length", b"transfer-encoding", b"content-encoding", b"keep-alive"})
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
# Requests with these methods may be repeated without harm (RFC 9110 section 9.2.2).
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT"})


class Owner(Protocol):
    """Who keeps the connection between requests."""

    def released(self, connection: Connection) -> None:
        """The answer ended cleanly; the connection can carry another request."""
        ...

    def gone(self, connection: Connection) -> None:
        """The connection is closed. Said once."""
        ...

    def lost(self, connection: Connection) -> None:
        """Its socket is gone. Said once, after `gone`."""
        ...


class Connection(asyncio.Protocol):
    """Carries one request at a time. Not thread-safe, like everything on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: TransportConfig, owner: Owner) -> None:
        self._loop = loop
        self._config = config
        self._owner = owner
        self._high_water = config.read_high_water
        self.transport: asyncio.Transport | None = None
        self.closed = False
        self.served = 0
        self._born = loop.time()
        self.read_paused = False
        self._parser = httptools.HttpResponseParser(self)
        self._reply: Reply | None = None
        # of the answer being read
        self._headers: list[Header] = []
        self._watched: list[Header] = []
        self._bodyless = False
        self._idempotent = False
        self._head_done = False
        self._told = False  # whoever waits for the head has been woken
        self._ended = False
        self._keep = False
        self._poisoned = False
        self._at_eof = False
        self._until_eof = False
        self._interim = False
        self._interims = 0
        self._received = 0
        self._trailer_size = 0
        self._reject: str | None = None
        # of the request being written
        self._out: memoryview | None = None
        self._out_at = 0
        self._written = 0
        self._cut_short = False
        self._write_paused = False
        self._first_byte = 0.0
        self._send_idle = 0.0
        # the one timer
        self._keepalive = config.idle_keepalive
        self._deadline = _NEVER
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _NEVER

    # --- asking

    def begin(self, method: bytes, head: bytes, body: bytes, *, deadlines: Deadlines, total_at: float) -> Reply:
        """Write a request and return the answer to be: its `status` is 0 until the head came.

        Whoever calls waits on `Reply.waiter`.
        """
        transport = self.transport
        assert transport is not None
        assert self._reply is None
        reply = self._reply = Reply(
            self,
            self._loop,
            idle=deadlines.idle,
            total_at=total_at,
            max_decoded=self._config.max_decoded_bytes,
        )
        self._bodyless = method == b"HEAD"
        self._idempotent = method in _IDEMPOTENT
        self._head_done = self._told = self._ended = self._until_eof = self._cut_short = False
        self._interims = self._received = self._trailer_size = 0
        self._first_byte = deadlines.first_byte
        now = self._loop.time()
        if len(body) <= _SLICE:
            self._written = len(head) + len(body)
            if len(body) < _COPY_LIMIT:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
            self.set_deadline(min(now + deadlines.first_byte, total_at))
        else:
            self._written = len(head)
            self._send_idle = deadlines.idle
            self._out, self._out_at = memoryview(body), 0
            self.set_deadline(min(now + deadlines.idle, total_at))
            transport.write(head)
            self._pump()
        return reply

    @property
    def usable(self) -> bool:
        """Whether the transport still takes orders. uvloop's raises once it is closed, before it says so."""
        return not self.closed and self.transport is not None and not self.transport.is_closing()

    def peer_gone(self) -> bool:
        """Whether something waits in the socket of this idle connection that the loop has not read yet.

        That is an end, a TLS close_notify or bytes nobody asked for: in no case may it carry another request.
        """
        transport = self.transport
        if not self.usable or transport is None:
            return True
        poll = select.poll()
        poll.register(_descriptor(transport), select.POLLIN)
        return bool(poll.poll(0))

    def resume(self) -> None:
        """The reader has taken what waited."""
        self.read_paused = False
        if self.usable:
            assert self.transport is not None
            self.transport.resume_reading()

    def close(self) -> None:
        """Close now, without ceremony. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._reply = None
        self._out = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.transport is not None:
            if self._at_eof:
                # The stock loop's TLS layer is in the middle of its own goodbye and trips over an abort.
                self._loop.call_soon(self.transport.abort)
            else:
                self.transport.abort()
        self._owner.gone(self)

    def drop(self, reason: str) -> None:
        """Close now and tell whoever reads the answer why."""
        if self._reply is None:
            self.close()
        else:
            self._reply.fail(UpstreamFault(Phase.BODY if self._head_done else Phase.HEAD, reason))

    # --- deadlines

    def set_deadline(self, at: float) -> None:
        """When to give up what is going on. Costs a timer only when it is earlier than the one that runs."""
        self._deadline = at
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_at = None, _NEVER
        now = self._loop.time()
        # The loop's clock is in whole milliseconds on uvloop, so a timer may come a fraction early.
        if now + 0.001 < self._deadline:
            self.set_deadline(self._deadline)
            return
        reply = self._reply
        if reply is None:
            self.close()
            return
        if now + 0.001 >= reply.total_at:
            reason, phase = "total timeout", Phase.BODY if self._head_done else Phase.HEAD
        elif self._head_done:
            reason, phase = "idle timeout", Phase.BODY
        elif self._out is not None:
            reason, phase = "send timeout", Phase.SEND
        else:
            reason, phase = "first byte timeout", Phase.HEAD
        reply.fail(UpstreamFault(phase, reason, timeout=True))

    # --- writing

    def _pump(self) -> None:
        """Hand slices of a large body to the transport until it says stop."""
        transport, out = self.transport, self._out
        assert transport is not None
        while out is not None and not self._write_paused:
            piece = out[self._out_at : self._out_at + _SLICE]
            self._out_at += len(piece)
            self._written += len(piece)
            if self._out_at >= len(out):
                self._out = out = None
            transport.write(piece)
        reply = self._reply
        if reply is not None and not self._head_done:
            patience = self._send_idle if self._out is not None else self._first_byte
            self.set_deadline(min(self._loop.time() + patience, reply.total_at))

    def pause_writing(self) -> None:
        """The transport holds enough."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """The socket took most of it."""
        self._write_paused = False
        if self._out is not None:
            self._pump()

    # --- reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ready."""
        # uvloop's transports keep the interface without inheriting it.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_SLICE)

    def data_received(self, data: bytes) -> None:
        """Parse; wake the reader once per read, and only when there is something for it."""
        reply = self._reply
        if reply is None:
            # Bytes nobody asked for would become the answer to somebody else's question.
            self.close()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._ended:
                self._broken_framing(reply)
                return
            self._poisoned = True
        if self._ended:
            self._finish(reply)
            return
        if not self._head_done:
            if self._received > self._config.max_head_bytes or len(self._headers) > self._config.max_headers:
                reply.fail(UpstreamFault(Phase.HEAD, "response head too large"))
            return
        if reply.size > self._high_water and not self.read_paused and self.usable:
            assert self.transport is not None
            self.read_paused = True
            self.transport.pause_reading()
        if not self._told:
            self._told = True
            self._deadline = reply.total_at
            reply.wake()
        elif reply.chunks:
            reply.wake()

    def eof_received(self) -> bool:
        """The peer will send no more."""
        self._at_eof = True
        reply = self._reply
        if reply is not None and self._head_done and self._until_eof and self._said_goodbye():
            self._keep = False
            self._finish(reply)
        else:
            self._peer_left(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._peer_left(exc or ConnectionAbortedError())
        del self._parser  # it holds our methods: without this only the cycle collector could free the two
        self._owner.lost(self)

    # --- the parser's callbacks

    def on_message_begin(self) -> None:
        """First byte of an answer, or of one too many."""
        if self._ended:
            self._poisoned = True
        self._headers = []
        self._watched = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer once the body has begun: those are counted and dropped."""
        if self._head_done:
            self._trailer_size += len(name) + len(value)
            if self._trailer_size > self._config.max_head_bytes:
                self._refuse("trailers too large")
            return
        name = name.lower()
        pair = (name, value)
        self._headers.append(pair)
        if name in _WATCHED:
            self._watched.append(pair)

    def on_headers_complete(self) -> None:
        """Judge the head: interim, or the answer."""
        if self._ended:
            return
        reply = self._reply
        assert reply is not None
        status = self._parser.get_status_code()
        if status < 200:
            self._interims += 1
            self._interim = True
            framed = any(name in _FRAMING for name, _ in self._watched)
            if status == 101 or framed or self._interims > self._config.max_interim:
                self._refuse("unexpected interim response")
            return
        headers, config = self._headers, self._config
        if len(headers) > config.max_headers or (
            self._received > config.max_head_bytes
            and sum(len(name) + len(value) + 4 for name, value in headers) > config.max_head_bytes
        ):
            self._refuse("response head too large")
        bodyless = self._bodyless or status in {204, 304}
        self._until_eof = not bodyless
        self._keepalive = config.idle_keepalive
        if self._watched:
            self._judge(reply, bodyless=bodyless)
        reply.headers = headers if reply.decoder is None else _uncoded(headers)
        reply.status = status
        self._head_done = True
        if self._bodyless:
            self._ended = True
            self._keep = self._parser.should_keep_alive()
        if status >= 400 and self._out is not None:
            # The vendor has made up its mind; the rest of the body would only cost time (RFC 9110 section 10.1.1).
            self._out = None
            self._cut_short = True

    def on_body(self, body: bytes) -> None:
        """A part of the body, with its transfer coding removed."""
        reply = self._reply
        if reply is None or self._ended:
            self._poisoned = True
            return
        reply.chunks.append(body)
        reply.size += len(body) + _CHUNK_COST

    def on_message_complete(self) -> None:
        """The end as framed; of an interim answer, only the beginning of the wait for the real one."""
        if self._interim:
            self._interim = False
            return
        if not self._ended:
            self._ended = True
            self._keep = self._parser.should_keep_alive()

    # --- how an answer ends

    def _judge(self, reply: Reply, *, bodyless: bool) -> None:
        """The headers that decide framing and coding. llhttp has refused double and contradicting lengths already."""
        encodings: list[bytes] = []
        chunked = False
        for name, value in self._watched:
            if name == b"content-encoding":
                encodings.append(value)
            elif name == b"keep-alive":
                self._keepalive = _announced_keepalive(value, self._config.idle_keepalive)
            elif name == b"content-length":
                self._until_eof = False
            else:
                if chunked or value.strip().lower() != b"chunked":
                    self._refuse("unsupported transfer encoding")
                chunked, self._until_eof = True, False
        if encodings and not bodyless:
            config = self._config
            try:
                reply.decoder = decoder_for(
                    codings(encodings), ratio=config.max_decoded_ratio, slack=config.decoded_ratio_slack
                )
            except CodingError as error:
                self._refuse(str(error))

    def _refuse(self, reason: str) -> None:
        """Stop the parser from inside a callback."""
        self._reject = reason
        raise ValueError(reason)

    def _broken_framing(self, reply: Reply) -> None:
        reason, self._reject = self._reject, None
        if self._head_done:
            reply.fail(UpstreamFault(Phase.BODY, reason or "malformed body framing"))
        else:
            reply.fail(UpstreamFault(Phase.HEAD, reason or "malformed response head"))

    def _finish(self, reply: Reply) -> None:
        """The answer is whole. The connection goes back when both sides are done with it, else it is closed."""
        transport = self.transport
        assert transport is not None
        self._reply = None
        reply.conn = None
        reply.complete = True
        self.served += 1
        now = self._loop.time()
        if (
            self._keep
            and not self._poisoned
            and not self._cut_short
            and self._out is None
            and not transport.get_write_buffer_size()
            and not transport.is_closing()
            and now - self._born < self._config.max_age
        ):
            if self._bodyless:
                # The parser waits for the body that a HEAD answer only announces.
                self._parser = httptools.HttpResponseParser(self)
            if self.read_paused:
                self.resume()
            self.set_deadline(now + self._keepalive)
            self._owner.released(self)
        else:
            self.close()
        reply.wake()

    def _peer_left(self, exc: Exception | None) -> None:
        """EOF (`exc` None) or a break. What it means depends on how far the answer had come."""
        reply = self._reply
        if reply is None:
            self.close()
            return
        if self._head_done:
            reset = isinstance(exc, ConnectionResetError)
            fault = UpstreamFault(Phase.BODY, "connection reset" if reset else "body truncated")
        elif self._received:
            fault = UpstreamFault(Phase.HEAD, "response head truncated")
        else:
            # A FIN that acknowledges nothing of the request left the peer before the request came, so nobody has
            # processed it. A RST proves nothing: it hides what the peer had read before.
            untouched = exc is None and self._nothing_taken()
            phase = Phase.SEND if self._out is not None else Phase.HEAD
            reason = (
                "connection reset" if isinstance(exc, ConnectionResetError) else "connection closed without an answer"
            )
            fault = UpstreamFault(phase, reason, unprocessed=untouched)
            reply.stale = self.served > 0 and (untouched or self._idempotent)
        reply.fail(fault)

    def _said_goodbye(self) -> bool:
        """Whether the end of a body without a length is the vendor's word: with TLS a bare FIN may be anybody's."""
        assert self.transport is not None
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if tls is None:
            return True
        try:
            return tls.read(1) == b""  # close_notify was received; without one there is "more to come"
        except ssl.SSLError:
            return False

    def _nothing_taken(self) -> bool:
        """Whether the peer's kernel has acknowledged nothing of this request. False when that cannot be known.

        The kernel's send queue holds what was sent but not acknowledged (`SIOCOUTQ`, tcp(7)). With TLS the queue is
        larger than what we wrote by the record overhead, a few dozen bytes: not enough to hide a whole record.
        """
        transport = self.transport
        if sys.platform != "linux" or transport is None:
            return False
        try:
            raw = fcntl.ioctl(_descriptor(transport), termios.TIOCOUTQ, b"\0\0\0\0")
        except (OSError, ValueError):
            return False
        queued: int = struct.unpack("i", raw)[0]
        return queued + transport.get_write_buffer_size() >= self._written


def _descriptor(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    return -1 if sock is None else int(sock.fileno())


def _uncoded(headers: list[Header]) -> list[Header]:
    """The headers of a body whose content coding was removed: its coded length means nothing any more."""
    return [pair for pair in headers if pair[0] not in {b"content-encoding", b"content-length"}]


def _announced_keepalive(value: bytes, default: float) -> float:
    """`Keep-Alive: timeout=5`: the peer says when it will close. We close a second earlier, so the two never cross."""
    for token in value.split(b","):
        key, _, seconds = token.strip().partition(b"=")
        if key.lower() == b"timeout" and seconds.isdigit() and len(seconds) < 7:
            return min(default, max(int(seconds) - 1.0, 0.5))
    return default
