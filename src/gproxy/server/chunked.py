"""The chunked transfer coding of request bodies (RFC 9112 section 7.1), decoded strictly and incrementally. No I/O.

Our own and not llhttp's, because we must know at which byte a message ends: what follows may be the next request.
Strict means: CRLF only, plain hexadecimal sizes, no white space around them, extensions and trailers bounded and
ignored, trailers that would change the framing refused.
"""

from __future__ import annotations

import re
from typing import Final

_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:;%b(?:=(?:%b|%b))?)*" % (_NAME, _NAME, _QUOTED))
_TRAILER: Final = re.compile(rb"(%b):[\t\x20-\x7e\x80-\xff]*" % _NAME)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})
_MAX_SIZE_LINE: Final = 1024  # 16 digits and a generous extension; nobody is known to send one
_MAX_EXTENSIONS: Final = 16_384  # over the whole message (Go's CVE-2023-39326)
_MAX_TRAILERS: Final = 8192
_MAX_CHUNK: Final = (1 << 63) - 1

_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class BadChunk(Exception):  # noqa: N818 - it names what arrived
    """The body is not what RFC 9112 section 7.1 describes. The text is public."""


class ChunkedDecoder:
    """Takes the bytes of one chunked body as they come; `done` once its last byte was seen."""

    __slots__ = ("_extensions", "_kept", "_left", "_state", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._state = _SIZE
        self._left = 0
        self._kept = b""  # an unfinished line
        self._extensions = 0
        self._trailers = 0

    def feed(self, data: bytes, at: int = 0) -> tuple[list[bytes], int]:
        """The pieces of content in `data[at:]` and the offset behind the last byte used. Raises `BadChunk`.

        All of the input is used unless the body ends within it.
        """
        if self._kept:
            # The offset must come out in terms of the caller's data: the kept bytes shift it.
            shift = at - len(self._kept)
            data, self._kept = self._kept + data[at:], b""
            pieces, used = self._feed(data, 0)
            return pieces, used + shift
        return self._feed(data, at)

    def _feed(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        pieces: list[bytes] = []
        size = len(data)
        while at < size:
            if self._state == _DATA:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._state = _DATA_END
                continue
            if self._state == _DATA_END:
                if not b"\r\n".startswith(data[at : at + 2]):
                    raise BadChunk("a chunk is longer than its size says")
                if size - at < 2:
                    self._kept = data[at:]
                    return pieces, size
                at += 2
                self._state = _SIZE
                continue
            end = data.find(b"\n", at)
            if end < 0:
                self._keep(data[at:])
                return pieces, size
            if end == at or data[end - 1] != 0x0D:
                raise BadChunk("a line in the chunked body does not end in CRLF")
            line = data[at : end - 1]
            at = end + 1
            if self._state == _SIZE:
                self._size(line)
            elif self._trailer(line):
                self._state, self.done = _DONE, True
                return pieces, at
        return pieces, at

    def _keep(self, rest: bytes) -> None:
        limit = _MAX_SIZE_LINE if self._state == _SIZE else _MAX_TRAILERS
        if len(rest) > limit:
            raise BadChunk("a line in the chunked body is too long")
        if b"\r" in rest[:-1]:
            raise BadChunk("a line in the chunked body does not end in CRLF")
        self._kept = rest

    def _size(self, line: bytes) -> None:
        found = _SIZE_LINE.fullmatch(line)
        if found is None or len(line) > _MAX_SIZE_LINE:
            raise BadChunk("a chunk size is malformed")
        digits = found.group(1)
        self._extensions += len(line) - len(digits)
        self._left = int(digits, 16)
        if self._left > _MAX_CHUNK or self._extensions > _MAX_EXTENSIONS:
            raise BadChunk("a chunk size or its extensions are too large")
        self._state = _DATA if self._left else _TRAILERS

    def _trailer(self, line: bytes) -> bool:
        if not line:
            return True
        self._trailers += len(line)
        found = _TRAILER.fullmatch(line)
        if found is None or self._trailers > _MAX_TRAILERS or found.group(1).lower() in _FRAMING:
            raise BadChunk("the trailers are malformed, too large or try to change the framing")
        return False
