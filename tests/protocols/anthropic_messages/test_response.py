"""Messages answers: every recorded one is read, is written as the official SDK accepts it, and comes back the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message
from anthropic.types.beta import BetaMessage
from pydantic import ValidationError

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    Citation,
    CitationKind,
    FileRef,
    Image,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
    Url,
)
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL
from gproxy.protocols.base import ReplyFacts
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

OWN = Dialect.ANTHROPIC_MESSAGES
FACTS = ReplyFacts(id="msg_1", model="asked", created=7)


def write(response: Response) -> tuple[dict[str, Any], Losses]:
    losses = Losses()
    raw = PROTOCOL.encode_response(response, FACTS, losses)
    Message.model_validate_json(raw, strict=True)
    body: dict[str, Any] = json.loads(raw)
    return body, losses


def missed(raw: bytes) -> set[str]:
    """What the SDK's strict types miss in an answer."""
    try:
        BetaMessage.model_validate_json(raw, strict=True)
    except ValidationError as problem:
        return {".".join(map(str, error["loc"])) for error in problem.errors()}
    return set()


def said(value: Any) -> Any:
    """Null is "not said"."""
    if isinstance(value, list):
        return [said(item) for item in value]
    return {k: said(v) for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def test_every_recorded_answer_comes_back_the_same() -> None:
    seen = 0
    for case in exchanges("anthropic-messages"):
        if case.sse or case.status != 200:
            continue
        source = json.loads(case.response)
        seen += 1
        read = PROTOCOL.decode_response(case.response)
        losses = Losses()
        raw = PROTOCOL.encode_response(read, FACTS, losses)
        # A vendor's own answer from before the SDK's types may lack what it lacked then.
        assert missed(raw) <= missed(case.response), case.name
        body = json.loads(raw)
        assert not losses, (case.name, losses.header())
        source["content"] = [item for item in source["content"] if item != {"type": "text", "text": ""}]
        assert said(body) == said({**source, "model": "asked"}), case.name
        again = PROTOCOL.decode_response(json.dumps(body).encode())
        assert again.choices == read.choices, case.name
        assert again.usage == read.usage, case.name
    assert seen > 100


def answer(*parts: Any, stop: Stop | None = None, **fields: Any) -> tuple[dict[str, Any], Losses]:
    return write(Response("r", "m", (Choice(0, parts, stop or Stop(StopReason.END)),), **fields))


def test_a_foreign_answer() -> None:
    alien = Signature(Dialect.GEMINI, "sig+/=")
    parts = (
        Thinking("hm", alien),
        RedactedThinking(Signature(Dialect.OPENAI_RESPONSES, "enc")),
        Thinking("unsigned"),
        Text("one", (Citation(CitationKind.URL, "https://x", "X", "q", start=0, end=3),)),
        Text(""),
        ToolCall("c", "f", '{"a":1}', signature=alien),
        ToolCall("d", "g", ""),
    )
    body, losses = answer(
        *parts, usage=Usage(input=5, output=7, cache_read=3, cache_write_1h=2, reasoning=1), service_tier="default"
    )
    assert not losses
    assert body["stop_reason"] == "tool_use"
    assert [block["type"] for block in body["content"]] == [
        "thinking", "redacted_thinking", "thinking", "text", "redacted_thinking", "tool_use", "tool_use",
    ]  # fmt: skip
    assert body["usage"] == {
        "input_tokens": 5,
        "output_tokens": 7,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 2},
        "output_tokens_details": {"thinking_tokens": 1},
        "service_tier": "standard",
    }
    # What the client sends back on the next turn still holds every foreign signature, where it belongs.
    back = PROTOCOL.decode_request(
        json.dumps({"model": "m", "messages": [{"role": "assistant", "content": body["content"]}]}).encode()
    )
    found = back.turns[0].parts
    assert found[0] == parts[0]
    assert isinstance(found[1], RedactedThinking)
    assert found[1].data == Signature(Dialect.OPENAI_RESPONSES, "enc")
    assert found[4:] == (parts[5], ToolCall("d", "g", "{}"))
    # A server of this dialect is not shown what it did not sign.
    lost = Losses()
    sent = json.loads(PROTOCOL.encode_request(back, lost))
    assert [item["type"] for item in sent["messages"][0]["content"]] == ["text", "tool_use", "tool_use"]
    assert set(lost.header().split(", ")) == {"thinking", "redacted_thinking", "signature"}


@pytest.mark.parametrize(
    ("reason", "word", "lossless"),
    [
        (StopReason.END, "end_turn", True),
        (StopReason.LENGTH, "max_tokens", True),
        (StopReason.CONTEXT, "model_context_window_exceeded", True),
        (StopReason.STOP_SEQUENCE, "stop_sequence", True),
        (StopReason.TOOL_CALLS, "end_turn", True),  # without calls, a client would wait for nothing
        (StopReason.CONTENT_FILTER, "refusal", True),
        (StopReason.REFUSAL, "refusal", True),
        (StopReason.PAUSE, "pause_turn", True),
        (StopReason.OTHER, "end_turn", False),
        (StopReason.MALFORMED_CALL, "end_turn", False),
    ],
)
def test_stop_reasons(reason: StopReason, word: str, lossless: bool) -> None:
    body, losses = answer(Text("x"), stop=Stop(reason))
    assert body["stop_reason"] == word
    assert (not losses) is lossless


