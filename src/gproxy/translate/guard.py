"""No stream leaves the hub illegal: every event passes here on its way from a decoder to an encoder.

    decoder ─► Guard.take ─► encoder ─► legality.Watch ─► client

`canonical.events` says what a stream promises; decoders keep it, whatever a vendor sends. Should one not, what is
safe is repaired (a missing start, a part left open, a text that nobody opened, an event after the end) and what is
not becomes the dialect's error event. Both are counted: a count above zero is a bug of ours or of a vendor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

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
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Audio, Part, Refusal, ServerToolCall, Text, Thinking, ToolCall
from gproxy.canonical.response import StopReason
from gproxy.protocols.assembly import Growing
from gproxy.translate.tally import Tally
from gproxy.wire.json import JsonProblem, loads

ILLEGAL: Final = "illegal_stream"
"""The code of a stream that is ended here."""

# A call that was cut off is what these reasons are about; its arguments need not parse.
_CUT: Final = frozenset(
    {
        StopReason.LENGTH,
        StopReason.CONTEXT,
        StopReason.CONTENT_FILTER,
        StopReason.REFUSAL,
        StopReason.MALFORMED_CALL,
        StopReason.FAILED,
        StopReason.PAUSE,
    }
)
_SPOKEN: Final = (Text, Thinking, Refusal, Audio)
_CALLED: Final = (ToolCall, ServerToolCall)


class _Lane:
    """One choice: which of its parts are open, under which number they leave, whether it is over."""

    __slots__ = ("broken", "closed", "finished", "next", "open")

    def __init__(self) -> None:
        self.open: dict[int, Growing] = {}
        self.closed: set[int] = set()
        self.next = 0
        self.finished = False
        self.broken: str | None = None
        """The name of a tool whose arguments do not parse."""


class Guard:
    """One stream's events. After `Finished` or `Failed` nothing passes."""

    __slots__ = ("_dialect", "_lanes", "_started", "_tally", "ended")

    def __init__(self, dialect: Dialect, tally: Tally) -> None:
        """`dialect` is the client's."""
        self._dialect = dialect
        self._tally = tally
        self._lanes: dict[int, _Lane] = {}
        self._started = False
        self.ended = False

    def take(self, event: Event) -> list[Event]:
        """What may go to the encoder for this event; usually just the event."""
        if self.ended:
            self._repair("after_end")
            return []
        if isinstance(event, Started):
            if self._started:
                self._repair("start_twice")
                return []
            self._started = True
            return [event]
        if self._started:
            return self._pass(event)
        self._started = True
        self._repair("no_start")
        return [Started("", ""), *self._pass(event)]

    def _pass(self, event: Event) -> list[Event]:
        match event:
            case TextDelta(choice, index, text):
                return self._text(choice, index, text)
            case ArgumentsDelta(choice, index, text):
                return self._arguments(choice, index, text)
            case PartOpened(choice, index, part):
                return self._open(choice, index, part)
            case PartClosed(choice, index, part):
                return self._close(choice, index, part)
            case SignatureDelta(choice, index, signature):
                growing = self._growing(choice, index)
                return growing.signed(signature) if growing is not None else []
            case CitationDelta(choice, index, citation):
                growing = self._growing(choice, index, Text)
                return growing.cited(citation) if growing is not None else []
            case AudioDelta(choice, index, data):
                growing = self._growing(choice, index, Audio)
                return growing.audio(data) if growing is not None else []
            case LogprobsDelta(choice):
                return [] if self._over(choice) else [event]
            case UsageReported() | Started():
                return [event]
            case ChoiceFinished():
                return self._finish(event)
            case Finished():
                return self._end(event)
            case Failed():
                self.ended = True
                return [*self._closing_all(), event]

    # --- parts ---

    def _open(self, choice: int, index: int, part: Part) -> list[Event]:
        lane = self._lane(choice)
        if self._over(choice):
            return []
        if index in lane.open or index in lane.closed:
            self._repair("opened_twice")
            return []
        if index != lane.next:
            self._repair("index")
        growing = lane.open[index] = Growing(choice, lane.next, part)
        lane.next += 1
        return [growing.opened()]

    def _text(self, choice: int, index: int, text: str) -> list[Event]:
        lane = self._lanes.get(choice)
        growing = None if lane is None else lane.open.get(index)
        if growing is not None:
            if isinstance(growing.part, _SPOKEN):
                return growing.text(text)
            self._repair("wrong_kind")
            return []
        if self._over(choice) or index in self._lane(choice).closed:
            self._repair("not_open")
            return []
        self._repair("not_open")
        return [*self._open(choice, index, Text("")), *self._text(choice, index, text)]

    def _arguments(self, choice: int, index: int, text: str) -> list[Event]:
        lane = self._lanes.get(choice)
        growing = None if lane is None else lane.open.get(index)
        if growing is None or not isinstance(growing.part, _CALLED):
            # Nobody knows whose arguments these are, and a tool must not be run with half of them.
            return self._illegal("arguments", "arguments arrived for no open tool call")
        return growing.arguments(text)

    def _growing(self, choice: int, index: int, *kinds: type) -> Growing | None:
        lane = self._lanes.get(choice)
        growing = None if lane is None else lane.open.get(index)
        if growing is not None and (not kinds or isinstance(growing.part, kinds)):
            return growing
        self._repair("not_open")
        return None

    def _close(self, choice: int, index: int, part: Part) -> list[Event]:
        lane = self._lane(choice)
        growing = lane.open.pop(index, None)
        events: list[Event] = []
        if growing is None:
            if index in lane.closed or self._over(choice):
                self._repair("closed_twice")
                return []
            self._repair("not_open")
            events = self._open(choice, index, _emptied(part))
            growing = lane.open.pop(index)
        lane.closed.add(index)
        events += self._caught_up(growing, part)
        if isinstance(part, ToolCall) and not part.custom and not _parses(part.arguments):
            lane.broken = part.name
        return [*events, replace(_closed(growing), part=part)]

    def _caught_up(self, growing: Growing, part: Part) -> list[Event]:
        """What the closed part holds beyond its deltas; usually nothing."""
        said, whole = _content(growing.whole()), _content(part)
        if said == whole or not whole.startswith(said):
            return []
        self._repair("missing_delta")
        rest = whole[len(said) :]
        return growing.arguments(rest) if isinstance(part, _CALLED) else growing.text(rest)

    # --- ends ---

    def _finish(self, event: ChoiceFinished) -> list[Event]:
        lane = self._lane(event.choice)
        if lane.finished:
            self._repair("finished_twice")
            return []
        events = self._closing(lane)
        lane.finished = True
        reason = None if event.stop is None else event.stop.reason
        if lane.broken is not None and reason not in _CUT:
            return [*events, *self._illegal("tool_arguments", f"the arguments of {lane.broken!r} are no JSON")]
        return [*events, event]

    def _end(self, event: Finished) -> list[Event]:
        if not self._lanes:
            self._lane(0)
        events: list[Event] = []
        for choice, lane in sorted(self._lanes.items()):
            if not lane.finished:
                self._repair("no_finish")
                events += self._finish(ChoiceFinished(choice, None))
                if self.ended:
                    return events
        self.ended = True
        return [*events, event]

    def _closing_all(self) -> list[Event]:
        """After a failure the parts are closed without a word: that they are open is the vendor's doing."""
        return [closed for lane in self._lanes.values() for closed in self._closed_of(lane)]

    def _closing(self, lane: _Lane) -> list[Event]:
        if lane.open:
            self._repair("left_open")
        return self._closed_of(lane)

    @staticmethod
    def _closed_of(lane: _Lane) -> list[Event]:
        events = [growing.closed() for growing in lane.open.values()]
        lane.closed.update(lane.open)
        lane.open.clear()
        return events

    def _illegal(self, rule: str, text: str) -> list[Event]:
        self.ended = True
        self._tally.end(self._dialect, rule)
        error = VendorError(f"the provider's stream cannot be passed on: {text}", code=ILLEGAL)
        return [*self._closing_all(), Failed(error)]

    # --- small things ---

    def _lane(self, choice: int) -> _Lane:
        lane = self._lanes.get(choice)
        if lane is None:
            lane = self._lanes[choice] = _Lane()
        return lane

    def _over(self, choice: int) -> bool:
        lane = self._lanes.get(choice)
        if lane is None or not lane.finished:
            return False
        self._repair("after_finish")
        return True

    def _repair(self, rule: str) -> None:
        self._tally.repair(self._dialect, rule)


def _closed(growing: Growing) -> PartClosed:
    event = growing.closed()
    assert isinstance(event, PartClosed)
    return event


def _content(part: Part) -> str:
    match part:
        case Text(text) | Thinking(text) | Refusal(text):
            return text
        case ToolCall() | ServerToolCall():
            return part.arguments
        case _:
            return ""


def _emptied(part: Part) -> Part:
    match part:
        case Text() | Thinking() | Refusal():
            return replace(part, text="")
        case ToolCall() | ServerToolCall():
            return replace(part, arguments="")
        case _:
            return part


def _parses(arguments: str) -> bool:
    try:
        loads(arguments.encode("utf-8", "replace") or b"{}")
    except JsonProblem:
        return False
    return True
