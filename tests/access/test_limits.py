from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.access.limits import Claim, Counted, Exceeded, Windows, claims_of
from gproxy.access.permissions import compile_glob
from gproxy.access.principal import RateLimit

steps = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 4)), min_size=1, max_size=120)


@settings(max_examples=400, deadline=None)
@given(steps, st.integers(1, 12))
def test_no_window_of_that_length_ever_holds_more_than_the_limit(gaps: list[tuple[float, int]], limit: int) -> None:
    windows, now = Windows(), 1000.0
    admitted: list[tuple[float, int]] = []
    for gap, cost in gaps:
        now += gap
        if isinstance(windows.count([Claim("row", "rpm", 60.0, limit, cost)], now), Counted):
            admitted.append((now, cost))
    for at, _ in admitted:
        assert sum(cost for when, cost in admitted if at <= when < at + 60.0) <= limit


@settings(max_examples=400, deadline=None)
@given(steps, st.integers(1, 12))
def test_it_is_conservative_by_at_most_one_slot(gaps: list[tuple[float, int]], limit: int) -> None:
    windows, now = Windows(), 1000.0
    admitted: list[tuple[float, int]] = []
    for gap, cost in gaps:
        now += gap
        verdict = windows.count([Claim("row", "rpm", 60.0, limit, cost)], now)
        in_window = sum(c for when, c in admitted if when > now - 61.0)
        if isinstance(verdict, Counted):
            admitted.append((now, cost))
        else:
            assert in_window + cost > limit


def test_a_refusal_counts_nothing_anywhere() -> None:
    windows = Windows()
    wide, narrow = Claim("a", "rpm", 60.0, 100, 1), Claim("b", "rpm", 60.0, 1, 1)
    assert isinstance(windows.count([wide, narrow], 0.0), Counted)
    refused = windows.count([wide, narrow], 1.0)
    assert isinstance(refused, Exceeded)
    assert refused.claim is narrow
    assert {standing.claim.row_id: standing.remaining for standing in refused.standings} == {"a": 99, "b": 0}


def test_reserved_tokens_are_corrected_to_what_was_used() -> None:
    windows = Windows()
    claim = Claim("a", "total_tokens", 600.0, 1000, 900)
    counted = windows.count([claim], 0.0)
    assert isinstance(counted, Counted)
    assert isinstance(windows.count([claim], 1.0), Exceeded)
    windows.correct(counted, 50)
    assert isinstance(windows.count([claim], 1.0), Counted)


def test_a_correction_after_the_window_has_passed_changes_nothing() -> None:
    windows = Windows()
    claim = Claim("a", "total_tokens", 60.0, 10, 10)
    counted = windows.count([claim], 0.0)
    assert isinstance(counted, Counted)
    assert windows.sweep(1000.0) == 1
    windows.correct(counted, 3)
    assert isinstance(windows.count([claim], 1000.0), Counted)


def test_every_matching_row_is_claimed_and_its_counter_is_its_own() -> None:
    rows = [
        RateLimit("1", "gpt-*", compile_glob("gpt-*"), rpm=5, rpd=9),
        RateLimit("2", "*", compile_glob("*"), total_tokens=100, total_tokens_window=60),
        RateLimit("3", "claude-*", compile_glob("claude-*"), rpm=1),
    ]
    found = claims_of(rows, "main/gpt-4.1", 40)
    assert [(claim.row_id, claim.dimension, claim.limit, claim.cost) for claim in found] == [
        ("1", "rpm", 5, 1),
        ("1", "rpd", 9, 1),
        ("2", "total_tokens", 100, 40),
    ]


def test_tokens_that_do_not_fit_in_full_are_granted_as_far_as_they_go() -> None:
    windows = Windows()
    assert isinstance(windows.count([Claim("a", "total_tokens", 60.0, 1000, 700)], 0.0), Counted)
    counted = windows.count([Claim("a", "total_tokens", 60.0, 1000, 5000, least=256)], 0.0)
    assert isinstance(counted, Counted)
    assert counted.claims[0].cost == 300
    refused = windows.count([Claim("a", "total_tokens", 60.0, 1000, 5000, least=256)], 0.0)
    assert isinstance(refused, Exceeded)
    windows.correct(counted, 10)
    assert isinstance(windows.count([Claim("a", "total_tokens", 60.0, 1000, 290)], 0.0), Counted)


def test_what_was_let_through_before_a_restart_still_counts() -> None:
    windows = Windows()
    windows.raise_to("a", "rpm", 60.0, {100.0: 1, 100.1: 2})
    windows.raise_to("a", "rpm", 60.0, {100.0: 2})
    claim = Claim("a", "rpm", 60.0, 4, 1)
    assert isinstance(windows.count([claim], 130.0), Counted)
    assert isinstance(windows.count([claim], 130.0), Exceeded)
    assert isinstance(windows.count([claim], 162.0), Counted)


def scheduled(dice: random.Random) -> None:
    """One random life of three limits over one row: bursts, pauses, corrections and withdrawals."""
    windows, now = Windows(), dice.uniform(0.0, 100_000.0)
    limits = {length: dice.randint(1, 30) for length in (60.0, 600.0, 86_400.0)}
    admitted: list[list[Any]] = []
    for _ in range(dice.randint(20, 120)):
        now += dice.choice((0.0, dice.expovariate(10.0), dice.expovariate(0.1), dice.uniform(0.0, 90.0)))
        cost = dice.randint(1, 4)
        claims = [
            Claim("row", "rpm", 60.0, limits[60.0], 1),
            Claim("row", "total_tokens", 600.0, limits[600.0], cost, dice.choice((None, 1))),
            Claim("row", "rpd", 86_400.0, limits[86_400.0] * 10, 1),
        ]
        counted = windows.count(claims, now)
        if isinstance(counted, Counted):
            admitted.append([now, {claim.length: claim.cost for claim in counted.claims}, counted])
        if admitted and dice.random() < 0.3:
            entry = dice.choice(admitted)
            kept = entry[2]
            if kept is not None:
                entry[2] = None
                used = dice.randint(0, entry[1][600.0])
                if dice.random() < 0.7:
                    windows.correct(kept, used)
                    entry[1] = {**entry[1], 600.0: used}
                else:
                    windows.withdraw(kept)
                    entry[1] = {}
        for length, limit in ((60.0, limits[60.0]), (600.0, limits[600.0]), (86_400.0, limits[86_400.0] * 10)):
            assert sum(costs.get(length, 0) for at, costs, _ in admitted if at > now - length) <= limit


@pytest.mark.parametrize("seeds", [range(100), pytest.param(range(100, 10_100), marks=pytest.mark.soak)], ids=len)
def test_whatever_comes_no_window_ever_holds_more_than_its_limit(seeds: range) -> None:
    for seed in seeds:
        scheduled(random.Random(seed))
