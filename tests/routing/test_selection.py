"""Orders are decided by weights, counters and dice alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.ids import CredentialId
from gproxy.routing.selection import STRATEGIES, Load, order_credentials, order_members
from tests.routing.world import credential


@dataclass(frozen=True)
class M:
    load_key: str
    tier: int = 0
    weight: int = 1


def names(members: list[M]) -> str:
    return "".join(member.load_key for member in members)


MEMBERS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=1, max_size=6)


@given(MEMBERS, st.sampled_from(STRATEGIES), st.floats(0, 0.999999))
def test_every_member_once_tiers_ascending_and_deterministic(
    rows: list[tuple[int, int]], strategy: str, dice: float
) -> None:
    members = [M(str(number), tier, weight) for number, (tier, weight) in enumerate(rows)]
    ordered = order_members("r", strategy, members, Load(), dice)
    assert sorted(ordered, key=lambda m: m.load_key) == members
    assert [m.tier for m in ordered] == sorted(m.tier for m in members)
    assert order_members("r", strategy, members, Load(), dice) == ordered


def test_weights_share_the_first_place() -> None:
    members = [M("a", weight=1), M("b", weight=3), M("c", weight=0)]
    first = Counter(names(order_members("r", "weighted", members, Load(), n / 1000))[0] for n in range(1000))
    assert first == {"a": 250, "b": 750}
    orders = Counter(names(order_members("r", "failover", members, Load(), n / 1000)) for n in range(1000))
    assert set(orders) == {"abc", "bac"}


def test_one_throw_decides_the_whole_order_evenly() -> None:
    members = [M(name) for name in "abc"]
    orders = Counter(names(order_members("r", "weighted", members, Load(), n / 6000)) for n in range(6000))
    assert len(orders) == 6
    assert all(900 <= count <= 1100 for count in orders.values())


def test_round_robin_takes_turns_by_weight() -> None:
    members, load = [M("a", weight=2), M("b"), M("c", weight=0)], Load()
    firsts = "".join(names(order_members("r", "round_robin", members, load, 0.5))[0] for _ in range(6))
    assert firsts == "aabaab"


def test_all_weights_zero_is_as_if_equal() -> None:
    members = [M("a", weight=0), M("b", weight=0)]
    load = Load()
    assert {names(order_members("r", "round_robin", members, load, 0.0)) for _ in range(2)} == {"ab", "ba"}
    assert names(order_members("r", "weighted", members, load, 0.9)) == "ab"


def test_least_in_flight_counts_per_weight() -> None:
    members, load = [M("a", weight=1), M("b", weight=4), M("c", weight=0)], Load()
    for key in "abb":
        load.enter(key)
    assert names(order_members("r", "least_in_flight", members, load, 0.0)) == "bac"
    load.leave("a")
    assert names(order_members("r", "least_in_flight", members, load, 0.0)) == "abc"


def test_load_never_goes_below_zero() -> None:
    load = Load()
    load.leave("x")
    assert load.in_flight("x") == 0
    load.enter("x")
    load.enter("x")
    load.leave("x")
    assert load.in_flight("x") == 1
    load.leave("x")
    assert load._in_flight == {}


def test_a_swap_forgets_rotations_that_are_no_more() -> None:
    load = Load()
    assert [load.turn("a"), load.turn("a"), load.turn("b")] == [0, 1, 0]
    load.keep({"b"})
    assert (load.turn("a"), load.turn("b")) == (0, 1)


POOL = [credential("a"), credential("off", enabled=False), credential("b"), credential("c")]


def ids(rotation: str, load: Load, favourites: tuple[str, ...] = ()) -> str:
    liked = tuple(CredentialId(name) for name in favourites)
    return "".join(one.id for one in order_credentials("p", rotation, POOL, load, liked))


def test_rotations_of_credentials() -> None:
    load = Load()
    assert [ids("round_robin", load) for _ in range(4)] == ["abc", "bca", "cab", "abc"]
    assert [ids("sticky", load) for _ in range(3)] == ["abc"] * 3
    load = Load()
    load.enter("a")
    assert ids("least_in_flight", load)[-1] == "a"
    assert ids("cache_affinity", Load(), ("c",)) == "cab"
    assert ids("cache_affinity", Load(), ("c", "b")) == "cba"
    assert ids("round_robin", Load(), ("c",)) == "abc"


def test_least_in_flight_spreads_ties() -> None:
    load = Load()
    assert {ids("least_in_flight", load)[0] for _ in range(3)} == {"a", "b", "c"}


@pytest.mark.parametrize("rotation", ["round_robin", "sticky", "least_in_flight", "cache_affinity"])
def test_small_pools(rotation: str) -> None:
    assert order_credentials("p", rotation, [], Load()) == []
    assert order_credentials("p", rotation, [credential("x", enabled=False)], Load()) == []
    one = [credential("x")]
    assert order_credentials("p", rotation, one, Load()) == one
