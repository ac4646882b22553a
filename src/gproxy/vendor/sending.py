"""From frames to bytes on the wire: event framing, chunk boundaries, content codings, pacing; and what was sent."""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from gproxy.vendor.behaviour import BadScript, Behaviour
from gproxy.vendor.connection import Connection
from gproxy.vendor.voice import Frame

_BATCH: Final = 32 * 1024

REASONS: Final = {
    200: b"OK",
    302: b"Found",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    413: b"Content Too Large",
    426: b"Upgrade Required",
    429: b"Too Many Requests",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
}
Header = tuple[bytes, bytes]


def head(status: int, headers: list[Header]) -> bytes:
    """A response head, as given."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, REASONS.get(status, b"Status"))]
    lines += [name + b": " + value + b"\r\n" for name, value in headers]
    lines.append(b"\r\n")
    return b"".join(lines)


def reframed(data: bytes, framing: str, index: int) -> bytes:
    """One server-sent event, written another legal way (WHATWG HTML, 9.2.6)."""
    match framing:
        case "crlf":
            return data if b"\r\n" in data else data.replace(b"\n", b"\r\n")
        case "cr":
            return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r")
        case "bom":
            return b"\xef\xbb\xbf" + data if index == 0 else data
        case "nul":
            # A comment and an id with NUL; the standard ignores such an id and says nothing else about it.
            return b": \x00\nid: a\x00b\n" + data
        case "nospace":
            return data.replace(b"data: ", b"data:", 1).replace(b"event: ", b"event:", 1)
        case "comments":
            return b": keep-alive\n\n" + data
        case "multiline":
            # After an opening brace JSON allows a line break, and two data lines are joined by one.
            before, brace, after = data.partition(b"data: {")
            return before + brace + b"\ndata: " + after if brace else data
        case _:
            return data


class Splitter(Protocol):
    """Decides the pieces; every byte comes out once and in order."""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are ready."""
        ...

    def end(self) -> list[bytes]:
        """What is left."""
        ...


class _Sized:
    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._want = size()
        self._held = b""

    def feed(self, data: bytes) -> list[bytes]:
        held = self._held + data
        pieces = []
        at = 0
        while len(held) - at >= self._want:
            pieces.append(held[at : at + self._want])
            at += self._want
            self._want = self._size()
        self._held = held[at:]
        return pieces

    def end(self) -> list[bytes]:
        held, self._held = self._held, b""
        return [held] if held else []


class _Whole:
    def __init__(self) -> None:
        self._held: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        self._held.append(data)
        return []

    def end(self) -> list[bytes]:
        held = b"".join(self._held)
        return [held] if held else []


class _Event:
    @staticmethod
    def feed(data: bytes) -> list[bytes]:
        return [data] if data else []

    @staticmethod
    def end() -> list[bytes]:
        return []


def splitter(spec: str | None) -> Splitter:
    """The splitter a `split` field names. Raises `BadScript`."""
    kind, _, rest = (spec or "event").partition(":")
    try:
        match kind:
            case "whole":
                return _Whole()
            case "event":
                return _Event()
            case "byte":
                return _Sized(lambda: 1)
            case "bytes" if int(rest) >= 1:
                number = int(rest)
                return _Sized(lambda: number)
            case "random":
                import random  # only for this; the demo should not pay for it at its start

                dice = random.Random(int(rest or 0))  # noqa: S311 - boundaries, not secrets
                return _Sized(lambda: dice.choice((1, 2, 3, 5, 8, 13, 64, 257, 1500)))
    except ValueError:
        pass
    raise BadScript(f"unknown split {spec!r}")


class Coder:
    """Content codings, one after the other. Every piece is flushed, so that a reader can decode what it has."""

    def __init__(self, spec: str | None) -> None:
        self.names = [name for name in (spec or "").split("+") if name]
        self._steps = [_step(name) for name in self.names]

    def feed(self, data: bytes) -> bytes:
        """The coded form of one piece."""
        for feed, _ in self._steps:
            data = feed(data)
        return data

    def end(self) -> bytes:
        """The coded rest."""
        data = b""
        for feed, finish in self._steps:
            data = (feed(data) if data else b"") + finish()
        return data


