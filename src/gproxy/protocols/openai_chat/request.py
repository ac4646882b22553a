"""Chat completion requests, both ways (OpenAI API reference, "Create chat completion")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    Audio,
    CacheMark,
    FileRef,
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
from gproxy.canonical.request import (
    Request,
    Role,
    Sampling,
    Turn,
)
from gproxy.protocols.openai_chat.content import (
    OWN,
    citations_of,
    content,
    mark,
    mistral_thinking,
    thinking_of,
    tool_calls_of,
    written_call,
    written_parts,
    written_thinking,
)
from gproxy.protocols.openai_chat.google import takes_signatures
from gproxy.protocols.openai_chat.settings import (
    output_of,
    put,
    put_reasoning,
    put_tools,
    reasoning_of,
    speech_of,
    tool_choice_of,
    tools_of,
    written_output,
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
    tables,
    text,
    texts,
    whole_object,
)
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ: Final = frozenset(
    {
        "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
        "temperature", "top_p", "top_k", "max_completion_tokens", "stop", "seed", "n", "presence_penalty",
        "frequency_penalty", "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "response_format",
        "verbosity", "modalities", "audio", "service_tier", "user", "metadata", "store", "prompt_cache_key",
    }
)  # fmt: skip
_MESSAGE_READ: Final = frozenset(
    {
        "role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id", "audio", "annotations",
        "reasoning", "reasoning_content", "reasoning_details",
    }
)  # fmt: skip
_ROLES: Final = {
    "system": Role.SYSTEM,
    "developer": Role.DEVELOPER,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}


# --- reading --------------------------------------------------------------------------------------------------


def decode(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Request:
    """Read a request. Raises `JsonProblem` naming the field."""
    source = whole_object(body)
    options = table(source, "stream_options") or {}
    cap, own_cap = integer(source, "max_completion_tokens"), integer(source, "max_tokens")
    extras = rest(source, _READ, OWN)
    return Request(
        model=model or required_text(source, "model"),
        turns=_turns(source),
        stream=bool(flag(source, "stream") if stream is None else stream),
        include_usage=flag(options, "include_usage", "stream_options"),
        tools=tools_of(source),
        tool_choice=tool_choice_of(source),
        parallel_tool_calls=flag(source, "parallel_tool_calls"),
        sampling=Sampling(
            temperature=number(source, "temperature"),
            top_p=number(source, "top_p"),
            top_k=integer(source, "top_k"),
            max_output_tokens=own_cap if cap is None else cap,
            stop=texts(source, "stop"),
            seed=integer(source, "seed"),
            n=integer(source, "n"),
            presence_penalty=number(source, "presence_penalty"),
            frequency_penalty=number(source, "frequency_penalty"),
            logprobs=flag(source, "logprobs"),
            top_logprobs=integer(source, "top_logprobs"),
            logit_bias=table(source, "logit_bias"),
        ),
        reasoning=reasoning_of(source),
        output=output_of(source),
        verbosity=text(source, "verbosity"),
        modalities=texts(source, "modalities"),
        speech=speech_of(source),
        service_tier=text(source, "service_tier"),
        user=text(source, "user"),
        metadata=table(source, "metadata"),
        store=flag(source, "store"),
        cache_key=text(source, "prompt_cache_key"),
        cache=CacheMark() if isinstance(source.get("cache_control"), dict) else None,
        extras=extras,
    )


def _turns(source: Mapping[str, Any]) -> tuple[Turn, ...]:
    messages = tables(source, "messages")
    if messages is None:
        raise problem("messages", "an array")
    turns: list[Turn] = []
    results: list[Part] = []
    names: dict[str, str] = {}
    unanswered: list[str] = []
    for i, message in enumerate(messages):
        where = at("messages", i)
        role = required_text(message, "role", where)
        if role in ("tool", "function"):
            result = _tool_result(message, role, names, unanswered, where)
            unanswered = [call_id for call_id in unanswered if call_id != result.call_id]
            results.append(result)
            continue
        if results:
            turns.append(Turn(Role.USER, tuple(results)))
            results = []
        if role not in _ROLES:
            raise problem(at(where, "role"), "one of system, developer, user, assistant, tool")
        turn = _turn(message, _ROLES[role], i, where)
        called = {part.id: part.name for part in turn.parts if isinstance(part, ToolCall)}
        names.update(called)
        unanswered = list(called) or unanswered
        turns.append(turn)
    if results:
        turns.append(Turn(Role.USER, tuple(results)))
    return tuple(turns)


def _turn(message: dict[str, Any], role: Role, i: int, where: str) -> Turn:
    parts: list[Part] = list(content(message.get("content"), at(where, "content")))
    if role is Role.ASSISTANT:
        citations = citations_of(message.get("annotations"))
        if citations and parts and isinstance(parts[0], Text):
            parts[0] = Text(parts[0].text, citations, cache=parts[0].cache, extras=parts[0].extras)
        parts = [*thinking_of(message), *parts]
        refusal = text(message, "refusal", where)
        if refusal:
            parts.append(Refusal(refusal))
        spoken = message.get("audio")
        if isinstance(spoken, dict) and isinstance(spoken.get("id"), str):
            parts.append(Audio(FileRef(spoken["id"])))
        parts += tool_calls_of(message, where, f"call_{i}_")
    return Turn(role, tuple(parts), name=text(message, "name", where), extras=rest(message, _MESSAGE_READ, OWN))


def _tool_result(
    message: dict[str, Any], role: str, names: dict[str, str], unanswered: list[str], where: str
) -> ToolResult:
    if role == "function":
        name = required_text(message, "name", where)
        call_id = next((known for known, called in reversed(names.items()) if called == name), f"call_{name}")
        extras = {OWN: {"role": "function"}}
    else:
        # Some servers let the id be left out: the results then come in the order of the calls.
        in_order = unanswered[0] if unanswered and not message.get("tool_call_id") else ""
        call_id = in_order or required_text(message, "tool_call_id", where)
        name = text(message, "name", where) or names.get(call_id, "")
        extras = dict(rest(message, _MESSAGE_READ, OWN))  # type: ignore[arg-type] # narrower than its own type
        if message.get("name"):
            extras = {OWN: {**extras.get(OWN, {}), "name": message["name"]}}
    return ToolResult(call_id, content(message.get("content"), at(where, "content")), name=name or None, extras=extras)


# --- writing --------------------------------------------------------------------------------------------------


def encode(request: Request, losses: Losses) -> bytes:
    """Write a request for a server of this dialect."""
    own = of_own(request.extras, OWN)
    note_foreign(request.extras, OWN, losses)
    sampling = request.sampling
    body: dict[str, Any] = {"model": request.model, "messages": _messages(request, losses)}
    if request.stream:
        body["stream"] = True
    if request.include_usage is not None:
        body["stream_options"] = {"include_usage": request.include_usage}
    if "functions" not in own:
        put_tools(body, request, losses)
    cap = None if "max_tokens" in own else sampling.max_output_tokens
    stop = sampling.stop
    put(
        body,
        parallel_tool_calls=request.parallel_tool_calls,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_completion_tokens=cap,
        stop=list(stop) if stop is not None else None,
        seed=sampling.seed,
        n=sampling.n,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        logprobs=sampling.logprobs,
        top_logprobs=sampling.top_logprobs,
        logit_bias=sampling.logit_bias,
        response_format=written_output(request.output),
        verbosity=request.verbosity,
        modalities=list(request.modalities) if request.modalities is not None else None,
        service_tier=request.service_tier,
        user=request.user,
        metadata=request.metadata,
        store=request.store,
        prompt_cache_key=request.cache_key,
    )
    if sampling.top_k is not None:
        losses.add(Feature.TOP_K, "top_k")
    if request.speech is not None:
        body["audio"] = {**of_own(request.speech.extras, OWN)}
        put(body["audio"], voice=request.speech.voice, format=request.speech.format)
    put_reasoning(body, request.reasoning, own, losses)
    if request.previous_id is not None:
        losses.add(Feature.PREVIOUS_RESPONSE, "previous_response_id")
    if request.cache is not None and "cache_control" not in own:
        losses.add(Feature.CACHE_CONTROL, "cache_control")
    body.update({key: value for key, value in own.items() if key not in body})
    return dumps(body)


def _messages(request: Request, losses: Losses) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    signs = takes_signatures(request.model)
    for i, turn in enumerate(request.turns):
        where = at("messages", i)
        note_foreign(turn.extras, OWN, losses, where)
        results = [part for part in turn.parts if isinstance(part, ToolResult)]
        shown: list[Part] = []
        messages += [_tool_message(result, shown, losses, where) for result in results]
        others = tuple(part for part in turn.parts if not isinstance(part, ToolResult))
        if turn.role is Role.ASSISTANT:
            messages.append(_assistant_message(turn, others, losses, where, signs=signs))
        elif others or shown or not results:
            messages.append(_message(turn, (*shown, *others), losses, where))
    return messages


def _message(turn: Turn, parts: tuple[Part, ...], losses: Losses, where: str) -> dict[str, Any]:
    _note_homeless(parts, losses, where)
    message: dict[str, Any] = {"role": turn.role.value, "content": _joined(written_parts(parts, losses, where))}
    put(message, name=turn.name)
    return {**message, **of_own(turn.extras, OWN)}


def _assistant_message(
    turn: Turn, parts: tuple[Part, ...], losses: Losses, where: str, *, signs: bool
) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    spoken = tuple(p for p in parts if not isinstance(p, Refusal | Audio))
    message["content"] = _joined(written_parts(spoken, losses, where)) if spoken else None
    in_content = mistral_thinking(parts)
    if in_content:
        rest_of_it = message["content"] or []
        if isinstance(rest_of_it, str):
            rest_of_it = [{"type": "text", "text": rest_of_it}]
        message["content"] = [*in_content, *rest_of_it]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    if refusals:
        message["refusal"] = "".join(refusals)
    for part in parts:
        match part:
            case Audio(source=FileRef(file_id)):
                message["audio"] = {"id": file_id}
            case Audio():
                losses.add(Feature.AUDIO, where)
            case Thinking() if part.signature is None or part.signature.origin is not OWN:
                losses.add(Feature.THINKING, where)
            case RedactedThinking() if part.data.origin is not OWN:
                losses.add(Feature.REDACTED_THINKING, where)
            case ServerToolCall() | ServerToolResult():
                losses.add(Feature.SERVER_TOOL, where)
            case _:
                pass
    message.update(written_thinking(parts, foreign=False))
    calls = [part for part in parts if isinstance(part, ToolCall)]
    legacy = [call for call in calls if of_own(call.extras, OWN).get("function_call")]
    if legacy:
        message["function_call"] = {"name": legacy[0].name, "arguments": legacy[0].arguments}
    elif calls:
        message["tool_calls"] = [written_call(call, losses, where, signs=signs) for call in calls]
    put(message, name=turn.name)
    return {**message, **of_own(turn.extras, OWN)}


def _tool_message(result: ToolResult, shown: list[Part], losses: Losses, where: str) -> dict[str, Any]:
    own = of_own(result.extras, OWN)
    if result.is_error:
        losses.add(Feature.TOOL_RESULT_ERROR, where)
    texts_only = tuple(part for part in result.parts if isinstance(part, Text))
    others = tuple(part for part in result.parts if not isinstance(part, Text))
    if others:
        # A tool message holds text only; what else came of the call follows in the user's next message.
        losses.add(Feature.TOOL_RESULT_PARTS, where)
        shown.append(Text(f"[Attached to the result of tool call {result.call_id}:]"))
        shown.extend(others)
    written = _joined(written_parts(texts_only, losses, where))
    if own.get("role") == "function":
        return {"role": "function", "name": result.name or "", "content": written}
    message: dict[str, Any] = {"role": "tool", "tool_call_id": result.call_id, "content": written}
    if result.cache is not None:
        mark(message, result, losses, where)
    return {**message, **own}


def _note_homeless(parts: tuple[Part, ...], losses: Losses, where: str) -> None:
    for part in parts:
        match part:
            case Thinking() | RedactedThinking():
                losses.add(Feature.THINKING, where)
            case ToolCall():
                losses.add(Feature.OTHER, where)
            case ServerToolCall() | ServerToolResult():
                losses.add(Feature.SERVER_TOOL, where)
            case _:
                pass


def _joined(items: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text is written as a string: every server understands that, and not every one an array."""
    if not items:
        return ""
    if len(items) == 1 and items[0].keys() == {"type", "text"}:
        said: str = items[0]["text"]
        return said
    return items
