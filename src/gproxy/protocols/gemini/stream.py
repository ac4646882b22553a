"""Reading streams: each chunk is a whole `GenerateContentResponse` that goes on where the last one ended.

Text grows over chunks, calls come whole (or in pieces, where asked for), usage stands in every chunk. A finish
reason may come early and again: what counts is the end of the stream.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.events import (
    ChoiceFinished,
    Event,
    Finished,
    LogprobsDelta,
    Started,
    UsageReported,
)
from gproxy.canonical.part import Audio, Citation, Inline, Part, Text, Thinking, ToolCall
from gproxy.canonical.response import Stop
from gproxy.protocols.assembly import Growing
from gproxy.protocols.decoder import FrameDecoder
from gproxy.protocols.figures import count
from gproxy.protocols.gemini import errors
from gproxy.protocols.gemini.content import part_of
from gproxy.protocols.gemini.framing import Frames
from gproxy.protocols.gemini.grounding import citations_of
from gproxy.protocols.gemini.names import OWN, named, several, signature_of
from gproxy.protocols.gemini.partial import Arguments
from gproxy.protocols.gemini.response import (
    blocked,
    calls_of,
    candidate_extras,
    created_of,
    extras_of,
    logprobs_of,
    says_nothing,
    stop_of,
    tier_of,
)
from gproxy.protocols.gemini.usage import usage_of
from gproxy.protocols.reading import at, table, text
from gproxy.wire.json import JsonProblem, dumps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_RAW_SOUND: Final = ("audio/l16", "audio/pcm")


class Decoder(FrameDecoder):
    """Reads one upstream stream, in either form: a finish reason makes it whole. See `protocols.base.StreamDecoder`."""

    __slots__ = ("_choices", "_extras", "_refused", "_tier")

    unit = "a chunk"

    def __init__(self) -> None:
        super().__init__(Frames())
        self._choices: dict[int, _Choice] = {}
        self._tier: str | None = None
        self._refused: Stop | None = None
        self._extras: dict[str, Any] = {}

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        del name
        chunk = named(body)
        if chunk.get("error"):
            events += self._fail(errors.of_value(chunk))
            return
        for event in self._chunk(chunk):
            events.append(event)  # one by one: what came before a problem is kept

    def _chunk(self, body: Mapping[str, Any]) -> Iterator[Event]:
        if not self._started:
            yield self._start(body)
        left = extras_of(body).get(OWN, {})
        self._extras.update(left)
        self._tier = tier_of(body) or self._tier
        self._refused = blocked(body) or self._refused
        for i, candidate in enumerate(several(body, "candidates") or ()):
            index = count(candidate.get("index"))
            index = i if index is None else index
            state = self._choices.get(index)
            if state is None:
                state = self._choices[index] = _Choice(index, self._id)
            yield from state.take(candidate, at("candidates", i))
        usage = usage_of(body.get("usageMetadata"))
        if usage.known:
            self._usage = self._usage.then(usage)
            yield UsageReported(self._usage)

    def _start(self, body: Mapping[str, Any]) -> Started:
        self._started = True
        own_id, model = body.get("responseId"), body.get("modelVersion")
        self._id = own_id if isinstance(own_id, str) else ""
        return Started(self._id, model if isinstance(model, str) else "", created_of(body), tier_of(body))

    def _rest(self) -> list[Event]:
        whole = self._refused is not None or any(choice.stop is not None for choice in self._choices.values())
        return self._finish() if whole else self._broke_off()

    def _finish(self) -> list[Event]:
        self._ended = True
        events = self._opening()
        for index in sorted(self._choices):
            events += self._choices[index].finish()
        if not self._choices:
            events.append(ChoiceFinished(0, self._refused))
        return [*events, Finished(self._usage, self._tier, {OWN: self._extras} if self._extras else {})]

    def _close(self) -> list[Event]:
        return [event for index in sorted(self._choices) for event in self._choices[index].close()]


class _Choice:
    """One candidate while it streams: at most one part is open."""

    __slots__ = (
        "_arguments", "_calls", "_closed", "_extras", "_has_calls", "_index", "_last", "_open", "_parts", "_signed",
        "_spare", "stop",
    )  # fmt: skip

    def __init__(self, index: int, response_id: str) -> None:
        self._index = index
        self._calls = calls_of(response_id, index)
        self._parts = 0
        self._open: Growing | None = None
        self._signed = False
        self._arguments: Arguments | None = None
        self._spare = b""
        self._closed: list[Part] = []
        self._has_calls = False
        self._extras: dict[str, Any] = {}
        self._last: Mapping[str, Any] = {}
        self.stop: Stop | None = None

    def take(self, candidate: Mapping[str, Any], where: str) -> Iterator[Event]:
        content = named(table(candidate, "content", where) or {})
        inside = at(at(where, "content"), "parts")
        fresh = True
        for i, item in enumerate(several(content, "parts", inside) or ()):
            yield from self._part(item, at(inside, i), fresh=fresh)
            fresh = False
        logprobs = logprobs_of(candidate.get("logprobsResult"))
        if logprobs is not None:
            yield LogprobsDelta(self._index, logprobs)
        self._extras.update(candidate_extras(candidate).get(OWN, {}))
        stop = stop_of(candidate, calls=False)
        if stop is not None:
            self.stop = stop
            self._last = candidate

    def finish(self) -> list[Event]:
        events: list[Event] = []
        events += self._cite()
        events += self.close()
        stop = self.stop and stop_of(self._last, calls=self._has_calls)
        return [*events, ChoiceFinished(self._index, stop, {OWN: self._extras} if self._extras else {})]

    def close(self) -> list[Event]:
        """Close what is open."""
        if self._open is None:
            return []
        events: list[Event] = []
        if self._arguments is not None:
            events += self._open.arguments(dumps(self._arguments.value).decode())
            self._arguments = None
        if self._spare:
            events += self._open.audio(b64encode(self._spare).decode())
            self._spare = b""
        self._closed.append(self._open.whole())
        events.append(self._open.closed())
        self._open = None
        return events

    def _part(self, item: Mapping[str, Any], where: str, *, fresh: bool) -> Iterable[Event]:
        call = item.get("functionCall")
        if isinstance(call, dict) and self._comes_in_pieces(named(call), where):
            return self._piece(named(call), item, where)
        part = part_of(item, where, self._calls)
        match part:
            case None:
                return ()
            case Text() | Thinking():
                return self._grow(part, fresh=fresh)
            case Audio(source=Inline(media_type=kind)) if kind.lower().startswith(_RAW_SOUND):
                return self._sound(part)
            case ToolCall():
                self._has_calls = True
                return self._whole_call(part)
            case _:
                return self._single(part)

    # --- text ---

    def _grow(self, part: Text | Thinking, *, fresh: bool) -> list[Event]:
        """Text goes on in the next chunk; a second text in the same chunk, or text after a signature, is another."""
        if says_nothing(part):
            return []
        events: list[Event] = []
        goes_on = self._open is not None and type(self._open.part) is type(part)
        if not goes_on or self._signed or (part.text and not fresh):
            events += self.close()
            empty: Part = Text("", extras=part.extras) if isinstance(part, Text) else Thinking("", extras=part.extras)
            events += self._begin(empty)
        assert self._open is not None
        events += self._open.text(part.text)
        if part.signature is not None:
            self._signed = True
            events += self._open.signed(part.signature)
        return events

    def _begin(self, part: Part) -> list[Event]:
        self._open = Growing(self._index, self._parts, part)
        self._signed = False
        self._parts += 1
        return [self._open.opened()]

    # --- calls ---

    def _comes_in_pieces(self, call: Mapping[str, Any], where: str) -> bool:
        if call.get("partialArgs") or call.get("willContinue") is True:
            return True
        return self._arguments is not None and not text(call, "name", where)  # the end of one

    def _piece(self, call: Mapping[str, Any], item: Mapping[str, Any], where: str) -> Iterator[Event]:
        """A piece of a call. What was told before a problem stays told."""
        name = text(call, "name", where)
        self._has_calls = True
        if name:
            yield from self.close()
            own_id = self._calls.call(text(call, "id", where), name)
            yield from self._begin(ToolCall(own_id, name, signature=signature_of(item.get("thoughtSignature"))))
            self._arguments = Arguments()
        if self._arguments is None:
            raise JsonProblem("arguments came before their call", where)
        for piece in several(call, "partialArgs", where) or ():
            self._arguments.take(piece)
        if call.get("willContinue") is not True:
            yield from self.close()

    def _whole_call(self, call: ToolCall) -> list[Event]:
        events = self.close()
        opened = ToolCall(call.id, call.name, signature=call.signature, extras=call.extras)
        events += self._begin(opened)
        assert self._open is not None
        events += self._open.arguments(call.arguments)
        return events + self.close()

    # --- everything else ---

    def _sound(self, part: Audio) -> list[Event]:
        """Raw sound goes on over chunks; its base64 is cut anew so that the pieces joined are base64 again."""
        assert isinstance(part.source, Inline)
        try:
            piece = b64decode(part.source.data, validate=True)
        except (Base64Error, ValueError):
            raise JsonProblem("the sound is no base64", "inlineData") from None
        events: list[Event] = []
        same = self._open.part if self._open is not None else None
        if not (isinstance(same, Audio) and same.source.media_type == part.source.media_type):
            events += self.close()
            events += self._begin(Audio(Inline("", part.source.media_type), part.format, extras=part.extras))
        assert self._open is not None
        raw = self._spare + piece
        cut = len(raw) - len(raw) % 3
        self._spare = raw[cut:]
        return events + self._open.audio(b64encode(raw[:cut]).decode())

    def _single(self, part: Part) -> list[Event]:
        events = self.close()
        events += self._begin(part)
        return events + self.close()

    def _cite(self) -> list[Event]:
        """Citations come with the last chunks. Those of a text that is closed already are told without a place."""
        if not self._extras.keys() & {"groundingMetadata", "citationMetadata"}:
            return []
        parts = [*self._closed, *([self._open.whole()] if self._open is not None else ())]
        found = citations_of(self._extras, parts)
        if not found:
            return []
        events: list[Event] = []
        if self._open is None or not isinstance(self._open.part, Text):
            events += self.close()
            events += self._begin(Text(""))
        assert self._open is not None
        here = len(parts) - 1 if len(events) == 0 else -1
        for place, citation in found:
            events += self._open.cited(citation if place == here else _unplaced(citation))
        return events


def _unplaced(citation: Citation) -> Citation:
    return Citation(citation.kind, citation.url, citation.title, citation.quote, extras=citation.extras)
