"""A request's head as bytes. It either leaves whole and well formed, or not at all."""

from __future__ import annotations

from typing import Final

from gproxy.errors import Phase, UpstreamFault
from gproxy.wire.http import HOP_BY_HOP, UpstreamRequest

# The transport decides these; a stray one from a rule or a caller would be a second opinion on framing.
_OURS: Final = HOP_BY_HOP | {b"host", b"content-length"}
_BODYLESS: Final = frozenset({b"GET", b"HEAD", b"DELETE", b"OPTIONS"})


def request_head(request: UpstreamRequest, host: bytes, *, prefix: bytes = b"", extra: bytes = b"") -> bytes:
    """The request line and headers, up to and with the empty line.

    `prefix` goes before the target (scheme and authority, for a proxy); `extra` are whole header lines.
    `UpstreamFault(send)` when a part could break the framing; its text names no value, since a target may hold a key.
    """
    lines: list[bytes] = []
    coding_said = False
    for name, value in request.headers:
        if name in _OURS:
            continue
        if name == b"accept-encoding":
            coding_said = True
        lines.append(b"%b: %b\r\n" % (name, value))
    if not coding_said:
        lines.append(b"accept-encoding: identity\r\n")
    body = request.body
    if body or request.method not in _BODYLESS:
        lines.append(b"content-length: %d\r\n" % len(body))
    line = b"%b %b%b HTTP/1.1\r\n" % (request.method, prefix, request.target)
    head = b"%bhost: %b\r\n%b%b\r\n" % (line, host, extra, b"".join(lines))
    # Counting is cheaper than looking at each value: a line break inside one makes a line too many.
    breaks = len(lines) + 3 + (extra.count(b"\n") if extra else 0)
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise UpstreamFault(Phase.SEND, "a request header holds a line break or NUL", unprocessed=True)
    if line.count(b" ") != 2 or not request.target.startswith((b"/", b"*")):
        raise UpstreamFault(Phase.SEND, "the request target is not valid", unprocessed=True)
    return head
