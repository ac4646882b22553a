"""What counts as the same request, the same blocks: the differences that mean nothing, as data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from gproxy.canonical.part import Part, ServerToolCall, Text, ToolCall, ToolResult

# Wherever a `content` may be text, text is shorthand for one text block (API reference, "Create a Message").
SHORTHAND = ("content", "system")


def plain(value: Any) -> Any:
    """A request body without the differences that mean nothing.

    Null is "not said"; one text written as a string; empty texts; neighbouring messages of one speaker ("will be
    combined into a single turn"); `stream: false`.
    """
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: plain(item) for key, item in value.items() if item is not None}
    holds_blocks = "role" in out or "messages" in out or out.get("type") == "tool_result"
    for key in SHORTHAND if holds_blocks else ():
        if isinstance(out.get(key), str):
            out[key] = [{"type": "text", "text": out[key]}]
        if isinstance(out.get(key), list):
            out[key] = [item for item in out[key] if item != {"type": "text", "text": ""}]
    if out.get("stream") is False:
        del out["stream"]
    if isinstance(out.get("messages"), list):
        out["messages"] = together(out["messages"])
    return out


def together(messages: list[Any]) -> list[Any]:
    out: list[Any] = []
    for message in messages:
        if out and isinstance(message, dict) and out[-1].get("role") == message.get("role"):
            out[-1] = {**out[-1], "content": out[-1]["content"] + message["content"]}
        elif not isinstance(message, dict) or message.get("content"):
            out.append(message)
    return out


def settled(part: Part) -> Part:
    """A part with its arguments in one spelling: a stream brings them as the model wrote them."""
    match part:
        case ToolCall() | ServerToolCall():
            return replace(part, arguments=spelled(part.arguments))
        case ToolResult():
            return replace(part, parts=tuple(settled(inner) for inner in part.parts))
        case Text(citations=()):
            return part
        case _:
            return part


def spelled(arguments: str) -> str:
    try:
        return json.dumps(json.loads(arguments or "{}"), sort_keys=True)
    except ValueError:
        return arguments
