"""Limit windows are filled again from the ledger: with what was let through, where it was counted, and no more."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gproxy.access.permissions import compile_glob
from gproxy.access.principal import Principal, RateLimit
from gproxy.access.shares import Shares
from gproxy.ids import KeyId, UserId
from gproxy.runtime.accounts import fill
from gproxy.snapshot import Snapshot
from gproxy.storage.engine import connect
from gproxy.storage.migrate import upgrade
from gproxy.storage.usage import SqlLedger
from tests.storage.rows import usage_row


class At:
    """A clock whose two hands have nothing to do with each other but that both go."""

    def __init__(self, dice: random.Random) -> None:
        self.now = dice.uniform(10_000, 1_000_000)
        self._since = dice.randrange(10**15, 2 * 10**15)

    def monotonic(self) -> float:
        return self.now

    def now_us(self) -> int:
        return self._since + round(self.now * 1_000_000)


@pytest.mark.parametrize("seed", range(5))
async def test_what_was_counted_live_is_not_counted_again_in_a_neighbouring_slot(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    clock = At(dice)
    limit = RateLimit(
        "row", "*", compile_glob("*"), rpm=10_000, rpd=10_000, total_tokens=10**9, total_tokens_window=600
    )
    owner = Principal(UserId("user-1"), "alice", False, KeyId("key-1"), None, None, (), (limit,), frozenset(), None)
    snapshot = Snapshot(1, b"", {b"": owner}, {}, {}, {}, {}, {})
    await upgrade(f"sqlite:///{tmp_path}/gproxy.db")
    db = await connect(f"sqlite:///{tmp_path}/gproxy.db")
    shares, rows = Shares(), []
    for _ in range(300):
        clock.now += dice.uniform(0.0, 0.19)
        # What comes within a millisecond of a slot's edge may be counted before it and begin behind it.
        if 0.001 < clock.now % 1.0 < 0.999:
            rows.append(usage_row(at=clock.now_us(), input_tokens=10, output_tokens=20))
            tokens = 10 + 20 + 3  # and what the row wrote to a cache
            for dimension, length, cost in (("rpm", 60.0, 1), ("rpd", 86_400.0, 1), ("total_tokens", 600.0, tokens)):
                shares.windows._of("row", dimension, length).add(cost, clock.now)
    await SqlLedger(db).insert_usages(rows, None)
    before = {key: sum(moments.values()) for key, moments in shares.windows.moments().items()}
    await fill(shares, snapshot, db, clock)
    assert {key: sum(moments.values()) for key, moments in shares.windows.moments().items()} == before
    # One that knew nothing before knows as much now.
    fresh = Shares()
    await fill(fresh, snapshot, db, clock)
    found = {key: shares.windows._of(*key).used(clock.now) for key in before}
    assert {key: fresh.windows._of(*key).used(clock.now) for key in before} == found
    await db.close()
