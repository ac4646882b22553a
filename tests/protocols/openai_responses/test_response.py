"""Responses answers: every recorded one is read, is written as the official SDK accepts it, and comes back the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from openai.types.responses import Response as Accepted

from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    File,
    FileRef,
    Image,
    Inline,
    Opaque,
    Part,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Text,
    ToolCall,
    Url,
)
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_responses.dialogue import PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

FACTS = ReplyFacts(id="resp_1", model="asked", created=7)
OWN = Dialect.OPENAI_RESPONSES


def write(response: Response) -> tuple[dict[str, Any], Losses]:
    losses = Losses()
    body: dict[str, Any] = json.loads(PROTOCOL.encode_response(response, FACTS, losses))
    return body, losses


def read(*output: dict[str, Any], **fields: Any) -> Response:
    body = {"id": "resp_1", "model": "m", "status": "completed", "output": list(output), **fields}
    return PROTOCOL.decode_response(json.dumps(body).encode())


SAYS_NOTHING = [
    ("status", "completed"),
    ("status", "in_progress"),
    ("logprobs", []),
    ("annotations", []),
    ("content", []),
]
CITED: dict[str, Any] = {"title": "", "start_index": 0, "end_index": 0}
"""What some servers leave out of a citation and the SDK asks for."""


def plain(value: Any) -> Any:
    """An item without the differences that mean nothing."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    out = {k: plain(v) for k, v in value.items() if v is not None and (k, v) not in SAYS_NOTHING}
    return {**CITED, **out} if out.get("type") == "url_citation" else out


def test_every_recorded_answer() -> None:
    seen = 0
    for case in exchanges("openai-responses"):
        if case.sse or case.status != 200:
            continue
        source = json.loads(case.response)
        seen += 1
        found = PROTOCOL.decode_response(case.response)
        body, losses = write(found)
        assert losses.header() in ("", "service_tier"), (case.name, losses.header())
        assert plain(body["output"]) == plain(source["output"]), case.name
        assert body["id"] == source["id"], case.name
        assert body["model"] == "asked"
        for key in ("status", "incomplete_details", "tools", "tool_choice", "instructions", "temperature", "text"):
            if key in source:
                assert body[key] == source[key], (case.name, key)
        if source.get("usage"):
            assert body["usage"]["total_tokens"] == found.usage.total == source["usage"]["total_tokens"], case.name
        back = PROTOCOL.decode_response(json.dumps(body).encode())
        assert [settled(part) for part in back.choices[0].parts] == [settled(p) for p in found.choices[0].parts], (
            case.name
        )
        ended = found.choices[0].stop or Stop(StopReason.END, raw="completed", origin=OWN)  # a word is asked for
        assert replace(back.choices[0], parts=()) == replace(found.choices[0], parts=(), stop=ended), case.name
        if all(item["type"] in ("message", "function_call", "reasoning") for item in source["output"]):
            # What servers repeat of the request is theirs, and the SDK does not check it.
            accepted = Accepted.model_validate({**body, "text": {}, "tools": [], "reasoning": None})
            text = "".join(part.text for part in found.choices[0].parts if isinstance(part, Text))
            assert accepted.output_text == text, case.name
    assert seen > 150


def settled(part: Part) -> Part:
    """A part as it is once it has been written."""
    match part:
        case Text():
            citations = tuple(
                replace(c, title=c.title or "", start=c.start or 0, end=c.end or 0) for c in part.citations
            )
            return replace(part, citations=citations)
        case ToolCall():
            return replace(part, arguments=part.arguments or "{}")
        case _:
            return part


