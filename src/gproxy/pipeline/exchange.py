"""The record that travels through the phases of one request: facts, the attempts so far, timings, the outcome.

It is the one mutable thing on the path. It also carries the interrupt: the client left, or the lifecycle cuts
what is left at the drain deadline. An interrupt ends whatever the request is waiting for at once, and is
remembered, so that the phases can tell it from a cancellation that nobody announced.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from gproxy.access.limits import Standing
from gproxy.access.principal import Principal
from gproxy.canonical.operation import Dialect, Operation
from gproxy.errors import Failure
from gproxy.pipeline.projection import Tariff
from gproxy.routing.plan import Note
from gproxy.snapshot import Snapshot
from gproxy.wire.http import Header


class Client(Protocol):
    """The caller's side of the connection, as the pipeline needs it (`server.exchange.Responder` keeps it)."""

    @property
    def started(self) -> bool:
        """Whether an answer has begun."""
        ...

    @property
    def gone(self) -> bool:
        """Whether the client's connection is lost."""
        ...

    @property
    def stuffed(self) -> bool:
        """Whether so much is unsent that `drain` would wait."""
        ...

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """A whole answer in one write."""
        ...

    def start(self, status: int, headers: Sequence[Header], length: int | None = None) -> None:
        """The head of an answer that is written piece by piece."""
        ...

    def write(self, data: bytes) -> None:
        """A piece of the body."""
        ...

    async def drain(self) -> None:
        """Wait until the client has read enough; at once while it keeps up."""
        ...

    def end(self) -> None:
        """The proper end of the answer."""
        ...

    def abort(self) -> None:
        """Drop the connection, so that a cut answer cannot look complete."""
        ...

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Call back once when the client has left."""
        ...


class Admission(Protocol):
    """What the request was granted of its owner's budget and limits (`reserve.Granted` is one)."""

    cap: int | None
    sent: bool

    @property
    def left(self) -> int | None:
        """What the budget has left beside all holds, in nano-USD; None without a budget."""
        ...

    @property
    def standings(self) -> Sequence[Standing]:
        """How every limit that counted the request stood right after."""
        ...

    async def cover(self, tariff: Tariff) -> int:
        """Hold the bound of one more attempt; the bound, nano-USD. Raises `Refused`."""
        ...

    def charge(self, attempt_id: str, cost: int) -> None:
        """An attempt has ended and cost this much."""
        ...

    def finish(self, tokens: int) -> None:
        """Nothing more will be spent."""
        ...

    def headers(self, tokens: int | None = None) -> list[Header]:
        """How the limits stand."""
        ...

    def receipt(self) -> list[Header]:
        """What the budget has left."""
        ...


class Race(Protocol):
    """What decides which of a hedged request's attempts answers (`hedge.Hedge` is one)."""

    async def won(self, x: Exchange, first_byte_at: float) -> None:
        """The attempt that serves `x` has the beginning of an answer. Raises `Interrupted` when another had one before."""
        ...


class Cause(StrEnum):
    """Why a request, or one of its attempts, was interrupted from outside."""

    CLIENT_GONE = "client_gone"
    CUT = "cut"
    OUTRUN = "outrun"
    """Another attempt at the same request had its answer first."""


class Interrupted(Exception):  # noqa: N818 - an event, told apart by `Exchange.cause`
    """Raised in the request's own task when it was interrupted while it waited."""


class Call(msgspec.Struct):
    """What the route table and the request line say; known before the body is read."""

    operation: Operation
    dialect: Dialect
    scoped_provider: str | None
    path_model: str | None
    """The model named by the path (Gemini, single models) or the id of a kept response, percent-decoded."""
    query: str
    headers: Sequence[Header]
    batch: bool = False
    """Whether several of the operation are asked for at once, at a path of their own (Gemini's embeddings)."""


class Continues(msgspec.Struct, frozen=True):
    """What a request goes on from, where the conversation is kept here; `said` is its body as the client sent it."""

    previous_id: str
    conversation_id: str
    said: bytes


class Pin(msgspec.Struct, frozen=True):
    """Who keeps the answer that a request goes on from: nobody else can."""

    named: str
    provider_name: str
    credential_id: str


