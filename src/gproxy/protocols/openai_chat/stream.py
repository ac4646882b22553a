"""Chat completion streams, both ways.

Servers of this dialect differ most here: chunks without choices or ids, usage in any chunk, calls without an
index or whole in one delta, ids repeated or null, finish reasons twice or never, text after the finish, errors
inside a 200, no `[DONE]`. All of it is read; what is written is what OpenAI itself would send.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    Started,
    TextDelta,
    UsageReported,
)
from gproxy.canonical.part import (
    Audio,
    Image,
    Inline,
    Part,
    RedactedThinking,
    Refusal,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.protocols import complaints
from gproxy.protocols.assembly import Growing
from gproxy.protocols.decoder import FrameDecoder
from gproxy.protocols.figures import count
from gproxy.protocols.openai_chat import errors
from gproxy.protocols.openai_chat.content import (
    OWN,
    arguments_of,
    citations_of,
    content,
    thinking_of,
    written_citations,
    written_thinking,
)
from gproxy.protocols.openai_chat.google import extra_content, signature_of
from gproxy.protocols.openai_chat.response import (
    finish_word,
    images_of,
    logprobs_of,
    note_homeless,
    stop_of,
    written_image,
    written_logprobs,
    written_tier,
)
from gproxy.protocols.openai_chat.usage import usage_of, written
from gproxy.protocols.reading import of_own
from gproxy.wire import sse
from gproxy.wire.json import JsonProblem, dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.loss import Losses
    from gproxy.errors import Failure
    from gproxy.protocols.base import ReplyFacts


# --- reading ---


class Decoder(FrameDecoder):
    """Reads one upstream stream: `[DONE]` makes it whole, or a finish reason for every choice. See `protocols.base.StreamDecoder`."""

    __slots__ = ("_choices", "_held", "_tier")

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._held: dict[str, Any] = {}
        self._tier: str | None = None

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        if name == "error" or body.get("error"):
            events += self._fail(complaints.of_value(body))
        else:
            events += self._chunk(body)

    def _chunk(self, body: dict[str, Any]) -> list[Event]:
        choices = body.get("choices")
        choices = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
        events: list[Event] = [] if self._started else self._start(body, choices)
        tier = body.get("service_tier")
        self._tier = tier if isinstance(tier, str) and tier else self._tier
        for choice in choices:
            index = count(choice.get("index")) or 0
            state = self._choices.get(index)
            if state is None:
                state = self._choices[index] = _Choice(index, f"call_{self._id}_{index}_")
            events += state.take(choice)
        usage = usage_of(body)
        if usage.known:
            self._usage = self._usage.then(usage)
            if self._started:
                events.append(UsageReported(self._usage))
        return events

    def _start(self, body: dict[str, Any], choices: list[dict[str, Any]]) -> list[Event]:
        # Azure's first chunk has neither id nor choices; what it says (filter results) is kept for the start.
        own_id, model, tier = (body.get(key) for key in ("id", "model", "service_tier"))
        if not choices and not own_id:
            self._held.update({k: v for k, v in body.items() if k == "prompt_filter_results"})
            return []
        self._started = True
        self._id = own_id if isinstance(own_id, str) else ""
        left = {k: body[k] for k in ("system_fingerprint", "provider") if isinstance(body.get(k), str)} | self._held
        return [
            Started(
                self._id,
                model if isinstance(model, str) else "",
                count(body.get("created")),
                tier if isinstance(tier, str) and tier else None,
                extras={OWN: left} if left else {},
            )
        ]

    def _at_done(self) -> list[Event]:
        return self._finish()

    def _rest(self) -> list[Event]:
        # Some vendors never send `[DONE]`. An answer whose every choice gave its reason is whole all the same.
        whole = bool(self._choices) and all(choice.stop for choice in self._choices.values())
        return self._finish() if whole else self._broke_off()

    def _finish(self) -> list[Event]:
        self._ended = True
        events = self._opening()
        for index in sorted(self._choices):
            events += self._choices[index].finish()
        if not self._choices:
            # Nothing but `[DONE]`: an answer without a word.
            events.append(ChoiceFinished(0, None))
        return [*events, Finished(self._usage, self._tier)]

    def _close(self) -> list[Event]:
        return [event for index in sorted(self._choices) for event in self._choices[index].close()]


class _Choice:
    """One choice while it streams: at most one open text-like part, and tool calls by their index."""

    __slots__ = ("_by_key", "_call_count", "_calls", "_id_base", "_index", "_open", "_parts", "stop")

    def __init__(self, index: int, id_base: str) -> None:
        self._index = index
        self._id_base = id_base
        self._parts = 0
        self._open: Growing | None = None
        self._calls: list[_Call] = []
        self._by_key: dict[int, _Call] = {}
        self._call_count = 0
        self.stop: str | None = None

    def take(self, choice: dict[str, Any]) -> list[Event]:
        # A server may send whole messages instead of deltas; legacy completions send text.
        message = next((choice[key] for key in ("delta", "message") if isinstance(choice.get(key), dict)), None)
        delta: dict[str, Any] = {"content": choice.get("text")} if message is None else message
        events = self._thinking(delta)
        events += self._content(delta.get("content"))
        refusal = delta.get("refusal")
        if isinstance(refusal, str) and refusal:
            events += self._grow(Refusal(""), refusal)
        for citation in citations_of(delta.get("annotations")):
            opened = self._turn_to(Text(""))
            assert self._open is not None
            events += [*opened, *self._open.cited(citation)]
        for image in images_of(delta):
            events += self._single(image)
        events += self._audio(delta.get("audio"))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                events += self._call(call)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict) and (legacy.get("name") or legacy.get("arguments")):
            events += self._call({"index": 0, "function": legacy}, legacy=True)
        logprobs = logprobs_of(choice.get("logprobs"))
        if logprobs is not None:
            events.append(LogprobsDelta(self._index, logprobs))
        stop = choice.get("finish_reason")
        if isinstance(stop, str) and stop and self.stop is None:
            self.stop = stop
        return events

    def close(self) -> list[Event]:
        """Close what is open, in the order it was opened."""
        events = self._close_open()
        for call in self._calls:
            events += call.close()
        self._calls = []
        self._by_key = {}
        return events

    def finish(self) -> list[Event]:
        events = self.close()
        return [*events, ChoiceFinished(self._index, stop_of(self.stop, calls=self._call_count > 0))]

    def _thinking(self, delta: Mapping[str, Any]) -> list[Event]:
        events: list[Event] = []
        details = delta.get("reasoning_details")
        said = next(
            (delta[k] for k in ("reasoning_content", "reasoning") if isinstance(delta.get(k), str) and delta[k]), ""
        )
        field = "reasoning_content" if delta.get("reasoning_content") else "reasoning"
        if said:
            events += self._grow(Thinking("", Signature(OWN, field)), said)
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, dict):
                events += self._detail(detail, shown=bool(said))
        return events

    def _detail(self, detail: dict[str, Any], *, shown: bool) -> list[Event]:
        part = thinking_of({"reasoning_details": [detail]})[0]
        if not isinstance(part, Thinking):
            return self._single(part)
        events: list[Event] = []
        if not shown and part.text:
            events += self._grow(Thinking("", part.signature, part.summary, part.id), part.text)
        if isinstance(detail.get("signature"), str) and part.signature is not None:
            events += self._turn_to(Thinking("", part.signature, part.summary, part.id))
            assert self._open is not None
            events += self._open.signed(part.signature)
        return events

    def _content(self, value: Any) -> list[Event]:
        if isinstance(value, str):
            return self._grow(Text(""), value)
        if not isinstance(value, list):
            return []
        events: list[Event] = []
        try:
            parts = content(value, "delta.content")
        except JsonProblem:
            return []
        for part in parts:
            match part:
                case Text(said):
                    events += self._grow(Text(""), said)
                case Thinking(said, signature):
                    events += self._grow(Thinking("", signature), said)
                case _:
                    events += self._single(part)
        return events

    def _audio(self, spoken: Any) -> list[Event]:
        if not isinstance(spoken, dict):
            return []
        data, transcript = spoken.get("data"), spoken.get("transcript")
        left = {key: spoken[key] for key in ("id",) if key in spoken}
        events = self._turn_to(Audio(Inline("", "audio/pcm"), transcript="", extras={OWN: left} if left else {}))
        assert self._open is not None
        events += self._open.audio(data) if isinstance(data, str) else []
        return events + (self._open.text(transcript) if isinstance(transcript, str) else [])

    def _call(self, call: dict[str, Any], *, legacy: bool = False) -> list[Event]:
        function, custom = call.get("function"), call.get("custom")
        if call.get("type") != "custom" and isinstance(function, dict):
            custom = None  # only the first delta of a call says which it is; later ones have but the field
        custom = custom if isinstance(custom, dict) else None
        inner: dict[str, Any] = custom if custom is not None else function if isinstance(function, dict) else {}
        own_id, name = call.get("id"), inner.get("name")
        own_id = own_id if isinstance(own_id, str) else ""
        name = name if isinstance(name, str) else ""
        state = self._known(count(call.get("index")), own_id, name)
        if state is None:
            events = self._close_open()
            state = _Call(self._index, f"{self._id_base}{self._call_count}", custom=custom is not None, legacy=legacy)
            self._call_count += 1
            self._calls.append(state)
            key = count(call.get("index"))
            self._by_key[self._call_count - 1 if key is None else key] = state
        else:
            events = []
        said = inner.get("input") if custom is not None else arguments_of(inner)
        state.signature = state.signature or signature_of(call)
        opened, self._parts = state.take(own_id, name, said if isinstance(said, str) else "", self._parts)
        return events + opened

    def _known(self, key: int | None, own_id: str, name: str) -> _Call | None:
        """The call a delta belongs to. Some servers send no index, some number every parallel call 0."""
        if key is None:
            same = next((call for call in self._calls if own_id and call.id == own_id), None)
            return same or (self._calls[-1] if self._calls and not (own_id or name) else None)
        call = self._by_key.get(key)
        if call is not None and own_id and name and call.id and call.id != own_id and call.named:
            return None
        return call

    def _grow(self, empty: Part, said: str) -> list[Event]:
        if not said:
            return []
        events = self._turn_to(empty)
        assert self._open is not None
        return events + self._open.text(said)

    def _turn_to(self, empty: Part) -> list[Event]:
        """Make sure that a part of this kind is the open one."""
        if self._open is not None and type(self._open.part) is type(empty):
            return []
        events = self._close_open()
        self._open = Growing(self._index, self._parts, empty)
        self._parts += 1
        return [*events, self._open.opened()]

    def _single(self, part: Part) -> list[Event]:
        events = self._close_open()
        whole = Growing(self._index, self._parts, part)
        self._parts += 1
        return [*events, whole.opened(), whole.closed()]

    def _close_open(self) -> list[Event]:
        if self._open is None:
            return []
        closed, self._open = self._open.closed(), None
        return [closed]


class _Call:
    """One tool call; it opens once its name is known."""

    __slots__ = ("_choice", "_custom", "_early", "_fallback_id", "_growing", "_legacy", "id", "named", "signature")

    def __init__(self, choice: int, fallback_id: str, *, custom: bool, legacy: bool) -> None:
        self._choice = choice
        self._fallback_id = fallback_id
        self._custom = custom
        self._legacy = legacy
        self._early = ""
        self._growing: Growing | None = None
        self.id = ""
        self.named = False
        self.signature: Signature | None = None

    def take(self, own_id: str, name: str, said: str, next_index: int) -> tuple[list[Event], int]:
        self.id = self.id or own_id
        if self._growing is not None:
            return self._growing.arguments(said), next_index
        self._early += said
        if not name:
            return [], next_index
        self.named = True
        extras = {OWN: {"function_call": True}} if self._legacy else {}
        own_id = self.id or self._fallback_id
        part = ToolCall(own_id, name, custom=self._custom, signature=self.signature, extras=extras)
        self._growing = Growing(self._choice, next_index, part)
        return [self._growing.opened(), *self._growing.arguments(self._early)], next_index + 1

    def close(self) -> list[Event]:
        return [] if self._growing is None else [self._growing.closed()]


# --- writing ---


class Encoder:
    """Writes one client stream. See `protocols.base.StreamEncoder`."""

    __slots__ = ("_calls", "_ended", "_facts", "_head", "_kinds", "_lengths", "_losses", "_spoke")

    def __init__(self, facts: ReplyFacts, losses: Losses) -> None:
        self._facts = facts
        self._losses = losses
        self._head: dict[str, Any] = {}
        self._kinds: dict[tuple[int, int], Part] = {}
        self._calls: dict[tuple[int, int], int] = {}
        self._lengths: dict[int, int] = {}
        self._spoke: set[int] = set()
        self._ended = False

    def encode(self, event: Event) -> bytes:
        """The bytes for an event; may be empty."""
        if self._ended:
            return b""
        match event:
            case Started():
                return self._start(event)
            case PartOpened():
                return self._open(event)
            case TextDelta():
                return self._text(event)
            case ArgumentsDelta():
                return self._arguments(event.choice, event.index, event.text)
            case AudioDelta():
                return self._delta(event.choice, {"audio": {"data": event.data}})
            case CitationDelta():
                offset = self._lengths.get(event.choice, 0)
                annotations = written_citations((event.citation,), offset, self._losses, "annotations")
                return self._delta(event.choice, {"annotations": annotations}) if annotations else b""
            case LogprobsDelta():
                return self._chunk(event.choice, {}, logprobs=written_logprobs(event.logprobs))
            case PartClosed():
                return self._close(event)
            case ChoiceFinished():
                return self._greeting(event.choice) + self._chunk(
                    event.choice, {}, finish=finish_word(event.stop, self._losses)
                )
            case Finished():
                return self._finish(event)
            case Failed():
                self._ended = True
                error = event.error
                fields = {"message": error.message, "type": error.type or "server_error", "param": error.param}
                return sse.encode(dumps({"error": {**fields, "code": error.code or "upstream_error"}}))
            case _:
                return b""

    def fail(self, failure: Failure) -> bytes:
        """End a stream that cannot go on."""
        if self._ended:
            return b""
        self._ended = True
        return errors.stream_error(failure)

    def keep_alive(self) -> bytes:
        """A comment: every parser skips it."""
        return sse.comment("keep-alive")

    def _start(self, event: Started) -> bytes:
        self._head = {
            "id": event.id or self._facts.id,
            "object": "chat.completion.chunk",
            "created": self._facts.created if event.created is None else event.created,
            "model": self._facts.model,
        }
        tier = written_tier(event.service_tier, self._losses)
        if tier is not None:
            self._head["service_tier"] = tier
        fingerprint = of_own(event.extras, OWN).get("system_fingerprint")
        if fingerprint is not None:
            self._head["system_fingerprint"] = fingerprint
        return b""

    def _open(self, event: PartOpened) -> bytes:
        at = (event.choice, event.index)
        self._kinds[at] = event.part
        match event.part:
            case ToolCall() as call:
                number = sum(1 for choice, _ in self._calls if choice == event.choice)
                self._calls[at] = number
                name = "custom" if call.custom else "function"
                value = "input" if call.custom else "arguments"
                item = {"index": number, "id": call.id, "type": name, name: {"name": call.name, value: call.arguments}}
                if call.signature is not None:
                    item |= extra_content(call, self._losses, "choices")
                return self._delta(event.choice, {"tool_calls": [item]})
            case Audio() as spoken:
                own_id = of_own(spoken.extras, OWN).get("id", "audio_0")
                return self._delta(event.choice, {"audio": {"id": own_id, "transcript": ""}})
            case part:
                note_homeless(part, self._losses, "choices")
                return b""

    def _text(self, event: TextDelta) -> bytes:
        match self._kinds.get((event.choice, event.index)):
            case Thinking() as part:
                fields = written_thinking((Thinking(event.text, _place(part)),), foreign=True)
                return self._delta(event.choice, fields)
            case Refusal():
                return self._delta(event.choice, {"refusal": event.text})
            case Audio():
                return self._delta(event.choice, {"audio": {"transcript": event.text}})
            case Text():
                return self._delta(event.choice, {"content": event.text})
            case _:
                return b""

    def _arguments(self, choice: int, index: int, said: str) -> bytes:
        part, number = self._kinds.get((choice, index)), self._calls.get((choice, index))
        if number is None or not isinstance(part, ToolCall):
            return b""
        value = {"custom": {"input": said}} if part.custom else {"function": {"arguments": said}}
        return self._delta(choice, {"tool_calls": [{"index": number, **value}]})

    def _close(self, event: PartClosed) -> bytes:
        match event.part:
            case Text() as part:
                extra_content(part, self._losses, "choices")
                self._lengths[event.choice] = self._lengths.get(event.choice, 0) + len(part.text)
            case ToolCall() as call if not call.arguments and not call.custom:
                return self._arguments(event.choice, event.index, "{}")  # arguments must parse at the end
            case Thinking(signature=Signature()) | RedactedThinking():
                details = written_thinking((event.part,), foreign=True).get("reasoning_details", [])
                for detail in details:
                    if "text" in detail:
                        detail["text"] = ""  # it went out already, piece by piece
                return self._delta(event.choice, {"reasoning_details": details}) if details else b""
            case Image() as image:
                item = written_image(image, self._losses, "choices")
                return self._delta(event.choice, {"images": [{"index": 0, **item}]}) if item else b""
            case _:
                pass
        return b""

    def _finish(self, event: Finished) -> bytes:
        self._ended = True
        usage = written(event.usage) if self._facts.include_usage else None
        last = b"" if usage is None else sse.encode(dumps({**self._head, "choices": [], "usage": usage}))
        return last + sse.encode(b"[DONE]")

    def _greeting(self, choice: int) -> bytes:
        if choice in self._spoke:
            return b""
        self._spoke.add(choice)
        return self._chunk(choice, {"role": "assistant", "content": ""})

    def _delta(self, choice: int, delta: dict[str, Any]) -> bytes:
        return self._greeting(choice) + self._chunk(choice, delta)

    def _chunk(
        self, choice: int, delta: dict[str, Any], *, finish: str | None = None, logprobs: dict[str, Any] | None = None
    ) -> bytes:
        item: dict[str, Any] = {"index": choice, "delta": delta, "finish_reason": finish}
        if logprobs is not None:
            item["logprobs"] = logprobs
        return sse.encode(dumps({**self._head, "choices": [item]}))


def _place(part: Thinking) -> Signature | None:
    """Where reasoning of this dialect's own stood; a foreign signature is told once, when the part closes."""
    signature = part.signature
    own = signature is not None and signature.origin is OWN and not signature.value.startswith("{")
    return signature if own else None
