"""What the listener allows a client: sizes in bytes, times in seconds. Values only; who enforces them lives next door."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListenerConfig:
    """Every bound of the listener. The defaults suit LLM traffic: few, large, long-lived exchanges."""

    header_timeout: float = 10.0
    """To complete a request head once its first byte came, else 408."""

    body_timeout: float = 60.0
    """Silence between two reads of a body that the handler is waiting for, else 408."""

    min_body_rate: float = 240.0
    """Bytes per second a body must reach on average once it took longer than `body_timeout` (a drip is no upload)."""

    idle_timeout: float = 75.0
    """A keep-alive connection without a request is closed after this."""

    write_timeout: float = 60.0
    """A stuffed send buffer that does not shrink for this long means the client is not reading: it is cut."""

    tls_handshake_timeout: float = 10.0
    """To complete a TLS handshake."""

    linger: float = 3.0
    """After our last byte: how long we still read and discard, so that an early answer is not lost to a reset."""

    max_header_bytes: int = 65_536
    """Request line and headers together, else 431 (414 when the request line alone is too long)."""

    max_headers: int = 128
    """Header lines per request, else 431. SDKs send about 20, chains of proxies add a dozen."""

    discard_bytes: int = 65_536
    """A request body of which no more than this is still to come after an early answer is read to its end to keep
    the connection; a longer one closes it."""

    linger_bytes: int = 67_108_864
    """How much is read and discarded before closing (a client that writes its whole body before it reads the 413)."""

    read_high_water: int = 262_144
    """Unread body bytes above which reading from the client pauses."""

    read_ahead: int = 65_536
    """Bytes of pipelined requests held while one is being answered; above it reading pauses."""

    write_high_water: int = 65_536
    """Unsent bytes above which `Responder.drain` waits."""

    write_low_water: int = 16_384
    """Unsent bytes below which `Responder.drain` goes on."""

    max_connections: int = 16_384
    """Open connections; one more is answered 503 and closed."""

    backlog: int = 2048
    """Connections the kernel may hold for us to accept."""
