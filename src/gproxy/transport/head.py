"""A request's head as bytes. It either leaves whole and well formed, or not at all."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from gproxy.errors import Phase, UpstreamFault
from gproxy.wire.http import HOP_BY_HOP, Header, UpstreamRequest

# The transport decides these; a stray one from a rule or a caller would be a second opinion on framing.
_OURS: Final = HOP_BY_HOP | {b"host", b"content-length"}
_BODYLESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})
_KEPT: Final = 256


def request_head(request: UpstreamRequest, host: bytes, *, prefix: bytes = b"", extra: bytes = b"") -> bytes:
    """The request line and headers, up to and with the empty line.

    `prefix` goes before the target (scheme and authority, for a proxy); `extra` are whole header lines.
    `UpstreamFault(send)` when a part could break the framing; its text names no value, since a target may hold a key.
    """
    lines = _lines(tuple(request.headers))
    if lines is None:
        raise UpstreamFault(Phase.SEND, "a request header holds a line break or NUL", unprocessed=True)
    body = request.body
    length = b"content-length: %d\r\n" % len(body) if body or request.method not in _BODYLESS else b""
    line = b"%b %b%b HTTP/1.1\r\n" % (request.method, prefix, request.target)
    whole = line.count(b" ") == 2 and line.count(b"\n") == line.count(b"\r") == 1 and b"\0" not in line
    if not whole or not request.target.startswith((b"/", b"*")):
        raise UpstreamFault(Phase.SEND, "the request target is not valid", unprocessed=True)
    return b"%bhost: %b\r\n%b%b%b\r\n" % (line, host, extra, lines, length)


@lru_cache(maxsize=_KEPT)
def _lines(headers: tuple[Header, ...]) -> bytes | None:
    """Header lines as they go on the wire; None when a name or a value would break out of its line.

    A gateway sends the same few sets of headers again and again: those of a provider with one of its keys.
    """
    lines: list[bytes] = []
    coding_said = False
    for name, value in headers:
        if name in _OURS:
            continue
        if name == b"accept-encoding":
            coding_said = True
        lines.append(b"%b: %b\r\n" % (name, value))
    if not coding_said:
        lines.append(b"accept-encoding: identity\r\n")
    block = b"".join(lines)
    # Counting is cheaper than looking at each value: a line break inside one makes a line too many.
    if block.count(b"\n") != len(lines) or block.count(b"\r") != len(lines) or b"\0" in block:
        return None
    return block
