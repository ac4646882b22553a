from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.translate.legality import Broken, Watch
from tests.protocols.recorded import exchanges

FOLDERS = {
    Dialect.OPENAI_CHAT: "openai-chat",
    Dialect.OPENAI_RESPONSES: "openai-responses",
    Dialect.ANTHROPIC_MESSAGES: "anthropic-messages",
    Dialect.GEMINI: "gemini",
}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def data(value: Any) -> bytes:
    return f"data: {json.dumps(value)}\n\n".encode()


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return data({"id": "c", "object": "chat.completion.chunk", "choices": [choice]})


START = event("message_start", message={"usage": {"input_tokens": 1}})
OPEN = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
SAID = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
SHUT = event("content_block_stop", index=0)
TOLD = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1})
OVER = event("message_stop")
DONE = b"data: [DONE]\n\n"
CREATED = event("response.created", sequence_number=0, response={})
ADDED = event("response.output_item.added", sequence_number=1, output_index=0, item={})

BROKEN: list[tuple[str, list[bytes], str]] = [
    ("openai_chat", [b"data: nothing\n\n"], "not_json"),
    ("openai_chat", [data([1])], "no_object"),
    ("openai_chat", [data({"choices": []})], "no_chunk"),
    ("openai_chat", [data({"id": "c", "object": "chat.completion.chunk"})], "malformed"),
    ("openai_chat", [DONE], "no_finish_reason"),
    ("openai_chat", [chunk("stop"), chunk(content="more")], "after_finish_reason"),
    ("openai_chat", [chunk("stop"), DONE, DONE], "after_end"),
    ("openai_chat", [chunk(tool_calls=[{"index": 1, "id": "x", "function": {"name": "f"}}])], "call_index"),
    ("openai_chat", [chunk(tool_calls=[{"index": 0, "id": "x", "function": {}}])], "call_without_name"),
    ("anthropic_messages", [OPEN], "message_start"),
    ("anthropic_messages", [START, START], "message_start"),
    ("anthropic_messages", [event("message_start", message={})], "no_usage"),
    ("anthropic_messages", [START, SAID], "block_not_open"),
    ("anthropic_messages", [START, OPEN, OPEN], "block_order"),
    ("anthropic_messages", [START, OPEN, SHUT, SHUT], "block_not_open"),
    ("anthropic_messages", [START, OPEN, TOLD], "block_left_open"),
    ("anthropic_messages", [START, OVER], "no_stop_reason"),
    ("anthropic_messages", [START, TOLD, OVER, OVER], "after_end"),
    ("anthropic_messages", [START, event("message_delta", delta={})], "no_usage"),
    ("anthropic_messages", [START, event("odd")], "unknown_event"),
    ("anthropic_messages", [b'event: x\ndata: {"type": "ping"}\n\n'], "event_name"),
    ("openai_responses", [ADDED], "sequence_number"),
    ("openai_responses", [event("response.in_progress", sequence_number=0)], "response_created"),
    ("openai_responses", [CREATED, event("response.created", sequence_number=1)], "response_created"),
    ("openai_responses", [CREATED, event("response.x", sequence_number=1, output_index=0)], "item_not_open"),
    (
        "openai_responses",
        [CREATED, event("response.output_item.added", sequence_number=1, output_index=1, item={})],
        "output_index",
    ),
    (
        "openai_responses",
        [CREATED, ADDED, event("response.completed", sequence_number=2, response={"usage": {}})],
        "item_left_open",
    ),
    ("openai_responses", [CREATED, event("response.completed", sequence_number=1, response={})], "no_usage"),
    ("openai_responses", [event("error"), CREATED], "after_end"),
    (
        "gemini",
        [data({"candidates": [{"finishReason": "STOP"}]}), data({"candidates": [{"content": {"parts": [{}]}}]})],
        "after_finish_reason",
    ),
    ("gemini", [data({"error": {"code": 500}}), data({})], "after_end"),
]


@pytest.mark.parametrize(("dialect", "frames", "rule"), BROKEN)
def test_a_broken_rule_is_named(dialect: str, frames: list[bytes], rule: str) -> None:
    watch = Watch(Dialect(dialect))
    with pytest.raises(Broken) as found:
        watch.look(b"".join(frames))
    assert found.value.rule == rule


GOOD: list[tuple[str, list[bytes]]] = [
    ("openai_chat", [chunk(role="assistant"), chunk(content="a"), chunk("stop"), DONE]),
    ("openai_chat", [chunk(content="a"), data({"error": {"message": "no"}})]),
    ("anthropic_messages", [START, event("ping"), OPEN, SAID, SHUT, TOLD, OVER]),
    ("anthropic_messages", [START, OPEN, event("error", error={})]),
    ("anthropic_messages", [event("error", error={})]),
    ("openai_responses", [CREATED, event("error"), event("response.failed", response={})]),
    ("gemini", [data({"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]}), data({})]),
]


@pytest.mark.parametrize(("dialect", "frames"), GOOD)
def test_a_good_stream_is_good(dialect: str, frames: list[bytes]) -> None:
    watch = Watch(Dialect(dialect))
    for frame in frames:
        watch.look(frame)


@pytest.mark.parametrize("dialect", [d for d in GENERATE_DIALECTS if d is not Dialect.OPENAI_CHAT])
def test_the_vendors_own_streams_keep_the_rules(dialect: Dialect) -> None:
    """The rules are the vendors': their own recorded streams keep them, but for a handful (chat's: few servers do)."""
    streams = [one for one in exchanges(FOLDERS[dialect]) if one.sse and one.status == 200]
    broken = []
    for exchange in streams:
        try:
            Watch(dialect).look(exchange.response)
        except Broken as found:
            broken.append(f"{exchange.name}: {found.rule}")
    assert len(streams) > 50
    assert len(broken) <= len(streams) // 8, "\n".join(broken)
