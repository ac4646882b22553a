"""Getting through a proxy: HTTP `CONNECT` (RFC 9110 section 9.3.6) and SOCKS5 (RFC 1928, RFC 1929).

Both are a few bytes asked and answered before the connection is ours; what follows is somebody else's. The small
SOCKS handshake is our own: a library would be a dependency for forty lines. Nothing here opens a socket.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from gproxy.errors import Phase, UpstreamFault
from gproxy.wire.http import Origin

_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_MAX_ANSWER: Final = 16 * 1024
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")

# RFC 1928 section 6.
_SOCKS_REPLIES: Final[dict[int, str]] = {
    1: "proxy failed",
    2: "proxy refused the connection by its rules",
    3: "network unreachable from the proxy",
    4: "host unreachable from the proxy",
    5: "connection refused behind the proxy",
    6: "connection through the proxy timed out",
    7: "proxy does not support the command",
    8: "proxy does not support the address type",
}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy's URL, taken apart. The credentials do not print."""

    scheme: str
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def is_http(self) -> bool:
        """Speaks HTTP, so plain-text origins are asked for in absolute form."""
        return self.scheme in {"http", "https"}

    @property
    def resolves(self) -> bool:
        """The proxy looks the origin's name up, not we."""
        return self.scheme != "socks5"

    def authorization(self) -> bytes:
        """The `proxy-authorization` line, or nothing (RFC 7617)."""
        if self.user is None:
            return b""
        pair = base64.b64encode(f"{self.user}:{self.password}".encode())
        return b"proxy-authorization: Basic %b\r\n" % pair


def parse_proxy(url: str) -> Proxy:
    """Take a proxy URL apart. `UpstreamFault(connect)` when it is none; the text repeats nothing of it."""
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise UpstreamFault(Phase.CONNECT, "the proxy URL is not valid", unprocessed=True) from None
    if parts.scheme not in _PORTS or not host or parts.path.strip("/") or parts.query or parts.fragment:
        raise UpstreamFault(Phase.CONNECT, "the proxy URL is not valid", unprocessed=True)
    user = None if parts.username is None else unquote(parts.username)
    return Proxy(parts.scheme, host, port or _PORTS[parts.scheme], user, unquote(parts.password or ""))


class Dialogue(asyncio.Protocol):
    """A few bytes asked and answered before the connection is handed on."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The way to the proxy is open."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Collect; nobody answers more than a few hundred bytes here."""
        self._buffer += data
        if len(self._buffer) > _MAX_ANSWER:
            self._end()
        self._wake()

    def eof_received(self) -> bool:
        """The proxy hung up."""
        self._end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The way to the proxy broke."""
        self._end()

    def say(self, data: bytes) -> None:
        """Write."""
        assert self._transport is not None
        self._transport.write(data)

    async def exactly(self, count: int) -> bytes:
        """The next `count` bytes."""
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        return await self.exactly(at + len(mark))

    def hand_over(self) -> asyncio.Transport:
        """The way, for whoever speaks next. Bytes that came too early would be read as the vendor's."""
        assert self._transport is not None
        if self._buffer or self._ended:
            raise UpstreamFault(Phase.CONNECT, "proxy answered more than asked", unprocessed=True)
        return self._transport

    def drop(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._ended:
            raise UpstreamFault(Phase.CONNECT, "proxy broke the connection off", unprocessed=True)
        self._waiter = self._loop.create_future()
        await self._waiter

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


async def http_connect(talk: Dialogue, proxy: Proxy, origin: Origin) -> None:
    """Ask an HTTP proxy for a tunnel. `UpstreamFault(connect)` when it says no."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    authority = f"{host}:{origin.port}".encode("ascii")
    talk.say(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (authority, authority, proxy.authorization()))
    head = await talk.until(b"\r\n\r\n")
    line = _STATUS_LINE.match(head)
    if line is None:
        raise UpstreamFault(Phase.CONNECT, "proxy does not speak HTTP", unprocessed=True)
    status = int(line[1])
    if status == 407:
        raise UpstreamFault(Phase.CONNECT, "proxy wants other credentials", unprocessed=True)
    if not 200 <= status < 300:
        raise UpstreamFault(Phase.CONNECT, f"proxy refused the connection (status {status})", unprocessed=True)


async def socks_connect(talk: Dialogue, proxy: Proxy, host: str, port: int) -> None:
    """Ask a SOCKS5 proxy for a connection to `host`, a name or an address. `UpstreamFault(connect)` when it says no."""
    methods = b"\x00" if proxy.user is None else b"\x00\x02"
    talk.say(bytes((5, len(methods))) + methods)
    version, method = await talk.exactly(2)
    if version != 5:
        raise UpstreamFault(Phase.CONNECT, "proxy does not speak SOCKS5", unprocessed=True)
    if method == 2 and proxy.user is not None:
        user, password = proxy.user.encode(), proxy.password.encode()
        if len(user) > 255 or len(password) > 255:
            raise UpstreamFault(Phase.CONNECT, "proxy credentials are too long", unprocessed=True)
        talk.say(b"\x01" + bytes((len(user),)) + user + bytes((len(password),)) + password)
        _, status = await talk.exactly(2)
        if status:
            raise UpstreamFault(Phase.CONNECT, "proxy wants other credentials", unprocessed=True)
    elif method != 0:
        raise UpstreamFault(Phase.CONNECT, "proxy wants other credentials", unprocessed=True)
    talk.say(b"\x05\x01\x00" + _socks_address(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = await talk.exactly(4)
    if version != 5:
        raise UpstreamFault(Phase.CONNECT, "proxy does not speak SOCKS5", unprocessed=True)
    if reply:
        raise UpstreamFault(Phase.CONNECT, _SOCKS_REPLIES.get(reply, "proxy failed"), unprocessed=True)
    match kind:  # the address it bound, which we have no use for
        case 1:
            await talk.exactly(4 + 2)
        case 4:
            await talk.exactly(16 + 2)
        case 3:
            (length,) = await talk.exactly(1)
            await talk.exactly(length + 2)
        case _:
            raise UpstreamFault(Phase.CONNECT, "proxy does not speak SOCKS5", unprocessed=True)


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > 255:
            raise UpstreamFault(Phase.CONNECT, "host name is not valid", unprocessed=True) from None
        return b"\x03" + bytes((len(name),)) + name
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed
