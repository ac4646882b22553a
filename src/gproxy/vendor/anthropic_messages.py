"""Anthropic Messages, as the vendor speaks it (docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor.answer import Answer, Part, arguments_of, text_of
from gproxy.vendor.ask import Ask, BadAsk, ToolDef, Words, dicts, need, positive
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode, shrunk, so_far, sse

__all__ = ["VOICE", "read"]

_STOP: Final = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}
_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SIGNATURE: Final = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="


def read(body: dict[str, Any], *, counting: bool = False, model: str | None = None, stream: bool | None = None) -> Ask:
    """The request as the vendor understands it. `model` and `stream` when the path says them. Raises `BadAsk`."""
    words = Words()
    messages = need(body, "messages", list)
    if not messages:
        raise BadAsk("messages: at least one message is required", "messages")
    cap = positive(body, "max_tokens")
    if cap is None and not counting:
        raise BadAsk("max_tokens: Field required", "max_tokens")
    _blocks(body.get("system"), words)
    last = ""
    answers_tool = False
    results: list[str] = []
    for message in dicts(messages):
        told: list[str] = []
        last = _blocks(message.get("content"), words, told)
        answers_tool = bool(told)
        if message.get("role") != "system":
            results = told
    tools = [
        ToolDef(tool["name"], tool["input_schema"])
        for tool in dicts(body.get("tools"))
        if isinstance(tool.get("name"), str) and isinstance(tool.get("input_schema"), dict)
    ]
    words.tools(len(tools))
    streams = body.get("stream") is True if stream is None else stream
    operation = Operation.COUNT_TOKENS if counting else Operation.STREAM if streams else Operation.GENERATE
    return Ask(
        Dialect.ANTHROPIC_MESSAGES,
        operation,
        model if model is not None else str(need(body, "model", str)),
        stream=streams and not counting,
        include_usage=True,
        max_output=cap,
        input_tokens=words.total,
        tools=tools,
        tool_choice=_choice(body.get("tool_choice")),
        last_text=last,
        answers_tool=answers_tool,
        results=results,
    )


def _blocks(content: Any, words: Words, told: list[str] | None = None) -> str:
    """The texts of a content; what tools gave back is added to `told`."""
    if isinstance(content, str):
        return words.text(content)
    texts = []
    for block in dicts(content):
        match block.get("type"):
            case "text":
                texts.append(words.text(block.get("text")))
            case "thinking":
                words.text(block.get("thinking"))
            case "tool_result":
                result = _blocks(block.get("content"), words)
                if told is not None:
                    told.append(result)
            case "tool_use":
                words.text(arguments_of(ToolDef("", {"type": "object", "properties": {}})))
            case _:
                words.part()
    return " ".join(texts)


def _choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return "auto"
    match choice.get("type"):
        case "none":
            return "none"
        case "any":
            return "required"
        case "tool":
            return f"={choice.get('name')}"
        case _:
            return "auto"


def _usage(usage: Usage) -> dict[str, Any]:
    write_5m, write_1h = usage.cache_write_5m or 0, usage.cache_write_1h or 0
    return {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": write_5m + write_1h,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": write_5m, "ephemeral_1h_input_tokens": write_1h},
        "output_tokens": usage.output,
        "service_tier": "standard",
    }


def _input_of(part: Part) -> Any:
    try:
        return json.loads(text_of(part))
    except ValueError:
        return {}  # arguments cut by the cap; a buffered answer cannot show half an object


def _block(part: Part) -> dict[str, Any]:
    match part.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": text_of(part), "signature": _SIGNATURE}
        case "text":
            return {"type": "text", "text": text_of(part)}
        case "tool":
            return {"type": "tool_use", "id": f"toolu_{part.call_id}", "name": part.name, "input": _input_of(part)}


def _message(ask: Ask, answer: Answer) -> dict[str, Any]:
    return {
        "model": ask.model,
        "id": f"msg_sim{answer.number:08d}",
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def whole(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> tuple[bytes, bool]:  # noqa: ARG001 - no times in this dialect
    """The buffered body."""
    body = _message(ask, answer)
    body["content"] = [_block(part) for part in answer.parts]
    body["stop_reason"] = _STOP[answer.stop]
    if mode != "none":
        body["usage"] = _usage(answer.usage)
    return encode(body), mode != "none"


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:  # noqa: ARG001 - no times in this dialect
    """message_start, blocks, message_delta, message_stop; the prompt's figures come first, the output's last."""
    message = _message(ask, answer)
    match mode:
        case "none":
            pass
        case "early":
            message["usage"] = _usage(answer.usage)
        case "shrink":
            message["usage"] = _usage(shrunk(answer.usage))
        case _:
            message["usage"] = _usage(so_far(answer.usage, min(1, answer.usage.output or 0)))
    yield _event({"type": "message_start", "message": message}, usage=mode == "early")
    yield _event({"type": "ping"})
    for index, part in enumerate(answer.parts):
        start: dict[str, Any]
        match part.kind:
            case "reasoning":
                start = {"type": "thinking", "thinking": "", "signature": ""}
            case "text":
                start = {"type": "text", "text": ""}
            case "tool":
                start = {"type": "tool_use", "id": f"toolu_{part.call_id}", "name": part.name, "input": {}}
        yield _event({"type": "content_block_start", "index": index, "content_block": start})
        for text, tokens in part.groups:
            match part.kind:
                case "reasoning":
                    delta = {"type": "thinking_delta", "thinking": text}
                case "text":
                    delta = {"type": "text_delta", "text": text}
                case "tool":
                    delta = {"type": "input_json_delta", "partial_json": text}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta}, tokens)
        if part.kind == "reasoning":
            signed = {"type": "signature_delta", "signature": _SIGNATURE}
            yield _event({"type": "content_block_delta", "index": index, "delta": signed})
        yield _event({"type": "content_block_stop", "index": index})
    end: dict[str, Any] = {
        "type": "message_delta",
        "delta": {"stop_reason": _STOP[answer.stop], "stop_sequence": None},
    }
    told = mode not in {"none", "early"}
    if told:
        figures = _usage(answer.usage)
        del figures["cache_creation"], figures["service_tier"]
        end["usage"] = figures
    yield _event(end, usage=told)
    if mode == "twice":
        yield _event(end, usage=True)
    yield _event({"type": "message_stop"}, end=True)


def _event(data: dict[str, Any], tokens: int = 0, *, usage: bool = False, end: bool = False) -> Frame:
    return Frame(sse(encode(data), str(data["type"])), tokens, usage, end)


def _error_body(status: int, code: str | None, message: str) -> dict[str, Any]:
    kind = code or _TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def error(status: int, code: str | None, message: str, param: str | None, number: int) -> bytes:  # noqa: ARG001 - the shape of every voice
    """An error's body."""
    return encode({**_error_body(status, code, message), "request_id": f"req_sim{number:08d}"})


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An `error` event."""
    return Frame(sse(encode(_error_body(status, code, message)), "error"), end=True)


def headers(number: int) -> list[tuple[bytes, bytes]]:
    """Request id and rate limits as Anthropic sends them."""
    found = [(b"request-id", b"req_sim%08d" % number), (b"anthropic-organization-id", b"simulated")]
    for name, limit, left in (
        (b"requests", b"4000", b"3999"),
        (b"input-tokens", b"2000000", b"1999000"),
        (b"output-tokens", b"400000", b"399000"),
        (b"tokens", b"2400000", b"2398000"),
    ):
        prefix = b"anthropic-ratelimit-" + name
        found += [(prefix + b"-limit", limit), (prefix + b"-remaining", left)]
        found.append((prefix + b"-reset", b"2026-01-01T00:00:00Z"))
    return found


VOICE = Voice(Dialect.ANTHROPIC_MESSAGES, whole, stream, error, error_frame, headers)
