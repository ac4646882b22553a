"""How long things are kept, and that what retention deletes leaves every sum as it was."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gproxy.access.principal import Principal, RateLimit
from gproxy.ids import KeyId, UserId
from gproxy.runtime.retention import body_days, log_days, shelves, usage_cutoff, usage_days
from gproxy.snapshot import Snapshot
from gproxy.storage import request_log
from gproxy.storage.engine import Database, connect
from gproxy.storage.migrate import upgrade
from gproxy.storage.usage import SqlLedger
from tests.storage.conftest import on_own_loop
from tests.storage.rows import usage_row

DAY_US = 86_400_000_000
NOW = 20_000 * DAY_US


class Noon:
    """A clock that stands still."""

    @staticmethod
    def monotonic() -> float:
        return 0.0

    @staticmethod
    def now_us() -> int:
        return NOW


def snapshot(limits: tuple[RateLimit, ...] = (), **settings: str) -> Snapshot:
    owner = Principal(
        UserId("u"), "alice", False, KeyId("k"), None, None, (), limits, frozenset(), None
    )  # fmt: skip
    return Snapshot(1, b"", {b"": owner}, {}, {}, {}, {}, {}, settings)


@pytest.mark.parametrize(
    ("settings", "logs", "bodies", "usages"),
    [
        ({}, 30, 7, None),
        ({"retention_days": "5"}, 5, 5, 5),
        ({"retention_days": "90", "body_retention_days": "40"}, 90, 40, 90),
        ({"retention_days": "5", "usage_retention_days": "400"}, 5, 5, 400),
        ({"usage_retention_days": "400"}, 30, 7, 400),
        ({"retention_days": "0", "body_retention_days": "-1", "usage_retention_days": "x"}, 30, 7, None),
        ({"retention_days": "9" * 30}, 36_500, 7, 36_500),
    ],
)
def test_days(settings: dict[str, str], logs: int, bodies: int, usages: int | None) -> None:
    assert (log_days(settings), body_days(settings), usage_days(settings)) == (logs, bodies, usages)


def test_rows_that_a_limit_still_counts_stay() -> None:
    every = re.compile(".*")
    assert usage_cutoff(snapshot(), NOW) is None
    assert usage_cutoff(snapshot(usage_retention_days="10"), NOW) == NOW - 10 * DAY_US
    month = RateLimit("r", "*", every, total_tokens=5, total_tokens_window=30 * 86_400)
    assert usage_cutoff(snapshot((month,), usage_retention_days="10"), NOW) == NOW - 31 * DAY_US
    assert usage_cutoff(snapshot((month,), usage_retention_days="40"), NOW) == NOW - 40 * DAY_US
    unused = RateLimit("r", "*", every, rpm=5, total_tokens_window=30 * 86_400)
    assert usage_cutoff(snapshot((unused,), usage_retention_days="10"), NOW) == NOW - 10 * DAY_US


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    dsn = f"sqlite:///{tmp_path}/gproxy.db"
    on_own_loop(upgrade(dsn))
    made = await connect(dsn)
    yield made
    await made.close()


async def test_each_shelf_loses_what_is_older_and_nothing_else(db: Database) -> None:
    ledger = SqlLedger(db)
    ages = [0, 3, 6, 9]
    rows = [usage_row(at=NOW - age * DAY_US, cost_nano_usd=age + 1) for age in ages]
    await ledger.insert_usages(rows, None)
    logs = [
        request_log.Logged(f"{age}", "r", "downstream", NOW - age * DAY_US, None, None, None, 200, "complete", 1, {}, "q", "a")
        for age in ages
    ]  # fmt: skip
    async with db.transaction() as tx:
        await request_log.put(tx, logs)
    world = snapshot(retention_days="8", body_retention_days="5", usage_retention_days="2")
    for shelf in shelves(db, ledger, lambda: world, Noon()):
        cutoff = shelf.cutoff()
        assert cutoff is not None
        while await shelf.delete(cutoff, 2):
            pass
    kept = await request_log.logged(db, equal={}, bodies=True)
    assert [(row.id, row.request_body) for row in kept] == [("0", "q"), ("3", "q"), ("6", None)]
    assert await db.fetch("SELECT at, cost_nano_usd FROM usages") == [(NOW, 1)]
    assert await ledger.reconcile() == []
    assert await ledger.spent() == {"user-1": 22}
