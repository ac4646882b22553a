"""Writing streams, as server-sent events.

Parts are written one after another, as Google's clients join them: a part that opens before its turn waits. Calls
go out whole. Finish reasons, usage and citations stand in the one last chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gproxy.canonical.events import (
    AudioDelta,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    LogprobsDelta,
    PartClosed,
    PartOpened,
    Started,
    TextDelta,
    UsageReported,
)
from gproxy.canonical.loss import Feature
from gproxy.canonical.part import Audio, Inline, Part, Refusal, Text, Thinking
from gproxy.canonical.usage import UNKNOWN
from gproxy.errors import Failure, Kind
from gproxy.protocols.gemini import errors
from gproxy.protocols.gemini.content import sign
from gproxy.protocols.gemini.grounding import Grounds
from gproxy.protocols.gemini.names import OWN
from gproxy.protocols.gemini.response import beside, finish, is_blocked, tail, written_logprobs, written_part
from gproxy.protocols.reading import at, of_own
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.loss import Losses
    from gproxy.protocols.base import ReplyFacts


@dataclass(slots=True)
class _Waiting:
    """A part that is open: what of it still has to be written when its turn comes."""

    part: Part
    pieces: list[dict[str, Any]] = field(default_factory=list)
    closed: Part | None = None


@dataclass(slots=True)
class _Candidate:
    """One candidate: whose turn it is, and what the last chunk will say of it."""

    grounds: Grounds
    turn: int = 0
    open: dict[int, _Waiting] = field(default_factory=dict)
    spoke: bool = False
    end: ChoiceFinished | None = None


class Encoder:
    """Writes one client stream. See `protocols.base.StreamEncoder`."""

    __slots__ = ("_candidates", "_ended", "_facts", "_head", "_losses", "_started", "_usage")

    def __init__(self, facts: ReplyFacts, losses: Losses) -> None:
        self._facts = facts
        self._losses = losses
        self._head: dict[str, Any] = {"modelVersion": facts.model, "responseId": facts.id}
        self._candidates: dict[int, _Candidate] = {}
        self._started: Started | None = None
        self._usage = UNKNOWN
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The bytes for an event; may be empty."""
        if self._ended:
            return b""
        match event:
            case Started():
                self._started = event
                self._usage = self._usage.then(event.usage)
                self._head["responseId"] = event.id or self._facts.id
                stamp = of_own(event.extras, OWN).get("createTime")
                if stamp is not None:
                    self._head["createTime"] = stamp
            case PartOpened():
                self._candidate(event.choice).open[event.index] = _Waiting(event.part)
                return self._opened(event)
            case TextDelta():
                return self._text(event)
            case AudioDelta():
                return self._audio(event)
            case PartClosed():
                return self._close(event)
            case LogprobsDelta():
                return self._chunk([{"index": event.choice, "logprobsResult": written_logprobs(event.logprobs)}])
            case ChoiceFinished():
                self._candidate(event.choice).end = event
            case UsageReported():
                self._usage = self._usage.then(event.usage)
            case Finished():
                return self._finish(event)
            case Failed():
                return self._fail(Failure(Kind.UPSTREAM_ERROR, event.error.message), event.error)
            case _:
                pass
        return b""

    def fail(self, failure: Failure) -> bytes:
        """End a stream that cannot go on."""
        return b"" if self._ended else self._fail(failure, None)

    def keep_alive(self) -> bytes:
        """Something that says nothing.

        Google's SDKs read no comments in events (their older parsers stop at one), so it is a chunk with an empty
        text, of which Google's own streams are full.
        """
        return b"" if self._ended else self._parts(0, [{"text": ""}])

    # --- parts, in turn ---

    def _candidate(self, choice: int) -> _Candidate:
        found = self._candidates.get(choice)
        if found is None:
            found = self._candidates[choice] = _Candidate(Grounds(self._losses))
        return found

    def _opened(self, event: PartOpened) -> bytes:
        if isinstance(event.part, Refusal):
            self._losses.add(Feature.REFUSAL, at("candidates", event.choice))
        if isinstance(event.part, Text | Thinking | Refusal) and event.part.text:
            return self._text(TextDelta(event.choice, event.index, event.part.text))
        return b""

    def _text(self, event: TextDelta) -> bytes:
        waiting = self._candidate(event.choice).open.get(event.index)
        match waiting.part if waiting else None:
            case Text() | Refusal():
                return self._piece(event.choice, event.index, {"text": event.text})
            case Thinking():
                return self._piece(event.choice, event.index, {"text": event.text, "thought": True})
            case Audio():
                self._losses.add(Feature.AUDIO, at("candidates", event.choice))
                return b""
            case _:
                return b""

    def _audio(self, event: AudioDelta) -> bytes:
        waiting = self._candidate(event.choice).open.get(event.index)
        if waiting is None or not isinstance(waiting.part, Audio) or not isinstance(waiting.part.source, Inline):
            return b""
        sound = {"mimeType": waiting.part.source.media_type, "data": event.data}
        return self._piece(event.choice, event.index, {"inlineData": sound})

    def _piece(self, choice: int, index: int, item: dict[str, Any]) -> bytes:
        candidate = self._candidate(choice)
        if candidate.turn == index:
            return self._parts(choice, [item])
        candidate.open[index].pieces.append(item)
        return b""

    def _close(self, event: PartClosed) -> bytes:
        candidate = self._candidate(event.choice)
        waiting = candidate.open.get(event.index)
        if waiting is None:
            return b""
        waiting.closed = event.part
        out = b""
        while (whose := candidate.open.get(candidate.turn)) is not None and whose.closed is not None:
            items = [*whose.pieces, *self._last_of(candidate, event.choice, whose)]
            out += self._parts(event.choice, items) if items else b""
            del candidate.open[candidate.turn]
            candidate.turn += 1
            held = candidate.open.get(candidate.turn)
            if held is not None and held.pieces:
                out += self._parts(event.choice, held.pieces)
                held.pieces = []
        return out

    def _last_of(self, candidate: _Candidate, choice: int, whose: _Waiting) -> list[dict[str, Any]]:
        """What is left to say of a part when it closes: all of it, if it did not go out piece by piece."""
        where = at("candidates", choice)
        match whose.closed:
            case Text() as part:
                candidate.grounds.take(part, where)
                item: dict[str, Any] = {"text": ""}
                sign(item, part.signature, self._losses, where, answer=True)
            case Thinking() as part:
                item = {"text": "", "thought": True}
                sign(item, part.signature, self._losses, where, answer=True)
            case Refusal() as part:
                candidate.grounds.take(Text(part.text), where)
                return []
            case Audio(source=Inline()) if isinstance(whose.part, Audio) and _is_empty(whose.part):
                return []
            case None:
                return []
            case part:
                found = written_part(part, self._losses, where)
                return [] if found is None else [found]
        return [item] if "thoughtSignature" in item else []

    # --- chunks ---

    def _parts(self, choice: int, parts: list[dict[str, Any]]) -> bytes:
        self._candidate(choice).spoke = True
        return self._chunk([{"content": {"parts": parts, "role": "model"}, "index": choice}])

    def _chunk(self, candidates: list[dict[str, Any]]) -> bytes:
        return _frame(dumps({"candidates": candidates, **self._head}))

    def _finish(self, event: Finished) -> bytes:
        self._ended = True
        own = {**(of_own(self._started.extras, OWN) if self._started else {}), **of_own(event.extras, OWN)}
        tier = event.service_tier or (self._started.service_tier if self._started else None)
        body: dict[str, Any] = {}
        if not is_blocked(own, any(candidate.spoke for candidate in self._candidates.values())):
            body["candidates"] = [self._ending(choice) for choice in sorted(self._candidates) or [0]]
        body |= tail(self._usage.then(event.usage), tier, own, self._losses)
        body |= self._head
        body.update({key: value for key, value in own.items() if key not in body})
        return _frame(dumps(body))

    def _ending(self, choice: int) -> dict[str, Any]:
        candidate = self._candidate(choice)
        end = candidate.end or ChoiceFinished(choice, None)
        return {
            "content": {"parts": [{"text": ""}], "role": "model"},
            **finish(end.stop, self._losses),
            "index": choice,
            **beside(None, candidate.grounds, of_own(end.extras, OWN)),
        }

    def _fail(self, failure: Failure, vendor: VendorError | None) -> bytes:
        self._ended = True
        return errors.stream_error(failure, vendor=vendor)


def _is_empty(part: Audio) -> bool:
    return isinstance(part.source, Inline) and not part.source.data


def _frame(body: bytes) -> bytes:
    return b"data: " + body + b"\r\n\r\n"
