"""What a request asks of the world outside: small promises, kept by rooms that only `runtime` knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gproxy.ledger.record import Closed, Opened, Progress
from gproxy.protocols.openai_responses.kept import Chain, KeptResponse
from gproxy.wire.http import Header, UpstreamRequest


class UpstreamReply(Protocol):
    """A vendor's answer whose head has arrived.

    The body comes with content codings removed. Every method raises `UpstreamFault` when the connection breaks,
    a deadline passes or the body is not complete as framed; a truncated body never looks finished.
    """

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Sequence[Header]:
        """The head, names in lower case."""
        ...

    async def next(self) -> bytes:
        """The next piece of the body, as soon as there is one; b"" once, at its proper end."""
        ...

    async def read(self, limit: int) -> bytes:
        """The whole rest of the body; more than `limit` bytes is an `UpstreamFault`."""
        ...

    def abort(self) -> None:
        """Drop the answer now: the connection is closed unless the body had ended. Safe to call twice."""
        ...


class Upstream(Protocol):
    """The upstream network."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        """Send and wait for the head. Raises `UpstreamFault`. Cancelling it drops the connection."""
        ...


class JournalPort(Protocol):
    """The journal as the request sees it. `open` raises `Refused(ledger_unavailable)` when it cannot promise."""

    def open(self, record: Opened) -> None:
        """Append and hand to the operating system before returning."""
        ...

    def progress(self, record: Progress) -> None:
        """Append; may be grouped with others of the same turn of the loop."""
        ...

    def close(self, record: Closed) -> None:
        """Append and hand to the operating system before returning."""
        ...

    async def durable(self) -> None:
        """Wait until what was appended so far is as durable as the setting promises (at once in `process`)."""
        ...


class Answered(Protocol):
    """An answer that is on its way to its caller and may be kept; whoever keeps it reads it later."""

    @property
    def id(self) -> str:
        """The id that its client knows."""
        ...

    @property
    def user_id(self) -> str:
        """Whose it is."""
        ...

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        ...

    def kept(self) -> KeptResponse | None:
        """What of it is to be kept; None when it cannot be read."""
        ...


class Keeper(Protocol):
    """Answers kept for their callers. What reads the database raises `StoreUnavailable` when it is away."""

    @property
    def on(self) -> bool:
        """Whether answers are kept at all."""
        ...

    def keep(self, answered: Answered) -> None:
        """Take an answer; it can be found from now on. Writing it happens later, and nobody waits for it."""
        ...

    async def chain(self, user_id: str, response_id: str) -> Chain:
        """The conversation that ends with this answer."""
        ...

    async def one(self, user_id: str, response_id: str) -> KeptResponse | None:
        """One answer of this user's."""
        ...

    async def forget(self, user_id: str, response_id: str) -> bool:
        """Delete one answer of this user's; whether there was one."""
        ...
