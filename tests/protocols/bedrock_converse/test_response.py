"""Converse answers that come whole, their figures, and Bedrock's complaints."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    CitationKind,
    Image,
    Inline,
    Opaque,
    RedactedThinking,
    ServerToolCall,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Response, StopReason
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.bedrock_converse import errors
from gproxy.protocols.bedrock_converse.response import decode
from gproxy.protocols.bedrock_converse.usage import usage_of
from gproxy.wire.json import JsonProblem

OWN = Dialect.BEDROCK_CONVERSE


def answer(*content: Any, **more: Any) -> Response:
    body = {
        "output": {"message": {"role": "assistant", "content": list(content)}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 30, "outputTokens": 628, "totalTokens": 658},
        "metrics": {"latencyMs": 1275},
        **more,
    }
    return decode(json.dumps(body).encode())


def test_an_answer() -> None:
    found = answer({"text": "Here is"}, serviceTier={"type": "flex"})
    (choice,) = found.choices
    assert choice.parts == (Text("Here is"),)
    assert choice.stop is not None
    assert (choice.stop.reason, choice.stop.origin) == (StopReason.END, OWN)
    assert found.usage == Usage(input=30, output=628)
    assert (found.id, found.model, found.service_tier) == ("", "", "flex")


def test_every_kind_of_block() -> None:
    found = answer(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}},
        {"reasoningContent": {"redactedContent": "c2VjcmV0"}},
        {"toolUse": {"toolUseId": "t", "name": "add", "input": {"a": [1, "ü"]}}},
        {"toolUse": {"name": "now"}},
        {"toolUse": {"toolUseId": "s", "name": "nova_code_interpreter", "type": "server_tool_use", "input": {}}},
        {"toolResult": {"toolUseId": "s", "status": "error", "content": [{"text": "bad"}]}},
        {"image": {"format": "png", "source": {"bytes": "UE5H"}}},
        {"image": {"format": "png", "error": {"message": "no"}}},
        {"somethingNew": {"a": 1}},
    )
    parts = found.choices[0].parts
    assert parts[:4] == (
        Thinking("hm", Signature(OWN, "proof")),
        RedactedThinking(Signature(OWN, "c2VjcmV0")),
        ToolCall("t", "add", '{"a":[1,"ü"]}'),
        ToolCall("tooluse_3", "now", "{}"),
    )
    assert isinstance(parts[4], ServerToolCall)
    assert isinstance(parts[5], ServerToolResult)
    assert parts[5].is_error is True
    assert parts[6] == Image(Inline("UE5H", "image/png"))
    assert all(isinstance(part, Opaque) for part in parts[7:])


def test_blocks_that_make_no_sense_are_passed_over() -> None:
    odd: list[Any] = [{}, 7, {"text": ""}, {"text": None}, {"reasoningContent": {}}, {"toolUse": "x"}, {"text": "a"}]
    parts = answer(*odd).choices[0].parts
    assert [part for part in parts if not isinstance(part, Opaque)] == [Text("a")]


@pytest.mark.parametrize(
    ("location", "kind", "document", "start", "end"),
    [
        ({"documentChar": {"documentIndex": 1, "start": 5, "end": 9}}, CitationKind.DOCUMENT, 1, 5, 9),
        ({"documentPage": {"documentIndex": 0, "start": 1, "end": 2}}, CitationKind.PAGE, 0, 1, 2),
        ({"documentChunk": {"documentIndex": 0, "start": 1, "end": 2}}, CitationKind.OTHER, 0, 1, 2),
        ({"searchResultLocation": {"searchResultIndex": 0, "start": 0, "end": 1}}, CitationKind.OTHER, None, 0, 1),
        ({"web": {"url": "https://example.org/x"}}, CitationKind.URL, None, None, None),
        (None, CitationKind.OTHER, None, None, None),
    ],
)
def test_citations(location: Any, kind: CitationKind, document: int | None, start: int | None, end: int | None) -> None:
    cited = {"title": "T", "sourceContent": [{"text": "q"}, {"text": "uote"}], "location": location}
    (part,) = answer({"citationsContent": {"content": [{"text": "fact"}], "citations": [cited]}}).choices[0].parts
    assert isinstance(part, Text)
    (found,) = part.citations
    assert (part.text, found.kind, found.title, found.quote) == ("fact", kind, "T", "quote")
    assert (found.document, found.start, found.end) == (document, start, end)


def test_a_search_result_with_an_address_is_one() -> None:
    cited = {"source": "https://example.org", "location": {"searchResultLocation": {"searchResultIndex": 0}}}
    (part,) = answer({"citationsContent": {"content": [{"text": "a"}], "citations": [cited]}}).choices[0].parts
    assert isinstance(part, Text)
    assert (part.citations[0].kind, part.citations[0].url) == (CitationKind.URL, "https://example.org")


@pytest.mark.parametrize("body", [b"{}", b"[]", b"7", b"oops", b'{"output": {"message": {}}}', b'{"message": "no"}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        decode(body)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        (None, UNKNOWN),
        ({}, UNKNOWN),
        ({"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}, Usage(input=1, output=2)),
        (
            {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3, "cacheWriteInputTokens": 4},
            Usage(input=1, output=2, cache_read=3, cache_write_5m=4),
        ),
        (
            {"inputTokens": 1, "outputTokens": 2, "cacheDetails": [{"ttl": "1h", "inputTokens": 3}]},
            Usage(input=1, output=2, cache_write_5m=0, cache_write_1h=3),
        ),
        (
            {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 4, "cacheDetails": [{"ttl": "1h", "inputTokens": 9}]},
            Usage(input=1, output=2, cache_write_5m=0, cache_write_1h=4),
        ),
        ({"inputTokens": "x", "outputTokens": -1, "cacheDetails": [None, 7]}, UNKNOWN),
    ],
)  # fmt: skip
def test_figures(raw: Any, wanted: Usage) -> None:
    assert usage_of(raw) == wanted


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"message":"The provided model identifier is invalid."}', "The provided model identifier is invalid.", None),
        (b'{"Message":"Authentication failed"}', "Authentication failed", None),
        (b'{"__type":"com.amazon#ThrottlingException","message":"slow"}', "slow", "ThrottlingException"),
        (
            b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}',
            "UnknownOperationException",
            "UnknownOperationException",
        ),
        (b"gateway timeout", "gateway timeout", None),
    ],
)
def test_complaints(body: bytes, message: str, code: str | None) -> None:
    found = errors.decode(body)
    assert (found.message, found.code) == (message, code)
    assert errors.decode(b"").message
