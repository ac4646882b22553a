"""Which one first: the order of a route's members, and the order of a provider's credentials.

Functions over weights, counters and dice; the counters themselves live in `Load`, beside the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

from gproxy.ids import CredentialId
from gproxy.routing.provider import Credential

STRATEGIES: Final = ("failover", "weighted", "round_robin", "least_in_flight")

T = TypeVar("T", bound="Tiered")


class Tiered(Protocol):
    """A member of a route, as far as choosing goes."""

    @property
    def tier(self) -> int:
        """Lower tiers are tried first."""
        ...

    @property
    def weight(self) -> int:
        """Its share inside the tier; 0 is only used when the others are exhausted."""
        ...

    @property
    def load_key(self) -> str:
        """What requests in flight are counted by."""
        ...


class Load:
    """Requests in flight and turns taken, in this process. Mutable, without locks: one loop owns it."""

    def __init__(self) -> None:
        self._in_flight: dict[str, int] = {}
        self._turns: dict[str, int] = {}

    def enter(self, key: str) -> None:
        """A request begins."""
        self._in_flight[key] = self._in_flight.get(key, 0) + 1

    def leave(self, key: str) -> None:
        """It has ended, however it ended."""
        left = self._in_flight.get(key, 0) - 1
        if left > 0:
            self._in_flight[key] = left
        else:
            self._in_flight.pop(key, None)

    def in_flight(self, key: str) -> int:
        """Requests under way."""
        return self._in_flight.get(key, 0)

    def turn(self, key: str) -> int:
        """The next number of a rotation, from 0."""
        number = self._turns.get(key, 0)
        self._turns[key] = number + 1
        return number

    def keep(self, keys: set[str]) -> None:
        """After a snapshot swap: forget rotations that are no more."""
        for key in [key for key in self._turns if key not in keys]:
            del self._turns[key]


def turns_of(providers: Iterable[str], routes: Mapping[str, Iterable[int]]) -> set[str]:
    """The keys of every rotation there can be: one per provider, one per tier of a route."""
    return {f"provider:{name}" for name in providers} | {
        f"route:{name}:{tier}" for name, tiers in routes.items() for tier in tiers
    }


def order_members(name: str, strategy: str, members: Sequence[T], load: Load, dice: float) -> list[T]:
    """A route's members in the order to try them: tier after tier, inside a tier by the strategy.

    `failover` and `weighted` draw by weight; `round_robin` takes turns (weights are its shares);
    `least_in_flight` takes the one with the fewest requests per weight. `dice` in [0, 1) decides draws.
    """
    if len(members) == 1:
        return list(members)
    ordered: list[T] = []
    for tier in sorted({member.tier for member in members}):
        ordered += _order_tier(f"route:{name}:{tier}", strategy, [m for m in members if m.tier == tier], load, dice)
    return ordered


def _order_tier(key: str, strategy: str, members: list[T], load: Load, dice: float) -> list[T]:
    if len(members) == 1:
        return members
    match strategy:
        case "round_robin":
            return _ring(members, load.turn(key), lambda member: member.weight)
        case "least_in_flight":
            return sorted(members, key=lambda m: (m.weight <= 0, load.in_flight(m.load_key) / max(m.weight, 1)))
        case _:
            return _draw(members, dice)


def _draw(members: list[T], dice: float) -> list[T]:
    """A weighted shuffle from one throw: what is left of the dice after each draw decides the next."""
    left = list(members)
    ordered: list[T] = []
    while left:
        total = sum(max(member.weight, 0) for member in left)
        if total <= 0:
            return ordered + left
        point, chosen = dice * total, 0
        while chosen < len(left) - 1 and point >= left[chosen].weight:
            point -= max(left[chosen].weight, 0)
            chosen += 1
        weight = max(left[chosen].weight, 1)
        dice = min(max(point / weight, 0.0), 0.999999)
        ordered.append(left.pop(chosen))
    return ordered


_R = TypeVar("_R")


def _ring(items: Sequence[_R], turn: int, weight: Callable[[_R], int]) -> list[_R]:
    """The items from the one whose turn it is, around. An item of weight 3 has three turns of a round."""
    shares = [max(weight(item), 0) for item in items]
    total = sum(shares)
    if total <= 0:
        shares, total = [1] * len(items), len(items)
    point, first = turn % total, 0
    while point >= shares[first]:
        point -= shares[first]
        first += 1
    return [*items[first:], *items[:first]]


def order_credentials(
    provider: str,
    rotation: str,
    credentials: Sequence[Credential],
    load: Load,
    favourites: Sequence[CredentialId] = (),
) -> list[Credential]:
    """A provider's enabled credentials in the order to try them.

    `favourites` are those that hold this conversation's prompt cache, best first; only `cache_affinity` asks.
    """
    pool = [credential for credential in credentials if credential.enabled]
    if len(pool) < 2:
        return pool
    match rotation:
        case "sticky":
            return pool
        case "least_in_flight":
            ring = _ring(pool, load.turn(f"provider:{provider}"), lambda credential: credential.weight)
            return sorted(ring, key=lambda c: load.in_flight(c.id) / max(c.weight, 1))
        case _:
            ring = _ring(pool, load.turn(f"provider:{provider}"), lambda credential: credential.weight)
            if rotation == "cache_affinity" and favourites:
                rank = {credential: place for place, credential in enumerate(favourites)}
                ring.sort(key=lambda credential: rank.get(credential.id, len(rank)))
            return ring
