"""What streams need once in a while: a progress record each second, a keep-alive while the vendor is silent.

One pass over the live streams from one ticker, instead of a timer per stream: the byte path pays an attribute.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from gproxy.pipeline.exchange import Client, Exchange
from gproxy.pipeline.ports import JournalPort
from gproxy.pipeline.settle import Attempt, Reading, progress_of

KEEP_ALIVE_AFTER: Final = 15.0
"""Seconds of silence before a keep-alive: proxies in between give up after 60 s, some after 30."""


class StreamReading(Reading, Protocol):
    """A translator of a stream, as the pulse needs it."""

    def keep_alive(self) -> bytes:
        """Bytes that keep the connection warm without meaning; b"" in the middle of an event."""
        ...


class Flow:
    """One live stream."""

    __slots__ = ("attempt", "begin", "begun", "client", "exchange", "held", "last_at", "opened_at", "reading")

    def __init__(
        self, exchange: Exchange, attempt: Attempt, reading: StreamReading, client: Client, now: float
    ) -> None:
        self.exchange = exchange
        self.attempt = attempt
        self.reading = reading
        self.client = client
        self.opened_at = self.last_at = now
        self.held = b""
        """What came before the answer began; nothing of it has gone to the client."""
        self.begun = False
        self.begin: Callable[[], None] | None = None
        """Begins the answer though nothing has been said yet; None where that is not for the pulse to decide."""


class Pulse:
    """The live streams of this process."""

    def __init__(self, journal: JournalPort) -> None:
        self._journal = journal
        self._flows: set[Flow] = set()

    def add(self, flow: Flow) -> None:
        """A stream has begun."""
        self._flows.add(flow)

    def discard(self, flow: Flow) -> None:
        """It has ended."""
        self._flows.discard(flow)

    def beat(self, now: float, now_us: int) -> None:
        """Call once a second."""
        for flow in tuple(self._flows):
            record = progress_of(flow.attempt, flow.reading, now_us)
            if record is not None:
                self._journal.progress(record)
                flow.exchange.tokens_seen = record.output_tokens or 0
            if not flow.begun:
                # A vendor that only pings may go on so for minutes; the client must not take that for silence.
                if flow.begin is not None and now - flow.opened_at >= KEEP_ALIVE_AFTER:
                    flow.begin()
                    flow.client.write(flow.held)
                    flow.held = b""
                    flow.last_at = now
                continue
            if now - flow.last_at >= KEEP_ALIVE_AFTER and not flow.client.gone:
                filler = flow.reading.keep_alive()
                if filler:
                    flow.client.write(filler)
                    flow.last_at = now
