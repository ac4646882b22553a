"""Nothing that arrives may harm the vendor: it answers or refuses, and goes on."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.operation import Operation
from gproxy.vendor.answer import compose
from gproxy.vendor.ask import Ask, BadAsk
from gproxy.vendor.behaviour import DEFAULT, BadScript, build, of_body, of_model
from gproxy.vendor.sending import reframed, splitter
from gproxy.vendor.voices import VOICES, read
from tests.vendor.legal import events_of, judge

PATHS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/messages/count_tokens",
    "/v1beta/models/m:generateContent",
    "/v1beta/models/m:streamGenerateContent",
    "/v1beta/models/m:countTokens",
    "/v1beta/models/m:batchEmbedContents",
)
NAMES = [
    "model",
    "messages",
    "content",
    "role",
    "text",
    "type",
    "input",
    "system",
    "tools",
    "function",
    "name",
    "parameters",
    "input_schema",
    "contents",
    "parts",
    "tool_choice",
    "stream",
    "stream_options",
    "include_usage",
    "max_tokens",
    "n",
    "functionDeclarations",
    "generationConfig",
    "requests",
    "systemInstruction",
    "toolConfig",
    "functionCallingConfig",
    "mode",
    "instructions",
    "tool_calls",
    "arguments",
    "dimensions",
    "properties",
]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
VALUES = st.recursive(
    LEAVES | st.sampled_from(["user", "text", "function", "object", "array", "auto", "any", "ANY", "message"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)


def answered(ask: Ask) -> None:
    voice = VOICES.get(ask.dialect)
    if voice is None or ask.operation not in {Operation.GENERATE, Operation.STREAM}:
        return
    body, _ = voice.whole(ask, compose(ask, DEFAULT, 1), "normal", 1)
    assert judge(ask.dialect.value, stream=False, body=body).legal
    frames = list(voice.stream(ask, compose(ask, DEFAULT, 1), "normal", 1))
    verdict = judge(ask.dialect.value, stream=True, sse=ask.sse, body=b"".join(frame.data for frame in frames))
    assert verdict.legal, verdict
    answer = compose(ask, DEFAULT, 1)
    assert sum(frame.tokens for frame in frames) == answer.usage.output


@settings(max_examples=150, deadline=None)
@given(
    path=st.sampled_from(PATHS),
    body=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8),
    whole=st.booleans(),
)
def test_any_object_is_answered_or_refused(path: str, body: dict[str, Any], *, whole: bool) -> None:
    if whole:  # often enough valid at the top, so that the inner parts are reached
        body = {"model": "m", "max_tokens": 9, "messages": [body], "input": "x", "contents": [body], **body}
    try:
        ask = read("POST", path, "", json.dumps(body).encode())
    except BadAsk:
        return
    assert ask is not None
    answered(ask)


@given(st.binary(max_size=200), st.text(max_size=60))
def test_any_bytes_and_names_are_read_or_refused(body: bytes, name: str) -> None:
    for path in PATHS:
        try:
            read("POST", path, "", body)
        except BadAsk:
            continue
    for text in (name, f"sim/{name}", f"replay/{name}"):
        try:
            build(DEFAULT, of_model(text), of_body(b"[[sim " + name.encode("utf-8", "replace") + b"]]"))
        except BadScript:
            continue


@given(
    pieces=st.lists(st.binary(max_size=40), max_size=8),
    spec=st.sampled_from(["whole", "event", "byte", "bytes:3", "random:1"]),
)
def test_a_split_loses_and_adds_nothing(pieces: list[bytes], spec: str) -> None:
    split = splitter(spec)
    out = [piece for data in pieces for piece in split.feed(data)] + split.end()
    assert b"".join(out) == b"".join(pieces)
    assert b"" not in out or spec == "whole"


@given(st.dictionaries(st.text(max_size=5), LEAVES, min_size=1, max_size=3))
def test_a_framing_changes_no_value(value: dict[str, Any]) -> None:
    event = b"event: x\ndata: " + msgspec.json.encode(value) + b"\n\n"
    for framing in ("lf", "crlf", "cr", "bom", "nul", "nospace", "comments", "multiline"):
        ((name, data),) = events_of(reframed(event, framing, 0))
        assert name == "x"
        assert json.loads(data) == json.loads(msgspec.json.encode(value))
