"""Responses streams, both ways.

Servers of this dialect differ in how much they send: text only in the closing events, arguments in one piece, items
that are never closed, ids that change from event to event, only the final object. So an item is known by its place
in the output, and whatever its last account says beyond what was streamed is passed on before it closes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.events import (
    ArgumentsDelta,
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
from gproxy.canonical.part import Citation, Part, RedactedThinking, Refusal, ServerToolCall, Text, Thinking, ToolCall
from gproxy.canonical.response import Logprobs, TokenChance
from gproxy.protocols import complaints
from gproxy.protocols.decoder import FrameDecoder
from gproxy.protocols.figures import count
from gproxy.protocols.openai_responses import errors
from gproxy.protocols.openai_responses.content import chances_of, citation_of
from gproxy.protocols.openai_responses.items import Key, call_of, left_of, parts_of, server_call
from gproxy.protocols.openai_responses.response import chances_of_item, error_of, extras_of, stop_of
from gproxy.protocols.openai_responses.usage import usage_of
from gproxy.protocols.openai_responses.writing import Writer
from gproxy.wire import sse
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gproxy.canonical.loss import Losses
    from gproxy.errors import Failure
    from gproxy.protocols.base import ReplyFacts
    from gproxy.protocols.openai_responses.growing import Frame

_BEGUN: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDED: Final = frozenset({"response.completed", "response.incomplete"})
_FAILED: Final = frozenset({"response.failed", "response.cancelled", "error"})
_CALLS: Final = frozenset({"function_call", "custom_tool_call"})


# --- reading ---


class Decoder(FrameDecoder):
    """Reads one upstream stream; the dialect ends with an event of its own. See `protocols.base.StreamDecoder`."""

    __slots__ = ("_called", "_items", "_next", "_tier")

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[int, _Item] = {}
        self._next = 0
        self._called = False
        self._tier: str | None = None

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        kind = str(body.get("type") or name or ("error" if body.get("error") else ""))
        response = body.get("response")
        if kind in _FAILED:
            source = response if isinstance(response, dict) and response.get("error") else body
            events += self._fail(error_of(source) or complaints.of_value(source))
            return
        if not self._started:
            events.append(self._start(response if isinstance(response, dict) else {}))
        if kind in _BEGUN:
            return
        if kind in _ENDED:
            self._finish(response if isinstance(response, dict) else {}, kind, events)
            return
        index = count(body.get("output_index"))
        index = max(self._items, default=0) if index is None else index
        item = body.get("item")
        if kind == "response.output_item.added" and isinstance(item, dict):
            if index not in self._items:
                state = self._items[index] = self._new(item, index)
                events += state.begin()
        elif kind == "response.output_item.done" and isinstance(item, dict):
            self._done(index, item, events)
        elif index in self._items:
            events += self._items[index].take(kind, body)

    def _start(self, response: dict[str, Any]) -> Event:
        self._started = True
        own_id, model, tier = (response.get(key) for key in ("id", "model", "service_tier"))
        self._id = own_id if isinstance(own_id, str) else ""
        self._tier = tier if isinstance(tier, str) and tier else None
        return Started(
            self._id,
            model if isinstance(model, str) else "",
            count(response.get("created_at")),
            self._tier,
            extras=extras_of(response),
        )

    def _new(self, item: dict[str, Any], index: int) -> _Item:
        self._called = self._called or str(item.get("type")) in _CALLS
        return _Item(item, f"call_{self._id}_{index}", self._number)

    def _number(self) -> int:
        number, self._next = self._next, self._next + 1
        return number

    def _done(self, index: int, item: dict[str, Any], events: list[Event]) -> None:
        state = self._items.get(index)
        if state is None:
            state = self._items[index] = self._new(item, index)
        events += state.done(item)

    def _finish(self, response: dict[str, Any], kind: str, events: list[Event]) -> None:
        output = response.get("output")
        last = max(self._items, default=-1)
        for index, item in enumerate(output if isinstance(output, list) else ()):
            known = self._items.get(index)
            # What was not streamed, or never closed, has its only whole account here.
            if isinstance(item, dict) and (index > last if known is None else known.is_open(item)):
                self._done(index, item, events)
        events += self._close()
        self._ended = True
        tier = response.get("service_tier")
        self._tier = tier if isinstance(tier, str) and tier else self._tier
        self._usage = usage_of(response.get("usage"))
        if self._usage.known:
            events.append(UsageReported(self._usage))
        source = {"status": kind.removeprefix("response."), **response}
        events.append(ChoiceFinished(0, stop_of(source, called=self._called)))
        events.append(Finished(self._usage, self._tier, extras_of(response)))

    def _close(self) -> list[Event]:
        events: list[Event] = []
        for index in sorted(self._items):
            events += self._items[index].close()
        return events

    def _rest(self) -> list[Event]:
        return self._broke_off()


class _Growing:
    """One part while it is being streamed, with what was told of it so far."""

    __slots__ = ("chances", "citations", "index", "part", "said")

    def __init__(self, index: int, part: Part) -> None:
        self.index = index
        self.part = part
        self.said: list[str] = []
        self.citations: list[Citation] = []
        self.chances: list[TokenChance] = []

    def grow(self, said: str) -> list[Event]:
        """More text or arguments; nothing for an empty piece."""
        if not said:
            return []
        self.said.append(said)
        delta = ArgumentsDelta if isinstance(self.part, ToolCall | ServerToolCall) else TextDelta
        return [delta(0, self.index, said)]

    def cite(self, citation: Citation) -> Event:
        self.citations.append(citation)
        return CitationDelta(0, self.index, citation)

    def whole(self) -> Part:
        """The part with everything that was streamed."""
        said = "".join(self.said)
        match self.part:
            case Text() as part:
                return replace(part, text=said, citations=tuple(self.citations))
            case Thinking() | Refusal() as part:
                return replace(part, text=said)
            case ToolCall() | ServerToolCall() as part:
                return replace(part, arguments=said)
            case part:
                return part

    def signed_by(self, final: Part) -> Part:
        """The last account of the part; of reasoning that was shown it may say no more than the signature."""
        if isinstance(final, RedactedThinking) and isinstance(self.part, Thinking):
            return replace(self.part, text="".join(self.said), signature=final.data, extras=final.extras)
        return final

    def close(self, final: Part | None, chances: list[TokenChance]) -> list[Event]:
        """What the last account of the part adds to what was streamed, and its end."""
        events: list[Event] = []
        part = self.whole() if final is None or type(final) is not type(self.part) else final
        said, told = "".join(self.said), _said(part)
        if told.startswith(said):
            events += self.grow(told.removeprefix(said))
        else:  # it was rewritten; what was streamed cannot be taken back
            part = _saying(part, said)
        if isinstance(part, Text):
            events += [self.cite(citation) for citation in part.citations[len(self.citations) :]]
            chances = chances or self.chances
            if chances:
                events.append(LogprobsDelta(0, Logprobs(tuple(chances))))
        if isinstance(part, Thinking) and part.signature is not None:
            events.append(SignatureDelta(0, self.index, part.signature))
        return [*events, PartClosed(0, self.index, part)]


def _said(part: Part) -> str:
    match part:
        case Text() | Thinking() | Refusal():
            return part.text
        case ToolCall() | ServerToolCall():
            return part.arguments
        case _:
            return ""


def _saying(part: Part, said: str) -> Part:
    match part:
        case Text() | Thinking() | Refusal():
            return replace(part, text=said)
        case ToolCall() | ServerToolCall():
            return replace(part, arguments=said)
        case _:
            return part


def _empty(part: Part) -> Part:
    """A part as it opens."""
    match part:
        case Text():
            return replace(part, text="", citations=())
        case Thinking():
            return replace(part, text="", signature=None)
        case _:
            return _saying(part, "")


_SHUT: Final = _Growing(-1, Text(""))
"""Stands for a streamed part that was closed already."""


class _Item:
    """One item of the output while it is being streamed: its parts by their key, opened as they come."""

    __slots__ = ("_closed", "_fallback_id", "_item", "_number", "_parts", "_type")

    def __init__(self, item: dict[str, Any], fallback_id: str, number: Callable[[], int]) -> None:
        self._item = item
        self._type = str(item.get("type") or "message")
        self._fallback_id = fallback_id
        self._number = number
        self._parts: dict[Key, _Growing | None] = {}  # None: closed already
        self._closed = False

    def begin(self) -> list[Event]:
        """Open what is known of the item when it is added."""
        if self._type in _CALLS and self._item.get("name"):
            return self._open(("call", 0), _saying(call_of(self._item, "item", self._fallback_id), ""))
        if self._type.endswith("_call") and self._type not in _CALLS:
            if self._type == "image_generation_call":
                return []  # it is a picture once it is done
            return self._open(("server", 0), _saying(server_call(self._item, self._type, "item"), ""))
        return []

    def take(self, kind: str, body: Mapping[str, Any]) -> list[Event]:
        """One event inside the item."""
        reader = _READERS.get(kind)
        return [] if reader is None or self._closed else reader(self, body)

    def is_open(self, item: Mapping[str, Any]) -> bool:
        """Whether the item was never closed, and this may be its last account."""
        return not self._closed and (item.get("type") or "message") == self._type

    def done(self, item: dict[str, Any]) -> list[Event]:
        """The item is complete: pass on what was not streamed, and close."""
        if self._closed:
            return []
        finals = parts_of(item, "item", self._fallback_id)
        chances = chances_of_item(item) if len(finals) == 1 else []
        events: list[Event] = []
        waiting = dict(self._parts)
        matched = [(key, part, self._streamed(waiting, key, part)) for key, part in finals]
        for growing in waiting.values():  # streamed, and not in the last account
            events += growing.close(None, []) if growing is not None else []
        for i, (key, part, streamed) in enumerate(matched):
            growing = streamed
            if streamed is _SHUT:
                continue
            if growing is None:
                events += self._open(key, _empty(part))
                growing = self._parts[key]
                assert growing is not None
            told = chances or (_chances_at(item, i) if key[0] == "text" else [])
            events += growing.close(growing.signed_by(part), told)
        self._closed = True
        return events

    @staticmethod
    def _streamed(waiting: dict[Key, _Growing | None], key: Key, part: Part) -> _Growing | None:
        """Which streamed part the last account speaks of. Servers count differently in the two: order decides."""
        same = next((known for known in waiting if known[0] == key[0]), None)
        if same is None:
            kinds = (Thinking,) if isinstance(part, Thinking | RedactedThinking) else ()
            same = next(
                (k for k, growing in waiting.items() if growing is not None and isinstance(growing.part, kinds)), None
            )
        if same is None:
            return None
        found = waiting.pop(same)
        return _SHUT if found is None else found

    def close(self) -> list[Event]:
        """Nothing more comes."""
        if self._closed:
            return []
        self._closed = True
        return [event for growing in self._parts.values() if growing is not None for event in growing.close(None, [])]

    # --- the events inside ---

    def said(self, body: Mapping[str, Any]) -> list[Event]:
        """`output_text.delta`, or the whole text at its end."""
        events, growing = self._at("text", body, "content_index", lambda: Text("", extras=self._around()))
        if growing is None:
            return events
        growing.chances += chances_of(body.get("logprobs")) if "delta" in body else []
        return events + self._grown(growing, body, "text")

    def refused(self, body: Mapping[str, Any]) -> list[Event]:
        """`refusal.delta`, or the whole refusal at its end."""
        events, growing = self._at("text", body, "content_index", lambda: Refusal("", self._around()))
        return events if growing is None else events + self._grown(growing, body, "refusal")

    def cited(self, body: Mapping[str, Any]) -> list[Event]:
        """`output_text.annotation.added`."""
        annotation = body.get("annotation")
        if not isinstance(annotation, dict):
            return []
        events, growing = self._at("text", body, "content_index", lambda: Text("", extras=self._around()))
        return events if growing is None else [*events, growing.cite(citation_of(annotation))]

    def thought(self, body: Mapping[str, Any]) -> list[Event]:
        """`reasoning_text.delta`, or the whole at its end."""
        events, growing = self._at("thought", body, "content_index", lambda: self._thinking(summary=False))
        return events if growing is None else events + self._grown(growing, body, "text")

    def summed_up(self, body: Mapping[str, Any]) -> list[Event]:
        """`reasoning_summary_text.delta`, or the whole at its end."""
        events, growing = self._at("summary", body, "summary_index", lambda: self._thinking(summary=True))
        return events if growing is None else events + self._grown(growing, body, "text")

    def argued(self, body: Mapping[str, Any]) -> list[Event]:
        """A piece of a call's arguments; one whose name is not yet known waits for its end."""
        growing = self._parts.get(("call", 0))
        if growing is None:
            return []
        return self._grown(growing, body, "input" if "input" in body else "arguments")

    def _grown(self, growing: _Growing, body: Mapping[str, Any], field: str) -> list[Event]:
        delta, whole = body.get("delta"), body.get(field)
        if isinstance(delta, str):
            return growing.grow(delta)
        said = "".join(growing.said)
        return growing.grow(whole.removeprefix(said)) if isinstance(whole, str) and whole.startswith(said) else []

    def _at(
        self, name: str, body: Mapping[str, Any], field: str, empty: Callable[[], Part]
    ) -> tuple[list[Event], _Growing | None]:
        """The open part that an event is about; one that is not there yet opens, and the one before it closes."""
        key = (name, count(body.get(field)) or 0)
        if key in self._parts:
            return [], self._parts[key]
        events: list[Event] = []
        last = next(reversed(self._parts), None)
        open_before = self._parts.get(last) if last is not None else None
        if last is not None and open_before is not None:
            events += open_before.close(None, [])
            self._parts[last] = None
        events += self._open(key, empty())
        return events, self._parts[key]

    def _open(self, key: Key, part: Part) -> list[Event]:
        growing = self._parts[key] = _Growing(self._number(), part)
        return [PartOpened(0, growing.index, part)]

    def _around(self) -> Any:
        return left_of(self._item, "role", "content")

    def _thinking(self, *, summary: bool) -> Thinking:
        own_id = self._item.get("id")
        around = left_of(self._item, "summary", "content", "encrypted_content")
        return Thinking("", None, summary, own_id if isinstance(own_id, str) else None, extras=around)


