"""Gemini answers: every recorded one is read, is written as the official SDK accepts it, and comes back the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    Citation,
    CitationKind,
    FileRef,
    Image,
    Inline,
    Opaque,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.canonical.usage import Usage
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.gemini.dialogue import PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.gemini.answers import ANSWERS, lasting
from tests.protocols.recorded import exchanges
from tests.vendor.legal import judge

OWN = Dialect.GEMINI
FACTS = ReplyFacts(id="resp-1", model="asked", created=7)


def write(response: Response) -> tuple[dict[str, Any], Losses]:
    losses = Losses()
    raw = PROTOCOL.encode_response(response, FACTS, losses)
    body: dict[str, Any] = json.loads(raw)
    types.GenerateContentResponse.model_validate(known(body))
    return body, losses


def known(body: dict[str, Any]) -> dict[str, Any]:
    """The SDK looks away from fields that it does not know; its model alone would refuse them."""
    usage = {k: v for k, v in body.get("usageMetadata", {}).items() if k != "serviceTier"}
    kept = {k: v for k, v in body.items() if k not in ("usageMetadata", "x")}
    return kept | ({"usageMetadata": usage} if usage else {})


def answer(*parts: dict[str, Any], **fields: Any) -> Response:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "finishReason": "STOP", **fields}
    return PROTOCOL.decode_response(json.dumps({"candidates": [candidate], "responseId": "r"}).encode())


def test_every_recorded_answer() -> None:
    seen = 0
    for case in exchanges("gemini"):
        if case.sse or case.status != 200 or case.response.lstrip()[:1] == b"[":
            continue
        source = json.loads(case.response)
        seen += 1
        read = PROTOCOL.decode_response(case.response)
        losses = Losses()
        raw = PROTOCOL.encode_response(read, ReplyFacts("i", read.model, 1), losses)
        body = json.loads(raw)
        assert not losses, (case.name, losses.header())
        assert judge("gemini", stream=False, body=raw).legal, case.name
        for was, now in zip(source["candidates"], body["candidates"], strict=True):
            wrote = [p for p in (was.get("content") or {}).get("parts") or () if p != {"text": ""}]
            assert now["content"]["parts"] == wrote, case.name
            if isinstance(was.get("finishReason"), str):
                assert now["finishReason"] == was["finishReason"], case.name
            for field in ("groundingMetadata", "citationMetadata", "safetyRatings", "urlContextMetadata"):
                assert now.get(field) == was.get(field), case.name
        assert body["usageMetadata"] == source["usageMetadata"], case.name
        assert read.usage.total == source["usageMetadata"].get("totalTokenCount", 0), case.name
        # Read again, it is the same answer.
        back = PROTOCOL.decode_response(raw)
        if "responseId" in source:
            assert back.choices == read.choices, case.name
    assert seen > 100


def test_usage_is_counted_anew_when_it_is_not_googles_own() -> None:
    for case in exchanges("gemini"):
        if case.sse or case.status != 200:
            continue
        read = PROTOCOL.decode_response(case.response)
        body, _ = write(Response("r", "m", (Choice(0, (), None),), read.usage))
        usage = body["usageMetadata"]
        parts = usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage.get("thoughtsTokenCount", 0)
        assert parts == usage["totalTokenCount"] == read.usage.total, case.name
        back = PROTOCOL.decode_response(json.dumps(body).encode())
        assert back.usage == read.usage, case.name


def test_a_stream_that_came_whole_is_an_answer() -> None:
    seen = 0
    for case in exchanges("gemini"):
        if case.sse or case.status != 200 or case.response.lstrip()[:1] != b"[":
            continue
        seen += 1
        read = PROTOCOL.decode_response(case.response)
        assert read.error is None, case.name
        chunks = json.loads(case.response)
        parts = [p for c in chunks for d in c["candidates"] for p in d["content"].get("parts", ())]
        said = "".join(p.get("text", "") for p in parts if not p.get("thought"))
        assert "".join(p.text for p in read.choices[0].parts if isinstance(p, Text)) == said, case.name
        assert read.usage.total == chunks[-1]["usageMetadata"]["totalTokenCount"], case.name
    assert seen > 5


def test_errors_are_read() -> None:
    seen = 0
    for case in exchanges("gemini"):
        if case.status == 200:
            continue
        seen += 1
        error = json.loads(case.response)
        error = (error[0] if isinstance(error, list) else error)["error"]
        found = PROTOCOL.decode_error(case.response)
        assert (found.message, found.type, found.status) == (error["message"], error["status"], error["code"])
    assert seen > 10


def test_a_foreign_answer() -> None:
    foreign = Signature(Dialect.ANTHROPIC_MESSAGES, "s+/=")
    parts = (
        Thinking("hm", foreign),
        RedactedThinking(Signature(Dialect.ANTHROPIC_MESSAGES, "dark")),
        ServerToolCall("s", ServerToolKind.WEB_SEARCH, "web_search"),
        Text("é one "),
        Text("two", (Citation(CitationKind.URL, "https://x", "X", start=0, end=3),)),
        Refusal("no"),
        Image(FileRef("file-1")),
        ToolCall("toolu_1", "f", ""),
        ToolCall("toolu_2", "f", "{"),
    )
    usage = Usage(input=5, output=7, cache_read=3, cache_write_1h=2, reasoning=1, audio_input=4)
    body, losses = write(Response("msg_1", "claude", (Choice(0, parts, Stop(StopReason.TOOL_CALLS)),), usage))
    assert losses.header() == "server_tool, refusal, file_reference, tool_arguments"
    (candidate,) = body["candidates"]
    wrote = candidate["content"]["parts"]
    assert wrote[2:] == [
        {"text": "é one "},
        {"text": "two"},
        {"text": "no"},
        {"functionCall": {"id": "toolu_1", "name": "f", "args": {}}},
        {"functionCall": {"id": "toolu_2", "name": "f", "args": {"input": "{"}}},
    ]
    assert candidate["finishReason"] == "STOP"
    assert candidate["groundingMetadata"] == {
        "groundingChunks": [{"web": {"uri": "https://x", "title": "X"}}],
        "groundingSupports": [
            {
                "segment": {"partIndex": 3, "startIndex": 0, "endIndex": 3, "text": "two"},
                "groundingChunkIndices": [0],
            }
        ],
    }
    assert body["usageMetadata"] == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 6,
        "cachedContentTokenCount": 3,
        "thoughtsTokenCount": 1,
        "totalTokenCount": 17,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 4},
            {"modality": "TEXT", "tokenCount": 6},
        ],
    }
    # The signatures survive the way through the SDK (which writes base64 in its own alphabet) and back.
    content = types.GenerateContentResponse.model_validate(known(body)).candidates
    assert content
    assert content[0].content
    sent = json.loads(content[0].content.model_dump_json(exclude_none=True))
    again = PROTOCOL.decode_request(json.dumps({"contents": [sent]}).encode(), model="m")
    assert again.turns[0].parts[:2] == parts[:2]


@pytest.mark.parametrize(
    ("reason", "word", "lossless"),
    [
        (StopReason.END, "STOP", True),
        (StopReason.TOOL_CALLS, "STOP", True),
        (StopReason.LENGTH, "MAX_TOKENS", True),
        (StopReason.CONTEXT, "MAX_TOKENS", False),
        (StopReason.STOP_SEQUENCE, "STOP", False),
        (StopReason.CONTENT_FILTER, "SAFETY", True),
        (StopReason.REFUSAL, "SAFETY", False),
        (StopReason.MALFORMED_CALL, "MALFORMED_FUNCTION_CALL", True),
        (StopReason.PAUSE, "OTHER", False),
        (StopReason.OTHER, "OTHER", True),
    ],
)
def test_stop_reasons_written(reason: StopReason, word: str, lossless: bool) -> None:
    body, losses = write(Response("r", "m", (Choice(0, (Text("x"),), Stop(reason, details="why")),)))
    assert body["candidates"][0]["finishReason"] == word
    assert body["candidates"][0]["finishMessage"] == "why"
    assert (not losses) is lossless


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", StopReason.END),
        ("MAX_TOKENS", StopReason.LENGTH),
        ("SAFETY", StopReason.CONTENT_FILTER),
        ("RECITATION", StopReason.CONTENT_FILTER),
        ("PROHIBITED_CONTENT", StopReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", StopReason.MALFORMED_CALL),
        ("UNEXPECTED_TOOL_CALL", StopReason.MALFORMED_CALL),
        ("LANGUAGE", StopReason.OTHER),
        ("SOMETHING_NEW", StopReason.OTHER),
        (1, StopReason.END),
        (2, StopReason.LENGTH),
        (9, StopReason.OTHER),
    ],
)
def test_stop_reasons_read(word: Any, reason: StopReason) -> None:
    stop = answer({"text": "x"}, finishReason=word).choices[0].stop
    assert stop is not None
    assert stop.reason is reason
    if isinstance(word, str) and word != "SOMETHING_NEW":
        assert write(answer({"text": "x"}, finishReason=word))[0]["candidates"][0]["finishReason"] == word


def test_calls_end_an_answer_and_no_reason_is_none() -> None:
    stop = answer({"functionCall": {"name": "f"}}).choices[0].stop
    assert stop is not None
    assert stop.reason is StopReason.TOOL_CALLS
    assert answer({"text": "x"}, finishReason=None).choices[0].stop is None
    assert answer({"text": "x"}, finishReason="FINISH_REASON_UNSPECIFIED").choices[0].stop is None


def test_a_blocked_prompt() -> None:
    source = {
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
        "modelVersion": "m",
        "responseId": "r",
    }
    read = PROTOCOL.decode_response(json.dumps(source).encode())
    (choice,) = read.choices
    assert choice.stop is not None
    assert (choice.parts, choice.stop.reason) == ((), StopReason.CONTENT_FILTER)
    assert "PROHIBITED_CONTENT" in (choice.stop.details or "")
    assert write(read)[0] == {**source, "modelVersion": "asked"}


def test_an_answer_without_anything_is_still_legal() -> None:
    body, losses = write(Response("", "", (Choice(0, (), None),)))
    assert body == {
        "candidates": [{"content": {"parts": [], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "modelVersion": "asked",
        "responseId": "resp-1",
    }
    assert not losses


def test_parts_of_all_kinds() -> None:
    read = answer(
        {"text": "", "thought": True},
        {"text": "think", "thought": True},
        {"text": "a", "thoughtSignature": "QQ=="},
        {"text": ""},
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "no"}},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}, "thought": True},
        {"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": "QUJD"}},
        {"newThing": {"x": 1}},
    )
    thought, said, code, outcome, image, draft, sound, new = read.choices[0].parts
    assert thought == Thinking("think")
    assert said == Text("a", signature=Signature(OWN, "QQ=="))
    assert isinstance(code, ServerToolCall)
    assert isinstance(outcome, ServerToolResult)
    assert (code.kind, json.loads(code.arguments)) == (
        ServerToolKind.CODE_EXECUTION, {"language": "PYTHON", "code": "1"},
    )  # fmt: skip
    assert (outcome.call_id, outcome.is_error, outcome.parts) == (code.id, True, (Text("no"),))
    assert image == Image(Inline("QUJD", "image/png"))
    assert isinstance(draft, Opaque)
    assert sound == Audio(Inline("QUJD", "audio/L16;codec=pcm;rate=24000"), "pcm16")
    assert new == Opaque(OWN, "newThing", {"newThing": {"x": 1}})


def test_an_empty_signed_text_signs_the_text_before_it() -> None:
    read = answer({"text": "a"}, {"text": "", "thoughtSignature": "QQ=="}, {"text": "", "thoughtSignature": "Qg=="})
    assert read.choices[0].parts == (
        Text("a", signature=Signature(OWN, "QQ==")),
        Text("", signature=Signature(OWN, "Qg==")),
    )


def test_logprobs() -> None:
    chosen = [{"token": "a", "tokenId": 1, "logProbability": -0.5}, {"token": "b", "logProbability": -1}]
    top = [{"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "z", "logProbability": -2.5}]}]
    read = answer({"text": "ab"}, logprobsResult={"chosenCandidates": chosen, "topCandidates": top})
    expected = Logprobs(
        (TokenChance("a", -0.5, top=(TokenChance("a", -0.5), TokenChance("z", -2.5))), TokenChance("b", -1.0))
    )
    assert read.choices[0].logprobs == expected
    body, _ = write(read)
    assert PROTOCOL.decode_response(json.dumps(body).encode()).choices[0].logprobs == expected


@pytest.mark.parametrize(
    "body", [b"<html>", b"5", b"{}", b'{"candidates":5}', b'{"candidates":[5]}', b'{"object":"chat.completion"}']
)
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        PROTOCOL.decode_response(body)


def test_an_error_in_a_200() -> None:
    read = PROTOCOL.decode_response(b'{"error":{"message":"m","code":503,"status":"UNAVAILABLE"}}')
    assert read.error is not None
    assert (read.error.message, read.error.status, read.error.type, read.choices) == ("m", 503, "UNAVAILABLE", ())


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_any_answer_survives(found: Response) -> None:
    losses = Losses()
    raw = PROTOCOL.encode_response(found, FACTS, losses)
    types.GenerateContentResponse.model_validate_json(raw)
    assert judge("gemini", stream=False, body=raw).legal
    back = PROTOCOL.decode_response(raw)
    assert [lasting(choice) for choice in back.choices] == [lasting(choice) for choice in found.choices]
    assert back.usage.total == found.usage.total
    assert not losses
