from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.access.keys import digest_of, new_key, presented_key
from gproxy.secret import Secret
from gproxy.wire.http import Header


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ([(b"authorization", b"Bearer a"), (b"x-api-key", b"b")], "key=d", "a"),
        ([(b"x-api-key", b"b"), (b"authorization", b"Bearer a")], "", "a"),
        ([(b"authorization", b"bearer  a ")], "", "a"),
        ([(b"authorization", b"Bearer "), (b"x-api-key", b"b")], "", "b"),
        ([(b"authorization", b"Basic a"), (b"x-goog-api-key", b"c")], "", "c"),
        ([(b"x-goog-api-key", b"c"), (b"x-api-key", b"b")], "", "b"),
        ([], "alt=sse&key=d%2Be", "d+e"),
        ([], "monkey=1", None),
        ([], "", None),
        ([], "&".join(["a=1"] * 500) + "&key=d", None),
    ],
)
def test_the_first_that_is_not_empty_wins(headers: list[Header], query: str, expected: str | None) -> None:
    found = presented_key(headers, query)
    assert (found.reveal() if found else None) == expected


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_keys_share_a_digest_only_if_they_are_the_same(one: str, other: str) -> None:
    digest_key = b"k" * 32
    assert (digest_of(Secret(one), digest_key) == digest_of(Secret(other), digest_key)) is (one == other)


@given(st.text(max_size=200), st.binary(max_size=200))
def test_the_digest_is_an_hmac(key: str, digest_key: bytes) -> None:
    expected = hmac.digest(digest_key, key.encode("utf-8", "surrogatepass"), "sha256")
    assert digest_of(Secret(key), digest_key) == expected


def test_the_digest_depends_on_the_installation() -> None:
    assert digest_of(Secret("a"), b"1" * 32) != digest_of(Secret("a"), b"2" * 32)


def test_new_keys_have_the_prefix_and_enough_noise() -> None:
    key = new_key(bytes(range(24)))
    assert key.reveal().startswith("sk-gp-")
    assert len(key.reveal()) == len("sk-gp-") + 48
    with pytest.raises(ValueError, match="24"):
        new_key(b"short")
