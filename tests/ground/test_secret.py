from __future__ import annotations

import copy
import pickle

import pytest

from gproxy.secret import Secret

VALUE = "sk-canary-0123456789-wxyz"


@pytest.mark.parametrize("shown", [repr, str, "{}".format, lambda s: f"{s!r:>30}", lambda s: str([s])])
def test_no_way_of_printing_shows_it(shown: object) -> None:
    assert "canary" not in shown(Secret(VALUE))  # type: ignore[operator]


def test_it_is_not_pickled_or_copied_out() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(VALUE))
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(VALUE))


def test_people_see_prefix_and_tail_and_nothing_of_a_short_one() -> None:
    assert Secret(VALUE).masked() == "sk-…wxyz"
    assert Secret("tiny").masked() == "…"


def test_equality_and_truth_are_those_of_the_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert not Secret("")
    assert hash(Secret("a")) == hash(Secret("a"))


def test_reveal_is_the_way_out() -> None:
    assert Secret(VALUE).reveal() == VALUE