def test_a_foreign_answer_is_what_its_stream_would_have_left_behind() -> None:
    foreign = Response(
        "msg_1",
        "claude",
        (Choice(0, (Text("one"), ToolCall("c", "f", ""), Refusal("no")), Stop(StopReason.TOOL_CALLS)),),
        Usage(input=5, output=7, cache_read=3, cache_write_1h=2, reasoning=1),
        service_tier="standard",
    )
    body, losses = write(foreign)
    Accepted.model_validate(body, strict=True)
    assert [(item["type"], item["id"], item["status"]) for item in body["output"]] == [
        ("message", "msg_1_0", "completed"),
        ("function_call", "fc_1_1", "completed"),
        ("message", "msg_1_2", "completed"),
    ]
    assert body["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 17,
    }
    assert (body["created_at"], body["service_tier"], body["object"]) == (7, "default", "response")
    assert not losses


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Stop(StopReason.END, raw="completed", origin=OWN)),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            Stop(StopReason.LENGTH, raw="max_output_tokens", origin=OWN),
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            Stop(StopReason.CONTENT_FILTER, raw="content_filter", origin=OWN),
        ),
        ({"status": "incomplete"}, Stop(StopReason.OTHER, raw="incomplete", origin=OWN)),
        ({"status": "incomplete", "incomplete_details": {"reason": "new"}}, Stop(StopReason.OTHER, raw="new", origin=OWN)),
        ({"status": "cancelled"}, Stop(StopReason.OTHER, raw="cancelled", origin=OWN)),
        ({"status": None}, None),
        ({"status": None, "incomplete_details": {"reason": "max_tokens"}}, Stop(StopReason.LENGTH, raw="max_tokens", origin=OWN)),
    ],
)  # fmt: skip
def test_why_it_ended(fields: dict[str, Any], expected: Stop | None) -> None:
    found = read({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}, **fields)
    assert found.choices[0].stop == expected
    body, losses = write(found)
    if expected is not None:
        assert body["status"] == fields.get("status") or "completed"
        assert PROTOCOL.decode_response(json.dumps(body).encode()).choices[0].stop == expected
    assert not losses


def test_that_calls_ended_it_is_seen_from_the_calls() -> None:
    stop = read({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}).choices[0].stop
    assert stop == Stop(StopReason.TOOL_CALLS, raw="completed", origin=OWN)


def test_an_answer_that_was_not_made_yet() -> None:
    found = read(status="queued", output=[])
    assert found.choices == (Choice(0, (), Stop(StopReason.OTHER, raw="queued", origin=OWN)),)
    assert write(found)[0]["status"] == "queued"


def test_citations() -> None:
    notes = [
        {"type": "url_citation", "url": "https://x", "title": "X", "start_index": 1, "end_index": 2},
        {"type": "url_citation", "url": "https://y", "content": "quoted"},
        {"type": "file_citation", "file_id": "f", "filename": "a.pdf", "index": 3},
        {"type": "container_file_citation", "container_id": "c", "file_id": "f", "filename": "a", "start_index": 0, "end_index": 9},
        {"type": "novelty", "x": 1},
    ]  # fmt: skip
    item = {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "abc", "annotations": notes}],
    }
    (part,) = read(item).choices[0].parts
    assert isinstance(part, Text)
    assert part.citations[0] == Citation(CitationKind.URL, "https://x", "X", start=1, end=2)
    assert (part.citations[1].url, part.citations[1].quote) == ("https://y", "quoted")
    assert (part.citations[2].kind, part.citations[2].file_id, part.citations[2].title) == (
        CitationKind.FILE,
        "f",
        "a.pdf",
    )
    body, _ = write(read(item))
    assert body["output"][0]["content"][0]["annotations"] == notes


