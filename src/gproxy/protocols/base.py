"""What a dialect must be able to do. Every folder here has one `PROTOCOL` that does it.

A `PROTOCOL` is a `Dialogue`, or, where no client speaks the dialect, an `Outbound`: the half that faces vendors.

    client's body ──decode_request──► Request ──encode_request──► upstream's body
    upstream's body ──decode_response──► Response ──encode_response──► client's body
    upstream's stream ──StreamDecoder──► events ──StreamEncoder──► client's stream

A dialect reads liberally and writes strictly. It never fails silently: what it cannot write goes into `Losses`,
what it cannot read raises `JsonProblem` (a client's body: 400 naming the field) or becomes a `Failed` event (an
upstream's stream). It has no clock and no dice: ids and times that it must invent come in `ReplyFacts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from gproxy.canonical.events import Event
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.loss import Losses
    from gproxy.canonical.operation import Dialect
    from gproxy.canonical.request import Request
    from gproxy.canonical.response import Response
    from gproxy.errors import Failure


@dataclass(frozen=True, slots=True)
class ReplyFacts:
    """What an encoder of answers must know and cannot invent.

    `model` is the name the client used. `id` is used where the upstream gave none or its id does not fit the
    dialect. `created` is in seconds since the epoch. `include_usage` is whether the client asked for usage in its
    stream, where its dialect lets it choose. `kept`: the answer is kept here under `id`, so that must be its id;
    `previous_id` is the id of the kept answer it goes on from.
    """

    id: str
    model: str
    created: int
    include_usage: bool = False
    kept: bool = False
    previous_id: str | None = None


class StreamDecoder(Protocol):
    """Upstream bytes in, events out, in the order `canonical.events` promises, whatever the bytes."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events these bytes make. After `Finished` or `Failed` there are none."""
        ...

    def end(self) -> list[Event]:
        """The upstream is at its end. A stream that did not finish ends in `Failed`."""
        ...


class StreamEncoder(Protocol):
    """Events in, a legal stream of the dialect out."""

    def encode(self, event: Event) -> bytes:
        """The bytes for an event; may be empty. `Finished` and `Failed` write the dialect's end."""
        ...

    def fail(self, failure: Failure) -> bytes:
        """End a stream that cannot go on, for a reason of ours: the dialect's error event. Writes nothing after the end."""
        ...

    def keep_alive(self) -> bytes:
        """What the dialect sends while there is nothing to say."""
        ...


class DecodeRequest(Protocol):
    """Reads a client's request. `model` and `stream` are given where the dialect says them in the path."""

    def __call__(self, body: bytes, /, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Raises `JsonProblem`."""
        ...


class EncodeError(Protocol):
    """Writes an error body for a client; `vendor` when the upstream's own complaint is passed on."""

    def __call__(self, failure: Failure, /, *, vendor: VendorError | None = None) -> bytes:
        """The body."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """One dialect towards vendors: writing requests, reading what comes back. Decoding raises `JsonProblem`."""

    dialect: Dialect
    encode_request: Callable[[Request, Losses], bytes]
    """For an upstream of this dialect; the request names the model as the upstream does."""
    decode_response: Callable[[bytes], Response]
    """Reads an upstream's whole answer."""
    stream_decoder: Callable[[], StreamDecoder]
    """Makes the reader of one upstream stream."""
    decode_error: Callable[[bytes], VendorError]
    """Reads an upstream's error body; never fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue(Outbound):
    """One dialect on both sides: reading and writing requests, answers, streams and errors."""

    decode_request: DecodeRequest
    encode_response: Callable[[Response, ReplyFacts, Losses], bytes]
    """Writes a whole answer for a client of this dialect."""
    stream_encoder: Callable[[ReplyFacts, Losses], StreamEncoder]
    """Makes the writer of one client stream."""
    encode_error: EncodeError
