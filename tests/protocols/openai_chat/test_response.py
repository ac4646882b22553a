"""Chat answers: every recorded one is read, is written as the official SDK accepts it, and comes back the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_chat.dialogue import PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

FACTS = ReplyFacts(id="chatcmpl-1", model="asked", created=7)


def write(response: Response) -> tuple[dict[str, Any], Losses]:
    losses = Losses()
    raw = PROTOCOL.encode_response(response, FACTS, losses)
    ChatCompletion.model_validate_json(raw, strict=True)
    body: dict[str, Any] = json.loads(raw)
    return body, losses


@pytest.mark.parametrize("folder", ["openai-chat", "openai-compat"])
def test_every_recorded_answer(folder: str) -> None:
    seen = 0
    for case in exchanges(folder):
        if case.sse or case.status != 200:
            continue
        source = json.loads(case.response)
        if source.get("error"):
            continue
        seen += 1
        read = PROTOCOL.decode_response(case.response)
        body, losses = write(read)
        assert losses.header() in ("", "service_tier", "citations"), (case.name, losses.header())
        assert len(body["choices"]) == len(source["choices"]), case.name
        for was, now in zip(source["choices"], body["choices"], strict=True):
            said, message = was.get("message") or {"content": was.get("text")}, now["message"]
            if isinstance(said.get("content"), str):
                assert (message["content"] or "") == said["content"], case.name
            calls = [
                (c["function"]["name"], c["function"].get("arguments") or "{}") for c in said.get("tool_calls") or ()
            ]
            now_calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()]
            assert now_calls == calls, case.name
            assert (message["refusal"] or "") == (said.get("refusal") or ""), case.name
            if was.get("finish_reason") in ("stop", "length", "tool_calls", "content_filter"):
                assert now["finish_reason"] == was["finish_reason"], case.name
            if folder == "openai-chat":
                assert message.get("annotations", []) == (said.get("annotations") or []), case.name
            reasoning = said.get("reasoning_content") or said.get("reasoning")
            if reasoning and isinstance(said.get("content"), str):
                # Text and signed details belong together; where both were sent, the details carry the text.
                back = (
                    message.get("reasoning_content")
                    or message.get("reasoning")
                    or "".join(d.get("text") or d.get("summary") or "" for d in message["reasoning_details"])
                )
                assert back == reasoning, case.name
        if source.get("usage"):
            assert body["usage"]["total_tokens"] == read.usage.total, case.name
        # Read again, it is the same answer.
        back_again = PROTOCOL.decode_response(json.dumps(body).encode())
        assert [c.parts for c in back_again.choices] == [
            tuple(
                ToolCall(p.id, p.name, p.arguments or "{}", p.custom, extras=p.extras) if isinstance(p, ToolCall) else p
                for p in c.parts
            )
            for c in read.choices
        ] or folder == "openai-compat", case.name
    assert seen > 100


def test_a_foreign_answer() -> None:
    signature = Signature(Dialect.ANTHROPIC_MESSAGES, "sig")
    body, losses = write(
        Response(
            "msg_1",
            "claude",
            (
                Choice(
                    0,
                    (
                        Thinking("hm", signature),
                        ServerToolCall("s", ServerToolKind.WEB_SEARCH, "web_search"),
                        Text("one "),
                        Text("two", (Citation(CitationKind.URL, "https://x", "X", start=0, end=3),)),
                        ToolCall("c", "f", ""),
                    ),
                    Stop(StopReason.TOOL_CALLS),
                ),
            ),
            Usage(input=5, output=7, cache_read=3, cache_write_1h=2, reasoning=1),
        )
    )
    message = body["choices"][0]["message"]
    assert message["content"] == "one two"
    assert message["reasoning_content"] == "hm"
    assert message["annotations"][0]["url_citation"] == {
        "url": "https://x",
        "title": "X",
        "start_index": 4,
        "end_index": 7,
    }
    assert message["tool_calls"][0]["function"]["arguments"] == "{}"
    assert losses.header() == "server_tool"
    assert body["usage"]["prompt_tokens"] == 10
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 2}
    # The signature survives the way through the client and back.
    again = PROTOCOL.decode_request(json.dumps({"model": "m", "messages": [message]}).encode())
    assert again.turns[0].parts[0] == Thinking("hm", signature)


@pytest.mark.parametrize(
    ("reason", "word", "lossless"),
    [
        (StopReason.END, "stop", True),
        (StopReason.LENGTH, "length", True),
        (StopReason.CONTENT_FILTER, "content_filter", True),
        (StopReason.REFUSAL, "content_filter", False),
        (StopReason.PAUSE, "stop", False),
        (StopReason.OTHER, "stop", False),
    ],
)
def test_stop_reasons(reason: StopReason, word: str, lossless: bool) -> None:
    body, losses = write(Response("r", "m", (Choice(0, (Text("x"),), Stop(reason)),)))
    assert body["choices"][0]["finish_reason"] == word
    assert (not losses) is lossless


def test_an_answer_without_anything_is_still_legal() -> None:
    body, _ = write(Response("", "", (Choice(0, (), None),)))
    assert (body["id"], body["model"], body["created"]) == ("chatcmpl-1", "asked", 7)
    assert "usage" not in body


def test_zero_values_say_nothing() -> None:
    raw = {
        "choices": [
            {
                "finish_reason": "",
                "message": {
                    "content": "x",
                    "refusal": "",
                    "function_call": {"name": "", "arguments": ""},
                    "audio": {"data": ""},
                    "tool_calls": None,
                },
            }
        ]
    }
    read = PROTOCOL.decode_response(json.dumps(raw).encode())
    assert read.choices == (Choice(0, (Text("x"),), None),)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"choices":5}', b'{"choices":[5]}'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        PROTOCOL.decode_response(body)


def test_an_error_in_a_200() -> None:
    read = PROTOCOL.decode_response(b'{"error":{"message":"m","code":502}}')
    assert read.error is not None
    assert (read.error.message, read.error.status, read.choices) == ("m", 502, ())


def test_a_refusal_stands_apart() -> None:
    body, _ = write(Response("r", "m", (Choice(0, (Refusal("no"),), Stop(StopReason.END)),)))
    assert (body["choices"][0]["message"]["refusal"], body["choices"][0]["message"]["content"]) == ("no", None)
