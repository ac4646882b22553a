from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.openai_chat.usage import usage_of, usage_of_body
from gproxy.wire.json import JsonProblem

COUNTS = st.one_of(st.integers(0, 12), st.integers(-2, 10**11), st.none(), st.just("7"), st.just(3.0), st.booleans())


def details(*names: str) -> st.SearchStrategy[Any]:
    named = st.dictionaries(st.sampled_from(names), COUNTS, max_size=len(names))
    return st.one_of(named, st.none(), st.just([]))


FIGURES = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": COUNTS,
        "completion_tokens": COUNTS,
        "total_tokens": COUNTS,
        "prompt_tokens_details": details("cached_tokens", "audio_tokens", "cache_write_tokens"),
        "completion_tokens_details": details("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens"),
        "prompt_cache_hit_tokens": COUNTS,
    },
)


@given(FIGURES, st.sampled_from(["gpt", "", None, 7]), st.booleans())
def test_an_answer_is_read_the_same_by_the_short_way_and_by_the_long(figures: Any, model: Any, groq: bool) -> None:
    answer = {"id": "x", "model": model, "usage": figures, "choices": [{"message": {"content": "\u00fc"}}]}
    if groq:
        answer["x_groq"] = {"usage": {"prompt_tokens": 5, "completion_tokens": 6}}
    expected = usage_of(json.loads(json.dumps(answer))), model if isinstance(model, str) and model else None
    assert usage_of_body(json.dumps(answer).encode()) == expected


def test_the_plain_case() -> None:
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 9,
        "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0, "accepted_prediction_tokens": 1},
    }
    found = usage_of_body(json.dumps({"model": "gpt", "usage": usage}).encode())
    assert found == (Usage(4, 9, 16, None, None, 4, 0, 0), "gpt")


def test_no_figures_are_unknown_and_no_object_is_an_error() -> None:
    assert usage_of_body(b'{"choices": []}') == (UNKNOWN, None)
    for broken in (b"[]", b"<html>", b"", b'{"usage": {"prompt_tokens": 1'):
        with pytest.raises(JsonProblem):
            usage_of_body(broken)
