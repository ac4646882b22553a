from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gproxy.vendor.recorded import load
from gproxy.vendor.server import VendorServer
from tests.shared import require_shared
from tests.vendor.legal import events_of, judge
from tests.vendor_selftest.wire import ask, cases

DIALECTS = {
    "openai-chat": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic-messages": "anthropic_messages",
    "gemini": "gemini",
}
Blocks = list[bytes]


def drop(*needles: bytes) -> Callable[[Blocks], Blocks]:
    return lambda blocks: [block for block in blocks if not any(needle in block for needle in needles)]


def twice(needle: bytes) -> Callable[[Blocks], Blocks]:
    return lambda blocks: [copy for block in blocks for copy in ([block, block] if needle in block else [block])]


def last_first(blocks: Blocks) -> Blocks:
    return [blocks[-1], *blocks[:-1]]


def swap(old: bytes, new: bytes) -> Callable[[Blocks], Blocks]:
    return lambda blocks: [block.replace(old, new) for block in blocks]


@pytest.mark.parametrize(
    ("dialect", "spoil"),
    [
        ("openai_chat", drop(b"[DONE]")),
        ("openai_chat", twice(b'"finish_reason":"tool_calls"')),
        ("openai_chat", drop(b'"finish_reason":"tool_calls"')),
        ("openai_chat", drop(b'"role":"assistant"')),
        ("openai_chat", last_first),
        ("openai_chat", swap(b'ity\\":', b'ity\\"')),
        ("openai_chat", drop(b'"type":"function"')),
        ("openai_responses", drop(b"response.completed")),
        ("openai_responses", twice(b"response.completed")),
        ("openai_responses", drop(b"event: response.created")),
        ("openai_responses", drop(b"event: response.output_item.done")),
        ("openai_responses", drop(b"event: response.output_item.added")),
        ("openai_responses", last_first),
        ("openai_responses", swap(b"event: response.output_text.delta", b"event: message")),
        ("anthropic_messages", drop(b"event: message_stop")),
        ("anthropic_messages", drop(b"event: message_start")),
        ("anthropic_messages", drop(b"event: message_delta")),
        ("anthropic_messages", twice(b"event: message_start")),
        ("anthropic_messages", drop(b"event: content_block_start")),
        ("anthropic_messages", drop(b"event: content_block_stop")),
        ("anthropic_messages", twice(b"event: content_block_stop")),
        ("anthropic_messages", twice(b"event: message_stop")),
        ("anthropic_messages", swap(b'ity\\":', b'ity\\"')),
        ("anthropic_messages", swap(b'"index":1', b'"index":2')),
        ("gemini", drop(b"finishReason")),
        ("gemini", swap(b'"candidates":[', b'"candidates":[[')),
        ("gemini", last_first),
    ],
)
async def test_an_illegal_stream_is_seen(vendor: VendorServer, dialect: str, spoil: Callable[[Blocks], Blocks]) -> None:
    schema: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools: dict[str, Any] = {
        "openai_chat": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "openai_responses": [{"type": "function", "name": "f", "parameters": schema}],
        "anthropic_messages": [{"name": "f", "input_schema": schema}],
        "gemini": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
    }
    heard = await ask(vendor, dialect, "sim/tokens=3,tools=1", stream=True, tools=tools[dialect])
    ending = b"\r\n\r\n" if dialect == "gemini" else b"\n\n"
    blocks = [block + ending for block in heard.body.split(ending) if block]
    assert judge(dialect, stream=True, body=b"".join(blocks)).legal
    spoiled = spoil(blocks)
    assert spoiled != blocks
    assert not judge(dialect, stream=True, body=b"".join(spoiled)).legal


@pytest.mark.parametrize("dialect", DIALECTS.values())
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b"data: {\n\n", b"data: \xff\n\n", b"[]", b"null", b"data: 7\n\n"]
)
def test_what_is_no_answer_is_not_legal(dialect: str, body: bytes) -> None:
    for stream in (False, True):
        assert not judge(dialect, stream=stream, body=body).legal


def test_errors_are_legal_ends_and_nothing_follows_them() -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":"a"}}]}\n\n'
    error = b'data: {"error":{"code":"upstream_error","message":"x"}}\n\n'
    verdict = judge("openai_chat", stream=True, body=chunk + error)
    assert (verdict.legal, verdict.complete, verdict.error, verdict.text) == (True, False, "upstream_error", "a")
    assert not judge("openai_chat", stream=True, body=error + chunk).legal


def test_events_are_read_as_the_standard_says() -> None:
    body = (
        b'\xef\xbb\xbf: note\r\n\r\nevent: a\r\ndata: 1\r\ndata: 2\r\n\r\ndata:3\n\nid: x\n\ndata: {"x"\rdata: :1}\r\r'
    )
    assert events_of(body) == [("a", "1\n2"), (None, "3"), (None, '{"x"\n:1}')]


def test_an_answer_made_in_the_background_is_legal_before_it_is_there() -> None:
    waiting: dict[str, Any] = {"status": "queued", "output": [], "background": True}
    assert judge("openai_responses", stream=False, body=json.dumps(waiting).encode()).legal
    assert not judge("openai_responses", stream=False, body=json.dumps({**waiting, "background": False}).encode()).legal


def test_the_vendors_own_recordings_are_legal() -> None:
    """A judge that condemns the real ones would be useless: at least 95 of 100 pass.

    The rest are recordings of other calls (compaction) and of answers that were themselves cut.
    """
    folder = require_shared() / "fixtures"
    for protocol, dialect in DIALECTS.items():
        seen = legal = 0
        for case in cases(folder, protocol)[::3]:
            recording = load(folder, case)
            provider = json.loads((folder / case / "meta.json").read_bytes())["provider"]
            if provider not in {"openai", "anthropic", "google-ai-studio"}:
                continue
            array = recording.body.lstrip()[:1] == b"["
            stream = recording.streaming or array
            seen += 1
            legal += judge(dialect, stream=stream, sse=recording.streaming, body=recording.body).legal
        assert seen > 20
        assert legal >= seen * 0.95, protocol
