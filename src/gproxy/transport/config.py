"""What the upstream client may spend: connections, buffers, limits. Deadlines are not here: each request brings its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TransportConfig:
    """Bounds of the upstream client; sizes in bytes, times in seconds.

    `max_connections_per_origin` caps open connections to one origin through one proxy; a request beyond it waits,
    at most for its connect deadline. `max_idle_per_origin` of them may stay open unused, each for at most
    `idle_keepalive` (55 s: below the 60 s at which common load balancers close, so we close first). After `max_age` a
    connection ends with its answer, however busy: a vendor that moves to another address is followed in time.
    `read_high_water` is how much of an answer may wait unread before the socket is no longer read.
    `max_decoded_ratio` is output over input of a compressed body, judged only after `decoded_ratio_slack` bytes
    came out, because short repetitive texts compress beyond any sensible ratio; `max_decoded_bytes` caps what
    `read()` collects from a compressed body, whatever its caller allows. `ca_file` replaces the system's trust store.
    """

    max_connections_per_origin: int = 2048
    max_idle_per_origin: int = 512
    idle_keepalive: float = 55.0
    max_age: float = 900.0
    read_high_water: int = 256 * 1024
    max_head_bytes: int = 64 * 1024
    max_headers: int = 256
    max_interim: int = 32
    max_decoded_ratio: int = 200
    decoded_ratio_slack: int = 8 * 1024 * 1024
    max_decoded_bytes: int = 128 * 1024 * 1024
    forbid_metadata_addresses: bool = True
    ca_file: str | None = None
