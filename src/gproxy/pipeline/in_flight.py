"""The requests being served right now: what a drain waits for, what it cuts, what operators look at."""

from __future__ import annotations

from collections.abc import Iterator

from gproxy.errors import Failure, Kind, Refused
from gproxy.pipeline.exchange import Cause, Exchange


class InFlight:
    """Bounded by `limit`; beyond it requests are shed at once, so that the admitted ones keep their pace."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._exchanges: dict[str, Exchange] = {}

    def __len__(self) -> int:
        return len(self._exchanges)

    def __iter__(self) -> Iterator[Exchange]:
        return iter(tuple(self._exchanges.values()))

    def enter(self, x: Exchange) -> None:
        """Raises `Refused` (503 `overloaded`) when the process is full."""
        if len(self._exchanges) >= self.limit:
            text = f"the gateway is at its limit of {self.limit} requests in flight; try again shortly"
            raise Refused(Failure(Kind.OVERLOADED, text, retry_after=1.0))
        self._exchanges[x.request_id] = x

    def leave(self, x: Exchange) -> None:
        """The request is over."""
        self._exchanges.pop(x.request_id, None)

    def cut(self) -> int:
        """Interrupt all of them; how many there were."""
        for x in self:
            x.interrupt(Cause.CUT)
        return len(self._exchanges)
