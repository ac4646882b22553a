"""Chat requests: what is read, what is written, and that every recorded one comes back meaning the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    CacheMark,
    File,
    FileRef,
    Image,
    Inline,
    RedactedThinking,
    Refusal,
    ServerToolKind,
    Signature,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Url,
)
from gproxy.canonical.request import (
    Effort,
    FunctionTool,
    OutputFormat,
    OutputKind,
    Reasoning,
    Request,
    Role,
    Sampling,
    ServerTool,
    ToolChoice,
    ToolMode,
    Turn,
)
from gproxy.protocols.openai_chat.dialogue import PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

OWN = Dialect.OPENAI_CHAT


def plain(value: Any) -> Any:
    """A body without the differences that mean nothing: nulls, one text written as a list, a stop as a list."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {key: plain(item) for key, item in value.items() if item is not None and (key, item) != ("annotations", [])}
    content = out.get("content")
    if isinstance(content, str):
        out["content"] = [{"type": "text", "text": content}] if content else []
    elif isinstance(content, list):
        out["content"] = [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]
    elif "role" in out:
        out["content"] = []
    if isinstance(out.get("stop"), str):
        out["stop"] = [out["stop"]]
    if isinstance(out.get("arguments"), str) and not out["arguments"]:
        out["arguments"] = "{}"
    if out.get("stream") is False:
        del out["stream"]
    if isinstance(out.get("image_url"), str):
        out["image_url"] = {"url": out["image_url"]}
    return out


def again(body: bytes) -> tuple[Any, Losses]:
    losses = Losses()
    return json.loads(PROTOCOL.encode_request(PROTOCOL.decode_request(body), losses)), losses


def test_every_recorded_request_comes_back_meaning_the_same() -> None:
    seen = 0
    for case in exchanges("openai-chat"):
        if case.request is None:
            continue
        source = json.loads(case.request)
        try:
            written, losses = again(case.request)
        except JsonProblem:
            assert case.status == 400 or "model" not in source or "messages" not in source, case.name
            continue
        seen += 1
        assert not losses, (case.name, losses.header())
        assert plain(written) == plain(source), case.name
    assert seen > 200


def test_requests_to_servers_with_an_accent_keep_their_fields() -> None:
    for case in exchanges("openai-compat"):
        if case.request is None or b'"messages"' not in case.request:
            continue
        source = json.loads(case.request)
        try:
            written, _ = again(case.request)
        except JsonProblem:
            assert not isinstance(source.get("temperature", 0), int | float), case.name
            continue
        assert written["model"] == source["model"]
        # A picture in a tool's result moves to a message of its own.
        moved = sum(
            m["role"] == "tool" and isinstance(m["content"], list) and any(p["type"] != "text" for p in m["content"])
            for m in source["messages"]
        )
        assert len(source["messages"]) <= len(written["messages"]) <= len(source["messages"]) + moved, case.name
        assert {k for k, v in source.items() if v is not None and v is not False} <= written.keys() | {"top_k"}, (
            case.name
        )


def request(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}).encode()


def turns(*messages: dict[str, Any]) -> tuple[Turn, ...]:
    return PROTOCOL.decode_request(request(messages=list(messages))).turns


def test_nothing_is_defaulted() -> None:
    read = PROTOCOL.decode_request(request())
    assert read == Request("m", (Turn(Role.USER, (Text("hi"),)),))


def test_a_tool_loop() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    two = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    found = turns(
        {"role": "system", "content": "be"},
        {"role": "assistant", "content": None, "tool_calls": [call, two]},
        {"role": "tool", "tool_call_id": "c1", "content": "r1"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "r2"}]},
        {"role": "developer", "content": "now"},
    )
    assert [turn.role for turn in found] == [Role.SYSTEM, Role.ASSISTANT, Role.USER, Role.DEVELOPER]
    assert found[1].parts == (ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "g"))
    assert found[2].parts == (ToolResult("c1", (Text("r1"),), "f"), ToolResult("c2", (Text("r2"),), "g"))


def test_media() -> None:
    (turn,) = turns(
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
                {"type": "file", "file": {"filename": "a.txt", "file_data": "QQ=="}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "text", "text": "t", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
            ],
        }
    )
    assert turn.parts[:5] == (
        Image(Inline("QUJD", "image/png"), "low"),
        Image(Url("https://x/y.png")),
        File(Inline("QQ==", "application/pdf"), "a.pdf"),
        File(Inline("QQ==", "text/plain"), "a.txt"),
        File(FileRef("file-1")),
    )
    assert isinstance(turn.parts[5], Text)
    assert turn.parts[5].cache == CacheMark("1h")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ToolChoice(ToolMode.AUTO)),
        ("none", ToolChoice(ToolMode.NONE)),
        ("required", ToolChoice(ToolMode.REQUIRED)),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(ToolMode.REQUIRED, ("f",))),
    ],
)
def test_tool_choices(choice: Any, expected: ToolChoice) -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    body = request(tools=[tool], tool_choice=choice)
    assert PROTOCOL.decode_request(body).tool_choice == expected
    assert again(body)[0]["tool_choice"] == choice


