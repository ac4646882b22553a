"""Between two dialects: everything goes through the neutral vocabulary, in one pass that also reads usage.

    client's body   ──decode──► Request  ──encode──► upstream's body        losses are noted, or forbid the request
    upstream's body ──decode──► Response ──encode──► client's body
    upstream stream ──decode──► events ──guard──► encode ──watch──► client stream

Client and upstream need not agree on streaming: a whole answer is played as a stream, a stream is collected into
a whole answer. Figures for the ledger are the vendor's own, whatever the client's dialect can tell of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gproxy.canonical.events import ArgumentsDelta, Event, Failed, Finished, Started, TextDelta, UsageReported
from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Loss, Losses, LossPolicy
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Part, Refusal, ServerToolCall, Text, Thinking, ToolCall
from gproxy.canonical.request import Request
from gproxy.canonical.response import Response
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.errors import Failure, Kind, Refused
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import Dialogue, Outbound, ReplyFacts, StreamDecoder, StreamEncoder
from gproxy.protocols.registry import DIALOGUES, OUTBOUND
from gproxy.translate import freeform
from gproxy.translate.array import ArrayFrames
from gproxy.translate.guard import ILLEGAL, Guard
from gproxy.translate.legality import Broken, Watch
from gproxy.translate.tally import Tally
from gproxy.translate.translator import BYTES_PER_TOKEN, PAGES, Names, unreadable

_ID_PREFIXES: Final = {
    Dialect.OPENAI_CHAT: "chatcmpl-",
    Dialect.OPENAI_RESPONSES: "resp_",
    Dialect.ANTHROPIC_MESSAGES: "msg_",
}
_FRAMED: Final = {Dialect.BEDROCK_CONVERSE: b"application/vnd.amazon.eventstream"}
"""Dialects whose streams are binary: nothing else can be read as one."""
_NO_STREAM: Final = (
    b"application/json",
    *PAGES,
    b"text/xml",
    b"application/xml",
    b"image/",
    b"audio/",
    b"video/",
    b"application/pdf",
)
"""What no server calls its stream: whole answers, and the pages of what stands between it and us."""
_OPENAI: Final = frozenset({Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES})
"""Also the dialects that have custom tools."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What one attempt's hub must know beside the bodies.

    `streams` is what the client asked for, `upstream_streams` what the vendor is asked for. `asks_usage`: the
    vendor accepts being asked for usage in a stream. `max_output` is the model's known cap. `array`: a Gemini
    client that reads a JSON array instead of events. `id` and `created` are for answers whose vendor gave none.
    `keep` takes the answer for a client that may go on from it by its id: a whole body, or the last events of a stream.
    `previous_id` is the id of the kept answer that this request goes on from. `custom_tools`: the vendor has tools that
    take free text, if its dialect has.
    """

    dialect: Dialect
    dialect_out: Dialect
    names: Names
    streams: bool
    upstream_streams: bool
    loss: LossPolicy = LossPolicy.WARN
    asks_usage: bool = True
    max_output: int | None = None
    array: bool = False
    id: str = ""
    created: int = 0
    keep: Callable[[bytes], None] | None = None
    previous_id: str | None = None
    custom_tools: bool = True


class Hub:
    """A `Translator` between two dialects."""

    __slots__ = (
        "_array",
        "_assembled",
        "_broke",
        "_client",
        "_decoder",
        "_encoder",
        "_estimated_input",
        "_facts",
        "_finished",
        "_guard",
        "_keep",
        "_produced",
        "_restoring",
        "_setup",
        "_sse",
        "_tally",
        "_upstream",
        "_usage",
        "_vendor_error",
        "_watch",
        "begun",
        "losses",
        "model",
    )

    def __init__(self, setup: Setup, tally: Tally) -> None:
        self._setup = setup
        self._tally = tally
        self._client: Dialogue = DIALOGUES[setup.dialect]
        self._upstream: Outbound = OUTBOUND[setup.dialect_out]
        self._facts = ReplyFacts(
            id=_ID_PREFIXES.get(setup.dialect, "") + setup.id.replace("-", ""),
            model=setup.names.asked,
            created=setup.created,
        )
        self._guard = Guard(setup.dialect, tally)
        self._watch = Watch(setup.dialect)
        self._decoder: StreamDecoder | None = None
        self._encoder: StreamEncoder | None = None
        self._array = ArrayFrames() if setup.array and setup.streams else None
        self._assembled: Response | None = None
        self._keep: Callable[[bytes], None] | None = None
        self._restoring: freeform.Restoring | None = None
        self._estimated_input = 0
        self._produced = 0
        self._sse = False
        self._finished = False
        self._broke = False
        self._usage = UNKNOWN
        self._vendor_error: VendorError | None = None
        self.begun = False
        self.losses = Losses()
        self.model: str | None = None

    @property
    def dialect_out(self) -> Dialect:
        """The upstream's dialect."""
        return self._setup.dialect_out

    # --- the request ---

    def request(self, body: bytes) -> bytes:
        """The body in the upstream's words. Raises `JsonProblem`, or `Refused` when losses are forbidden."""
        setup = self._setup
        asked = self._client.decode_request(body, model=setup.names.upstream, stream=setup.streams)
        self._estimated_input = -(-len(body) // BYTES_PER_TOKEN)
        self._keep = None if asked.store is False else setup.keep
        self._facts = replace(
            self._facts,
            include_usage=bool(asked.include_usage),
            kept=self._keep is not None,
            previous_id=setup.previous_id,
        )
        if asked.previous_id is not None and setup.dialect_out is not Dialect.OPENAI_RESPONSES:
            raise Refused(
                Failure(
                    Kind.INVALID_REQUEST,
                    f"the response {asked.previous_id[:80]!r} is not known here, and this model's provider keeps none "
                    "itself. Send the whole conversation in `input` instead of `previous_response_id`",
                    param="previous_response_id",
                )
            )
        custom = freeform.names(asked)
        self._restoring = freeform.Restoring(custom) if custom else None
        if not setup.custom_tools or setup.dialect_out not in _OPENAI:
            asked = freeform.lowered(asked, self.losses)
        written = self._upstream.encode_request(self._adapted(asked), self.losses)
        if setup.loss is LossPolicy.FORBID and self.losses:
            raise Refused(forbidden(self.losses.found[0], setup.dialect, setup.dialect_out))
        return written

    def _adapted(self, asked: Request) -> Request:
        """What the upstream's dialect demands beyond what the client said."""
        setup = self._setup
        sampling = asked.sampling
        if setup.dialect_out is Dialect.ANTHROPIC_MESSAGES and sampling.max_output_tokens is None:
            # It must be said there. Where the model's own is not known, the dialect has a default that leaves room
            # for the thinking that was asked for.
            sampling = replace(sampling, max_output_tokens=setup.max_output)
        counts = setup.upstream_streams and setup.asks_usage and setup.dialect_out is Dialect.OPENAI_CHAT
        return replace(
            asked,
            model=setup.names.upstream,
            stream=setup.upstream_streams,
            include_usage=True if counts else None,
            sampling=sampling,
            store=asked.store if self._keep is None else None,
        )

    # --- the answer's head ---

    def begins(self, content_type: bytes) -> bool:
        """The head is here. A stream is passed on as one when the client wants one."""
        framed = _FRAMED.get(self._setup.dialect_out)
        if framed is not None:
            self._sse = content_type.startswith(framed)
        else:  # servers of the other dialects name their streams as they like
            self._sse = content_type.startswith(b"text/event-stream") or (
                self._setup.upstream_streams and not content_type.lower().startswith(_NO_STREAM)
            )
        return self._sse and self._setup.streams

    @property
    def content_type(self) -> bytes | None:
        """The client's dialect's own."""
        if not self._setup.streams or self._array is not None:
            return b"application/json"
        return b"text/event-stream"

    @property
    def loss_header(self) -> str:
        """What could not be carried, unless the provider's setting is to say nothing."""
        return "" if self._setup.loss is LossPolicy.ALLOW else self.losses.header()

    # --- errors ---

    def decode_error(self, body: bytes) -> VendorError:
        """A vendor's error body taken apart; never fails."""
        return self._upstream.decode_error(body)

    def encode_error(self, failure: Failure, error: VendorError) -> bytes | None:
        """A vendor's complaint in the client's dialect: its text is kept, and its code."""
        setup = self._setup
        if not {setup.dialect, setup.dialect_out} <= _OPENAI:
            # Types and field names are the vendor's dialect's own; the client would not know them.
            error = replace(error, type=None, param=None)
        return self._client.encode_error(failure, vendor=error)

    # --- a whole answer ---

    def complaint(self, body: bytes) -> VendorError | None:
        """What is wrong with a body that came with a good status; None when it is an answer."""
        # RecursionError and the like: a vendor's answer must never be more than a bad answer.
        try:
            found = self._collected(body) if self._sse else self._upstream.decode_response(body)
            self._assembled = found if self._restoring is None else self._restoring.response(found)
        except Exception:
            return unreadable()
        self._read(self._assembled)
        return self._assembled.error

    def _collected(self, body: bytes) -> Response:
        decoder, whole = self._upstream.stream_decoder(), Assembler()
        for event in (*decoder.feed(body), *decoder.end()):
            whole.take(event)
        return whole.response()

    def _read(self, response: Response) -> None:
        self._usage = response.usage
        self.model = response.model or None
        self._produced = sum(_weight(part) for choice in response.choices for part in choice.parts)

    def answer(self, body: bytes) -> bytes:
        """The answer in the client's words, as a stream when that is what was asked for."""
        del body
        response = self._assembled
        assert response is not None
        self._finished = True
        if self._setup.streams:
            self._produced = 0  # counted again as it is played
            out: list[bytes] = []
            for event in as_events(response):
                out.append(self._take(event))
                if self._guard.ended:
                    break
            return b"".join(out)
        if not response.usage.known:
            response = replace(response, usage=self._estimate())
        whole = self._client.encode_response(response, self._facts, self.losses)
        if self._keep is not None:
            self._keep(whole)
        return whole

    # --- a stream ---

    def feed(self, chunk: bytes) -> bytes:
        """The client's events that these bytes make."""
        if self._guard.ended:
            return b""
        if self._decoder is None:
            self._decoder = self._upstream.stream_decoder()
        events = self._decoder.feed(chunk)
        self.begun = self.begun or _begins(events)
        if self._restoring is not None:
            events = self._restoring.events(events)
        out = [self._take(event) for event in events]
        return b"".join(out) if len(out) != 1 else out[0]

    def end(self) -> bytes:
        """The upstream is at its end."""
        if self._guard.ended:
            return b""
        if self._decoder is None:
            self._decoder = self._upstream.stream_decoder()
        events = self._decoder.end()
        self.begun = self.begun or _begins(events)
        if self._restoring is not None:
            events = self._restoring.events(events)
        return b"".join(self._take(event) for event in events)

    def cut(self, failure: Failure) -> bytes:
        """The dialect's own error event, legal after what was sent so far."""
        if self._guard.ended:
            return b""
        self._guard.ended = True
        return self._framed(self._writer().fail(failure)) + self._closing()

    def keep_alive(self) -> bytes:
        """What keeps the client's connection warm."""
        if self._guard.ended:
            return b""
        return b"\n" if self._array is not None else self._writer().keep_alive()

    def _take(self, event: Event) -> bytes:
        """Learn from one event of the vendor's and write it."""
        match event:
            case TextDelta() | ArgumentsDelta():
                text = event.text
                self._produced += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
            case Started():
                self.model = event.model or None
                self._usage = self._usage.then(event.usage)
            case UsageReported():
                self._usage = self._usage.then(event.usage)
            case Finished():
                self._usage = self._usage.then(event.usage)
                if not event.usage.known:
                    event = replace(event, usage=self._usage if self._usage.known else self._estimate())
            case Failed():
                named = event.error
                # A stream that broke off or made no sense has no name for it; a vendor that fails has.
                self._broke = named.type is None and named.code is None and named.status is None
                self._vendor_error = None if self._broke else named
            case _:
                pass
        if self.ended:
            return b""  # what was still in the same piece behind the end: only its figures count
        out = self._write(event)
        return out + self._closing() if self._guard.ended else out

    def _write(self, event: Event) -> bytes:
        """One event through guard, encoder and watch."""
        writer = self._writer()
        pieces: list[bytes] = []
        for passed in self._guard.take(event):
            if isinstance(passed, Finished):
                self._finished = True
            try:
                out = writer.encode(passed)
                self._watch.look(out)
            except Broken as broken:
                pieces.append(self._ended_by(broken.rule))
                break
            except Exception:
                # An encoder that fails on one odd event must not take the client's stream with it.
                pieces.append(self._ended_by("encoder"))
                break
            pieces.append(out)
            if self._finished and self._keep is not None:
                self._keep(out)
        return self._framed(b"".join(pieces))

    def _ended_by(self, rule: str) -> bytes:
        self._tally.end(self._setup.dialect, rule)
        self._guard.ended = True
        self._finished = False
        self._broke = True
        text = "the provider's stream could not be passed on in this dialect"
        return self._writer().fail(Failure(Kind.UPSTREAM_ERROR, f"{text} ({ILLEGAL})"))

    def _writer(self) -> StreamEncoder:
        if self._encoder is None:
            self._encoder = self._client.stream_encoder(self._facts, self.losses)
        return self._encoder

    def _framed(self, out: bytes) -> bytes:
        return out if self._array is None else self._array.feed(out)

    def _closing(self) -> bytes:
        return b"" if self._array is None else self._array.end()

    def _estimate(self) -> Usage:
        """For clients whose dialect promises usage, where the vendor told none; the ledger makes its own."""
        return Usage(input=self._estimated_input, output=self.produced)

    # --- what the ledger reads ---

    @property
    def usage(self) -> Usage:
        """The vendor's figures so far."""
        return self._usage

    @property
    def finished(self) -> bool:
        """Whether the answer reached its end."""
        return self._finished

    @property
    def ended(self) -> bool:
        """Whether nothing more is due to the client."""
        return self._guard.ended

    @property
    def failed(self) -> bool:
        """Whether the vendor itself put an error into the stream."""
        return self._vendor_error is not None

    @property
    def error(self) -> VendorError | None:
        """What the vendor said in its error."""
        return self._vendor_error

    @property
    def produced(self) -> int:
        """Output tokens seen so far, estimated from the bytes of text."""
        return -(-self._produced // BYTES_PER_TOKEN)


def _begins(events: list[Event]) -> bool:
    """Whether these events begin an answer; a start that a failure follows at once was only made for it."""
    kinds = {type(event) for event in events}
    return bool(kinds - {Started, Failed}) or kinds == {Started}


def _weight(part: Part) -> int:
    match part:
        case Text(text) | Thinking(text) | Refusal(text):
            return len(text.encode("utf-8", "replace"))
        case ToolCall() | ServerToolCall():
            return len(part.arguments.encode("utf-8", "replace"))
        case _:
            return 0


def forbidden(loss: Loss, dialect: Dialect, dialect_out: Dialect) -> Failure:
    """The refusal where a provider forbids losses: 400, naming the field."""
    field = loss.field or loss.feature.value
    text = (
        f"`{field}` cannot be carried from {dialect.value} to this model's {dialect_out.value} "
        f"({loss.feature.value}), and its provider forbids losses"
    )
    return Failure(Kind.INVALID_REQUEST, text, param=field)
