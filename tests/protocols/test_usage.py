"""Usage of whole answers: against a plain reading of everything recorded, and the odd forms vendors use."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.anthropic_messages.usage import usage_of as anthropic_usage
from gproxy.protocols.anthropic_messages.usage import usage_of_body as anthropic_body
from gproxy.protocols.gemini.usage import usage_of as gemini_usage
from gproxy.protocols.gemini.usage import usage_of_body as gemini_body
from gproxy.protocols.openai_chat.usage import usage_of as chat_usage
from gproxy.protocols.openai_chat.usage import usage_of_body as chat_body
from gproxy.protocols.openai_responses.usage import usage_of as responses_usage
from gproxy.protocols.openai_responses.usage import usage_of_body as responses_body
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges


def answers(folder: str) -> list[tuple[str, bytes, Any]]:
    found = []
    for case in exchanges(folder):
        if case.sse or case.status != 200:
            continue
        body = json.loads(case.response)
        found.append((case.name, case.response, body))
    return found


@pytest.mark.parametrize("folder", ["openai-chat", "openai-compat", "openai-completions"])
def test_chat_answers(folder: str) -> None:
    for name, raw, body in answers(folder):
        usage, model = chat_body(raw)
        assert model == (body.get("model") or None), name
        said = body.get("usage")
        if not said:
            assert usage == UNKNOWN, name
            continue
        prompt = usage.total - (usage.output or 0)
        if said["total_tokens"] == said["prompt_tokens"] + said["completion_tokens"]:
            assert (prompt, usage.output) == (said["prompt_tokens"], said["completion_tokens"]), name
        assert usage.total == max(said["total_tokens"], said["prompt_tokens"] + said["completion_tokens"]), name
        cached = (said.get("prompt_tokens_details") or {}).get("cached_tokens")
        if cached is not None and cached <= said["prompt_tokens"]:
            assert usage.cache_read == cached, name


def test_responses_answers() -> None:
    for name, raw, body in answers("openai-responses"):
        usage, model = responses_body(raw)
        assert model == body.get("model"), name
        said = body.get("usage")
        if said:
            assert usage.output == said["output_tokens"], name
            assert usage.total == said["input_tokens"] + said["output_tokens"], name
            assert (usage.cache_read or 0) == said.get("input_tokens_details", {}).get("cached_tokens", 0), name


def test_anthropic_answers() -> None:
    for name, raw, body in answers("anthropic-messages"):
        usage, model = anthropic_body(raw)
        said = body.get("usage")
        if body.get("type") != "message" or not said:
            continue
        assert model == body["model"], name
        written = said.get("cache_creation_input_tokens", 0)
        if not any(step["type"] in {"compaction", "advisor_message"} for step in said.get("iterations") or ()):
            assert (usage.input, usage.output) == (said["input_tokens"], said["output_tokens"]), name
            assert (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0) == written, name
            split = said.get("cache_creation") or {}
            assert (usage.cache_write_1h or 0) == split.get("ephemeral_1h_input_tokens", 0), name


def test_gemini_answers() -> None:
    for name, raw, body in answers("gemini"):
        usage, model = gemini_body(raw)
        last = [chunk for chunk in (body if isinstance(body, list) else [body]) if "usageMetadata" in chunk]
        if last and "promptTokenCount" in last[-1]["usageMetadata"]:
            assert usage.total == last[-1]["usageMetadata"]["totalTokenCount"], name
            assert model == last[-1].get("modelVersion"), name


CHAT: list[tuple[str, dict[str, Any], Usage]] = [
    ("absent", {}, UNKNOWN),
    ("null", {"usage": None}, UNKNOWN),
    ("a list", {"usage": [1]}, UNKNOWN),
    ("empty", {"usage": {}}, UNKNOWN),
    ("zeros are figures", {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}, Usage(input=0, output=0)),
    ("text", {"usage": {"prompt_tokens": "5", "completion_tokens": "7"}}, Usage(input=5, output=7)),
    ("floats", {"usage": {"prompt_tokens": 5.0, "completion_tokens": 7.5}}, Usage(input=5)),
    ("negative", {"usage": {"prompt_tokens": -5, "completion_tokens": 7}}, Usage(output=7)),
    ("booleans", {"usage": {"prompt_tokens": True, "completion_tokens": 7}}, Usage(output=7)),
    (
        "cached part",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 8}}},
        Usage(input=2, output=1, cache_read=8),
    ),
    (
        "null details",
        {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": None}},
        Usage(input=10, output=1),
    ),
    (
        "DeepSeek",
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 1,
                "prompt_cache_hit_tokens": 4,
                "prompt_cache_miss_tokens": 6,
            }
        },
        Usage(input=6, output=1, cache_read=4),
    ),
    (
        "Groq",
        {"x_groq": {"usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}}},
        Usage(input=10, output=1),
    ),
    (
        "xAI: reasoning beside the answer",
        {
            "usage": {
                "prompt_tokens": 331,
                "completion_tokens": 11,
                "total_tokens": 674,
                "completion_tokens_details": {"reasoning_tokens": 332},
            }
        },
        Usage(input=331, output=343, reasoning=332),
    ),
    (
        "Google: thoughts only in the total",
        {"usage": {"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": 100}},
        Usage(input=66, output=34),
    ),
    (
        "Mistral: audio beside the prompt",
        {
            "usage": {
                "prompt_tokens": 11,
                "completion_tokens": 15,
                "total_tokens": 401,
                "prompt_tokens_details": {"audio_tokens": 375, "cached_tokens": 9},
            }
        },
        Usage(input=377, output=15, cache_read=9, audio_input=375),
    ),
    (
        "OpenRouter: written part",
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 2,
                "total_tokens": 102,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
            }
        },
        Usage(input=10, output=2, cache_read=60, cache_write_5m=30),
    ),
    (
        "parts greater than their total",
        {
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 8,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 161},
                "completion_tokens_details": {"reasoning_tokens": 9},
            }
        },
        Usage(input=0, output=8, cache_read=7, reasoning=8),
    ),
    (
        "Anthropic's split through a compatible server",
        {
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 2,
                "cache_creation_input_tokens": 50,
                "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 30},
            }
        },
        Usage(input=50, output=2, cache_write_5m=30, cache_write_1h=20),
    ),
]


@pytest.mark.parametrize(("body", "expected"), [c[1:] for c in CHAT], ids=[c[0] for c in CHAT])
def test_odd_chat_forms(body: dict[str, Any], expected: Usage) -> None:
    assert chat_usage(body) == expected
    assert chat_body(json.dumps({"model": "m", **body}).encode()) == (expected, "m")


def test_anthropic_forms() -> None:
    assert anthropic_usage(None) == UNKNOWN
    assert anthropic_usage({"input_tokens": None, "output_tokens": 3}) == Usage(output=3)
    assert anthropic_usage(
        {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 3}
    ) == Usage(input=1, output=2, cache_write_5m=10, cache_read=3)
    assert anthropic_usage(
        {
            "input_tokens": 612,
            "output_tokens": 2819,
            "iterations": [
                {"type": "compaction", "input_tokens": 60385, "output_tokens": 522},
                {"type": "message", "input_tokens": 612, "output_tokens": 2819},
            ],
        }
    ) == Usage(input=60997, output=3341)


def test_responses_and_gemini_forms() -> None:
    assert responses_usage(
        {"input_tokens": 10, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}
    ) == Usage(input=6, output=2, cache_read=4)
    assert gemini_usage({"trafficType": "ON_DEMAND"}) == UNKNOWN
    assert gemini_usage({"promptTokenCount": 9, "totalTokenCount": 9}) == Usage(input=9, output=0)
    assert gemini_usage(
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 60,
            "toolUsePromptTokenCount": 7,
            "candidatesTokenCount": 3,
            "thoughtsTokenCount": 4,
            "promptTokensDetails": [{"modality": 4, "tokenCount": 30}],
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
        }
    ) == Usage(input=47, output=7, cache_read=60, reasoning=4, audio_input=10)


def test_bodies_of_vendors_are_read_leniently_but_html_is_refused() -> None:
    half = b'\n\n {"x":"\\ud83d","usage":{"prompt_tokens":1,"completion_tokens":2},"model":"m"} '
    assert chat_body(half) == (Usage(input=1, output=2), "m")
    for read in (chat_body, responses_body, anthropic_body, gemini_body):
        with pytest.raises(JsonProblem):
            read(b"<html>")


def test_a_later_report_replaces_and_never_adds() -> None:
    first = Usage(input=10, output=1, cache_read=5)
    assert first.then(Usage(output=9)) == Usage(input=10, output=9, cache_read=5)
    assert first.then(Usage(input=15, output=4)) == Usage(input=15, output=4)
    assert first.then(Usage(input=0, output=0)) == first
    assert first.then(UNKNOWN) == first
    assert UNKNOWN.then(first) == first
