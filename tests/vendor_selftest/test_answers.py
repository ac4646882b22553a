from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from gproxy.vendor.behaviour import DEFAULT, BadScript, build, parse
from gproxy.vendor.recorded import figures_in
from gproxy.vendor.server import DEMO, VendorServer
from gproxy.vendor.tally import Figures, digest
from tests.vendor.legal import judge
from tests.vendor_selftest.wire import ask, count_of, post, request, talk

DIALECTS = ["openai_chat", "openai_responses", "anthropic_messages", "gemini"]
TOOL: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
}
TOOLS: dict[str, dict[str, Any]] = {
    "openai_chat": {"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": TOOL}}]},
    "openai_responses": {"tools": [{"type": "function", "name": "get_weather", "parameters": TOOL}]},
    "anthropic_messages": {"tools": [{"name": "get_weather", "input_schema": TOOL}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": TOOL}]}]},
}
CAPS: dict[str, dict[str, Any]] = {
    "openai_chat": {"max_completion_tokens": 4},
    "openai_responses": {"max_output_tokens": 4},
    "anthropic_messages": {"max_tokens": 4},
    "gemini": {"generationConfig": {"maxOutputTokens": 4}},
}


def usage_asked(dialect: str, *, stream: bool) -> dict[str, Any]:
    return {"stream_options": {"include_usage": True}} if dialect == "openai_chat" and stream else {}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
class TestEveryDialect:
    async def test_says_exactly_the_tokens_it_declares(
        self, vendor: VendorServer, dialect: str, *, stream: bool
    ) -> None:
        heard = await ask(
            vendor, dialect, "sim/tokens=9,reasoning=4,cached=6", stream=stream, **usage_asked(dialect, stream=stream)
        )
        verdict = judge(dialect, stream=stream, body=heard.body)
        assert verdict.complete, verdict
        assert not verdict.faults
        assert verdict.tokens == 9
        told = figures_in(dialect.split("_", maxsplit=1)[0], heard.body)
        expected = Figures(input=2, output=13, cache_read=6, reasoning=4)
        if dialect == "anthropic_messages":
            expected = Figures(input=2, output=13, cache_read=6)  # this dialect does not tell reasoning apart
        assert told == expected
        (counted,) = [one for one in count_of(vendor).attempts if one.operation in {"generate", "stream"}]
        assert counted.declared == Figures(input=2, output=13, cache_read=6, reasoning=4)
        assert (counted.how, counted.usage_sent, counted.tokens_sent) == ("complete", True, 13)
        assert counted.credential == digest("k-test")

    async def test_honours_the_cap_unless_told_not_to(
        self, vendor: VendorServer, dialect: str, *, stream: bool
    ) -> None:
        heard = await ask(vendor, dialect, "sim/tokens=9", stream=stream, **CAPS[dialect])
        verdict = judge(dialect, stream=stream, body=heard.body)
        assert (verdict.complete, verdict.tokens) == (True, 4)
        assert any(
            word in heard.body for word in (b'"length"', b'"max_tokens"', b'"MAX_TOKENS"', b'"max_output_tokens"')
        )
        heard = await ask(vendor, dialect, "sim/tokens=9,ignore_max", stream=stream, **CAPS[dialect])
        assert judge(dialect, stream=stream, body=heard.body).tokens == 9

    async def test_calls_the_tool_it_was_asked_to_call(
        self, vendor: VendorServer, dialect: str, *, stream: bool
    ) -> None:
        heard = await ask(vendor, dialect, "sim", stream=stream, text="please get_weather", **TOOLS[dialect])
        verdict = judge(dialect, stream=stream, body=heard.body)
        assert verdict.legal, verdict
        assert [(name, json.loads(text)) for name, text in verdict.calls] == [
            ("get_weather", {"city": "example", "days": 7, "unit": "C"})
        ]
        heard = await ask(vendor, dialect, "sim", stream=stream, text="just talk", **TOOLS[dialect])
        assert judge(dialect, stream=stream, body=heard.body).calls == []
        heard = await ask(vendor, dialect, "sim/tools=2,tokens=3", stream=stream, text="both", **TOOLS[dialect])
        verdict = judge(dialect, stream=stream, body=heard.body)
        assert verdict.legal
        assert (len(verdict.calls), verdict.tokens) == (2, 3)

    async def test_echoes_the_model_and_counts_the_prompt(
        self, vendor: VendorServer, dialect: str, *, stream: bool
    ) -> None:
        heard = await ask(vendor, dialect, "sim/tokens=2", stream=stream, text="one two  three\nfour")
        assert b'"sim/tokens=2"' in heard.body
        assert count_of(vendor).attempts[0].declared == Figures(input=4, output=2)

    async def test_usage_modes_end_in_the_billed_figures(
        self, vendor: VendorServer, dialect: str, *, stream: bool
    ) -> None:
        more = usage_asked(dialect, stream=stream)
        for mode in ("normal", "twice", "shrink", "early", "every"):
            heard = await ask(vendor, dialect, f"sim/tokens=5,usage={mode}", stream=stream, **more)
            told = figures_in(dialect.split("_", maxsplit=1)[0], heard.body)
            assert told == Figures(input=2, output=5), mode
            assert judge(dialect, stream=stream, body=heard.body).complete
        heard = await ask(vendor, dialect, "sim/tokens=5,usage=none", stream=stream, **more)
        assert figures_in(dialect.split("_", maxsplit=1)[0], heard.body) is None
        assert [one.usage_sent for one in count_of(vendor).attempts] == [True] * 5 + [False]


async def test_chat_streams_tell_usage_only_when_asked(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim", stream=True)
    assert b'"usage"' not in heard.body
    assert count_of(vendor).attempts[0].usage_sent is False


async def test_a_gemini_stream_without_sse_is_one_json_array(vendor: VendorServer) -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    heard = await talk(vendor, post("/v1beta/models/sim~tokens=3:streamGenerateContent", body))
    assert (b"content-type", b"application/json") in heard.headers
    verdict = judge("gemini", stream=True, body=heard.body, sse=False)
    assert (verdict.complete, verdict.tokens) == (True, 3)


async def test_n_choices_are_billed_n_times(vendor: VendorServer) -> None:
    for stream in (False, True):
        heard = await ask(vendor, "openai_chat", "sim/tokens=3", stream=stream, n=2)
        assert judge("openai_chat", stream=stream, body=heard.body).complete
    assert [one.declared for one in count_of(vendor).attempts] == [Figures(input=2, output=6)] * 2
    assert [one.tokens_sent for one in count_of(vendor).attempts] == [6, 6]


async def test_chunks_group_the_words(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/tokens=20,chunks=4", stream=True)
    deltas = [chunk for chunk in heard.chunks()[0] if b'"delta":{"content":"' in chunk]
    assert len(deltas) == 4
    assert judge("openai_chat", stream=True, body=heard.body).tokens == 20


async def test_embeddings_in_both_forms(vendor: VendorServer) -> None:
    body = {"model": "sim-embedding", "input": ["two words", "three more words"], "dimensions": 4}
    value = (await talk(vendor, post("/v1/embeddings", body))).json()
    assert [len(row["embedding"]) for row in value["data"]] == [4, 4]
    assert value["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    packed = (await talk(vendor, post("/v1/embeddings", {**body, "encoding_format": "base64"}))).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack("<4f", raw) == pytest.approx(value["data"][0]["embedding"], abs=1e-6)
    requests = [{"content": {"parts": [{"text": "one two"}]}}]
    value = (await talk(vendor, post("/v1beta/models/e:batchEmbedContents", {"requests": requests}))).json()
    assert len(value["embeddings"]) == 1
    value = (await talk(vendor, post("/v1beta/models/e:embedContent", requests[0]))).json()
    assert value["usageMetadata"]["promptTokenCount"] == 2


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (
            "/v1/messages/count_tokens",
            {"model": "m", "messages": [{"role": "user", "content": "a b c"}]},
            "input_tokens",
        ),
        ("/v1beta/models/m:countTokens", {"contents": [{"parts": [{"text": "a b c"}]}]}, "totalTokens"),
        ("/v1/responses/input_tokens", {"model": "m", "input": "a b c"}, "input_tokens"),
    ],
)
async def test_counting_tokens(vendor: VendorServer, path: str, body: dict[str, Any], field: str) -> None:
    assert (await talk(vendor, post(path, body))).json()[field] == 3


async def test_model_lists_in_the_callers_shape(vendor: VendorServer) -> None:
    def get(path: str, header: str) -> bytes:
        return f"GET {path} HTTP/1.1\r\nhost: v\r\n{header}\r\nconnection: close\r\n\r\n".encode()

    value = (await talk(vendor, get("/v1/models", "authorization: Bearer k"))).json()
    assert value["data"][0]["object"] == "model"
    value = (await talk(vendor, get("/v1/models", "x-api-key: k\r\nanthropic-version: 2023-06-01"))).json()
    assert value["data"][0]["type"] == "model"
    value = (await talk(vendor, get("/v1beta/models", "x-goog-api-key: k"))).json()
    assert value["models"][0]["name"] == "models/sim"
    assert (await talk(vendor, get("/v1/models/sim", "authorization: Bearer k"))).json()["id"] == "sim"
    assert (await talk(vendor, get("/v1/models/nope", "authorization: Bearer k"))).status == 404


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_errors_come_in_the_dialects_shape(vendor: VendorServer, dialect: str) -> None:
    vendor.script("status=429,retry_after=7,message=slow")
    heard = await ask(vendor, dialect, "sim")
    assert heard.status == 429
    assert (b"retry-after", b"7") in heard.headers
    error = heard.json()["error"]
    assert error["message"] == "slow"
    expected = {"openai_chat": "code", "openai_responses": "code", "anthropic_messages": "type", "gemini": "status"}
    assert error[expected[dialect]] in {"rate_limit_exceeded", "rate_limit_error", "RESOURCE_EXHAUSTED"}
    assert count_of(vendor).attempts[0].declared is None


@pytest.mark.parametrize(("key", "status"), [("bad-key", 401), ("forbidden-1", 403)])
async def test_keys_can_be_bad(vendor: VendorServer, key: str, status: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    assert (await talk(vendor, post("/v1/chat/completions", body, key=key))).status == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", b"not json", 400),
        ("/v1/chat/completions", b"[]", 400),
        ("/v1/chat/completions", b'{"model":7,"messages":[{}]}', 400),
        ("/v1/chat/completions", b'{"model":"m","messages":[]}', 400),
        ("/v1/chat/completions", b'{"model":"m","messages":"x"}', 400),
        ("/v1/chat/completions", b'{"model":"m","messages":[1,null,{"content":[7,{"type":"text"}]}]}', 200),
        ("/v1/chat/completions", b"[" * 100_000, 400),
        ("/v1/chat/completions", b'{"model":"m","n":1000000000,"messages":[{"content":"x"}]}', 400),
        ("/v1/chat/completions", b'{"model":"m","max_tokens":true,"messages":[{"content":"x"}]}', 400),
        ("/v1/embeddings", b'{"model":"m","input":"x","dimensions":1000000000}', 400),
        ("/v1/embeddings", b'{"model":"m","input":[]}', 400),
        ("/v1/messages", b'{"model":"m","messages":[{"role":"user","content":"x"}]}', 400),
        ("/v1beta/models/m:generateContent", b"{}", 400),
        ("/v1beta/models/m:noSuchVerb", b"{}", 404),
        ("/v1/nothing", b"{}", 404),
        ("/v1/chat/completions", b'{"model":"no-such-model","messages":[{"content":"x"}]}', 404),
    ],
)
async def test_bad_input_is_refused_and_counted(vendor: VendorServer, path: str, body: bytes, status: int) -> None:
    assert (await talk(vendor, post(path, body))).status == status
    (counted,) = count_of(vendor).attempts
    assert (counted.status, counted.how) == (status, "complete")


async def test_bytes_that_are_no_request_do_not_harm(vendor: VendorServer) -> None:
    for data in (
        b"\x00\xff\x16\x03\x01 hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -4\r\n\r\n",
    ):
        assert (await talk(vendor, data, wait_close=False)).status == 400
    upgrade = b"GET /v1/realtime HTTP/1.1\r\nhost: v\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
    assert (await talk(vendor, upgrade, wait_close=False)).status == 426
    assert (await ask(vendor, "openai_chat", "sim")).status == 200
    assert len(count_of(vendor).attempts) == 1


async def test_pipelined_requests_are_answered_in_order(vendor: VendorServer) -> None:
    data = b"".join(request("openai_chat", f"sim/tokens={n}", stream=n % 2 == 0) for n in range(1, 6))
    heard = await talk(vendor, data)
    places = [heard.raw.find(f'"model":"sim/tokens={n}"'.encode()) for n in range(1, 6)]
    assert -1 not in places
    assert places == sorted(places)


async def test_the_demo_speaks_in_friendly_words() -> None:
    server = VendorServer(default=DEMO)
    await server.start()
    try:
        heard = await talk(server, request("openai_chat", "demo", stream=False), limit=200, wait_close=False)
        assert heard.status == 200
        assert (
            await talk(server, b"GET /_vendor/health HTTP/1.1\r\nhost: v\r\n\r\n", limit=20, wait_close=False)
        ).status == 401
    finally:
        await server.close()


TOLD: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "read", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "first line"},
            {"role": "system", "content": "be brief"},
        ]
    },
    "openai_responses": {
        "input": [
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "c", "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "first line"}]},
            {"role": "developer", "content": "be brief"},
        ]
    },
    "anthropic_messages": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "first line"}]},
            {"role": "system", "content": "be brief"},
        ]
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "read", "args": {}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "read", "response": {"output": "first line"}}}]},
        ]
    },
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_a_scripted_conversation_goes_from_call_to_result_to_end(
    vendor: VendorServer, dialect: str, *, stream: bool
) -> None:
    """Exactly the calls of the script, for those who offer the tool; the next script waits for what it gave back."""
    use = {"tool": "get_weather", "arguments": {"city": "München", "days": [1, {"b": None}]}}
    vendor.script({"calls": [use, use], "text": "so let us look"}, tools="* get_weather *")
    vendor.script({"text": "zanzibar"}, results="*first line*")
    aside = await ask(vendor, dialect, "agent", stream=stream)
    assert b"get_weather" not in aside.body
    called = await ask(vendor, dialect, "agent", stream=stream, **TOOLS[dialect])
    verdict = judge(dialect, stream=stream, body=called.body)
    assert verdict.complete, verdict
    assert called.body.count(b"get_weather") >= 2
    early = await ask(vendor, dialect, "agent", stream=stream)
    assert b"zanzibar" not in early.body
    ended = await ask(vendor, dialect, "agent", stream=stream, **TOLD[dialect])
    assert b"zanzibar" in ended.body
    assert not vendor.scripts.queued


def test_calls_are_not_for_prompts() -> None:
    with pytest.raises(BadScript):
        build(DEFAULT, parse("calls=read"))
