"""The head of a request, from raw bytes to a checked value. No sockets, no state between requests.

llhttp (through httptools) judges the syntax; what it lets through although RFC 9112 or plain caution would not is
refused here. A fresh parser per head costs 0.2 us and can never be out of step with the connection: bodies
are framed next door (connection.py, chunked.py), because httptools cannot tell where in its input a message ended.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from gproxy.errors import Failure, Kind

if TYPE_CHECKING:
    from gproxy.wire.http import Header

_METHODS: Final = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
_WATCHED: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect"})
# RFC 9110 section 7.2 without the sub-delims no registered name uses: what is left cannot be mistaken for a path.
_HOST: Final = re.compile(rb"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~-]{1,255})(?::[0-9]{1,5})?")
_ABSOLUTE: Final = re.compile(rb"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_KNOWN_HOSTS: Final[set[bytes]] = set()
_KNOWN_HOSTS_MAX: Final = 256
_MAX_LENGTH: Final = (1 << 63) - 1


class BadHead(Exception):  # noqa: N818 - it names what arrived
    """This head cannot be served: the status to answer and why. The connection must be closed after it."""

    def __init__(self, status: int, text: str, kind: Kind = Kind.INVALID_REQUEST, path: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.failure = Failure(kind, text)
        self.path = path


class Head:
    """A checked request head. It is also the parser's callback object, which saves one allocation per request."""

    __slots__ = (
        "chunked",
        "complete",
        "expects",
        "headers",
        "http11",
        "keep_alive",
        "length",
        "method",
        "path",
        "query",
        "target",
    )

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[Header] = []
        self.complete = False
        self.method = ""
        self.path = ""
        self.query = ""
        self.http11 = True
        self.keep_alive = True
        self.chunked = False
        self.length = 0
        self.expects = False

    def on_url(self, url: bytes) -> None:
        """A piece of the request target (one piece, as heads are fed whole)."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; llhttp has cut the white space before the value, not that behind it."""
        self.headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The empty line was reached."""
        self.complete = True


class Scout:
    """Watches a head that arrives in pieces, so that a bad one is refused at once and not at the deadline."""

    __slots__ = ("_ended", "_parser")

    def __init__(self) -> None:
        self._ended = False
        self._parser = httptools.HttpRequestParser(self)

    def look(self, piece: bytes) -> None:
        """Raise `BadHead` as soon as the pieces so far can no longer become a request."""
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise _malformed(error) from error
        if self._ended:
            raise BadHead(400, "the request head has no headers")

    def on_headers_complete(self) -> None:
        """A head that ends without an empty line: HTTP/0.9."""
        self._ended = True


def parse_head(raw: bytes, max_headers: int) -> Head:
    """Check and take apart one head, empty line included. Raises `BadHead`."""
    head = Head()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # a wish only; the handler sees the header and may answer 426
    except httptools.HttpParserError as error:
        raise _malformed(error) from error
    target = head.target
    method: bytes = parser.get_method()
    if not head.complete:
        raise BadHead(400, "the request head is malformed")
    # One comparison refuses double spaces, odd versions, HTTP/0.9, RTSP and stray bytes before the method.
    if not raw.startswith(b"%b %b HTTP/1.1\r\n" % (method, target)):
        if not raw.startswith(b"%b %b HTTP/1.0\r\n" % (method, target)):
            raise _bad_request_line(raw)
        head.http11 = head.keep_alive = False
    head.method = _METHODS.get(method) or method.decode("ascii")
    if len(head.headers) > max_headers:
        raise BadHead(431, f"more than {max_headers} header lines", Kind.HEADERS_TOO_LARGE)
    host = _examine(head)
    if target[0] != 0x2F:
        target = _origin_form(head.method, target, host)
    if b"#" in target:
        raise BadHead(400, "the request target holds a fragment")
    head.path, _, head.query = target.decode("ascii").partition("?")
    return head


def _examine(head: Head) -> bytes | None:
    """Read the headers that decide framing and the life of the connection; returns the host."""
    host: bytes | None = None
    options: bytes | None = None
    for name, value in head.headers:
        if name not in _WATCHED:
            continue
        if name == b"host":
            if host is not None:
                raise BadHead(400, "more than one Host header")
            host = value
            if value not in _KNOWN_HOSTS:
                _check_host(value)
        elif name == b"connection":
            options = value if options is None else options + b"," + value
        elif name == b"content-length":
            # llhttp has refused repeated, signed, listed and overflowing lengths, and one beside transfer-encoding.
            if not value.isdigit() or int(value) > _MAX_LENGTH:
                raise BadHead(400, "Content-Length is not a number")
            head.length = int(value)
        elif name == b"transfer-encoding":
            # RFC 9112 section 6.1: in an HTTP/1.0 message it is a sign of smuggling; no coding but chunked is known.
            if head.chunked or not head.http11 or value.lower() != b"chunked":
                raise BadHead(400, "Transfer-Encoding may only be: chunked, once, in HTTP/1.1")
            head.chunked = True
        elif head.http11:  # expect; RFC 9110 section 10.1.1: ignored in HTTP/1.0
            if value.lower() != b"100-continue":
                raise BadHead(417, "the only expectation served is 100-continue")
            head.expects = True
    if host is None and head.http11:
        raise BadHead(400, "the Host header is missing")
    if options is not None and not (head.http11 and options == b"keep-alive"):
        head.keep_alive = _persists(head, options)
    return host


def _persists(head: Head, options: bytes) -> bool:
    """RFC 9112 section 9.3: `close` wins; HTTP/1.1 keeps by default, HTTP/1.0 when asked to."""
    tokens = {token.strip() for token in options.lower().split(b",")}
    return b"close" not in tokens and (head.http11 or b"keep-alive" in tokens)


def _check_host(value: bytes) -> None:
    if not _HOST.fullmatch(value):
        raise BadHead(400, "the Host header is not a host name with an optional port")
    if len(_KNOWN_HOSTS) >= _KNOWN_HOSTS_MAX:
        _KNOWN_HOSTS.clear()
    _KNOWN_HOSTS.add(value)


def _origin_form(method: str, target: bytes, host: bytes | None) -> bytes:
    """Path and query of a target in absolute-form, which RFC 9112 section 3.2.2 obliges us to accept.

    Its authority must agree with Host, so that nobody in front of us and we ourselves read two different names.
    """
    if method == "CONNECT":
        raise BadHead(405, "CONNECT is not served", Kind.METHOD_NOT_ALLOWED)
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise BadHead(400, "the request target is neither a path nor an http URL")
    authority, rest = found.groups()
    if not _HOST.fullmatch(authority):
        raise BadHead(400, "the authority of the request target is malformed")
    if host is not None and host.lower() != authority.lower():
        raise BadHead(400, "the Host header and the request target disagree")
    return rest if rest.startswith(b"/") else b"/" + rest


def _bad_request_line(raw: bytes) -> BadHead:
    line = raw[: raw.find(b"\r\n")]
    if re.fullmatch(rb"[A-Z]+ [^ ]+ HTTP/[0-9]\.[0-9]", line):
        return BadHead(505, "only HTTP/1.1 and HTTP/1.0 are served")
    return BadHead(400, "the request line is malformed")


def _malformed(error: Exception) -> BadHead:
    return BadHead(400, f"the request head is malformed: {error}")
