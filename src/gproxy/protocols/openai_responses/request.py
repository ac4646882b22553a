"""Responses API requests, both ways (OpenAI API reference, "Create a model response").

The input is a flat list of items. Everything the assistant's side said between two words of somebody else is one
turn here; two messages of the assistant in a row are two. Results of the client's tools are a turn of the user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    Audio,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gproxy.canonical.request import Request, Role, Sampling, Turn
from gproxy.protocols.openai_responses.content import (
    INSTRUCTIONS,
    OWN,
    content,
    own_item,
    written_input,
    written_output,
)
from gproxy.protocols.openai_responses.items import (
    hidden,
    is_item,
    is_raw,
    left_of,
    parts_of,
    pieces,
    rebound,
    same_item,
    within_call,
)
from gproxy.protocols.openai_responses.settings import (
    ENCRYPTED,
    LOGPROBS,
    output_of,
    put,
    put_tools,
    reasoning_of,
    tool_choice_of,
    tools_of,
    wants_encrypted,
    written_format,
    written_reasoning,
)
from gproxy.protocols.reading import (
    at,
    flag,
    integer,
    note_foreign,
    number,
    of_own,
    problem,
    required_text,
    rest,
    table,
    text,
    texts,
    whole_object,
)
from gproxy.protocols.signatures import seal
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ: Final = frozenset(
    {
        "model", "input", "instructions", "stream", "tools", "tool_choice", "parallel_tool_calls", "temperature",
        "top_p", "max_output_tokens", "top_logprobs", "include", "reasoning", "text", "service_tier", "user",
        "metadata", "store", "previous_response_id", "prompt_cache_key",
    }
)  # fmt: skip
_TEXT_READ: Final = frozenset({"format", "verbosity"})
_ROLES: Final = {
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_RESULTS: Final = frozenset({"function_call_output", "custom_tool_call_output"})


# --- reading --------------------------------------------------------------------------------------------------


def decode(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
    """Read a request. Raises `JsonProblem` naming the field."""
    source = whole_object(body)
    include = texts(source, "include")
    others = tuple(name for name in include or () if name not in (ENCRYPTED, LOGPROBS))
    form = table(source, "text") or {}
    extras = dict(rest(source, _READ, OWN).get(OWN, {}))
    left = {key: value for key, value in form.items() if key not in _TEXT_READ}
    if others:
        extras["include"] = list(others)
    if left:
        extras["text"] = left
    return Request(
        model=model or required_text(source, "model"),
        turns=(*_instructions(source), *_turns(source)),
        stream=bool(flag(source, "stream") if stream is None else stream),
        tools=tools_of(source),
        tool_choice=tool_choice_of(source),
        parallel_tool_calls=flag(source, "parallel_tool_calls"),
        sampling=Sampling(
            temperature=number(source, "temperature"),
            top_p=number(source, "top_p"),
            max_output_tokens=integer(source, "max_output_tokens"),
            logprobs=True if LOGPROBS in (include or ()) else None,
            top_logprobs=integer(source, "top_logprobs"),
        ),
        reasoning=reasoning_of(source, encrypted=ENCRYPTED in (include or ())),
        output=output_of(source),
        verbosity=text(form, "verbosity", "text"),
        service_tier=text(source, "service_tier"),
        user=text(source, "user") or text(source, "safety_identifier"),
        metadata=table(source, "metadata"),
        store=flag(source, "store"),
        previous_id=text(source, "previous_response_id"),
        cache_key=text(source, "prompt_cache_key"),
        extras={OWN: extras} if extras else {},
    )


def _instructions(source: Mapping[str, Any]) -> tuple[Turn, ...]:
    said = source.get("instructions")
    if said is None:
        return ()
    if not isinstance(said, str):
        raise problem("instructions", "a string")
    return (Turn(Role.SYSTEM, (Text(said, extras={OWN: {INSTRUCTIONS: True}}),)),)


def _turns(source: Mapping[str, Any]) -> tuple[Turn, ...]:
    said = source.get("input")
    if said is None:
        return ()  # it continues a conversation that the vendor keeps, or names a stored prompt
    if isinstance(said, str):
        return (Turn(Role.USER, (Text(said),)),)
    if not isinstance(said, list):
        raise problem("input", "a string or an array of items")
    reader = _Reader()
    for i, item in enumerate(said):
        where = at("input", i)
        if not isinstance(item, dict):
            raise problem(where, "an object")
        reader.take(item, where)
    return reader.turns()


class _Reader:
    """Gathers items into turns."""

    __slots__ = ("_names", "_parts", "_results", "_spoke", "_turns", "_unanswered")

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self._parts: list[Part] | None = None  # of the assistant's turn that is being gathered
        self._results: list[Part] = []
        self._spoke = False  # the last of those parts was a message
        self._names: dict[str, str] = {}
        self._unanswered: dict[str, None] = {}  # in the order of the calls

    def take(self, item: dict[str, Any], where: str) -> None:
        kind = text(item, "type", where) or ("message" if "role" in item else None)
        if kind is None and isinstance(item.get("id"), str):
            kind = "item_reference"  # its type may be left out
        if kind in _RESULTS:
            self._end_assistant()
            self._results.append(self._result(item, kind, where))
            return
        if kind == "message":
            role = required_text(item, "role", where)
            if role not in _ROLES:
                raise problem(at(where, "role"), "one of user, assistant, system, developer")
            if _ROLES[role] is not Role.ASSISTANT:
                self._end()
                self._turns.append(_message(item, _ROLES[role], where))
                return
        elif item.get("role") in ("system", "developer", "user"):
            self._end()
            self._turns.append(Turn(_ROLES[item["role"]], (Opaque(OWN, str(kind), item),)))
            return
        if kind is None:
            raise problem(at(where, "type"), "the name of an item's type")
        self._assistant(item, kind, where)

    def turns(self) -> tuple[Turn, ...]:
        self._end()
        return tuple(self._turns)

    def _assistant(self, item: dict[str, Any], kind: str, where: str) -> None:
        self._end_results()
        if kind == "message" and self._spoke:
            self._end_assistant()
        if self._parts is None:
            self._parts = []
        for _, part in parts_of({**item, "type": kind}, where):
            self._parts.append(part)
            if isinstance(part, ToolCall):
                self._names[part.id] = part.name
                self._unanswered[part.id] = None
        self._spoke = kind == "message"

    def _result(self, item: dict[str, Any], kind: str, where: str) -> ToolResult:
        in_order = "" if item.get("call_id") else next(iter(self._unanswered), "")
        call_id = in_order or required_text(item, "call_id", where)
        self._unanswered.pop(call_id, None)
        return ToolResult(
            call_id,
            content(item.get("output"), at(where, "output")),
            name=text(item, "name", where) or self._names.get(call_id),
            custom=kind == "custom_tool_call_output",
            extras=left_of(item, "call_id", "output"),
        )

    def _end(self) -> None:
        self._end_assistant()
        self._end_results()

    def _end_assistant(self) -> None:
        if self._parts is not None:
            self._turns.append(Turn(Role.ASSISTANT, tuple(rebound(self._parts))))
        self._parts, self._spoke = None, False

    def _end_results(self) -> None:
        if self._results:
            self._turns.append(Turn(Role.USER, tuple(self._results)))
            self._results = []


def _message(item: dict[str, Any], role: Role, where: str) -> Turn:
    left = {k: v for k, v in item.items() if k not in ("type", "role", "content", "id", "status") and v is not None}
    return Turn(
        role,
        content(item.get("content"), at(where, "content")),
        id=text(item, "id", where),
        extras={OWN: left} if left else {},
    )


# --- writing --------------------------------------------------------------------------------------------------


def encode(request: Request, losses: Losses) -> bytes:
    """Write a request for a server of this dialect."""
    own = of_own(request.extras, OWN)
    note_foreign(request.extras, OWN, losses)
    sampling = request.sampling
    body: dict[str, Any] = {"model": request.model}
    turns = request.turns
    if turns and _is_instructions(turns[0]):
        body["instructions"] = "".join(part.text for part in turns[0].parts if isinstance(part, Text))
        turns = turns[1:]
    if turns or not own.keys() & {"prompt", "conversation"}:
        body["input"] = _items(turns, losses)
    if request.stream:
        body["stream"] = True
    put_tools(body, request, losses)
    put(
        body,
        parallel_tool_calls=request.parallel_tool_calls,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_output_tokens=sampling.max_output_tokens,
        top_logprobs=sampling.top_logprobs,
        reasoning=written_reasoning(request.reasoning, losses),
        service_tier=request.service_tier,
        user=None if request.user == own.get("safety_identifier") else request.user,
        metadata=request.metadata,
        store=request.store,
        previous_response_id=request.previous_id,
        prompt_cache_key=request.cache_key,
    )
    form: dict[str, Any] = {}
    put(form, format=written_format(request.output), verbosity=request.verbosity)
    form |= own.get("text") or {}
    if form:
        body["text"] = form
    include = [
        *([ENCRYPTED] if wants_encrypted(request.reasoning) else ()),
        *([LOGPROBS] if sampling.logprobs else ()),
        *(own.get("include") or ()),
    ]
    if include:
        body["include"] = include
    _note_homeless(request, losses)
    body.update({key: value for key, value in own.items() if key not in body})
    return dumps(body)


def _is_instructions(turn: Turn) -> bool:
    return turn.role is Role.SYSTEM and any(
        isinstance(part, Text) and of_own(part.extras, OWN).get(INSTRUCTIONS) for part in turn.parts
    )


def _note_homeless(request: Request, losses: Losses) -> None:
    """Settings that this API does not have."""
    sampling = request.sampling
    said: list[tuple[bool, Feature, str]] = [
        (sampling.top_k is not None, Feature.TOP_K, "top_k"),
        (bool(sampling.stop), Feature.STOP, "stop"),
        (sampling.seed is not None, Feature.SEED, "seed"),
        ((sampling.n or 1) > 1, Feature.N, "n"),
        (bool(sampling.presence_penalty or sampling.frequency_penalty), Feature.PENALTIES, "presence_penalty"),
        (bool(sampling.logit_bias), Feature.LOGIT_BIAS, "logit_bias"),
        (any(kind != "text" for kind in request.modalities or ()), Feature.MODALITIES, "modalities"),
        (request.speech is not None, Feature.AUDIO, "audio"),
        (request.cache is not None, Feature.CACHE_CONTROL, "cache_control"),
    ]
    for lost, feature, where in said:
        if lost:
            losses.add(feature, where)


def _items(turns: tuple[Turn, ...], losses: Losses) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    for i, turn in enumerate(turns):
        where = at("input", i)
        note_foreign(turn.extras, OWN, losses, where)
        if turn.name is not None:
            losses.add(Feature.SPEAKER_NAME, at(where, "name"))
        if turn.role is Role.ASSISTANT:
            items += _assistant_items(turn, losses, where)
            continue
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        items += [_result_item(result, losses, where) for result in results]
        whole = [part for part in turn.parts if isinstance(part, Opaque) and is_item(part)]
        items += [dict(part.payload) for part in whole]
        others = [
            part
            for part in turn.parts
            if not isinstance(part, ToolResult) and not (isinstance(part, Opaque) and is_item(part))
        ]
        if others or not (results or whole):
            items.append(_message_item(turn, others, losses, where))
    return items


def _message_item(turn: Turn, parts: Sequence[Part], losses: Losses, where: str) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "message"}
    if turn.id is not None:
        item["id"] = turn.id
    return {
        **item,
        "role": turn.role.value,
        "content": _joined(written_input(parts, losses, where)),
        **of_own(turn.extras, OWN),
    }


def _joined(items: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text is written as a string: every server understands that, and not every one an array."""
    if not items:
        return ""
    if len(items) == 1 and items[0].keys() == {"type", "text"}:
        said: str = items[0]["text"]
        return said
    return items


