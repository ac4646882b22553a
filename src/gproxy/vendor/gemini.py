"""Gemini generateContent and its stream, as the vendor speaks it (ai.google.dev/api/generate-content)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor.answer import Answer, Part, text_of
from gproxy.vendor.ask import Ask, ToolDef, Words, dicts, need, positive
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode, shrunk, so_far

_STOP: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP"}
_STATUS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _either(body: dict[str, Any], camel: str, snake: str) -> Any:
    # Google's JSON mapping accepts both spellings of a field name.
    return body.get(camel) if camel in body else body.get(snake)


def read(body: dict[str, Any], model: str, *, operation: Operation, sse: bool) -> Ask:
    """The request as the vendor understands it; the path says model and operation. Raises `BadAsk`."""
    inner = body.get("generateContentRequest")
    if operation is Operation.COUNT_TOKENS and isinstance(inner, dict):
        body = inner
    words = Words()
    contents = need(body, "contents", list)
    system = _either(body, "systemInstruction", "system_instruction")
    if isinstance(system, dict):
        _parts(system.get("parts"), words)
    last = ""
    results: list[str] = []
    for content in dicts(contents):
        last = _parts(content.get("parts"), words)
        told = [_either(part, "functionResponse", "function_response") for part in dicts(content.get("parts"))]
        results = [json.dumps(one.get("response"), ensure_ascii=False) for one in told if isinstance(one, dict)]
    tools = []
    for tool in dicts(body.get("tools")):
        for function in dicts(_either(tool, "functionDeclarations", "function_declarations")):
            schema = function.get("parameters") or _either(function, "parametersJsonSchema", "parameters_json_schema")
            if isinstance(function.get("name"), str):
                tools.append(ToolDef(function["name"], schema if isinstance(schema, dict) else {}))
    words.tools(len(tools))
    config = _either(body, "generationConfig", "generation_config")
    config = config if isinstance(config, dict) else {}
    return Ask(
        Dialect.GEMINI,
        operation,
        model,
        stream=operation is Operation.STREAM,
        sse=sse,
        include_usage=True,
        max_output=positive(config, "maxOutputTokens", "max_output_tokens"),
        input_tokens=words.total,
        tools=tools,
        tool_choice=_choice(_either(body, "toolConfig", "tool_config")),
        last_text=last,
        answers_tool=bool(results),
        results=results,
    )


def _parts(parts: Any, words: Words) -> str:
    texts = []
    for part in dicts(parts):
        if isinstance(part.get("text"), str):
            texts.append(words.text(part["text"]))
        elif _either(part, "inlineData", "inline_data") or _either(part, "fileData", "file_data"):
            words.part()
        else:
            for value in part.values():
                if isinstance(value, dict):
                    words.text(json.dumps(value.get("response") or value.get("args") or {}))
    return " ".join(texts)


def _choice(config: Any) -> str:
    calling = _either(config, "functionCallingConfig", "function_calling_config") if isinstance(config, dict) else None
    if not isinstance(calling, dict):
        return "auto"
    names = _either(calling, "allowedFunctionNames", "allowed_function_names")
    match str(calling.get("mode", "AUTO")).upper():
        case "NONE":
            return "none"
        case "ANY":
            return f"={names[0]}" if isinstance(names, list) and names else "required"
        case _:
            return "auto"


def usage_of(usage: Usage) -> dict[str, Any]:
    """usageMetadata: cached tokens are part of the prompt, thoughts stand beside the candidates."""
    prompt = (usage.input or 0) + (usage.cache_read or 0)
    found: dict[str, Any] = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": (usage.output or 0) - (usage.reasoning or 0),
        "totalTokenCount": prompt + (usage.output or 0),
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
    }
    if usage.cache_read:
        found["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        found["thoughtsTokenCount"] = usage.reasoning
    return found


def _part(part: Part, text: str) -> dict[str, Any]:
    match part.kind:
        case "reasoning":
            return {"text": text, "thought": True}
        case "text":
            return {"text": text}
        case "tool":
            try:
                args = json.loads(text)
            except ValueError:
                args = {}  # cut by the cap; this dialect has no half arguments
            return {"functionCall": {"name": part.name, "args": args}}


def _chunk(ask: Ask, answer: Answer, parts: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if reason is not None:
        candidate["finishReason"] = reason
    return {
        "candidates": [candidate],
        "modelVersion": ask.model,
        "responseId": f"sim{answer.number:08d}",
    }


def whole(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> tuple[bytes, bool]:  # noqa: ARG001 - no times in this dialect
    """The buffered body."""
    body = _chunk(ask, answer, [_part(part, text_of(part)) for part in answer.parts], _STOP[answer.stop])
    if mode != "none":
        body["usageMetadata"] = usage_of(answer.usage)
    return encode(body), mode != "none"


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:  # noqa: ARG001 - no times in this dialect
    """One object after the other, each a whole response with the figures so far, in SSE (CRLF) or in an array."""
    produced = 0
    count = 0

    def frame(body: dict[str, Any], tokens: int, *, usage: bool = False, end: bool = False) -> Frame:
        nonlocal count
        count += 1
        data = encode(body)
        if ask.sse:
            # Google separates its events with CRLF; the framing of the recorded streams.
            return Frame(b"data: " + data + b"\r\n\r\n", tokens, usage, end)
        lead = b"[" if count == 1 else b",\r\n"
        return Frame(lead + data + (b"\n]" if end else b""), tokens, usage, end)

    def pieces() -> Iterator[tuple[dict[str, Any], int]]:
        for part in answer.parts:
            if part.kind == "tool":
                yield _part(part, text_of(part)), sum(tokens for _, tokens in part.groups)
            else:
                for text, tokens in part.groups:
                    yield _part(part, text), tokens

    for part, tokens in pieces():
        produced += tokens
        body = _chunk(ask, answer, [part], None)
        told = mode not in {"none", "early"} or (mode == "early" and count == 0)
        if told:
            figures = so_far(answer.usage, produced)
            if mode == "early":
                figures = answer.usage
            elif mode == "shrink":
                figures = shrunk(answer.usage)
            body["usageMetadata"] = usage_of(figures)
        yield frame(body, tokens, usage=mode == "early" and told)
    last = _chunk(ask, answer, [{"text": ""}], _STOP[answer.stop])
    told = mode not in {"none", "early"}
    if told:
        last["usageMetadata"] = usage_of(answer.usage)
    if mode == "twice":
        yield frame(last, 0, usage=True)
    yield frame(last, 0, usage=told, end=True)


def _error_body(status: int, code: str | None, message: str) -> dict[str, Any]:
    kind = code or _STATUS.get(status, "UNKNOWN" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": message, "status": kind}}


def error(status: int, code: str | None, message: str, param: str | None, number: int) -> bytes:  # noqa: ARG001 - the shape of every voice
    """An error's body."""
    return encode(_error_body(status, code, message))


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An error object as the last event."""
    return Frame(b"data: " + encode(_error_body(status, code, message)) + b"\r\n\r\n", end=True)


def headers(number: int) -> list[tuple[bytes, bytes]]:
    """Google sends no limits and no request id worth the name."""
    return [
        (b"server", b"scaffolding on HTTPServer2"),
        (b"x-gemini-service-tier", b"standard"),
        (b"server-timing", b"gfet4t7; dur=%d" % (number % 1000)),
    ]


VOICE = Voice(Dialect.GEMINI, whole, stream, error, error_frame, headers)
