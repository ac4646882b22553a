"""What an answer means, read from its bytes in the plainest way: the judge between a vendor's answer and its translation.

Shares nothing with the gateway's own readers. Only the first choice counts: not every dialect has more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_BREAKS = re.compile(rb"\r\n\r\n|\n\n|\r\r")


@dataclass
class Meaning:
    text: str = ""
    refusal: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    stop: str | None = None
    prompt: int | None = None
    output: int | None = None
    model: str | None = None
    error: bool = False
    partial: bool = False
    spoken: bool = False

    @property
    def said(self) -> str:
        return self.text + self.refusal


def payloads(body: bytes) -> Iterator[Any]:
    for block in _BREAKS.split(body):
        lines = [line.strip() for line in re.split(rb"[\r\n]+", block)]
        data = b"\n".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        if data and data != b"[DONE]":
            yield json.loads(data)


def arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


def read(dialect: str, body: bytes, *, stream: bool) -> Meaning:
    value: Any = list(payloads(body)) if stream else json.loads(body)
    return {
        "openai_chat": _chat_stream if stream else _chat,
        "openai_responses": _responses_stream if stream else _responses,
        "anthropic_messages": _anthropic_stream if stream else _anthropic,
        "gemini": _gemini,
    }[dialect](value)


# --- chat ---

_CHAT_STOPS = {"stop": "end", "length": "length", "tool_calls": "tools", "function_call": "tools"}


def _chat_usage(found: Meaning, usage: dict[str, Any] | None) -> None:
    if usage and usage.get("prompt_tokens") is not None:
        found.prompt, found.output = usage["prompt_tokens"], usage["completion_tokens"]


def _chat_stop(found: Meaning, word: str | None) -> None:
    if word:
        found.stop = "tools" if found.calls and word == "stop" else _CHAT_STOPS.get(word, "filter")


def _chat(value: dict[str, Any]) -> Meaning:
    found = Meaning(model=value.get("model"), error=bool(value.get("error")))
    for choice in value.get("choices", [])[:1]:
        message = choice.get("message") or {}
        found.spoken = bool(message.get("audio"))
        found.text, found.refusal = message.get("content") or "", message.get("refusal") or ""
        for call in message.get("tool_calls") or ():
            if call.get("custom"):
                found.calls.append((call["custom"]["name"], call["custom"]["input"]))
            else:
                found.calls.append((call["function"]["name"], arguments(call["function"]["arguments"])))
        if message.get("function_call"):
            inner = message["function_call"]
            found.calls.append((inner["name"], arguments(inner["arguments"])))
        _chat_stop(found, choice.get("finish_reason"))
    _chat_usage(found, value.get("usage"))
    return found


def _chat_stream(chunks: list[dict[str, Any]]) -> Meaning:
    found = Meaning()
    calls: dict[int, list[str]] = {}
    free: set[int] = set()
    stop = None
    for chunk in chunks:
        found.error = found.error or bool(chunk.get("error"))
        found.model = found.model or chunk.get("model")
        _chat_usage(found, chunk.get("usage"))
        for choice in chunk.get("choices") or ():
            if choice["index"]:
                continue
            delta = choice.get("delta") or {}
            found.text += delta.get("content") or ""
            found.refusal += delta.get("refusal") or ""
            for call in delta.get("tool_calls") or ():
                inner = call.get("function") or call.get("custom") or {}
                known = calls.setdefault(call["index"], ["", ""])
                known[0] = known[0] or inner.get("name") or ""
                known[1] += inner.get("arguments") or inner.get("input") or ""
                if "custom" in call:
                    free.add(call["index"])
            if delta.get("function_call"):
                inner = delta["function_call"]
                known = calls.setdefault(0, ["", ""])
                known[0] = known[0] or inner.get("name") or ""
                known[1] += inner.get("arguments") or ""
            stop = choice.get("finish_reason") or stop
    found.calls = [(name, text if i in free else arguments(text)) for i, (name, text) in calls.items()]
    _chat_stop(found, stop)
    return found


# --- responses ---


def _responses(value: dict[str, Any]) -> Meaning:
    found = Meaning(model=value.get("model"), error=bool(value.get("error")))
    for item in value.get("output") or ():
        if item["type"] == "message":
            for part in item["content"]:
                found.text += part.get("text") or ""
                found.refusal += part.get("refusal") or ""
        elif item["type"] == "function_call":
            found.calls.append((item["name"], arguments(item["arguments"])))
        elif item["type"] == "custom_tool_call":
            found.calls.append((item["name"], item["input"]))
    if value.get("status") == "completed":
        found.stop = "tools" if found.calls else "end"
    elif value.get("status") == "incomplete":
        why = (value.get("incomplete_details") or {}).get("reason")
        found.stop = "length" if why == "max_output_tokens" else "filter"
    usage = value.get("usage")
    if usage:
        found.prompt, found.output = usage["input_tokens"], usage["output_tokens"]
    return found


def _responses_stream(events: list[dict[str, Any]]) -> Meaning:
    last: dict[str, Any] = next(
        (e["response"] for e in reversed(events) if e.get("type", "").startswith("response.") and "response" in e), {}
    )
    found = _responses(last)
    found.error = found.error or any(event.get("type") == "error" for event in events)
    items: dict[int, Any] = {
        e["output_index"]: e["item"] for e in events if e.get("type") == "response.output_item.done"
    }
    if items and not last.get("output"):
        whole = _responses({**last, "output": [item for _, item in sorted(items.items())]})
        whole.error = found.error
        return whole
    return found


# --- anthropic ---

_ANTHROPIC_STOPS = {
    "end_turn": "end", "stop_sequence": "end", "pause_turn": "pause", "max_tokens": "length", "tool_use": "tools",
    "model_context_window_exceeded": "length", "refusal": "filter", "compaction": "pause",
}  # fmt: skip


def _anthropic_usage(found: Meaning, usage: dict[str, Any]) -> None:
    keys = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    found.prompt = sum(usage.get(key) or 0 for key in keys)
    found.output = usage.get("output_tokens")
    for step in usage.get("iterations") or ():
        if step.get("type") not in ("message", "fallback_message", None):  # billed beside what the counters say
            found.prompt += sum(step.get(key) or 0 for key in keys)
            found.output = (found.output or 0) + (step.get("output_tokens") or 0)


def _anthropic(value: dict[str, Any]) -> Meaning:
    found = Meaning(model=value.get("model"), error=value.get("type") == "error")
    for block in value.get("content") or ():
        if block["type"] == "text":
            found.text += block["text"]
        elif block["type"] == "tool_use":
            found.calls.append((block["name"], block["input"]))
    found.stop = _ANTHROPIC_STOPS.get(value.get("stop_reason") or "")
    if value.get("usage"):
        _anthropic_usage(found, value["usage"])
    return found


def _anthropic_stream(events: list[dict[str, Any]]) -> Meaning:
    found = Meaning()
    blocks: dict[int, list[str]] = {}
    usage: dict[str, Any] = {}
    for event in events:
        match event.get("type"):
            case "error":
                found.error = True
            case "message_start":
                found.model = event["message"].get("model")
                usage |= {k: v for k, v in (event["message"].get("usage") or {}).items() if v is not None}
            case "content_block_start":
                block = event["content_block"]
                if block["type"] == "tool_use":
                    given = json.dumps(block["input"]) if block.get("input") else ""
                    blocks[event["index"]] = [block["name"], given]
                elif block["type"] == "text":
                    found.text += block.get("text") or ""
            case "content_block_delta":
                delta = event["delta"]
                if delta["type"] == "text_delta":
                    found.text += delta["text"]
                elif delta["type"] == "input_json_delta" and event["index"] in blocks:
                    blocks[event["index"]][1] += delta["partial_json"]
            case "message_delta":
                found.stop = _ANTHROPIC_STOPS.get(event["delta"].get("stop_reason") or "")
                usage |= {k: v for k, v in (event.get("usage") or {}).items() if v is not None}
            case _:
                pass
    found.calls = [(name, arguments(text)) for name, text in blocks.values()]
    if usage:
        _anthropic_usage(found, usage)
    return found


# --- gemini ---


def _gemini(value: Any) -> Meaning:
    found = Meaning()
    reason = None
    for chunk in value if isinstance(value, list) else [value]:
        found.error = found.error or bool(chunk.get("error"))
        found.model = chunk.get("modelVersion") or found.model
        for candidate in chunk.get("candidates") or ():
            if candidate.get("index"):
                continue
            for part in (candidate.get("content") or {}).get("parts") or ():
                if "functionCall" in part:
                    call = part["functionCall"]
                    if "partialArgs" in call or call.get("willContinue") or "name" not in call:
                        found.partial = True  # Vertex's arguments by JSON path: told by names alone
                    if "name" in call:
                        found.calls.append((call["name"], call.get("args") or {}))
                elif not part.get("thought"):
                    found.text += part.get("text") or ""
            reason = candidate.get("finishReason") or reason
        if (chunk.get("promptFeedback") or {}).get("blockReason"):
            reason = reason or "SAFETY"
        usage = chunk.get("usageMetadata")
        if usage:
            found.prompt = (usage.get("promptTokenCount") or 0) + (usage.get("toolUsePromptTokenCount") or 0)
            found.output = (usage.get("candidatesTokenCount") or 0) + (usage.get("thoughtsTokenCount") or 0)
    if reason in ("STOP", 1, "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"):  # enums may come as numbers
        found.stop = "tools" if found.calls else "end"
    elif reason:
        found.stop = {"MAX_TOKENS": "length", 2: "length"}.get(reason, "filter")
    return found
