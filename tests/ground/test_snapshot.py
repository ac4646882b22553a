"""Whose key it is: one answer for whoever asks with it."""

from __future__ import annotations

import pytest

from gproxy.access.keys import digest_of
from gproxy.access.principal import Principal
from gproxy.ids import KeyId, UserId
from gproxy.secret import Secret
from gproxy.snapshot import Snapshot

DIGEST_KEY = b"d" * 32
HELD = Secret("sk-held")


def world(expires_at: int | None) -> tuple[Snapshot, Principal]:
    alice = Principal(
        UserId("alice"),
        "Alice",
        False,
        KeyId("k"),
        None,
        expires_at,
        (),
        (),
        frozenset(),
        None,
    )
    keys = {digest_of(HELD, DIGEST_KEY): alice}
    return Snapshot(1, DIGEST_KEY, keys, {}, {}, {}, {}, {}), alice


@pytest.mark.parametrize(("expires_at", "holds"), [(None, True), (101, True), (100, False), (99, False)])
def test_a_key_is_held_until_it_expires(expires_at: int | None, holds: bool) -> None:
    snapshot, alice = world(expires_at)
    assert snapshot.holder(HELD, 100) == (alice if holds else None)


def test_a_key_that_nobody_holds() -> None:
    assert world(None)[0].holder(Secret("sk-other"), 0) is None
