"""Retries stay a tenth of the requests, and ten a minute are always allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproxy.routing.budget import MINIMUM, SHARE, WINDOW, RetryBudget, RetryBudgets


def test_a_few_are_always_allowed() -> None:
    budget = RetryBudget()
    assert [budget.spend(5.0) for _ in range(MINIMUM + 2)] == [True] * MINIMUM + [False] * 2


def test_a_tenth_of_the_requests() -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.request(5.0)
    assert sum(budget.spend(6.0) for _ in range(500)) == 100


def test_the_window_moves_on() -> None:
    budget = RetryBudget()
    assert sum(budget.spend(5.0) for _ in range(20)) == MINIMUM
    assert not budget.spend(5.0 + WINDOW / 2)
    assert budget.spend(5.0 + WINDOW + 5)
    assert budget.spend(1e9)


def test_each_provider_has_its_own() -> None:
    budgets = RetryBudgets()
    while budgets.of("a").spend(0.0):
        pass
    assert budgets.of("b").spend(0.0)
    assert budgets.of("a") is budgets.of("a")


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=300))
def test_never_more_than_its_share_in_a_storm(events: list[tuple[float, bool]]) -> None:
    budget, now, requests, retries = RetryBudget(), 0.0, 0, 0
    for passed, is_request in events:
        now += passed
        if is_request:
            budget.request(now)
            requests += 1
        else:
            retries += budget.spend(now)
    windows = now // WINDOW + 2
    assert retries <= max(MINIMUM * windows, SHARE * requests + MINIMUM * windows)
