"""Amazon Bedrock's Converse and ConverseStream, as the vendor speaks them (Bedrock API reference, "Converse").

It refuses what Bedrock refuses: speakers that do not alternate, blank texts, calls without `toolConfig`, results of no
call, documents without a text beside them or with names that are taken.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor import aws
from gproxy.vendor.answer import Answer, Part, text_of
from gproxy.vendor.ask import Ask, BadAsk, ToolDef, Words, dicts, need, positive
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode, shrunk

_STOP: Final = {"stop": "end_turn", "length": "max_tokens", "tool": "tool_use"}
_SIGNATURE: Final = "c2ltdWxhdGVkLXNpZ25hdHVyZQ=="
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ID: Final = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DOCUMENT: Final = re.compile(r"(?!.*\s\s)[A-Za-z0-9\s()\[\]-]{1,200}")
_MEDIA: Final = frozenset({"image", "document", "video", "audio"})


def read(body: dict[str, Any], model: str, *, stream: bool) -> Ask:
    """The request as the vendor understands it; the path says model and operation. Raises `BadAsk`."""
    words = Words()
    for block in dicts(body.get("system")):
        if "cachePoint" not in block:
            words.text(need(block, "text", str))
    messages = need(body, "messages", list)
    config = body.get("toolConfig")
    last, answers_tool = _conversation(dicts(messages), words, has_tools=isinstance(config, dict))
    tools = [_tool(tool["toolSpec"]) for tool in dicts((config or {}).get("tools")) if "toolSpec" in tool]
    if isinstance(config, dict) and not tools:
        raise BadAsk("The toolConfig field must hold at least one tool.", "toolConfig.tools")
    words.tools(len(tools))
    settings = body.get("inferenceConfig")
    settings = settings if isinstance(settings, dict) else {}
    for name, most in (("temperature", 1), ("topP", 1)):
        value = settings.get(name, 0)
        if not isinstance(value, int | float) or not 0 <= value <= most:
            raise BadAsk(f"Value at 'inferenceConfig.{name}' must be between 0 and {most}.", name)
    return Ask(
        Dialect.BEDROCK_CONVERSE,
        Operation.STREAM if stream else Operation.GENERATE,
        model,
        stream=stream,
        include_usage=True,
        max_output=positive(settings, "maxTokens"),
        input_tokens=words.total,
        tools=tools,
        tool_choice=_choice((config or {}).get("toolChoice")),
        last_text=last,
        answers_tool=answers_tool,
    )


def _conversation(messages: list[dict[str, Any]], words: Words, *, has_tools: bool) -> tuple[str, bool]:
    """The last message's text, and whether it answers calls."""
    last, answers_tool, calls = "", False, set[str]()
    documents: set[str] = set()
    for at, message in enumerate(messages):
        if message.get("role") != ("assistant" if at % 2 else "user"):
            raise BadAsk("A conversation must alternate between user and assistant roles, beginning with user.")
        blocks = dicts(need(message, "content", list))
        if not blocks:
            raise BadAsk(f"The content field in the Message object at messages.{at} is empty.", "messages")
        kinds = {kind for block in blocks for kind in block}
        if kinds & {"toolUse", "toolResult"} and not has_tools:
            raise BadAsk("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        if "document" in kinds and "text" not in kinds:
            raise BadAsk("A message with a document must hold a text block too.", f"messages.{at}.content")
        answered = {block["toolResult"].get("toolUseId") for block in blocks if "toolResult" in block}
        if answered != calls:
            raise BadAsk(
                f"Expected toolResult blocks at messages.{at}.content for the Ids: {sorted(calls)}", "messages"
            )
        last, answers_tool = " ".join(_block(block, words, documents) for block in blocks), bool(answered)
        calls = {_called(block["toolUse"]) for block in blocks if "toolUse" in block}
    if calls:
        raise BadAsk("The last turn holds calls that nobody answered.", "messages")
    return last, answers_tool


def _called(call: dict[str, Any]) -> str:
    call_id, name = call.get("toolUseId"), call.get("name")
    if not isinstance(call_id, str) or _ID.fullmatch(call_id) is None:
        raise BadAsk(f"Value {call_id!r} at 'toolUseId' failed to satisfy constraint: {_ID.pattern}", "toolUseId")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or not isinstance(call.get("input"), dict):
        raise BadAsk("A toolUse block needs a name of letters, digits, - and _, and an object as its input.", "toolUse")
    return call_id


def _block(block: dict[str, Any], words: Words, documents: set[str]) -> str:
    if len(block) != 1:
        raise BadAsk("A content block must hold exactly one member.", "messages")
    kind, value = next(iter(block.items()))
    match kind, value:
        case "text", str() if value.strip():
            return words.text(value)
        case "toolResult", dict():
            return " ".join(_block(one, words, documents) for one in dicts(value.get("content")))
        case "toolUse", dict():
            words.text(json.dumps(value.get("input")))
        case "reasoningContent", dict():
            words.text((value.get("reasoningText") or {}).get("text"))
        case "cachePoint", {"type": "default"}:
            pass
        case _, {"format": str(), "source": dict() as source} if kind in _MEDIA and source:
            if kind == "document":
                _document(value.get("name"), documents)
            words.part()
        case _:
            raise BadAsk(f"The {kind} field in the ContentBlock object is blank or not valid.", kind)
    return ""


def _document(name: Any, documents: set[str]) -> None:
    if not isinstance(name, str) or _DOCUMENT.fullmatch(name) is None or name in documents:
        raise BadAsk(f"The document file name {name!r} is not valid, or given twice.", "document.name")
    documents.add(name)


def _tool(spec: Any) -> ToolDef:
    schema = spec.get("inputSchema", {}).get("json") if isinstance(spec, dict) else None
    if not isinstance(schema, dict) or schema.get("type") != "object" or _NAME.fullmatch(spec.get("name", "")) is None:
        raise BadAsk("A tool needs a name and an inputSchema whose type is object.", "toolConfig.tools")
    return ToolDef(spec["name"], schema)


def _choice(choice: Any) -> str:
    if not isinstance(choice, dict):
        return "auto"
    if "any" in choice:
        return "required"
    return f"={choice['tool'].get('name')}" if isinstance(choice.get("tool"), dict) else "auto"


def _usage(usage: Usage) -> dict[str, Any]:
    """TokenUsage: what was read from or written to the cache stands beside the input; thinking is not told apart."""
    written = {"1h": usage.cache_write_1h or 0, "5m": usage.cache_write_5m or 0}
    cached = (usage.cache_read or 0) + sum(written.values())
    found = {
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": (usage.input or 0) + cached + (usage.output or 0),
        "cacheReadInputTokens": usage.cache_read or 0,
        "cacheWriteInputTokens": sum(written.values()),
    }
    details = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in written.items() if tokens]
    return {**found, "cacheDetails": details} if details else found


