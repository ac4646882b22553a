from __future__ import annotations

import pytest

from gproxy.vendor.behaviour import DEFAULT, BadScript, Behaviour, build, nonce_of, of_body, of_model, parse


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sim", {}),
        ("sim/tokens=50,delay=0.02", {"tokens": "50", "delay": "0.02"}),
        ("sim~tokens=50~fail=hang", {"tokens": "50", "fail": "hang"}),
        ("vendor/sim/tokens=2", {"tokens": "2"}),
        ("sim/ignore_max", {"ignore_max": "true"}),
        ("replay/openai-chat/case-1", {"replay": "openai-chat/case-1"}),
        ("replay/openai-chat/case-1,split=bytes:7", {"replay": "openai-chat/case-1", "split": "bytes:7"}),
        ("replay~gemini~case-1", {"replay": "gemini/case-1"}),
        ("replay~gemini~case-1~split=byte", {"replay": "gemini/case-1", "split": "byte"}),
        ("gpt-4.1-mini", {}),
        ("simple-model", {}),
        ("org/similar/replayer", {}),
    ],
)
def test_a_model_name_says_what_it_says(name: str, fields: dict[str, str]) -> None:
    assert of_model(name) == fields


def test_marks_in_a_body_are_found_wherever_they_stand() -> None:
    body = (
        b'{"messages":[{"content":"hello [[sim tokens=3,delay=0.5]] and [[replay gemini/x,split=byte]] nonce:a-1.b"}]}'
    )
    assert of_body(body) == {"tokens": "3", "delay": "0.5", "replay": "gemini/x", "split": "byte"}
    assert nonce_of(body) == "a-1.b"
    assert of_body(b'{"a":[[1,2],[3]]}') == {}
    assert nonce_of(b"{}") is None


def test_layers_override_field_by_field() -> None:
    wish = build(Behaviour(tokens=1, delay=0.5), {"tokens": "2"}, {"first": 0.25})
    assert (wish.tokens, wish.delay, wish.first) == (2, 0.5, 0.25)
    assert build(DEFAULT) is DEFAULT


@pytest.mark.parametrize(
    "text",
    [
        "foo=1",
        "tokens=-1",
        "tokens=99999999999",
        "delay=-1",
        "delay=nan",
        "reasoning=-3",
        "status=99",
        "chunks=0",
        "tokens=many",
        "fail=sometimes",
        "framing=odd",
        "usage=most",
    ],
)
def test_nonsense_is_refused_not_ignored(text: str) -> None:
    with pytest.raises(BadScript):
        build(DEFAULT, parse(text))
