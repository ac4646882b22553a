"""Messages streams, both ways (Anthropic docs, "Streaming Messages").

    message_start ─► ( content_block_start ─► content_block_delta … ─► content_block_stop )* ─► message_delta ─► message_stop

What is written keeps to that line, one block at a time: parts that grow side by side elsewhere wait for their
turn. What is read may stray from it (blocks never closed, deltas without a start, input whole in the start).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.events import (
    ArgumentsDelta,
    AudioDelta,
    ChoiceFinished,
    CitationDelta,
    Event,
    Failed,
    Finished,
    LogprobsDelta,
    PartClosed,
    PartOpened,
    SignatureDelta,
    Started,
    TextDelta,
    UsageReported,
)
from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Feature
from gproxy.canonical.part import (
    NO_EXTRAS,
    Audio,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import StopReason
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols import complaints
from gproxy.protocols.anthropic_messages import errors
from gproxy.protocols.anthropic_messages.blocks import Writer, input_of, stand_in, written_citations
from gproxy.protocols.anthropic_messages.content import BORROWED, OWN, lent, signed
from gproxy.protocols.anthropic_messages.growing import Block
from gproxy.protocols.anthropic_messages.response import ending, kept, stop_extras, stop_of, tier_of, written_tier
from gproxy.protocols.anthropic_messages.usage import merged, usage_of, written
from gproxy.protocols.decoder import FrameDecoder
from gproxy.protocols.figures import count
from gproxy.protocols.reading import of_own
from gproxy.wire import sse
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.loss import Losses
    from gproxy.canonical.part import Extras
    from gproxy.canonical.response import Stop
    from gproxy.errors import Failure
    from gproxy.protocols.base import ReplyFacts

_BAD_CALL: Final = "the model wrote a tool call whose arguments are no JSON object"
_MESSAGE_READ: Final = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
)
_DELTA_READ: Final = frozenset({"stop_reason", "stop_sequence", "stop_details", "type"})
_EVENT_READ: Final = frozenset({"type", "delta", "usage"})
_PING: Final = sse.encode(b'{"type":"ping"}', "ping")
# What a delta belongs to, when no fitting block is open.
_IMPLIED: Final[Mapping[str, dict[str, Any]]] = {
    "text_delta": {"type": "text", "text": ""},
    "citations_delta": {"type": "text", "text": ""},
    "thinking_delta": {"type": "thinking", "thinking": ""},
    "signature_delta": {"type": "thinking", "thinking": ""},
}
_FITS: Final[Mapping[str, tuple[type, ...]]] = {
    "text_delta": (Text,),
    "citations_delta": (Text,),
    "thinking_delta": (Thinking,),
    "signature_delta": (Thinking,),
    "input_json_delta": (ToolCall, ServerToolCall),
}
# The ends at which a call may be cut in the middle, as everybody knows.
_CUT: Final = frozenset({StopReason.LENGTH, StopReason.CONTEXT})


# --- reading ---


class Decoder(FrameDecoder):
    """Reads one upstream stream: with a stop reason it is whole. See `protocols.base.StreamDecoder`."""

    __slots__ = ("_borrowed", "_left", "_open", "_parts", "_raw", "_stop", "_stop_extras")

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[int, Block] = {}
        self._parts = 0
        self._raw: dict[str, Any] = {}
        self._left: dict[str, Any] = {}
        self._stop: Stop | None = None
        self._stop_extras: Extras = NO_EXTRAS
        self._borrowed: Signature | None = None

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        events += self._event(body, name)

    def _event(self, body: dict[str, Any], name: str) -> list[Event]:
        match body.get("type") or name:
            case "content_block_delta":
                delta = body.get("delta")
                return self._delta(count(body.get("index")) or 0, delta) if isinstance(delta, dict) else []
            case "content_block_start":
                item = body.get("content_block")
                return self._begin(count(body.get("index")) or 0, item) if isinstance(item, dict) else []
            case "content_block_stop":
                state = self._open.pop(count(body.get("index")) or 0, None)
                return [] if state is None else state.close()
            case "message_start":
                message = body.get("message")
                return self._start(message if isinstance(message, dict) else {})
            case "message_delta":
                return self._ending(body)
            case "message_stop":
                return self._finish()
            case "error":
                return self._fail(complaints.of_value(body))
            case _ if name == "error" or body.get("error"):
                return self._fail(complaints.of_value(body))
            case _:
                return []

    def _start(self, message: dict[str, Any]) -> list[Event]:
        if self._started:
            return self._report(message.get("usage"))
        self._started = True
        own_id, model, usage = message.get("id"), message.get("model"), message.get("usage")
        self._id = own_id if isinstance(own_id, str) else ""
        self._raw = merged(self._raw, usage)
        self._usage = usage_of(self._raw)
        self._left.update(of_own(kept(message, _MESSAGE_READ), OWN))
        left: Extras = {OWN: {**self._left, "usage": self._raw}} if self._raw or self._left else {}
        name = model if isinstance(model, str) else ""
        started: list[Event] = [
            Started(self._id, name, service_tier=tier_of(self._raw), usage=self._usage, extras=left)
        ]
        # Some servers put the first blocks, or all of them, into the start.
        first = message.get("content")
        for i, item in enumerate(first if isinstance(first, list) else ()):
            if isinstance(item, dict):
                started += self._begin(i, item)
        return started

    def _begin(self, index: int, item: dict[str, Any]) -> list[Event]:
        events = [] if self._started else self._start({})
        earlier = self._open.pop(index, None)
        events += [] if earlier is None else earlier.close()
        state = Block.of(item, self._parts, f"toolu_{self._id}_{index}")
        if state is None:
            return events
        if isinstance(state.part, RedactedThinking) and state.part.data.value.startswith(BORROWED):
            self._borrowed = lent(state.part)
            return events
        state.part = signed(state.part, self._borrowed)
        self._borrowed = None
        self._parts += 1
        self._open[index] = state
        return events + state.begin(item)

    def _delta(self, index: int, delta: dict[str, Any]) -> list[Event]:
        kind = delta.get("type")
        state, events = self._open.get(index), []
        fits = _FITS.get(str(kind))
        if fits is not None and (state is None or not isinstance(state.part, fits)):
            implied = _IMPLIED.get(str(kind))
            if implied is None:
                return []  # input of no call
            events = self._begin(index, dict(implied))
            state = self._open[index]
        return events if state is None else events + state.delta(delta)

    def _ending(self, body: dict[str, Any]) -> list[Event]:
        events = [] if self._started else self._start({})
        delta = body.get("delta")
        if isinstance(delta, dict):
            details = delta.get("stop_details")
            stop = stop_of(delta.get("stop_reason"), delta.get("stop_sequence"), details)
            if stop is not None:
                self._stop, self._stop_extras = stop, stop_extras(details)
            self._left.update(of_own(kept(delta, _DELTA_READ), OWN))
        self._left.update(of_own(kept(body, _EVENT_READ), OWN))
        return events + self._report(body.get("usage"))

    def _report(self, usage: Any) -> list[Event]:
        self._raw = merged(self._raw, usage)
        self._usage = self._usage.then(usage_of(self._raw))
        return [UsageReported(self._usage)] if self._usage.known else []

    def _at_done(self) -> list[Event]:
        return self._rest()  # relays of other dialects add it

    def _rest(self) -> list[Event]:
        return self._broke_off() if self._stop is None else self._finish()

    def _finish(self) -> list[Event]:
        events = [*self._opening(), *self._closed(cut=False)]
        self._ended = True
        left = {**self._left, "usage": self._raw} if self._raw else self._left
        extras: Extras = {OWN: left} if left else {}
        return [
            *events,
            ChoiceFinished(0, self._stop, self._stop_extras),
            Finished(self._usage, tier_of(self._raw), extras),
        ]

    def _close(self) -> list[Event]:
        return self._closed(cut=True)

    def _closed(self, *, cut: bool) -> list[Event]:
        blocks, self._open = list(self._open.values()), {}
        return [event for state in blocks for event in state.close(cut=cut)]


# --- writing ---


class Encoder:
    """Writes one client stream. See `protocols.base.StreamEncoder`."""

    __slots__ = (
        "_bad_call", "_choice", "_current", "_ended", "_facts", "_held", "_index", "_losses", "_part", "_shown",
        "_started", "_stop", "_usage", "_waiting", "_writer", "_writing",
    )  # fmt: skip

    def __init__(self, facts: ReplyFacts, losses: Losses) -> None:
        self._facts = facts
        self._losses = losses
        self._writer = Writer(losses, own=False)
        self._started = Started("", "")
        self._choice: int | None = None
        self._current: int | None = None
        self._part: Part | None = None
        self._waiting: dict[int, list[_PartEvent]] = {}
        self._index = 0
        self._writing = False
        self._held: bool | None = None
        self._bad_call = False
        self._shown: set[type[Part]] = set()
        self._stop: ChoiceFinished | None = None
        self._usage: Usage = UNKNOWN
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The bytes for an event; may be empty."""
        if self._ended:
            return b""
        match event:
            case Started():
                return self._start(event)
            case PartOpened() | PartClosed() | TextDelta() | ArgumentsDelta() | CitationDelta() | SignatureDelta():
                return self._in_turn(event) if self._mine(event.choice) else b""
            case AudioDelta():
                return b""
            case LogprobsDelta():
                self._losses.add(Feature.LOGPROBS, "logprobs")
                return b""
            case ChoiceFinished():
                if self._mine(event.choice):
                    self._stop = event
                return b""
            case UsageReported():
                self._usage = self._usage.then(event.usage)
                return b""
            case Finished():
                return self._finish(event)
            case Failed():
                self._ended = True
                return errors.broken_stream(event.error)

    def fail(self, failure: Failure) -> bytes:
        """End a stream that cannot go on."""
        if self._ended:
            return b""
        self._ended = True
        return errors.stream_error(failure)

    def keep_alive(self) -> bytes:
        """The dialect's own ping."""
        return _PING

    def _mine(self, choice: int) -> bool:
        """The dialect knows one choice: the first that speaks."""
        if self._choice is None:
            self._choice = choice
        if self._choice != choice:
            self._losses.add(Feature.N, "choices")
        return self._choice == choice

    def _start(self, event: Started) -> bytes:
        self._started = event
        own = dict(of_own(event.extras, OWN))
        self._usage = event.usage
        message: dict[str, Any] = {
            "id": event.id or self._facts.id,
            "type": "message",
            "role": "assistant",
            "model": self._facts.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": written(event.usage, own.pop("usage", None), written_tier(event.service_tier, self._losses)),
        }
        message.update({key: value for key, value in own.items() if key not in message})
        return _frame("message_start", {"message": message})

    # -- one part at a time --

    def _in_turn(self, event: _PartEvent) -> bytes:
        if self._current is not None and event.index != self._current:
            self._waiting.setdefault(event.index, []).append(event)
            return b""
        out = self._write(event)
        if self._current is None and self._waiting:
            out += self._next()
        return out

    def _next(self) -> bytes:
        """Write what waited, until a part is reached that is not complete yet."""
        out: list[bytes] = []
        while self._current is None and self._waiting:
            index = min(self._waiting)
            out += [self._write(event) for event in self._waiting.pop(index)]
        return b"".join(out)

    def _write(self, event: _PartEvent) -> bytes:
        match event:
            case PartOpened():
                self._current, self._part, self._writing, self._held = event.index, event.part, False, None
                return self._open(event.part)
            case TextDelta():
                return self._text(event.text)
            case ArgumentsDelta():
                return self._arguments(event.text)
            case CitationDelta():
                return self._cite(event)
            case SignatureDelta():
                return b""  # written with the end of its part
            case PartClosed():
                out = self._close(event.part)
                self._current, self._part = None, None
                return out

    def _open(self, part: Part) -> bytes:
        match part:
            case Thinking():
                return self._begin({"type": "thinking", "thinking": "", "signature": ""})
            case ToolCall():
                before = b"" if part.signature is None else self._whole(stand_in(part.signature))
                item = self._writer.blocks((replace(part, arguments="", custom=False, signature=None),), "content")[0]
                return before + self._begin({**item, "input": {}})
            case ServerToolCall():
                items = self._writer.blocks((part,), "content")
                return self._begin({**items[0], "input": {}}) if items else b""
            case Text() if part.signature is not None:
                return self._whole(stand_in(part.signature))
            case _:
                return b""  # a text begins with its first word, the rest is written whole

    def _text(self, said: str) -> bytes:
        match self._part:
            case Text() | Refusal() | Audio():
                begin = b"" if self._writing else self._begin({"type": "text", "text": ""})
                return begin + self._delta({"type": "text_delta", "text": said})
            case Thinking():
                return self._delta({"type": "thinking_delta", "thinking": said})
            case _:
                return b""

    def _cite(self, event: CitationDelta) -> bytes:
        cited = written_citations((event.citation,), self._losses, "content", answer=True)
        if not cited:
            return b""
        begin = b"" if self._writing else self._begin({"type": "text", "text": ""})
        return begin + self._delta({"type": "citations_delta", "citation": cited[0]})

    def _arguments(self, said: str) -> bytes:
        if not self._writing:
            return b""
        if self._held is None and said.strip():
            # An object goes out as it comes; anything else must be wrapped in one, and so must be whole first.
            self._held = not said.lstrip().startswith("{") or (isinstance(self._part, ToolCall) and self._part.custom)
        if self._held is not False:
            return b""
        return self._delta({"type": "input_json_delta", "partial_json": said})

    def _close(self, part: Part) -> bytes:
        out = b""
        match part:
            case Text() if "type" not in of_own(part.extras, OWN):
                if part.signature is not None and part.signature != getattr(self._part, "signature", None):
                    self._losses.add(Feature.SIGNATURE, "content")
            case Refusal():
                pass
            case Thinking():
                signature = self._writer.blocks((part,), "content")[0]["signature"]
                out = self._delta({"type": "signature_delta", "signature": signature}) if signature else b""
            case ToolCall() | ServerToolCall():
                out = self._last_arguments(part) if self._writing else b""
            case Audio():
                self._losses.add(Feature.AUDIO, "content")
            case Opaque(kind="compaction", payload=payload) if part.dialect is OWN:
                out = self._compaction(payload)
            case _:
                out = b"".join(self._whole(item) for item in self._writer.blocks((part,), "content"))
        self._shown.add(type(part))
        return out + self._end()

    def _last_arguments(self, part: ToolCall | ServerToolCall) -> bytes:
        call = part if isinstance(part, ToolCall) else ToolCall(part.id, part.name, part.arguments)
        value, fits = input_of(call)
        if self._held is False:
            self._bad_call = self._bad_call or not fits
            return b""
        if not fits:
            self._losses.add(Feature.TOOL_ARGUMENTS, "content")
        if call.custom:
            self._losses.add(Feature.CUSTOM_TOOL, "content")
        return self._delta({"type": "input_json_delta", "partial_json": dumps(value).decode()})

    def _compaction(self, payload: Mapping[str, Any]) -> bytes:
        begin = self._begin({**payload, "content": None})
        return begin + self._delta({"type": "compaction_delta", "content": payload.get("content")})

    # -- blocks --

    def _whole(self, item: dict[str, Any]) -> bytes:
        return self._begin(item) + self._end()

    def _begin(self, item: dict[str, Any]) -> bytes:
        self._writing = True
        return _frame("content_block_start", {"index": self._index, "content_block": item})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": delta})

    def _end(self) -> bytes:
        if not self._writing:
            return b""
        self._writing = False
        self._index += 1
        return _frame("content_block_stop", {"index": self._index - 1})

    # -- the end --

    def _finish(self, event: Finished) -> bytes:
        self._ended = True
        end = self._stop or ChoiceFinished(0, None)
        if self._bad_call and (end.stop is None or end.stop.reason not in _CUT):
            # It went out as it came, and a client would run it: better no answer than a wrong call.
            return errors.broken_stream(VendorError(_BAD_CALL))
        own = dict(of_own(event.extras, OWN))
        tier = written_tier(event.service_tier or self._started.service_tier, self._losses)
        usage = written(self._usage.then(event.usage), own.pop("usage", None), None)
        if tier is not None:
            usage.setdefault("service_tier", tier)
        delta = ending(end.stop, end.extras, self._losses, kinds=self._shown)
        if "container" in own:
            delta["container"] = own.pop("container")
        at_start = of_own(self._started.extras, OWN)
        left = {key: value for key, value in own.items() if key not in at_start}
        return _frame("message_delta", {**left, "delta": delta, "usage": usage}) + _frame("message_stop", {})


_PartEvent = PartOpened | PartClosed | TextDelta | ArgumentsDelta | CitationDelta | SignatureDelta


def _frame(kind: str, fields: dict[str, Any]) -> bytes:
    return sse.encode(dumps({"type": kind, **fields}), kind)