def _block_of(part: Part) -> dict[str, Any]:
    match part.kind:
        case "reasoning":
            return {"reasoningContent": {"reasoningText": {"text": text_of(part), "signature": _SIGNATURE}}}
        case "text":
            return {"text": text_of(part)}
        case "tool":
            try:
                value = json.loads(text_of(part))
            except ValueError:
                value = {}  # arguments cut by the cap; a buffered answer cannot show half an object
            return {"toolUse": {"toolUseId": f"tooluse_{part.call_id}", "name": part.name, "input": value}}


def whole(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> tuple[bytes, bool]:  # noqa: ARG001 - no times, and no model's name in this dialect
    """The buffered body."""
    content = [_block_of(part) for part in answer.parts]
    body: dict[str, Any] = {
        "metrics": {"latencyMs": 7},
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": _STOP[answer.stop],
    }
    if mode != "none":
        body["usage"] = _usage(answer.usage)
    return encode(body), mode != "none"


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:  # noqa: ARG001 - no times, and no model's name in this dialect
    """Events in their frames: the end's reason first, then the figures."""
    yield _event("messageStart", {"role": "assistant"})
    if mode in {"early", "shrink"}:
        yield _figures(answer.usage if mode == "early" else shrunk(answer.usage), last=mode == "early")
    for at, part in enumerate(answer.parts):
        if part.kind == "tool":
            start = {"toolUse": {"toolUseId": f"tooluse_{part.call_id}", "name": part.name}}
            yield _event("contentBlockStart", {"contentBlockIndex": at, "start": start})
        for text, tokens in part.groups:
            delta: dict[str, Any] = {"text": text}
            if part.kind == "reasoning":
                delta = {"reasoningContent": delta}
            elif part.kind == "tool":
                delta = {"toolUse": {"input": text}}
            yield _event("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}, tokens)
        if part.kind == "reasoning":
            signed = {"reasoningContent": {"signature": _SIGNATURE}}
            yield _event("contentBlockDelta", {"contentBlockIndex": at, "delta": signed})
        yield _event("contentBlockStop", {"contentBlockIndex": at})
    yield _event("messageStop", {"stopReason": _STOP[answer.stop]}, end=True)
    if mode not in {"none", "early"}:
        yield _figures(answer.usage, last=True)
    if mode == "twice":
        yield _figures(answer.usage, last=True)


def _figures(usage: Usage, *, last: bool) -> Frame:
    return _event("metadata", {"usage": _usage(usage), "metrics": {"latencyMs": 7}}, usage=last)


def _event(kind: str, payload: dict[str, Any], tokens: int = 0, *, usage: bool = False, end: bool = False) -> Frame:
    # Padding of a length that says nothing about the text, as Bedrock adds it.
    padded = encode({**payload, "p": _LETTERS[: (len(str(payload)) * 7) % len(_LETTERS)]})
    return Frame(aws.event(kind, padded), tokens, usage, end)


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An exception in the stream."""
    return Frame(aws.exception(status, code, message), end=True)


VOICE: Final = Voice(
    Dialect.BEDROCK_CONVERSE, whole, stream, aws.error, error_frame, aws.headers, aws.STREAM, aws.error_headers
)
