"""OpenAI Responses, as the vendor speaks it (platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor.answer import Answer, Part, text_of
from gproxy.vendor.ask import Ask, Words, dicts, need, positive
from gproxy.vendor.openai_chat import choice_of, error, error_body, headers, tools_of
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode, shrunk, sse

__all__ = ["VOICE", "read"]

_TOOL_RESULTS: Final = ("function_call_output", "custom_tool_call_output")


def read(body: dict[str, Any], *, counting: bool = False) -> Ask:
    """The request as the vendor understands it. Raises `BadAsk`."""
    words = Words()
    items = need(body, "input", (str, list))
    words.text(body.get("instructions"))
    last = ""
    answers_tool = False
    results: list[str] = []
    if isinstance(items, str):
        last = words.text(items)
    for item in dicts(items):
        kind = item.get("type", "message")
        answers_tool = kind in _TOOL_RESULTS
        if answers_tool:
            results.append(_content(item.get("output"), words))
            continue
        if kind != "message" or item.get("role") not in ("system", "developer"):
            results = []
        if kind == "message":
            last = _content(item.get("content"), words)
        else:
            words.text(item.get("arguments"))
    tools = tools_of(body)
    words.tools(len(tools))
    streams = body.get("stream") is True and not counting
    operation = Operation.COUNT_TOKENS if counting else Operation.STREAM if streams else Operation.GENERATE
    return Ask(
        Dialect.OPENAI_RESPONSES,
        operation,
        str(body.get("model", "") if counting else need(body, "model", str)),
        stream=streams,
        include_usage=True,
        max_output=positive(body, "max_output_tokens"),
        input_tokens=words.total,
        tools=tools,
        tool_choice=choice_of(body.get("tool_choice")),
        last_text=last,
        answers_tool=answers_tool,
        results=results,
    )


def _content(content: Any, words: Words) -> str:
    if isinstance(content, str):
        return words.text(content)
    texts = []
    for part in dicts(content):
        if isinstance(part.get("text"), str):
            texts.append(words.text(part["text"]))
        else:
            words.part()
    return " ".join(texts)


def _usage(usage: Usage) -> dict[str, Any]:
    prompt = (usage.input or 0) + (usage.cache_read or 0)
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": prompt + (usage.output or 0),
    }


def _response(ask: Ask, answer: Answer, now: int, status: str) -> dict[str, Any]:
    cut = status == "incomplete"
    return {
        "id": f"resp_sim{answer.number:08d}",
        "object": "response",
        "created_at": now,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": None,
        "max_output_tokens": ask.max_output,
        "model": ask.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "user": None,
        "metadata": {},
    }


def _item(answer: Answer, part: Part, index: int, status: str, text: str) -> dict[str, Any]:
    match part.kind:
        case "reasoning":
            return {"id": f"rs_sim{answer.number:08d}{index}", "type": "reasoning", "summary": []}
        case "text":
            content = [_text(text)] if status != "in_progress" else []
            return {
                "id": f"msg_sim{answer.number:08d}{index}",
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": content,
            }
        case "tool":
            return {
                "id": f"fc_sim{part.call_id}",
                "type": "function_call",
                "status": status,
                "call_id": f"call_{part.call_id}",
                "name": part.name,
                "arguments": text,
            }


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def whole(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> tuple[bytes, bool]:
    """The buffered body."""
    status = "incomplete" if answer.stop == "length" else "completed"
    body = _response(ask, answer, now, status)
    body["output"] = [
        _item(answer, part, index, status, text_of(part) if part.kind != "reasoning" else "")
        for index, part in enumerate(answer.parts)
    ]
    if mode != "none":
        body["usage"] = _usage(answer.usage)
    return encode(body), mode != "none"


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:
    """response.created … response.completed (or .incomplete), with sequence numbers from zero."""
    sequence = -1

    def event(kind: str, body: dict[str, Any], tokens: int = 0, *, usage: bool = False, end: bool = False) -> Frame:
        nonlocal sequence
        sequence += 1
        return Frame(sse(encode({"type": kind, **body, "sequence_number": sequence}), kind), tokens, usage, end)

    opening = _response(ask, answer, now, "in_progress")
    if mode == "early":
        opening["usage"] = _usage(answer.usage)
    yield event("response.created", {"response": opening}, usage=mode == "early")
    if mode in {"twice", "shrink", "every"}:
        opening = {**opening, "usage": _usage(shrunk(answer.usage) if mode == "shrink" else answer.usage)}
    yield event("response.in_progress", {"response": opening})
    cut = answer.stop == "length"
    output = []
    for index, part in enumerate(answer.parts):
        at: dict[str, Any] = {"output_index": index}
        started = _item(answer, part, index, "in_progress", "")
        yield event("response.output_item.added", {**at, "item": started})
        text = ""
        by: dict[str, Any] = {**at, "item_id": started["id"]}
        match part.kind:
            case "reasoning":
                # Hidden in this dialect: all of it was spent before the first word.
                done = _item(answer, part, index, "completed", "")
                spent = sum(tokens for _, tokens in part.groups)
                yield event("response.output_item.done", {**at, "item": done}, spent)
                output.append(done)
                continue
            case "text":
                by["content_index"] = 0
                yield event("response.content_part.added", {**by, "part": _text("")})
                for piece, tokens in part.groups:
                    text += piece
                    yield event("response.output_text.delta", {**by, "delta": piece, "logprobs": []}, tokens)
                yield event("response.output_text.done", {**by, "text": text, "logprobs": []})
                yield event("response.content_part.done", {**by, "part": _text(text)})
            case "tool":
                for piece, tokens in part.groups:
                    text += piece
                    yield event("response.function_call_arguments.delta", {**by, "delta": piece}, tokens)
                done_arguments = {**by, "arguments": text, "name": part.name}
                yield event("response.function_call_arguments.done", done_arguments)
        last = cut and index == len(answer.parts) - 1
        done = _item(answer, part, index, "incomplete" if last else "completed", text)
        yield event("response.output_item.done", {**at, "item": done})
        output.append(done)
    final = _response(ask, answer, now, "incomplete" if cut else "completed")
    final["output"] = output
    told = mode not in {"none", "early"}
    if told:
        final["usage"] = _usage(answer.usage)
    kind = "response.incomplete" if cut else "response.completed"
    yield event(kind, {"response": final}, usage=told, end=True)


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An `error` event."""
    inner = error_body(status, code, message)["error"]
    data = {"type": "error", "code": inner["code"], "message": message, "param": None, "sequence_number": 0}
    return Frame(sse(encode(data), "error"), end=True)


VOICE = Voice(Dialect.OPENAI_RESPONSES, whole, stream, error, error_frame, headers)
