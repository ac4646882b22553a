"""Affinity against a vendor with a real prefix cache per credential, and what it forgets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproxy.ids import CredentialId
from gproxy.routing.affinity import (
    HEAD,
    LIFETIME,
    MAX_LINKS,
    TAIL,
    Affinity,
    prefixes,
)
from gproxy.routing.selection import Load, order_credentials
from tests.routing.world import credential

SALT = b"s" * 32
A, B = CredentialId("a"), CredentialId("b")
POOL = [credential(name) for name in "abcd"]


class PrefixCache:
    """The caches of a vendor's accounts: what one account has read, it remembers for a while."""

    def __init__(self) -> None:
        self._seen: dict[str, set[tuple[bytes, ...]]] = {}

    def read(self, account: str, blocks: list[bytes]) -> int:
        """Tokens read from the cache (a byte is a token); the whole request is cached after."""
        seen = self._seen.setdefault(account, set())
        longest = max((n for n in range(1, len(blocks) + 1) if tuple(blocks[:n]) in seen), default=0)
        seen.update(tuple(blocks[:n]) for n in range(1, len(blocks) + 1))
        return sum(map(len, blocks[:longest]))


def talk(rotation: str, conversations: int, turns: int) -> tuple[float, Affinity]:
    """The share of follow-up turns that read their own conversation from the cache."""
    vendor, affinity, load = PrefixCache(), Affinity(), Load()
    hits = follow_ups = 0
    for turn in range(turns):
        for number in range(conversations):
            blocks = [b"shared system prompt", *(f"{number}:{n}".encode() * 20 for n in range(turn + 1))]
            found = prefixes(SALT, "m", blocks)
            now = turn * 10.0
            chosen = order_credentials("p", rotation, POOL, load, affinity.favourites(found, now))[0]
            cached = vendor.read(chosen.id, blocks)
            affinity.learn(found, chosen.id, cached_tokens=cached, input_tokens=sum(map(len, blocks)), now=now)
            if turn:
                follow_ups += 1
                hits += cached >= sum(map(len, blocks[:-1]))
    return hits / follow_ups, affinity


def test_conversations_stay_where_their_cache_is() -> None:
    with_affinity, affinity = talk("cache_affinity", 25, 12)
    with_turns, _ = talk("round_robin", 25, 12)
    assert with_affinity >= 0.95
    assert with_turns < 0.5
    assert affinity.stats.hit_rate is not None
    assert affinity.stats.hit_rate >= 0.95
    assert 0 < affinity.stats.cached_tokens < affinity.stats.input_tokens


def test_a_shared_prompt_alone_does_not_put_everyone_on_one_credential_for_ever() -> None:
    affinity = Affinity()
    own = prefixes(SALT, "m", [b"system", b"mine" * 100])
    affinity.learn(own, B, cached_tokens=None, input_tokens=None, now=0.0)
    affinity.learn(prefixes(SALT, "m", [b"system", b"other"]), A, cached_tokens=6, input_tokens=11, now=0.0)
    assert affinity.favourites(own, 1.0)[0] == B


def test_links_that_yield_nothing_are_forgotten() -> None:
    affinity = Affinity()
    found = prefixes(SALT, "m", [b"x"])
    affinity.learn(found, A, cached_tokens=0, input_tokens=1, now=0.0)
    assert affinity.favourites(found, 0.0) == [A]
    for _ in range(3):
        affinity.learn(found, A, cached_tokens=0, input_tokens=1, now=0.0)
    assert affinity.favourites(found, 0.0) == []


def test_a_vendor_that_reports_nothing_keeps_its_links() -> None:
    affinity = Affinity()
    found = prefixes(SALT, "m", [b"x"])
    for _ in range(9):
        affinity.learn(found, A, cached_tokens=None, input_tokens=None, now=0.0)
    assert affinity.favourites(found, 1.0) == [A]


def test_links_end_with_the_vendors_cache() -> None:
    affinity = Affinity()
    found = prefixes(SALT, "m", [b"x"])
    affinity.learn(found, A, cached_tokens=0, input_tokens=1, now=0.0)
    assert affinity.favourites(found, LIFETIME - 1) == [A]
    assert affinity.favourites(found, LIFETIME) == []
    affinity.learn(found, A, cached_tokens=0, input_tokens=1, now=LIFETIME)
    assert affinity.stats.known == 0
    affinity.learn(found, A, cached_tokens=0, input_tokens=1, now=1000.0, lifetime=3600.0)
    assert affinity.favourites(found, 4000.0) == [A]


def test_a_failure_forgets() -> None:
    affinity = Affinity()
    found = prefixes(SALT, "m", [b"x", b"y"])
    affinity.learn(found, A, cached_tokens=1, input_tokens=1, now=0.0)
    affinity.failed(found, B)
    assert affinity.favourites(found, 0.0) == [A]
    affinity.failed(found, A)
    assert affinity.favourites(found, 0.0) == []
    assert len(affinity) == 0


def test_memory_is_bounded() -> None:
    affinity = Affinity()
    for number in range(MAX_LINKS + 100):
        found = prefixes(SALT, "m", [str(number).encode()])
        affinity.learn(found, A, cached_tokens=1, input_tokens=1, now=0.0)
    assert len(affinity) == MAX_LINKS
    for name in "cdefgh":
        affinity.learn(found, CredentialId(name), cached_tokens=1, input_tokens=1, now=1.0)
    assert len(affinity.favourites(found, 1.0)) <= 4


@given(st.lists(st.binary(max_size=9), max_size=100), st.integers(0, 99))
def test_a_prefix_is_its_blocks_and_nothing_else(blocks: list[bytes], cut: int) -> None:
    whole = prefixes(SALT, "m", blocks)
    assert len(whole) == min(len(blocks), HEAD + TAIL)
    assert [p.size for p in whole] == sorted(p.size for p in whole)
    if 0 < cut <= len(blocks):
        last = prefixes(SALT, "m", blocks[:cut])[-1]
        assert last in whole or HEAD < cut <= len(blocks) - TAIL


def test_what_divides_caches_divides_prefixes() -> None:
    others = [
        prefixes(SALT, "m", [b"ab", b"c"]),
        prefixes(SALT, "n", [b"ab", b"c"]),
        prefixes(SALT, "m", [b"ab", b"c"], "u"),
        prefixes(SALT, "m", [b"a", b"bc"]),
        prefixes(SALT, "m", [b"abc"]),
        prefixes(b"t", "m", [b"ab", b"c"]),
        prefixes(SALT, "mu", [b"ab", b"c"]),
        prefixes(SALT, "m", [b"ab", b"c"], "1:"),
    ]
    assert len({found[-1].key for found in others}) == len(others)
