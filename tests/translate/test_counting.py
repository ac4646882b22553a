from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind
from gproxy.translate import counting
from gproxy.translate.counting import Count
from gproxy.translate.translator import Names
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges

CHAT, RESPONSES, MESSAGES, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
COUNTERS = (RESPONSES, MESSAGES, GEMINI)
TOOL = {"name": "add", "description": "adds", "parameters": {"type": "object"}}
QUESTIONS: dict[Dialect, dict[str, Any]] = {
    RESPONSES: {"model": "m", "input": "hello", "instructions": "be", "tools": [{"type": "function", **TOOL}]},
    MESSAGES: {
        "model": "m",
        "system": "be",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": "add", "description": "adds", "input_schema": {"type": "object"}}],
    },
    GEMINI: {
        "generateContentRequest": {
            "model": "models/m",
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "systemInstruction": {"parts": [{"text": "be"}]},
            "tools": [{"functionDeclarations": [TOOL]}],
        }
    },
}
KNOWN = {
    RESPONSES: {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"},
    MESSAGES: {"model", "system", "messages", "tools"},
    GEMINI: {"generateContentRequest"},
}


@pytest.mark.parametrize("upstream", COUNTERS)
@pytest.mark.parametrize("client", COUNTERS)
def test_a_question_is_put_in_the_counters_words(client: Dialect, upstream: Dialect) -> None:
    made = Count(client, upstream, Names("m", "theirs"))
    body = made.request(json.dumps(QUESTIONS[client]).encode())
    asked = json.loads(body)
    assert asked.keys() <= KNOWN[upstream]
    for word in (b"hello", b"be", b"add", b"theirs"):
        assert word in body
    assert b"max" not in body
    assert b"stream" not in body


@pytest.mark.parametrize("upstream", COUNTERS)
@pytest.mark.parametrize("client", COUNTERS)
def test_the_figure_is_said_in_the_clients_words(client: Dialect, upstream: Dialect) -> None:
    made = Count(client, upstream, Names("m", "theirs"))
    answer = counting.written(12, upstream)
    assert made.complaint(answer) is None
    assert made.answer(answer) == counting.written(12, client)
    assert made.usage == Usage(input=0, output=0)
    assert made.finished


def test_an_answer_without_a_figure_is_a_complaint() -> None:
    for body in (b"{}", b"nonsense", b'{"error":{"message":"no"}}', b'{"input_tokens":"many"}'):
        assert Count(GEMINI, MESSAGES, Names("m", "n")).complaint(body) is not None
    error = Count(GEMINI, MESSAGES, Names("m", "n")).decode_error(b'{"error":{"message":"no"}}')
    told = Count(GEMINI, MESSAGES, Names("m", "n")).encode_error(
        Failure(Kind.UPSTREAM_ERROR, error.message, upstream_status=400), error
    )
    assert told is not None
    assert json.loads(told)["error"]["message"] == "no"


def test_who_can_ask_whom() -> None:
    assert counting.can(MESSAGES, GEMINI)
    assert not counting.can(CHAT, GEMINI)
    assert not counting.can(GEMINI, Dialect.OPENAI_EMBEDDINGS)


def test_an_estimate_is_near_what_vendors_count() -> None:
    checked = 0
    for exchange in exchanges("count-tokens"):
        answer = json.loads(exchange.response)
        real = answer.get("input_tokens") or answer.get("totalTokens")
        if (
            exchange.status != 200
            or exchange.request is None
            or not real
            or real < 50
            or b"memory_2" in exchange.request
        ):
            continue  # the vendor's own tools count what only the vendor knows
        checked += 1
        assert real / 4 <= counting.estimate(exchange.request) <= real * 4 + counting.TOOL_PREAMBLE, exchange.name
    assert checked


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "abcd" * 10}]}, 10 + counting.PER_MESSAGE),
        ({"contents": [{"parts": [{"inlineData": {"data": "a" * 9999, "mimeType": "image/png"}}]}]}, 1000),
        ({"input": "ä" * 8}, 4),
        ({"a": [1, None, True, {}]}, 0),
    ],
)
def test_estimates(body: dict[str, Any], tokens: int) -> None:
    assert counting.estimate(json.dumps(body, ensure_ascii=False).encode()) == tokens


def test_deep_bodies_are_no_danger() -> None:
    with pytest.raises(JsonProblem):
        counting.estimate(b"[" * 100_000)
