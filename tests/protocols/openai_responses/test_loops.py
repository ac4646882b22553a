"""Tool loops across dialects: whose reasoning it is, it comes back to its vendor, whatever the client speaks."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import RedactedThinking, Signature, Text, Thinking, ToolCall
from gproxy.canonical.request import Request
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_responses.dialogue import PROTOCOL
from gproxy.protocols.registry import DIALOGUES

OWN = Dialect.OPENAI_RESPONSES
FACTS = ReplyFacts("resp_1", "m", 1, include_usage=True)

SAID: dict[str, Any] = {
    "id": "resp_1",
    "model": "m",
    "status": "completed",
    "output": [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "SEALED"},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "DARK"},
        {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "I will look"}]},
        {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "id": "fc_2", "call_id": "call_2", "name": "g", "arguments": "{}"},
    ],
}  # fmt: skip


def chat(answer: dict[str, Any]) -> dict[str, Any]:
    results = [{"role": "tool", "tool_call_id": f"call_{i}", "content": f"r{i}"} for i in (1, 2)]
    return {"model": "m", "messages": [{"role": "user", "content": "q"}, answer["choices"][0]["message"], *results]}


def anthropic(answer: dict[str, Any]) -> dict[str, Any]:
    results = [{"type": "tool_result", "tool_use_id": f"call_{i}", "content": f"r{i}"} for i in (1, 2)]
    said = {"role": "assistant", "content": answer["content"]}
    messages = [{"role": "user", "content": "q"}, said, {"role": "user", "content": results}]
    return {"model": "m", "max_tokens": 9, "messages": messages}


def gemini(answer: dict[str, Any]) -> dict[str, Any]:
    results = [
        {"functionResponse": {"id": f"call_{i}", "name": name, "response": {"output": f"r{i}"}}}
        for i, name in ((1, "f"), (2, "g"))
    ]
    return {
        "contents": [
            {"role": "user", "parts": [{"text": "q"}]},
            answer["candidates"][0]["content"],
            {"role": "user", "parts": results},
        ]
    }  # fmt: skip


CLIENTS = [(Dialect.OPENAI_CHAT, chat), (Dialect.ANTHROPIC_MESSAGES, anthropic), (Dialect.GEMINI, gemini)]


@pytest.mark.parametrize(("dialect", "next_request"), CLIENTS, ids=[dialect.value for dialect, _ in CLIENTS])
def test_sealed_reasoning_comes_back_through_a_client_of_another_dialect(dialect: Dialect, next_request: Any) -> None:
    client, losses = DIALOGUES[dialect], Losses()
    answer = PROTOCOL.decode_response(json.dumps(SAID).encode())
    told = json.loads(client.encode_response(answer, FACTS, losses))
    asked: Request = client.decode_request(json.dumps(next_request(told)).encode(), model="m", stream=False)
    body = json.loads(PROTOCOL.encode_request(asked, losses))
    assert body["input"] == [
        {"type": "message", "role": "user", "content": "q"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "SEALED"},
        {"type": "reasoning", "summary": [], "encrypted_content": "DARK"},
        {"type": "message", "role": "assistant", "content": "I will look"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
        {"type": "function_call", "call_id": "call_2", "name": "g", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "r1"},
        {"type": "function_call_output", "call_id": "call_2", "output": "r2"},
    ]
    assert not losses, losses.header()


@pytest.mark.parametrize("vendor", [Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI])
def test_a_foreign_vendor_s_reasoning_comes_back_through_a_client_of_this_dialect(vendor: Dialect) -> None:
    signed = Signature(vendor, "U0lH")
    on_call = signed if vendor is Dialect.GEMINI else None
    parts = (
        Thinking("hm", signed),
        RedactedThinking(signed),
        Text("look"),
        ToolCall("call_1", "f", '{"a":1}', signature=on_call),
    )
    answer = Response("x", "m", (Choice(0, parts, Stop(StopReason.TOOL_CALLS)),))
    losses = Losses()
    output = json.loads(PROTOCOL.encode_response(answer, FACTS, losses))["output"]
    # As coding agents do: without the items' ids and states.
    items = [{k: v for k, v in item.items() if k not in ("id", "status")} for item in output]
    asked = {"model": "m", "input": [*items, {"type": "function_call_output", "call_id": "call_1", "output": "r"}]}
    read = PROTOCOL.decode_request(json.dumps(asked).encode())
    body = DIALOGUES[vendor].encode_request(read, losses).decode()
    assert body.count("U0lH") == (3 if on_call else 2)
    assert "gproxy" not in body
    assert not losses, losses.header()