def test_allowed_tools_travel() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = request(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=choice)
    read = PROTOCOL.decode_request(body).tool_choice
    assert read is not None
    assert (read.mode, read.names) == (ToolMode.AUTO, ("f",))
    assert again(body)[0]["tool_choice"] == choice


def test_reasoning_comes_back_where_it_stood() -> None:
    detail = {"type": "reasoning.text", "text": "t", "signature": "s", "format": "anthropic-claude-v1", "index": 0}
    hidden = {"type": "reasoning.encrypted", "data": "d", "id": "r1"}
    for fields in ({"reasoning_content": "t"}, {"reasoning": "t"}, {"reasoning_details": [detail, hidden]}):
        message = {"role": "assistant", "content": "x", **fields}
        written, losses = again(request(messages=[message]))
        assert written["messages"] == [message]
        assert not losses


def test_a_foreign_request_says_what_it_lost() -> None:
    signature = Signature(Dialect.ANTHROPIC_MESSAGES, "sig")
    losses = Losses()
    body = json.loads(
        PROTOCOL.encode_request(
            Request(
                "m",
                (
                    Turn(Role.USER, (Text("hi", cache=CacheMark()), Image(FileRef("f")))),
                    Turn(
                        Role.ASSISTANT,
                        (
                            Thinking("t", signature),
                            RedactedThinking(signature),
                            Text("a"),
                            Refusal("no"),
                            ToolCall("c", "f"),
                        ),
                    ),
                    Turn(
                        Role.USER,
                        (ToolResult("c", (Text("r"), Image(Url("u"))), is_error=True), Text("next")),
                    ),
                ),
                tools=(FunctionTool("f"), ServerTool(ServerToolKind.WEB_SEARCH)),
                sampling=Sampling(top_k=5, max_output_tokens=9),
                reasoning=Reasoning(budget=9000),
                output=OutputFormat(OutputKind.SCHEMA, {"type": "object"}),
                extras={Dialect.GEMINI: {"safetySettings": []}},
            ),
            losses,
        )
    )
    assert set(losses.header().split(", ")) == {
        "other", "cache_control", "file_reference", "thinking", "redacted_thinking", "tool_result_error",
        "tool_result_parts", "server_tool", "top_k", "reasoning",
    }  # fmt: skip
    assert body["messages"] == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "a",
            "refusal": "no",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "[Attached to the result of tool call c:]"},
                {"type": "image_url", "image_url": {"url": "u"}},
                {"type": "text", "text": "next"},
            ],
        },
    ]
    assert body["max_completion_tokens"] == 9
    assert body["reasoning_effort"] == Effort.MEDIUM
    assert body["response_format"]["json_schema"] == {"name": "answer", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"[]", None),
        (b'{"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":"x"}', "messages"),
        (b'{"model":"m","messages":[1]}', "messages[0]"),
        (request(messages=[{"content": "x"}]), "messages[0].role"),
        (request(messages=[{"role": "king", "content": "x"}]), "messages[0].role"),
        (request(messages=[{"role": "user", "content": 5}]), "messages[0].content"),
        (request(messages=[{"role": "user", "content": [5]}]), "messages[0].content[0]"),
        (request(messages=[{"role": "user", "content": [{"type": "text", "text": 1}]}]), "messages[0].content[0].text"),
        (
            request(messages=[{"role": "user", "content": [{"type": "file", "file": {}}]}]),
            "messages[0].content[0].file",
        ),
        (request(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id"),
        (request(messages=[{"role": "assistant", "tool_calls": [5]}]), "messages[0].tool_calls[0]"),
        (request(temperature="hot"), "temperature"),
        (request(max_tokens=1.5), "max_tokens"),
        (request(stop=[1]), "stop"),
        (request(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
        (request(tool_choice="perhaps"), "tool_choice"),
        (request(response_format=[]), "response_format"),
        (request(stream_options={"include_usage": 1}), "stream_options.include_usage"),
    ],
)
def test_refusals_name_the_field(body: bytes, field: str | None) -> None:
    with pytest.raises(JsonProblem) as problem:
        PROTOCOL.decode_request(body)
    assert problem.value.field == field
