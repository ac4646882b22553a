"""OpenAI Chat Completions, as the vendor speaks it (platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor.answer import Answer, Part, text_of
from gproxy.vendor.ask import Ask, BadAsk, ToolDef, Words, dicts, need, positive
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode, shrunk, so_far, sse

_STOP: Final = {"stop": "stop", "length": "length", "tool": "tool_calls"}
_TYPES: Final = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "requests",
}
_CODES: Final = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


def read(body: dict[str, Any]) -> Ask:
    """The request as the vendor understands it. Raises `BadAsk`."""
    words = Words()
    messages = need(body, "messages", list)
    if not messages:
        raise BadAsk("Invalid 'messages': empty array.", "messages")
    last = ""
    answers_tool = False
    results: list[str] = []
    for message in dicts(messages):
        last = _content(message.get("content"), words)
        role = message.get("role")
        answers_tool = role in ("tool", "function")
        if answers_tool:
            results.append(last)
        elif role not in ("system", "developer"):
            results = []
        for call in dicts(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, dict):
                words.text(function.get("arguments"))
    tools = tools_of(body)
    words.tools(len(tools))
    stream = body.get("stream") is True
    options = body.get("stream_options")
    return Ask(
        Dialect.OPENAI_CHAT,
        Operation.STREAM if stream else Operation.GENERATE,
        str(need(body, "model", str)),
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_output=positive(body, "max_completion_tokens", "max_tokens"),
        input_tokens=words.total,
        tools=tools,
        tool_choice=choice_of(body.get("tool_choice")),
        last_text=last,
        answers_tool=answers_tool,
        results=results,
        choices=positive(body, "n", most=128) or 1,
    )


def _content(content: Any, words: Words) -> str:
    if isinstance(content, str):
        return words.text(content)
    texts = []
    for part in dicts(content):
        if part.get("type") in ("text", "refusal"):
            texts.append(words.text(part.get("text") or part.get("refusal")))
        else:
            words.part()
    return " ".join(texts)


def tools_of(body: dict[str, Any]) -> list[ToolDef]:
    """The function tools, in the nested (chat) or the flat (responses) form."""
    found = []
    for tool in dicts(body.get("tools")):
        function = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        if tool.get("type") == "function" and isinstance(function, dict) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found.append(ToolDef(function["name"], schema if isinstance(schema, dict) else {}))
    return found


def choice_of(choice: Any) -> str:
    """`auto`, `none`, `required` or `=name`."""
    if isinstance(choice, str):
        return choice if choice in {"none", "required"} else "auto"
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        return f"={name}" if isinstance(name, str) else "required"
    return "auto"


def usage_of(usage: Usage) -> dict[str, Any]:
    """The usage object; cached tokens are part of the prompt's total."""
    prompt = (usage.input or 0) + (usage.cache_read or 0)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + (usage.output or 0),
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _call(part: Part) -> dict[str, Any]:
    return {
        "id": f"call_{part.call_id}",
        "type": "function",
        "function": {"name": part.name, "arguments": text_of(part)},
    }


def whole(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> tuple[bytes, bool]:
    """The buffered body."""
    text = "".join(text_of(part) for part in answer.parts if part.kind == "text")
    message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None, "annotations": []}
    calls = [_call(part) for part in answer.parts if part.kind == "tool"]
    if calls:
        message["tool_calls"] = calls
    reason = _STOP[answer.stop]
    body: dict[str, Any] = {
        "id": f"chatcmpl-sim{answer.number:08d}",
        "object": "chat.completion",
        "created": now,
        "model": ask.model,
        "choices": [
            {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
            for index in range(ask.choices)
        ],
    }
    if mode != "none":
        body["usage"] = usage_of(answer.usage)
    body |= {"service_tier": "default", "system_fingerprint": "fp_simulated"}
    return encode(body), mode != "none"


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:
    """The chunks, then `[DONE]`. The usage chunk only when it was asked for, as the real one does."""
    head = {
        "id": f"chatcmpl-sim{answer.number:08d}",
        "object": "chat.completion.chunk",
        "created": now,
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    told = ask.include_usage and mode != "none"
    produced = 0

    def chunk(
        delta: dict[str, Any] | None, tokens: int = 0, *, index: int = 0, reason: str | None = None, figures: Any = None
    ) -> Frame:
        nonlocal produced
        produced += tokens
        choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}]
        body: dict[str, Any] = {**head, "choices": choices}
        if figures is None and told and mode == "every":
            figures = usage_of(so_far(answer.usage, produced))
        if figures is not None or told:
            body["usage"] = figures
        return Frame(sse(encode(body)), tokens, usage=figures is not None and mode != "every")

    first: Any = None
    if told and mode in {"early", "shrink"}:
        first = usage_of(answer.usage if mode == "early" else shrunk(answer.usage))
    for index in range(ask.choices):
        opening: dict[str, Any] = {"role": "assistant", "content": "", "refusal": None}
        frame = chunk(opening, index=index, figures=first if index == 0 else None)
        yield Frame(frame.data, 0, usage=frame.usage and mode == "early")
        calls = 0
        for part in answer.parts:
            match part.kind:
                case "reasoning":
                    # Not shown in this dialect, but produced before the first word and billed.
                    yield chunk({"content": ""}, sum(tokens for _, tokens in part.groups), index=index)
                case "text":
                    for text, tokens in part.groups:
                        yield chunk({"content": text}, tokens, index=index)
                case "tool":
                    function: dict[str, Any] = {"name": part.name, "arguments": ""}
                    call = {"index": calls, "id": f"call_{part.call_id}", "type": "function", "function": function}
                    yield chunk({"tool_calls": [call]}, index=index)
                    for text, tokens in part.groups:
                        more = {"index": calls, "function": {"arguments": text}}
                        yield chunk({"tool_calls": [more]}, tokens, index=index)
                    calls += 1
        yield chunk({}, index=index, reason=_STOP[answer.stop])
    if told and mode != "early":
        yield chunk(None, figures=usage_of(answer.usage)) if mode != "every" else _final(head, answer)
        if mode == "twice":
            yield chunk(None, figures=usage_of(answer.usage))
    yield Frame(b"data: [DONE]\n\n", end=True)


def _final(head: dict[str, Any], answer: Answer) -> Frame:
    return Frame(sse(encode({**head, "choices": [], "usage": usage_of(answer.usage)})), usage=True)


def error_body(status: int, code: str | None, message: str, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    if code == "insufficient_quota":
        kind = code
    return {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}


def error(status: int, code: str | None, message: str, param: str | None, number: int) -> bytes:  # noqa: ARG001 - the shape of every voice
    """An error's body."""
    return encode(error_body(status, code, message, param))


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An error inside a stream: a chunk that is an error object."""
    return Frame(sse(encode(error_body(status, code, message))), end=True)


def headers(number: int) -> list[tuple[bytes, bytes]]:
    """Request id and rate limits as OpenAI sends them."""
    return [
        (b"x-request-id", b"req_sim%08d" % number),
        (b"openai-organization", b"simulated"),
        (b"openai-processing-ms", b"7"),
        (b"openai-version", b"2020-10-01"),
        (b"x-ratelimit-limit-requests", b"10000"),
        (b"x-ratelimit-limit-tokens", b"2000000"),
        (b"x-ratelimit-remaining-requests", b"9999"),
        (b"x-ratelimit-remaining-tokens", b"1999000"),
        (b"x-ratelimit-reset-requests", b"6ms"),
        (b"x-ratelimit-reset-tokens", b"30ms"),
    ]


VOICE = Voice(Dialect.OPENAI_CHAT, whole, stream, error, error_frame, headers)
