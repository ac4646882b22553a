"""Answers as the Responses API streams them: items with their own ids, content inside items, everything done once.

`Writer` turns neutral events into the wire's events and keeps the object that closes the stream, so that what was
streamed and what is said at the end cannot differ. An item that needs no more is closed when the next thing
happens, not at once: only then is it known whether the answer was cut off inside it.
"""

from __future__ import annotations

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
from gproxy.canonical.loss import Feature
from gproxy.canonical.part import (
    Audio,
    File,
    Image,
    Opaque,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gproxy.protocols.assembly import as_events
from gproxy.protocols.openai_responses import hosted
from gproxy.protocols.openai_responses.content import OWN, own_item, written_chances, written_citations
from gproxy.protocols.openai_responses.growing import (
    Call,
    Frame,
    Message,
    OpenPart,
    Outcome,
    Reasoning,
    Run,
    Said,
    Thought,
    Whole,
)
from gproxy.protocols.openai_responses.items import is_item, within_call
from gproxy.protocols.openai_responses.response import echoed, ending, shell, written_tier
from gproxy.protocols.openai_responses.usage import written
from gproxy.protocols.reading import of_own
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.loss import Losses
    from gproxy.canonical.response import Response
    from gproxy.protocols.base import ReplyFacts

_LATE: Final = (LogprobsDelta, ChoiceFinished, UsageReported)
"""What may still belong to a part that was closed."""


def encode(response: Response, facts: ReplyFacts, losses: Losses) -> bytes:
    """Write a whole answer for a client."""
    writer = Writer(facts, losses)
    for event in as_events(response):
        for _ in writer.take(event):
            pass
    if response.usage.known:
        writer.body["usage"] = written(response.usage)
    return dumps(writer.body)


class Writer:
    """Neutral events in, the wire's events out. `body` is the response as it stands."""

    __slots__ = ("_base", "_chances", "_facts", "_items", "_losses", "_open", "_pending", "_refused", "_runs", "_said",
                 "_sequence", "_status", "_thought", "body", "started")  # fmt: skip

    def __init__(self, facts: ReplyFacts, losses: Losses) -> None:
        self._facts = facts
        self._losses = losses
        self._sequence = 0
        self._items: list[Frame | None] = []
        self._open: dict[int, OpenPart] = {}
        self._pending: list[OpenPart] = []
        self._said: Message | None = None
        self._thought: Reasoning | None = None
        self._runs: dict[str, Run] = {}
        self._chances: list[Frame] = []
        self._refused = False
        self._status = "completed"
        self._base = facts.id.partition("_")[2] or facts.id
        self.started = False
        self.body = shell(facts.id, None, facts, {})

    def take(self, event: Event) -> list[Frame]:
        """The wire's events for one neutral event."""
        if isinstance(event, Started):
            return self._start(event)
        if isinstance(event, Finished):
            return self._finish(event)
        if isinstance(event, Failed):
            error = event.error
            return self.fail(error.message, error.code or error.type, error.type, error.param)
        if isinstance(event, UsageReported):
            return []
        if event.choice != 0:
            self._losses.add(Feature.N, "n")
            return []
        frames = [] if isinstance(event, _LATE) else self._flush("completed")
        match event:
            case PartOpened():
                return frames + self._part_opened(event)
            case PartClosed():
                part = self._open.pop(event.index, None)
                if part is not None:
                    part.whole = event.part
                    self._pending.append(part)
            case TextDelta():
                frames += self._open[event.index].text(event.text) if event.index in self._open else []
            case ArgumentsDelta():
                frames += self._open[event.index].arguments(event.text) if event.index in self._open else []
            case CitationDelta():
                for annotation in written_citations((event.citation,), self._losses, "annotations"):
                    frames += self._open[event.index].cited(annotation) if event.index in self._open else []
            case LogprobsDelta():
                self._chances += written_chances(event.logprobs, self._losses)
            case AudioDelta():
                self._losses.add(Feature.AUDIO, "output")
            case SignatureDelta():
                pass  # it comes again when the part closes
            case ChoiceFinished():
                frames += self._choice_finished(event)
        return frames

    def fail(self, message: str, code: str | None, kind: str | None, param: str | None) -> list[Frame]:
        """The end of a stream that cannot go on: OpenAI sends the event on which SDKs raise, then the state it leaves."""
        error = {"type": kind or "server_error", "code": code or "server_error", "message": message, "param": param}
        frames = [self.frame("error", code=error["code"], message=message, param=param, error=error)]
        self.body |= {"status": "failed", "error": {"code": error["code"], "message": message}}
        self.body["output"] = [item for item in self._items if item is not None]
        return [*frames, self.frame("response.failed", response=self.body)] if self.started else frames

    # --- the frame of it all ---

    def frame(self, kind: str, **fields: Any) -> Frame:
        """One event of the wire, with its number."""
        number, self._sequence = self._sequence, self._sequence + 1
        return {"type": kind, "sequence_number": number, **fields}

    def reserve(self) -> int:
        """The place of a new item in the output."""
        self._items.append(None)
        return len(self._items) - 1

    def added(self, index: int, item: Frame) -> Frame:
        """An item begins."""
        return self.frame("response.output_item.added", output_index=index, item=item)

    def done(self, index: int, item: Frame) -> Frame:
        """An item is complete."""
        self._items[index] = item
        return self.frame("response.output_item.done", output_index=index, item=item)

    def name(self, prefix: str, index: int, own: Mapping[str, Any] | None = None) -> str:
        """An item's id: its own, or one that is the same every time."""
        known = (own or {}).get("id")
        return known if isinstance(known, str) and known else f"{prefix}_{self._base}_{index}"

    def next_name(self, prefix: str, item: Frame) -> str:
        """The id of the item that is about to begin."""
        return self.name(prefix, len(self._items), item)

    def lost(self, feature: Feature) -> None:
        """Something of the answer has no place here."""
        self._losses.add(feature, "output")

    def chances(self) -> list[Frame]:
        """What was told of tokens and has not been passed on."""
        found, self._chances = self._chances, []
        return found

    def whole(self, item: Frame) -> list[Frame]:
        """An item that comes in one piece."""
        index = self.reserve()
        early = {**item, "status": "in_progress"} if "status" in item else item
        return [self.added(index, early), self.done(index, item)]

    def _start(self, event: Started) -> list[Frame]:
        self.started = True
        self.body = shell(event.id, event.created, self._facts, of_own(event.extras, OWN))
        base: str = self.body["id"]
        self._base = base.partition("_")[2] or base
        tier = written_tier(event.service_tier, self._losses)
        if tier is not None:
            self.body["service_tier"] = tier
        return [self.frame(f"response.{word}", response={**self.body}) for word in ("created", "in_progress")]

    def _choice_finished(self, event: ChoiceFinished) -> list[Frame]:
        status, reason = ending(event.stop, self._losses, refused=self._refused)
        frames = self._rest("incomplete" if status == "incomplete" else "completed")
        self._status = status
        self.body["status"] = status
        self.body["incomplete_details"] = {"reason": reason} if status == "incomplete" and reason else None
        return frames

    def _finish(self, event: Finished) -> list[Frame]:
        frames = self._rest("completed")
        self.body["status"] = self._status
        if self._chances:
            self._losses.add(Feature.LOGPROBS, "logprobs")  # there was no text that they could belong to
        self.body |= echoed(of_own(event.extras, OWN))
        tier = written_tier(event.service_tier, self._losses)
        if tier is not None:
            self.body["service_tier"] = tier
        self.body["usage"] = written(event.usage)
        self.body["output"] = [item for item in self._items if item is not None]
        word = "incomplete" if self.body["status"] == "incomplete" else "completed"
        return [*frames, self.frame(f"response.{word}", response=self.body)]

    # --- parts ---

    def _part_opened(self, event: PartOpened) -> list[Frame]:
        part = event.part
        frames: list[Frame] = []
        if not isinstance(part, Text | Refusal | Audio):
            frames += self._leave_message("completed")
        if not isinstance(part, Thinking):
            frames += self._leave_reasoning()
        opened: OpenPart | None = None
        match part:
            case Text() | Refusal() | Audio():
                opened = self._message_for(part, frames)
            case Thinking():
                opened = self._thought_for(part, frames)
            case ToolCall():
                opened = Call(self, part)
            case ServerToolCall():
                opened = self._run_for(part)
            case ServerToolResult() if within_call(part):
                pass
            case ServerToolResult() if own_item(part) is None:
                run = self._runs.get(part.call_id)
                opened = None if run is None else Outcome(self, run)
                if run is None:
                    self._losses.add(Feature.SERVER_TOOL, "output")
            case RedactedThinking() | ServerToolResult() | Image():
                opened = Whole(self)
            case Opaque() if is_item(part):
                opened = Whole(self)
            case Opaque() | File() | ToolResult():
                self._losses.add(Feature.FILE if isinstance(part, File) else Feature.OTHER, "output")
        if opened is not None:
            self._open[event.index] = opened
            frames += opened.opened()
        return frames

    def _message_for(self, part: Text | Refusal | Audio, frames: list[Frame]) -> Said:
        own = own_item(part)
        if self._said is not None and not self._said.takes(own):
            frames += self._leave_message("completed")
        if self._said is None:
            self._said = Message(self, own)
            frames.append(self._said.opened())
        if isinstance(part, Audio):
            self._losses.add(Feature.AUDIO, "output")
        self._refused = self._refused or isinstance(part, Refusal)
        return Said(self, self._said, refusal=isinstance(part, Refusal))

    def _thought_for(self, part: Thinking, frames: list[Frame]) -> Thought:
        if self._thought is not None and not self._thought.takes(part):
            frames += self._leave_reasoning()
        if self._thought is None:
            self._thought = Reasoning(self, own_item(part))
            frames.append(self._thought.opened())
        return Thought(self, self._thought, part)

    def _run_for(self, call: ServerToolCall) -> OpenPart | None:
        own = own_item(call)
        item = dict(own) if own is not None else hosted.begun(call)
        if item is None:
            self._losses.add(Feature.SERVER_TOOL, "output")
            return None
        run = Run(self, item, own=own is not None)
        if own is None:
            self._runs[call.id] = run
        return run

    def _flush(self, status: str) -> list[Frame]:
        """Finish what was closed, in the order it was; only the last of it can have been cut off."""
        frames: list[Frame] = []
        waiting, self._pending = self._pending, []
        for i, part in enumerate(waiting):
            frames += part.finish(status if i == len(waiting) - 1 else "completed")
        return frames

    def _rest(self, status: str) -> list[Frame]:
        frames = self._flush(status) + self._leave_message(status) + self._leave_reasoning()
        for run in self._runs.values():
            frames += run.end()
        self._runs = {}
        return frames

    def _leave_message(self, status: str) -> list[Frame]:
        message, self._said = self._said, None
        return [] if message is None else message.leave(status)

    def _leave_reasoning(self) -> list[Frame]:
        reasoning, self._thought = self._thought, None
        return [] if reasoning is None else reasoning.leave()

    def forget(self, message: Message) -> None:
        """The message takes no more texts."""
        if self._said is message:
            self._said = None
