"""Liveness and readiness, told truthfully: `/livez` (the process runs), `/readyz` (send it work), `/healthz` (both)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gproxy.wire.http import Header

_HEADERS: Final[tuple[Header, ...]] = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


@dataclass(frozen=True, slots=True)
class Ping:
    """One part's state. `ready` False takes the instance out of rotation; `amber` is worth a look, no more."""

    name: str
    ready: bool
    detail: str
    amber: bool = False


class Health:
    """Asks the registered parts; holds no state of its own but who to ask."""

    def __init__(self, state: Callable[[], str], in_flight: Callable[[], int]) -> None:
        self._state = state
        self._in_flight = in_flight
        self._pings: list[Callable[[], Ping]] = []

    def register(self, ping: Callable[[], Ping]) -> None:
        """Add a part. Its ping must be a look at memory, never a wait."""
        self._pings.append(ping)

    def readiness(self) -> tuple[bool, dict[str, object]]:
        """Whether to send work here, and why not."""
        state = self._state()
        pings = [ping() for ping in self._pings]
        ready = state == "ready" and all(ping.ready for ping in pings)
        checks = {
            ping.name: {"status": "ok" if ping.ready and not ping.amber else ("amber" if ping.ready else "down")}
            | ({"detail": ping.detail} if ping.detail else {})
            for ping in pings
        }
        colour = "amber" if any(ping.amber for ping in pings) else "ok"
        return ready, {
            "status": colour if ready else "unready",
            "state": state,
            "in_flight": self._in_flight(),
            "checks": checks,
        }

    def answer(self, path: str) -> tuple[int, tuple[Header, ...], bytes]:
        """The whole reply to one of the three paths."""
        if path == "/livez":
            return 200, _HEADERS, b'{"status":"ok"}'
        ready, body = self.readiness()
        if path == "/healthz":
            body = {"live": True, "ready": ready, **body}
        return (200 if ready else 503), _HEADERS, msgspec.json.encode(body)
