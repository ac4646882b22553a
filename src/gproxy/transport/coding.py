"""Content codings taken off, a bounded piece at a time: gzip, deflate, br, zstd (RFC 9110 section 8.4.1, RFC 8878).

Output is never larger than asked for, whatever the input promises; a body that grows beyond the ratio is refused.
Several codings on top of each other are refused outright: no vendor sends them and they multiply the ratio.
"""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE: Final = 256 * 1024
"""The most one `take` returns, in bytes."""

# Small slices keep the copies of "what was not consumed" (zlib's interface) from growing quadratic, and make the ratio
# check fine-grained.
_SLICE: Final = 16 * 1024
# RFC 9659: a zstd frame for HTTP needs a window of at most 8 MiB. Larger ones are how one frame costs gigabytes.
_ZSTD_WINDOW_LOG: Final = 23


class CodingError(Exception):
    """The body is not what its content coding says, or grows without bound. The text is public."""


class _Engine(Protocol):
    hungry: bool  # nothing more comes out without input
    finished: bool  # the input so far is a complete stream

    def step(self, data: bytes, limit: int) -> bytes: ...


class _Zlib:
    """gzip and zlib streams. A gzip body may have several members (RFC 1952 section 2.2)."""

    def __init__(self, wbits: int, *, members: bool) -> None:
        self._wbits = wbits
        self._members = members
        self._engine = zlib.decompressobj(wbits)
        self._rest = b""
        self.hungry = True
        self.finished = False

    def step(self, data: bytes, limit: int) -> bytes:
        if self._engine.eof:
            if not self._members:
                raise CodingError("body has data after its compressed end")
            self._engine = zlib.decompressobj(self._wbits)
        engine = self._engine
        out = engine.decompress(data or self._rest, limit)
        self._rest = engine.unused_data if engine.eof else engine.unconsumed_tail
        self.finished = engine.eof and not self._rest
        self.hungry = not self._rest and (engine.eof or len(out) < limit)
        return out


class _Deflate:
    """`deflate` is zlib by the standard and raw deflate by an old habit; the first two bytes tell (RFC 1950 section 2.2)."""

    def __init__(self) -> None:
        self._first = b""
        self._engine: _Zlib | None = None
        self.hungry = True
        self.finished = False

    def step(self, data: bytes, limit: int) -> bytes:
        if self._engine is None:
            data = self._first + data
            if len(data) < 2:
                self._first = data
                return b""
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._engine = _Zlib(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, members=False)
        out = self._engine.step(data, limit)
        self.hungry, self.finished = self._engine.hungry, self._engine.finished
        return out


class _Brotli:
    def __init__(self) -> None:
        self._engine = brotli.Decompressor()
        self._held = b""
        self.hungry = True
        self.finished = False

    def step(self, data: bytes, limit: int) -> bytes:
        # The library rounds its limit up to its own block size; what is beyond ours waits for the next step.
        out = self._held
        if len(out) < limit:
            if data and self.finished:
                raise CodingError("body has data after its compressed end")
            out += self._engine.process(data, output_buffer_limit=limit - len(out))
        out, self._held = out[:limit], out[limit:]
        self.finished = self._engine.is_finished()
        self.hungry = not self._held and (self.finished or self._engine.can_accept_more_data())
        return out


class _Zstd:
    """One or more frames."""

    def __init__(self) -> None:
        self._engine = self._fresh()
        self._rest = b""
        self.hungry = True
        self.finished = False

    @staticmethod
    def _fresh() -> zstd.ZstdDecompressor:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})

    def step(self, data: bytes, limit: int) -> bytes:
        if self._engine.eof:
            self._engine = self._fresh()
        engine = self._engine
        out = engine.decompress(data or self._rest, limit)
        self._rest = engine.unused_data if engine.eof else b""
        self.finished = engine.eof and not self._rest
        self.hungry = not self._rest if engine.eof else engine.needs_input
        return out


_ENGINES: Final[dict[bytes, Callable[[], _Engine]]] = {
    b"gzip": lambda: _Zlib(16 + zlib.MAX_WBITS, members=True),
    b"x-gzip": lambda: _Zlib(16 + zlib.MAX_WBITS, members=True),
    b"deflate": _Deflate,
    b"br": _Brotli,
    b"zstd": _Zstd,
}


class Decoder:
    """Feed what arrives, take what it means."""

    __slots__ = ("_came_in", "_engine", "_input", "_offset", "_ratio", "_slack", "_went_out")

    def __init__(self, engine: _Engine, *, ratio: int, slack: int) -> None:
        self._engine = engine
        self._ratio = ratio
        self._slack = slack
        self._input: deque[bytes] = deque()
        self._offset = 0
        self._came_in = 0
        self._went_out = 0

    def feed(self, data: bytes) -> None:
        """More of the coded body."""
        self._input.append(data)

    def take(self) -> bytes:
        """Up to `PIECE` bytes of the decoded body; b"" when more input is needed. Raises `CodingError`."""
        engine = self._engine
        pieces: list[bytes] = []
        room = PIECE
        while room > 0:
            data = self._slice() if engine.hungry else b""
            if engine.hungry and not data:
                break
            self._came_in += len(data)
            try:
                piece = engine.step(data, room)
            except (zlib.error, brotli.error, zstd.ZstdError) as error:
                raise CodingError("body does not decompress") from error
            if piece:
                pieces.append(piece)
                room -= len(piece)
        out = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._went_out += len(out)
        if self._went_out > self._slack and self._went_out > self._came_in * self._ratio:
            raise CodingError("body decompresses beyond the limit")
        return out

    def end(self) -> None:
        """The coded body is over: raises `CodingError` unless it was a complete stream (or nothing at all)."""
        if self._came_in and not self._engine.finished:
            raise CodingError("body truncated")

    def _slice(self) -> bytes:
        if not self._input:
            return b""
        head = self._input[0]
        piece = head[self._offset : self._offset + _SLICE]
        self._offset += len(piece)
        if self._offset >= len(head):
            self._input.popleft()
            self._offset = 0
        return piece


def codings(values: list[bytes]) -> list[bytes]:
    """The codings that `Content-Encoding` lists, in order, `identity` left out."""
    listed = (token.strip().lower() for value in values for token in value.split(b","))
    return [token for token in listed if token and token != b"identity"]


def decoder_for(listed: list[bytes], *, ratio: int, slack: int) -> Decoder | None:
    """A decoder for what `codings` found; None when there is nothing to take off. `CodingError` when we cannot."""
    if not listed:
        return None
    engine = _ENGINES.get(listed[0])
    if engine is None or len(listed) > 1:
        raise CodingError("unsupported content encoding")
    return Decoder(engine(), ratio=ratio, slack=slack)