def test_runs_of_the_vendor_s_tools_are_told_to_those_who_have_a_place_for_them() -> None:
    items: list[dict[str, Any]] = [
        {
            "type": "web_search_call",
            "id": "ws",
            "status": "completed",
            "action": {"type": "search", "query": "q", "sources": [{"type": "url", "url": "https://s"}]},
        },
        {"type": "code_interpreter_call", "id": "ci", "status": "completed", "code": "1+1", "container_id": "c",
         "outputs": [{"type": "logs", "logs": "2"}]},
        {"type": "mcp_call", "id": "mcp", "name": "t", "server_label": "s", "arguments": "{}", "error": {"message": "m"}, "output": None},
        {"type": "file_search_call", "id": "fs", "status": "completed", "queries": ["q"], "results": [{"text": "found"}]},
    ]  # fmt: skip
    found = read(*items).choices[0].parts
    calls = [part for part in found if isinstance(part, ServerToolCall)]
    results = [part for part in found if isinstance(part, ServerToolResult)]
    assert [(call.kind, call.name, call.arguments) for call in calls] == [
        (ServerToolKind.WEB_SEARCH, "web_search", '{"type":"search","query":"q"}'),
        (ServerToolKind.CODE_EXECUTION, "code_interpreter", '{"code":"1+1"}'),
        (ServerToolKind.MCP, "t", "{}"),
        (ServerToolKind.FILE_SEARCH, "file_search", '{"queries":["q"]}'),
    ]
    assert [(r.call_id, r.parts, r.is_error) for r in results] == [
        ("ws", (), None),
        ("ci", (Text("2"),), None),
        ("mcp", (), True),
        ("fs", (Text("found"),), None),
    ]
    assert results[0].citations == (Citation(CitationKind.URL, "https://s"),)
    assert write(read(*items))[0]["output"] == items


def test_what_an_answer_cannot_hold_has_a_name() -> None:
    held = (
        ServerToolCall("s", ServerToolKind.WEB_FETCH, "web_fetch"),
        ServerToolResult("s", ServerToolKind.WEB_FETCH),
        Opaque(Dialect.GEMINI, "executableCode", {}),
        Image(Url("https://x")),
        File(FileRef("f")),
        Text("a", (Citation(CitationKind.PAGE, document=1),)),
    )
    body, losses = write(Response("r", "m", (Choice(0, held, Stop(StopReason.END)),)))
    assert [item["type"] for item in body["output"]] == ["message"]
    assert set(losses.header().split(", ")) == {"server_tool", "other", "image", "file", "citations"}


def test_pictures_are_made_by_a_tool_here() -> None:
    body, _ = write(Response("r", "m", (Choice(0, (Image(Inline("QUJD", "image/png")),), Stop(StopReason.END)),)))
    assert body["output"][0]["result"] == "QUJD"
    (part,) = PROTOCOL.decode_response(json.dumps(body).encode()).choices[0].parts
    assert isinstance(part, Image)
    assert part.source == Inline("QUJD", "image/png")


def test_an_answer_without_anything_is_still_legal() -> None:
    body, _ = write(Response("", "", (Choice(0, (), None),)))
    Accepted.model_validate(body, strict=True)
    assert (body["id"], body["model"], body["created_at"], body["usage"]) == ("resp_1", "asked", 7, None)


def test_an_answer_that_failed() -> None:
    found = read(status="failed", error={"code": "rate_limit_exceeded", "message": "slow"})
    assert found.error == VendorError("slow", code="rate_limit_exceeded")
    body, _ = write(found)
    assert (body["status"], body["error"]) == ("failed", {"code": "rate_limit_exceeded", "message": "slow"})
    assert PROTOCOL.decode_response(b'{"error":{"message":"m","code":502}}').error == VendorError(
        "m", code="502", status=502
    )


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"output":5}', b'{"output":[5]}', b'{"output":[{"type":"reasoning","summary":5}]}'],
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        PROTOCOL.decode_response(body)


def test_recorded_errors_are_read() -> None:
    seen = 0
    for case in exchanges("openai-responses"):
        if case.status < 400 or case.sse:
            continue
        seen += 1
        source = json.loads(case.response)
        inner = source.get("error", source)
        message = inner if isinstance(inner, str) else inner.get("message") or inner.get("detail")
        found = PROTOCOL.decode_error(case.response)
        assert found.message == message, case.name
        if isinstance(inner, dict):
            assert (found.code, found.type, found.param) == (inner.get("code"), inner.get("type"), inner.get("param"))
    assert seen > 15
