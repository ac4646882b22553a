"""Free text in the arguments of a function, and out of them again however it is cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gproxy.canonical.loss import Losses
from gproxy.canonical.request import CustomTool
from gproxy.protocols.freeform import Unwrapping, as_function, unwrapped, wrapped

TEXT = st.text(st.characters(codec="utf-8"))
GRAMMAR = {"type": "grammar", "grammar": {"syntax": "lark", "definition": 'start: "a"'}}


def in_pieces(arguments: str, cuts: list[int]) -> str:
    growing = Unwrapping()
    places = sorted({0, len(arguments), *(cut % (len(arguments) + 1) for cut in cuts)})
    return "".join(growing.feed(arguments[a:b]) for a, b in pairwise(places))


@given(TEXT, st.lists(st.integers(0, 10_000)), st.booleans(), st.sampled_from([None, 2]))
@example('𝄞"\\/\b\f\n\r\t\x00é', list(range(200)), True, 2)
def test_a_text_comes_back_as_it_was(text: str, cuts: list[int], ascii_only: bool, indent: int | None) -> None:
    arguments = json.dumps({"input": text}, ensure_ascii=ascii_only, indent=indent)
    assert in_pieces(arguments, cuts) == unwrapped(arguments) == text
    assert unwrapped(wrapped(text)) == text


@given(TEXT, st.integers(0, 10_000))
def test_one_that_is_cut_off_is_a_beginning(text: str, cut: int) -> None:
    whole = json.dumps({"input": text})
    part = whole[: cut % len(whole)]
    growing = Unwrapping()
    said = growing.feed(part)
    assert text.startswith(said)
    if growing.found:
        assert unwrapped(part) == said


@given(st.text(st.sampled_from('{}"input: \\u0dD8n7'), max_size=40), st.lists(st.integers(0, 40)))
def test_nonsense_is_the_same_in_pieces(said: str, cuts: list[int]) -> None:
    for arguments in (said, '{"input":"' + said):
        assert in_pieces(arguments, cuts) == Unwrapping().feed(arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", ""),
        ("  ", ""),
        ("SELECT 1", "SELECT 1"),
        ('"SELECT 1"', "SELECT 1"),
        ('{"sql": "SELECT 1"}', "SELECT 1"),
        ('{"x": 1, "input": "a"}', "a"),
        ('{"x": 1, "y": "a"}', '{"x": 1, "y": "a"}'),
        ('{"input": {"a": 1}}', '{"input": {"a": 1}}'),
        ("{}", "{}"),
        ("[1]", "[1]"),
        ('{"input": "a\nb"}', "a\nb"),
        ('{"input": "a\\ud834"}', "a\ufffd"),
        ('{"input": "a\\ud834\\u0041"', "a\ufffdA"),
        ('{"input": "a\\udd1eb"', "a\ufffdb"),
        ('{"input": "a\\xb"}', "a"),
    ],
)
def test_what_models_write_otherwise_is_taken_as_their_text(arguments: str, said: str) -> None:
    assert unwrapped(arguments) == said


def test_a_grammar_is_told_and_named() -> None:
    losses = Losses()
    made = as_function(CustomTool("t", "does things", GRAMMAR), losses, "tools.0")
    assert losses.header() == "tool_grammar"
    assert made.description == 'does things\n\nThe input must match this lark grammar:\nstart: "a"'
    for form in (None, {"type": "text"}):
        losses = Losses()
        assert as_function(CustomTool("t", None, form), losses, "tools.0").description is None
        assert not losses
    odd = as_function(CustomTool("t", None, {"type": "grammar"}), losses, "tools.0")
    assert (odd.description, losses.header()) == (None, "tool_grammar")


def test_it_is_linear() -> None:
    growing = Unwrapping()
    growing.feed('{"input":"')
    assert sum(len(growing.feed("\\n" if i % 2 else "a" * 50)) for i in range(20_000)) == 10_000 * 51
    lost = Unwrapping()
    for _ in range(100_000):
        assert not lost.feed("[[[[")