def _result_item(result: ToolResult, losses: Losses, where: str) -> dict[str, Any]:
    if result.is_error:
        losses.add(Feature.TOOL_RESULT_ERROR, where)
    if result.cache is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    held = [part for part in result.parts if not isinstance(part, Audio)]
    if len(held) < len(result.parts):
        losses.add(Feature.TOOL_RESULT_PARTS, where)
    return {
        "type": "custom_tool_call_output" if result.custom else "function_call_output",
        "call_id": result.call_id,
        "output": _joined(written_input(held, losses, where)),
        **(own_item(result) or {}),
    }


def _assistant_items(turn: Turn, losses: Losses, where: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    thoughts: list[Thinking] = []
    said: list[Text | Refusal] = []
    parts = turn.parts or (Text(""),)
    for i, part in enumerate(parts):
        following = parts[i + 1] if i + 1 < len(parts) else None
        match part:
            case Thinking():
                thoughts.append(part)
                if not (isinstance(following, Thinking) and same_item(part, following)):
                    items += _reasoning_items(thoughts, losses, where)
                    thoughts = []
            case Text() | Refusal():
                said.append(part)
                if not (isinstance(following, Text | Refusal) and own_item(part) == own_item(following)):
                    items.append(_said_item(said, losses, where))
                    said = []
            case _:
                items += _other_items(part, losses, where)
    return items


def _reasoning_items(thoughts: list[Thinking], losses: Losses, where: str) -> list[dict[str, Any]]:
    """What this dialect's vendor can read goes back; the reasoning of others would be refused."""
    signature, around = thoughts[-1].signature, own_item(thoughts[-1])
    if (signature is None or signature.origin is not OWN) and (around is None or signature is not None):
        losses.add(Feature.THINKING, where)
        return []
    summary = [] if _is_bare(thoughts) else pieces(thoughts, raw=False)
    item: dict[str, Any] = {"type": "reasoning", **(around or {}), "summary": summary}
    if any(is_raw(part) for part in thoughts):
        item["content"] = pieces(thoughts, raw=True)
    if signature is not None:
        item["encrypted_content"] = seal(signature, OWN)
    return [item]


def _is_bare(thoughts: list[Thinking]) -> bool:
    """A reasoning item of which only the name is known."""
    return len(thoughts) == 1 and not thoughts[0].text and thoughts[0].signature is None


def _said_item(said: list[Text | Refusal], losses: Losses, where: str) -> dict[str, Any]:
    around = dict(own_item(said[0]) or {})
    written = [written_output(part, losses, where) for part in said]
    for part in said:
        if isinstance(part, Text) and part.signature is not None:
            losses.add(Feature.SIGNATURE, where)
    if "id" not in around:
        return {"type": "message", "role": "assistant", "content": _joined(written), **around}
    for item in written:
        if item["type"] == "output_text":
            item.setdefault("annotations", [])
    return {"type": "message", "role": "assistant", "status": "completed", "content": written, **around}


def _other_items(part: Part, losses: Losses, where: str) -> list[dict[str, Any]]:
    match part:
        case ToolCall():
            return [_call_item(part, losses, where)]
        case RedactedThinking() if part.data.origin is OWN:
            return [hidden(part.data, own_item(part))]
        case RedactedThinking():
            losses.add(Feature.REDACTED_THINKING, where)
        case ServerToolCall() | ServerToolResult() if own_item(part) is not None:
            return [dict(own_item(part) or {})]
        case ServerToolResult() if within_call(part):
            return []
        case ServerToolCall() | ServerToolResult():
            losses.add(Feature.SERVER_TOOL, where)
        case Image(source=Inline() as source) if own_item(part) is not None:
            return [{"type": "image_generation_call", **(own_item(part) or {}), "result": source.data}]
        case Image():
            losses.add(Feature.IMAGE, where)
        case Audio():
            losses.add(Feature.AUDIO, where)
            if part.transcript:
                return [{"type": "message", "role": "assistant", "content": part.transcript}]
        case Opaque() if is_item(part):
            return [dict(part.payload)]
        case _:
            losses.add(Feature.OTHER, where)
    return []


def _call_item(call: ToolCall, losses: Losses, where: str) -> dict[str, Any]:
    if call.cache is not None:
        losses.add(Feature.CACHE_CONTROL, where)
    if call.signature is not None:
        losses.add(Feature.SIGNATURE, where)
    item = {"type": "custom_tool_call" if call.custom else "function_call", "call_id": call.id, "name": call.name}
    # Arguments that were never written are an empty object, as JSON demands.
    said = {"input": call.arguments} if call.custom else {"arguments": call.arguments or "{}"}
    return {**item, **said, **(own_item(call) or {})}