def _chances_at(item: Mapping[str, Any], place: int) -> list[TokenChance]:
    """The chances of one of a message's texts."""
    content = item.get("content")
    piece = content[place] if isinstance(content, list) and place < len(content) else None
    return list(chances_of(piece.get("logprobs") if isinstance(piece, dict) else None))


_READERS: Final[Mapping[str, Callable[[_Item, Mapping[str, Any]], list[Event]]]] = {
    "response.output_text.delta": _Item.said,
    "response.output_text.done": _Item.said,
    "response.output_text.annotation.added": _Item.cited,
    "response.refusal.delta": _Item.refused,
    "response.refusal.done": _Item.refused,
    "response.reasoning_text.delta": _Item.thought,
    "response.reasoning_text.done": _Item.thought,
    "response.reasoning_summary_text.delta": _Item.summed_up,
    "response.reasoning_summary_text.done": _Item.summed_up,
    "response.function_call_arguments.delta": _Item.argued,
    "response.function_call_arguments.done": _Item.argued,
    "response.custom_tool_call_input.delta": _Item.argued,
    "response.custom_tool_call_input.done": _Item.argued,
}


# --- writing ---


class Encoder:
    """Writes one client stream. See `protocols.base.StreamEncoder`."""

    __slots__ = ("_ended", "_writer")

    def __init__(self, facts: ReplyFacts, losses: Losses) -> None:
        self._writer = Writer(facts, losses)
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The bytes for an event; may be empty."""
        if self._ended:
            return b""
        self._ended = isinstance(event, Finished | Failed)
        return _bytes(self._writer.take(event))

    def fail(self, failure: Failure) -> bytes:
        """End a stream that cannot go on."""
        if self._ended:
            return b""
        self._ended = True
        told = errors.told(failure)
        return _bytes(self._writer.fail(told["message"] or "", told["code"], told["type"], told["param"]))

    def keep_alive(self) -> bytes:
        """A comment: every parser skips it."""
        return sse.comment("keep-alive")


def _bytes(frames: list[Frame]) -> bytes:
    return b"".join(sse.encode(dumps(frame), frame["type"]) for frame in frames)
