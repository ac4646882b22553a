"""One request on its way through the vendor, and what the count will say about it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from gproxy.canonical.usage import Usage
from gproxy.vendor.ask import Ask
from gproxy.vendor.behaviour import Behaviour
from gproxy.vendor.connection import Connection, Request
from gproxy.vendor.sending import Delivery
from gproxy.vendor.tally import End, Figures, How, Tally, figures_of, now_us
from gproxy.vendor.voice import Voice


@dataclass(slots=True)
class Attempt:
    """The mutable record of one answer; `finish` writes it down, once."""

    number: int
    connection: Connection
    request: Request
    ask: Ask | None
    voice: Voice
    wish: Behaviour
    tally: Tally
    status: int = 0
    declared: Usage | Figures | None = None
    usage_sent: bool = False
    tokens_sent: int = 0
    keep: bool = True
    open_ended: bool = False
    """An endless answer: what was sent is what is billed."""
    delivery: Delivery | None = None
    finished: bool = False
    _bytes_before: int = 0

    def __post_init__(self) -> None:
        self._bytes_before = self.connection.bytes_out
        self.keep = self.request.keep_alive

    def finish(self, how: How) -> None:
        """Write the end of this answer into the count."""
        if self.finished:
            return
        self.finished = True
        if self.delivery is not None:
            self.tokens_sent = self.delivery.tokens_sent
            self.usage_sent = self.delivery.usage_sent
        if self.open_ended and isinstance(self.declared, Usage):
            self.declared = msgspec.structs.replace(self.declared, output=self.tokens_sent)
        declared = figures_of(self.declared) if isinstance(self.declared, Usage) else self.declared
        self.tally.end(
            End(
                self.number,
                self.tally.run,
                now_us(),
                how,
                self.status,
                declared,
                self.usage_sent,
                self.tokens_sent,
                self.connection.bytes_out - self._bytes_before,
            )
        )