class Exchange:
    """One request from its arrival to its last byte."""

    __slots__ = (
        "admission",
        "answered_status",
        "attempts",
        "body",
        "call",
        "cause",
        "client",
        "client_request_id",
        "continues",
        "cost_nano_usd",
        "credential_id",
        "failure",
        "finishes",
        "first_byte_at",
        "method",
        "model_asked",
        "model_served",
        "notes",
        "operation",
        "outcome",
        "owner",
        "path",
        "peer",
        "pin",
        "principal",
        "provider_name",
        "race",
        "request_id",
        "snapshot",
        "started_at",
        "started_us",
        "stream",
        "tokens_in",
        "tokens_out",
        "tokens_seen",
        "upstream_status",
        "waiting",
    )

    def __init__(
        self,
        *,
        request_id: str,
        call: Call,
        client: Client,
        snapshot: Snapshot,
        started_at: float,
        started_us: int,
        method: str,
        path: str,
        peer: str | None,
        owner: asyncio.Task[Any] | None = None,
    ) -> None:
        self.request_id = request_id
        self.client_request_id: str | None = None
        self.call = call
        self.operation = call.operation
        """What is asked, as vendors' tables name it: a generate call that streams is one of its own."""
        self.client = client
        self.snapshot = snapshot
        self.started_at = started_at
        self.started_us = started_us
        self.method = method
        self.path = path
        self.peer = peer
        self.body = b""
        self.continues: Continues | None = None
        self.pin: Pin | None = None
        self.principal: Principal | None = None
        self.model_asked = ""
        self.model_served: str | None = None
        self.notes: Sequence[Note] | None = None
        """What went wrong on the way to the answer (`Plan.notes`); None when nothing did."""
        self.stream = False
        self.attempts = 0
        self.provider_name: str | None = None
        self.credential_id: str | None = None
        self.upstream_status: int | None = None
        self.answered_status = 0
        self.admission: Admission | None = None
        self.race: Race | None = None
        """Set while an attempt must win a race before its answer may go to the client."""
        self.first_byte_at: float | None = None
        self.tokens_in = 0
        self.tokens_out = 0
        self.tokens_seen = 0
        """Output of the stream that is running, as of the last progress record: for onlookers, not for the bill."""
        self.cost_nano_usd = 0
        self.outcome = "refused"
        self.failure: Failure | None = None
        self.finishes = False
        self.cause: Cause | None = None
        self.owner: asyncio.Task[Any] | None = owner or asyncio.current_task()
        """The task that serves this request; the one an interrupt cancels."""
        self.waiting = False

    def branch(self) -> Exchange:
        """The same request for one of several attempts that run at once: its facts, an account and an interrupt of its own."""
        twin = copy.copy(self)
        twin.owner, twin.waiting, twin.cause = None, False, None
        twin.tokens_in = twin.tokens_out = twin.cost_nano_usd = 0
        return twin

    def client_left(self) -> None:
        """The client's connection is lost. Under the `finish` policy the answer is read on to its usage."""
        if not self.finishes:
            self.interrupt(Cause.CLIENT_GONE)

    def decide_disconnect(self, policy: str) -> None:
        """Take note of what happens when the client leaves: `cancel` or `finish`."""
        self.finishes = policy == "finish"

    def interrupt(self, cause: Cause) -> None:
        """End what the request waits for. The first cause is kept; a request that is past waiting is not disturbed.

        When the request's own write finds the client gone, its task is running, not waiting: then only the cause
        is noted, because a cancellation would strike at some later, unrelated wait.
        """
        if self.cause is None:
            self.cause = cause
            if self.waiting and self.owner is not None and asyncio.current_task() is not self.owner:
                self.owner.cancel()

    def interruptible(self) -> _Stretch:
        """A stretch in which `interrupt` takes effect, as `Interrupted`; outside of it nothing is torn apart."""
        return _Stretch(self)


class _Stretch:
    """The context manager of `interruptible`; a class, because four of them are entered per request."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        if self._exchange.cause is not None:
            raise Interrupted
        self._exchange.waiting = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._exchange.waiting = False
        if kind is asyncio.CancelledError and self._exchange.cause is not None:
            assert self._exchange.owner is not None
            self._exchange.owner.uncancel()
            raise Interrupted from None
