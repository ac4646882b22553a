"""The bytes of an answer: status line, header block, chunk frames. Pure; when to send them is decided elsewhere."""

from __future__ import annotations

from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gproxy.wire.http import Header

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"

# What describes the connection or the framing is the listener's to say; a handler's own is left out.
_OWNED: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"proxy-connection", b"date", b"trailer"}
)
_STATUS_LINES: Final = {int(s): b"HTTP/1.1 %d %b\r\n" % (s, s.phrase.encode("ascii")) for s in HTTPStatus}


def encode_head(status: int, headers: Sequence[Header]) -> bytes:
    """Status line and header lines, without the empty line.

    Raises ValueError when a name or value would break out of its line (RFC 9110 section 5.5) or the status is not a final one.
    """
    line = _STATUS_LINES.get(status)
    if line is None or status < 200:
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not the status of an answer")
        line = b"HTTP/1.1 %d \r\n" % status
    parts = [line]
    lines = 1
    for name, value in headers:
        if name not in _OWNED:
            parts += (name, b": ", value, b"\r\n")
            lines += 1
    block = b"".join(parts)
    if block.count(b"\n") != lines or block.count(b"\r") != lines or b"\0" in block:
        raise ValueError("a header name or value holds CR, LF or NUL")
    return block


def date_line(now_us: int) -> bytes:
    """The `date` header line (RFC 9110 section 6.6.1) for a time in microseconds since the epoch."""
    return b"date: %b\r\n" % formatdate(now_us / 1_000_000, usegmt=True).encode("ascii")
