"""Late marks: what is learned from answers, in what room, and that being outrun does not make everybody look late."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.routing.pace import ENOUGH, LONGEST, MOST_MARKS, SHORTEST, Mark, Pace

times = st.lists(st.floats(0, 1e5, allow_nan=False), min_size=ENOUGH, max_size=ENOUGH)


@given(times, st.integers(50, 99))
def test_the_first_answers_give_their_percentile(seconds: list[float], percent: int) -> None:
    mark = Mark(percent)
    for each in seconds:
        assert mark.late_after is None
        mark.answered(each, None)
    assert mark.late_after is not None
    exact = sorted(seconds)[math.ceil(ENOUGH * percent / 100) - 1]
    assert mark.late_after == min(max(exact, SHORTEST), LONGEST)


@given(times, st.lists(st.none() | st.floats(0, 1e5), max_size=300), st.integers(50, 99))
def test_the_mark_stays_within_its_bounds(first: list[float], more: list[float | None], percent: int) -> None:
    mark = Mark(percent)
    for each in first:
        mark.answered(each, None)
    for seconds in more:
        if seconds is None:
            mark.outrun()
        else:
            mark.answered(seconds, mark.late_after)
        assert mark.late_after is not None
        assert SHORTEST <= mark.late_after <= LONGEST


@pytest.mark.parametrize("outrun", [True, False])
@pytest.mark.parametrize("percent", [50, 90, 95, 99])
@pytest.mark.parametrize(
    "draw", [lambda dice: dice.expovariate(1.0), lambda dice: dice.lognormvariate(0, 2)], ids=["even", "heavy tail"]
)
def test_the_chosen_share_is_late(draw: Callable[[random.Random], float], percent: int, outrun: bool) -> None:
    """Also when no late answer's real time is ever seen."""
    mark, dice = Mark(percent), random.Random(5)
    late, asked = 0, 20_000
    for _ in range(asked):
        real, after = draw(dice), mark.late_after
        late += after is not None and real > after
        if outrun and after is not None and real > after:
            mark.outrun()
        else:
            mark.answered(real, after)
    assert late / asked == pytest.approx(1 - percent / 100, rel=0.05, abs=0.002)


def test_a_vendor_that_becomes_slow_is_followed() -> None:
    mark = Mark(95)
    for _ in range(200):
        mark.answered(0.1, mark.late_after)
    late = 0
    while mark.late_after is not None and mark.late_after < 1.0:
        mark.outrun()
        late += 1
    assert late < 40


def test_members_kinds_and_percentiles_are_apart() -> None:
    pace = Pace()
    for _ in range(ENOUGH):
        pace.of("p/a", False, 95).answered(9.0, None)
        pace.of("p/a", True, 95).answered(1.0, None)
    assert pace.of("p/a", False, 95).late_after == 9.0
    assert pace.of("p/a", True, 95).late_after == 1.0
    assert pace.of("p/a", True, 90).late_after is None
    assert pace.of("p/b", True, 95).late_after is None


def test_memory_has_a_bound_and_forgets_what_is_no_more() -> None:
    pace = Pace()
    first, last = pace.of("p/0", False, 95), pace.of("p/x", False, 95)
    for number in range(1, MOST_MARKS):
        pace.of(f"p/{number}", False, 95)
    assert pace.of("p/x", False, 95) is last
    assert pace.of("p/0", False, 95) is not first, "the oldest made room"
    pace.keep({"p/7"})
    assert pace.of("p/x", False, 95) is not last