_Step = tuple[Callable[[bytes], bytes], Callable[[], bytes]]


def _step(name: str) -> _Step:
    match name:
        case "gzip" | "deflate":
            packer = zlib.compressobj(6, zlib.DEFLATED, 31 if name == "gzip" else 15)
            return lambda data: packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH), packer.flush
        case "br":
            import brotli  # type: ignore[import-untyped,unused-ignore]

            brotli_packer = brotli.Compressor(quality=4)
            return lambda data: brotli_packer.process(data) + brotli_packer.flush(), brotli_packer.finish
        case "zstd":
            try:
                from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python >= 3.14
            except ImportError:
                from backports import zstd

            zstd_packer = zstd.ZstdCompressor()
            return lambda data: zstd_packer.compress(data, zstd_packer.FLUSH_BLOCK), zstd_packer.flush
        case _:
            raise BadScript(f"unknown encoding {name!r}")


class Delivery:
    """Sends the frames of one chunked body, and knows how many tokens have left."""

    def __init__(self, connection: Connection, wish: Behaviour) -> None:
        self.tokens_sent = 0
        self.usage_sent = False
        self.events = 0
        self._connection = connection
        self._wish = wish
        self._splitter = splitter(wish.split)
        self._coder = Coder(wish.encoding)
        self._first = True
        self._fed = 0
        self._out = 0
        self._marks: deque[tuple[int, int, bool]] = deque()
        self._batch: list[bytes] = []
        self._batch_size = 0

    @property
    def codings(self) -> list[str]:
        """The content codings of the body."""
        return self._coder.names

    def frame_bytes(self, frame: Frame) -> bytes:
        """The next frame's bytes in the wanted event framing."""
        if self._wish.framing == "lf" or not frame.data.startswith((b"data:", b"event:")):
            return frame.data
        return reframed(frame.data, self._wish.framing, self.events)

    async def send(self, frame: Frame) -> None:
        """One whole event. Raises `Gone`."""
        data = self.frame_bytes(frame)
        self.events += 1
        self._fed += len(data)
        if frame.tokens or frame.usage:
            self._marks.append((self._fed, frame.tokens, frame.usage))
        for piece in self._splitter.feed(data):
            await self._piece(piece)

    async def part(self, data: bytes) -> None:
        """Some bytes of an event that will not be finished. What the splitter still holds goes first."""
        for piece in self._splitter.end():
            await self._piece(piece)
        await self._piece(data)
        await self.flush()

    async def _piece(self, piece: bytes) -> None:
        paced = self._wish.delay > 0
        if paced and not self._first:
            await asyncio.sleep(self._wish.delay)
        self._first = False
        coded = self._coder.feed(piece) if self._coder.names else piece
        if coded:
            self._batch.append(b"%x\r\n%b\r\n" % (len(coded), coded))
            self._batch_size += len(coded)
        self._out += len(piece)
        if paced or self._batch_size >= _BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Hand everything that is ready to the kernel."""
        if self._batch:
            data = b"".join(self._batch)
            self._batch.clear()
            self._batch_size = 0
            self._connection.write(data)
            await self._connection.drain()
        while self._marks and self._marks[0][0] <= self._out:
            _, tokens, usage = self._marks.popleft()
            self.tokens_sent += tokens
            self.usage_sent = self.usage_sent or usage

    async def settle(self) -> None:
        """Everything fed so far, boundaries or not."""
        for piece in self._splitter.end():
            await self._piece(piece)
        await self.flush()

    async def finish(self) -> None:
        """The rest, the coding's end and the last chunk."""
        for piece in self._splitter.end():
            await self._piece(piece)
        if self._coder.names:
            tail = self._coder.end()
            if tail:
                self._batch.append(b"%x\r\n%b\r\n" % (len(tail), tail))
        self._batch.append(b"0\r\n\r\n")
        await self.flush()
