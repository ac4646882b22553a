"""HTTP messages as plain values, shared by the rooms that build them and the room that sends them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

Header: TypeAlias = tuple[bytes, bytes]
"""A name in lower case and its value, both as they stand on the wire (RFC 9110 section 5)."""

# RFC 9110 section 7.6.1, plus the names that describe one connection or one hop's framing.
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class Origin(msgspec.Struct, frozen=True):
    """Scheme, host and port of a vendor: what a connection pool is keyed by."""

    scheme: str
    host: str
    port: int

    @property
    def host_header(self) -> bytes:
        """The value of `Host`: the port is left out when it is the scheme's own (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode("ascii")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Upstream deadlines in seconds. `total` covers the whole attempt; the others one phase each."""

    connect: float = 10.0
    first_byte: float = 600.0
    idle: float = 120.0
    total: float = 3600.0


class UpstreamRequest(msgspec.Struct):
    """One request, ready to be written.

    Headers hold neither `host`, `content-length` nor hop-by-hop names: the transport adds the first two.
    """

    method: bytes
    origin: Origin
    target: bytes
    headers: list[Header]
    body: bytes
    deadlines: Deadlines
    proxy: str | None = None
    unsent: bool = False
    """Said by the transport when sending was cancelled before a connection was there: not a byte of it has left."""

    def __repr__(self) -> str:
        # What may hold a secret or a prompt stays out of tracebacks and logs.
        return f"UpstreamRequest({self.method!r}, {self.origin!r})"


def end_to_end(headers: list[Header]) -> list[Header]:
    """The headers that may travel on: hop-by-hop ones and those that `Connection` names are left out."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return [(name, value) for name, value in headers if name not in HOP_BY_HOP and name not in named]
