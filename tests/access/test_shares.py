from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproxy.access.limits import Claim, Counted, Exceeded
from gproxy.access.permissions import compile_glob
from gproxy.access.principal import RateLimit
from gproxy.access.shares import Membership, Shares, Through, lengths

counts = st.integers(1, 9)


@given(counts, st.integers(0, 10_000))
def test_the_shares_of_all_add_up_to_the_limit(count: int, limit: int) -> None:
    shares = [Membership(count, rank).share(limit) for rank in range(count)]
    assert sum(shares) == limit
    assert max(shares) - min(shares) <= 1


@given(counts, st.dictionaries(st.floats(0, 60, allow_nan=False), st.integers(0, 50), max_size=20))
def test_the_parts_of_all_add_up_to_what_was_let_through(count: int, costs: dict[float, int]) -> None:
    members = [Membership(count, rank).parts(costs) for rank in range(count)]
    for at, cost in costs.items():
        assert sum(parts[at] for parts in members) == cost
    totals = [sum(parts.values()) for parts in members]
    assert max(totals) - min(totals) <= 1


@given(counts, st.integers(1, 30), st.lists(st.integers(0, 8), max_size=60))
def test_instances_that_come_and_go_never_let_through_more_together(count: int, limit: int, turns: list[int]) -> None:
    """Everything has landed when the membership changes; from then on each keeps to its share of the rest."""
    row = RateLimit("r", "*", compile_glob("*"), rpm=limit)
    ledger: list[float] = []
    now = 1000.0
    for size in (count, max(1, count - 1), count + 1):
        group = []
        for rank in range(size):
            one = Shares()
            one.membership = Membership(size, rank)
            one.learn({"u": [row]}, 60.0, [Through("u", "m", int(at * 1e6), 1, 0) for at in ledger], 0.0)
            group.append(one)
        for turn in turns:
            now += 0.01
            if isinstance(group[turn % size].count([Claim("r", "rpm", 60.0, limit, 1)], now), Counted):
                ledger.append(now)
    assert len(ledger) <= limit


def test_headers_speak_of_the_whole_limit() -> None:
    one = Shares()
    one.membership = Membership(4, 1)
    claim = Claim("r", "rpm", 60.0, 8, 1)
    counted = one.count([claim], 0.0)
    assert isinstance(counted, Counted)
    assert (counted.standings[0].claim.limit, counted.standings[0].remaining) == (8, 1)
    assert isinstance(one.count([claim], 0.0), Counted)
    refused = one.count([claim], 0.0)
    assert isinstance(refused, Exceeded)
    assert refused.claim == claim


def test_what_the_ledger_says_goes_to_every_row_it_concerns() -> None:
    rows = [
        RateLimit("a", "gpt-*", compile_glob("gpt-*"), rpm=10, rpd=100),
        RateLimit("b", "*", compile_glob("*"), total_tokens=1000, total_tokens_window=60),
    ]
    assert lengths(rows) == {60.0, 86_400.0}
    one = Shares()
    one.learn({"u": rows}, 60.0, [Through("u", "main/gpt-4", 5_000_000, 2, 300), Through("v", "x", 0, 9, 9)], 0.0)
    held = {key[:2]: sum(moments.values()) for key, moments in one.windows.moments().items()}
    assert held == {("a", "rpm"): 2, ("b", "total_tokens"): 300}