def test_the_end_in_detail() -> None:
    body, _ = answer(Text("x"), stop=Stop(StopReason.STOP_SEQUENCE, sequence="\n"))
    assert body["stop_sequence"] == "\n"
    body, _ = answer(Text("x"), stop=Stop(StopReason.CONTENT_FILTER, details="SAFETY"))
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "SAFETY"}
    _, losses = answer(Text("x"), stop=Stop(StopReason.LENGTH, details="why"))
    assert losses.header() == "stop_details"
    read = PROTOCOL.decode_response(
        b'{"content":[],"stop_reason":"refusal","stop_details":{"type":"refusal","category":"bio","explanation":"e"}}'
    )
    assert read.choices[0].stop == Stop(StopReason.REFUSAL, details="e", raw="refusal", origin=OWN)
    assert write(read)[0]["stop_details"]["category"] == "bio"


def test_a_refusal_is_told_by_words_and_reason() -> None:
    body, losses = answer(Refusal("no"))
    assert (body["content"], body["stop_reason"]) == ([{"type": "text", "text": "no"}], "refusal")
    assert not losses


def test_what_an_answer_cannot_hold() -> None:
    losses = answer(
        Image(Url("https://x")),
        Audio(FileRef("a"), transcript="words"),
        ServerToolCall("s", ServerToolKind.FILE_SEARCH, "file_search"),
        Text("x", (Citation(CitationKind.FILE, file_id="f"),)),
        ToolCall("c", "f", "[1]"),
    )[1]
    assert set(losses.header().split(", ")) == {"image", "audio", "server_tool", "citations", "tool_arguments"}
    two = Response("r", "m", (Choice(0, (Text("a"),), None, Logprobs(())), Choice(1, (Text("b"),), None)))
    body, losses = write(two)
    assert [item["text"] for item in body["content"]] == ["a"]
    assert losses.header() == "n, logprobs"
    _, losses = answer(Text("x"), service_tier="flex")
    assert losses.header() == "service_tier"


def test_other_vendors_tool_runs_are_shown_and_not_taken_for_ones_own() -> None:
    search, code = ServerToolKind.WEB_SEARCH, ServerToolKind.CODE_EXECUTION
    parts = (
        ServerToolCall("ws_1", search, "web_search", '{"query":"q"}'),
        ServerToolResult("ws_1", search, citations=(Citation(CitationKind.URL, "https://x", "X"),)),
        ServerToolResult("ws_2", search, is_error=True),
        ServerToolCall("ci_1", code, "code_execution", '{"code":"1"}'),
        ServerToolResult("ci_1", code, (Text("1"),)),
    )
    body, losses = answer(*parts, Text("x"))
    assert not losses
    assert [block["type"] for block in body["content"][:5]] == [
        "server_tool_use", "web_search_tool_result", "web_search_tool_result", "server_tool_use",
        "code_execution_tool_result",
    ]  # fmt: skip
    read = PROTOCOL.decode_response(json.dumps(body).encode())
    assert read.choices[0].parts[:2] == parts[:2]
    assert read.choices[0].parts[3:5] == parts[3:]
    # Sent back, they are dropped before a server of this dialect that never ran them.
    body["content"].append({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})
    history = [{"role": "assistant", "content": body["content"]}]
    lost = Losses()
    sent = PROTOCOL.encode_request(
        PROTOCOL.decode_request(json.dumps({"model": "m", "messages": history}).encode()), lost
    )
    assert [block["type"] for block in json.loads(sent)["messages"][0]["content"]] == ["text", "server_tool_use"]
    assert lost.header() == "server_tool"


def test_an_answer_without_anything_is_still_legal() -> None:
    body, _ = write(Response("", "", ()))
    assert (body["id"], body["model"], body["content"], body["stop_reason"]) == ("msg_1", "asked", [], "end_turn")
    assert body["usage"]["input_tokens"] == 0


def test_servers_with_an_accent() -> None:
    read = PROTOCOL.decode_response(
        json.dumps(
            {
                "content": [
                    {"type": "thinking", "thinking": "t"},
                    {"type": "text", "text": ""},
                    {"type": "tool_use", "id": "", "name": "f", "input": None},
                ],
                "stop_reason": "later",
                "usage": None,
            }
        ).encode()
    )
    assert read.choices[0].parts == (Thinking("t"), ToolCall("toolu__2", "f", "{}"))
    assert read.choices[0].stop == Stop(StopReason.OTHER, raw="later", origin=OWN)
    assert not read.usage.known


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"content":5}', b'{"content":[5]}', b'{"content":[{"type":"tool_use"}]}']
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        PROTOCOL.decode_response(body)


def test_an_error_in_a_200() -> None:
    read = PROTOCOL.decode_response(b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}')
    assert read.error is not None
    assert (read.error.message, read.error.type, read.choices) == ("m", "overloaded_error", ())
