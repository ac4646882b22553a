"""ConverseStream as bytes: the events of a stream, in the frames AWS sends them in."""

from __future__ import annotations

import json
from typing import Any

from gproxy.wire.eventstream import Message, encode


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """One event. AWS pads every payload with a `p` of varying length, against eavesdroppers who count bytes."""
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return encode(Message({**headers}, json.dumps({**payload, "p": "abcdefgh"}).encode()))


def exception(kind: str, payload: dict[str, Any] | bytes) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return encode(Message({**headers}, payload if isinstance(payload, bytes) else json.dumps(payload).encode()))


def start(role: str = "assistant") -> bytes:
    return event("messageStart", {"role": role})


def begin(at: int, **block: Any) -> bytes:
    return event("contentBlockStart", {"contentBlockIndex": at, "start": block})


def delta(at: int, **more: Any) -> bytes:
    return event("contentBlockDelta", {"contentBlockIndex": at, "delta": more})


def stop(at: int) -> bytes:
    return event("contentBlockStop", {"contentBlockIndex": at})


def ending(reason: str, **more: Any) -> bytes:
    return event("messageStop", {"stopReason": reason, **more})


def metadata(**usage: Any) -> bytes:
    return event("metadata", {"usage": usage, "metrics": {"latencyMs": 7}, "serviceTier": {"type": "default"}})


WITHOUT_FIGURES = b"".join(
    (
        start(),
        delta(0, reasoningContent={"text": "let me "}),
        delta(0, reasoningContent={"text": "see – naïve"}),
        delta(0, reasoningContent={"signature": "proof"}),
        stop(0),
        delta(1, text="I will "),
        delta(1, text="look. 🚲"),
        stop(1),
        begin(2, toolUse={"toolUseId": "tooluse_A", "name": "add"}),
        delta(2, toolUse={"input": ""}),
        delta(2, toolUse={"input": '{"a": '}),
        delta(2, toolUse={"input": "1}"}),
        stop(2),
        begin(3, toolUse={"toolUseId": "tooluse_B", "name": "now"}),
        stop(3),
        ending("tool_use"),
    )
)
"""Thinking, a text and two calls, the second without arguments."""
THINKS_AND_CALLS = WITHOUT_FIGURES + metadata(
    inputTokens=12, outputTokens=34, totalTokens=146, cacheReadInputTokens=80, cacheWriteInputTokens=20,
    cacheDetails=[{"ttl": "1h", "inputTokens": 5}, {"ttl": "5m", "inputTokens": 15}],
)  # fmt: skip
