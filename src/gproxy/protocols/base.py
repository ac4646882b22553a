"""What a dialect must be able to do. Every folder here has one `PROTOCOL` that does it.

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
    from gproxy.canonical.events import Event
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.loss import Losses
    from gproxy.canonical.operation import Dialect
    from gproxy.canonical.request import Request
    from gproxy.canonical.response import Response
    from gproxy.canonical.usage import Usage
    from gproxy.errors import Failure


@dataclass(frozen=True, slots=True)
class ReplyFacts:
    """What an encoder of answers must know and cannot invent.

    `model` is the name the client used. `id` is used where the upstream gave none or its id does not fit the
    dialect. `created` is in seconds since the epoch. `include_usage` is whether the client asked for usage in its
    stream, where its dialect lets it choose.
    """

    id: str
    model: str
    created: int
    include_usage: bool = False


class StreamTap(Protocol):
    """Watches a same-dialect stream go by. See `protocols.tap.SseTap`."""

    @property
    def usage(self) -> Usage: ...  # noqa: D102 - see SseTap
    @property
    def text_bytes(self) -> int: ...  # noqa: D102
    @property
    def model(self) -> str | None: ...  # noqa: D102
    @property
    def finished(self) -> bool: ...  # noqa: D102
    @property
    def error(self) -> VendorError | None: ...  # noqa: D102
    def feed(self, chunk: bytes) -> bytes: ...  # noqa: D102
    def end(self) -> bytes: ...  # noqa: D102


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


class Dialogue(Protocol):
    """One dialect: reading and writing requests, answers, streams and errors.

    Decoding raises `JsonProblem`. `model` and `stream` are given where the dialect says them in the path.
    """

    dialect: Dialect
    stream_content_type: bytes

    def decode_request(self, body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
        """Read a client's request."""
        ...

    def encode_request(self, request_: Request, losses: Losses) -> bytes:
        """Write a request for an upstream of this dialect; `request_.model` is the upstream's name of the model."""
        ...

    def decode_response(self, body: bytes) -> Response:
        """Read an upstream's whole answer."""
        ...

    def encode_response(self, response_: Response, facts: ReplyFacts, losses: Losses) -> bytes:
        """Write a whole answer for a client of this dialect."""
        ...

    def stream_decoder(self) -> StreamDecoder:
        """A fresh reader of one upstream stream."""
        ...

    def stream_encoder(self, facts: ReplyFacts, losses: Losses) -> StreamEncoder:
        """A fresh writer of one client stream."""
        ...

    def stream_tap(self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None) -> StreamTap:
        """A fresh tap on a same-dialect stream."""
        ...

    def usage_of_body(self, body: bytes) -> tuple[Usage, str | None]:
        """Usage and the vendor's model name from a whole answer, read without decoding the rest."""
        ...

    def echo_model(self, body: bytes, model: str) -> bytes:
        """A whole answer with only the model's name replaced."""
        ...

    def decode_error(self, body: bytes) -> VendorError:
        """Read an upstream's error body; never fails."""
        ...

    def encode_error(self, failure: Failure, *, vendor: VendorError | None = None) -> bytes:
        """Write an error body for a client; `vendor` when the upstream's own complaint is passed on."""
        ...
