"""Growing parts out of deltas, and whole answers out of events (and the reverse).

Decoders use `Growing` to keep what `canonical.events` promises: parts open once, close once, and close whole.
`Assembler` turns a stream into a buffered answer; `as_events` plays a buffered answer as a stream.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

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
from gproxy.canonical.part import (
    Audio,
    Citation,
    Inline,
    Part,
    Refusal,
    ServerToolCall,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Choice, Logprobs, Response
from gproxy.canonical.usage import UNKNOWN

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.response import TokenChance


class Growing:
    """One part while it is being streamed. Its methods return the events to pass on."""

    __slots__ = ("_arguments", "_audio", "_choice", "_citations", "_index", "_signature", "_text", "part")

    def __init__(self, choice: int, index: int, part: Part) -> None:
        self._choice = choice
        self._index = index
        self.part = part
        self._text: list[str] = []
        self._arguments: list[str] = []
        self._audio: list[str] = []
        self._citations: list[Citation] = []
        self._signature: Signature | None = None

    def opened(self) -> Event:
        """The event that begins it."""
        return PartOpened(self._choice, self._index, self.part)

    def text(self, text: str) -> list[Event]:
        """More text; nothing for an empty piece."""
        if not text:
            return []
        self._text.append(text)
        return [TextDelta(self._choice, self._index, text)]

    def arguments(self, text: str) -> list[Event]:
        """More arguments; nothing for an empty piece."""
        if not text:
            return []
        self._arguments.append(text)
        return [ArgumentsDelta(self._choice, self._index, text)]

    def audio(self, data: str) -> list[Event]:
        """More sound; nothing for an empty piece."""
        if not data:
            return []
        self._audio.append(data)
        return [AudioDelta(self._choice, self._index, data)]

    def signed(self, signature: Signature) -> list[Event]:
        """The signature."""
        self._signature = signature
        return [SignatureDelta(self._choice, self._index, signature)]

    def cited(self, citation: Citation) -> list[Event]:
        """One more citation."""
        self._citations.append(citation)
        return [CitationDelta(self._choice, self._index, citation)]

    @property
    def has_arguments(self) -> bool:
        """Whether any arguments arrived."""
        return bool(self._arguments)

    def whole(self) -> Part:
        """The part with everything that arrived."""
        text, arguments = "".join(self._text), "".join(self._arguments)
        match self.part:
            case Text() as part:
                return replace(
                    part,
                    text=part.text + text,
                    citations=(*part.citations, *self._citations),
                    signature=self._signature or part.signature,
                )
            case Thinking() as part:
                return replace(part, text=part.text + text, signature=self._signature or part.signature)
            case Refusal() as part:
                return replace(part, text=part.text + text)
            case ToolCall() as part:
                return replace(part, arguments=part.arguments + arguments, signature=self._signature or part.signature)
            case ServerToolCall() as part:
                return replace(part, arguments=part.arguments + arguments, signature=self._signature or part.signature)
            case Audio(source=Inline() as source) as part:
                return replace(
                    part,
                    source=replace(source, data=source.data + "".join(self._audio)),
                    transcript=(part.transcript or "") + text or part.transcript,
                )
            case part:
                return part

    def closed(self) -> Event:
        """The event that ends it."""
        return PartClosed(self._choice, self._index, self.whole())


class Assembler:
    """Events in, a whole answer out. Only what `canonical.events` promises is relied on."""

    __slots__ = ("_logprobs", "_parts", "_started", "_stops", "error", "finished", "usage")

    def __init__(self) -> None:
        self._started: Started | None = None
        self._parts: dict[int, dict[int, Part]] = {}
        self._stops: dict[int, ChoiceFinished] = {}
        self._logprobs: dict[int, Logprobs] = {}
        self.usage = UNKNOWN
        self.finished: Finished | None = None
        self.error: VendorError | None = None

    def take(self, event: Event) -> None:
        """Take one event."""
        match event:
            case Started():
                self._started = event
                self.usage = self.usage.then(event.usage)
            case PartClosed():
                self._parts.setdefault(event.choice, {})[event.index] = event.part
            case ChoiceFinished():
                self._stops[event.choice] = event
            case LogprobsDelta():
                known = self._logprobs.get(event.choice, Logprobs())
                self._logprobs[event.choice] = Logprobs(
                    _joined(known.content, event.logprobs.content), _joined(known.refusal, event.logprobs.refusal)
                )
            case UsageReported():
                self.usage = self.usage.then(event.usage)
            case Finished():
                self.finished = event
                self.usage = self.usage.then(event.usage)
            case Failed():
                self.error = event.error
            case _:
                pass

    def response(self) -> Response:
        """The answer as far as it came; `error` is set when the stream failed."""
        started = self._started or Started("", "")
        indexes = sorted({*self._parts, *self._stops} or {0})
        return Response(
            id=started.id,
            model=started.model,
            created=started.created,
            choices=tuple(self._choice(index) for index in indexes),
            usage=self.usage,
            service_tier=(self.finished.service_tier if self.finished else None) or started.service_tier,
            error=self.error,
            extras={**started.extras, **(self.finished.extras if self.finished else {})},
        )

    def _choice(self, index: int) -> Choice:
        end = self._stops.get(index)
        return Choice(
            index=index,
            parts=tuple(part for _, part in sorted(self._parts.get(index, {}).items(), key=lambda item: item[0])),
            stop=end.stop if end else None,
            logprobs=self._logprobs.get(index),
            extras=end.extras if end else {},
        )


def as_events(response: Response) -> list[Event]:
    """A whole answer as the events of a stream that brought it: every part in one delta."""
    events: list[Event] = [
        Started(response.id, response.model, response.created, response.service_tier, extras=response.extras)
    ]
    for choice in response.choices:
        logprobs = [] if choice.logprobs is None else [LogprobsDelta(choice.index, choice.logprobs)]
        for index, part in enumerate(choice.parts):
            played = _played(choice.index, index, part)
            if logprobs and isinstance(part, Text):
                # Where they belong to a text, they come while it is open.
                played.insert(-1, logprobs.pop())
            events += played
        events += logprobs
        events.append(ChoiceFinished(choice.index, choice.stop, choice.extras))
    if response.error is not None:
        return [*events, Failed(response.error)]
    return [*events, UsageReported(response.usage), Finished(response.usage, response.service_tier, response.extras)]


def _played(choice: int, index: int, part: Part) -> list[Event]:
    match part:
        case Text():
            growing = Growing(choice, index, replace(part, text="", citations=(), signature=None))
            events = growing.text(part.text)
            for citation in part.citations:
                events += growing.cited(citation)
            events += growing.signed(part.signature) if part.signature else []
        case Thinking():
            growing = Growing(choice, index, replace(part, text="", signature=None))
            events = growing.text(part.text) + (growing.signed(part.signature) if part.signature else [])
        case Refusal():
            growing = Growing(choice, index, replace(part, text=""))
            events = growing.text(part.text)
        case ToolCall() | ServerToolCall():
            growing = Growing(choice, index, replace(part, arguments=""))
            events = growing.arguments(part.arguments)
        case Audio(source=Inline() as source):
            empty = replace(part, source=replace(source, data=""), transcript=None if part.transcript is None else "")
            growing = Growing(choice, index, empty)
            events = growing.audio(source.data) + growing.text(part.transcript or "")
        case _:
            growing, events = Growing(choice, index, part), []
    return [growing.opened(), *events, growing.closed()]


def _joined(a: tuple[TokenChance, ...] | None, b: tuple[TokenChance, ...] | None) -> tuple[TokenChance, ...] | None:
    return a if b is None else (*(a or ()), *b)
