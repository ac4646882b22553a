"""Rows land exactly once, and budgets, totals and positions move by exactly what was new."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple
from typing import Any

import pytest

from gproxy.ledger.record import Outcome
from gproxy.ledger.store import QuotaStore, StorePoison, UsageStore
from gproxy.storage.engine import Database, Transaction, connect
from gproxy.storage.errors import Contention, DatabaseUnavailable, Poison
from gproxy.storage.latencies import DAY_US, HOUR_US
from gproxy.storage.retry import Retry
from gproxy.storage.usage import SqlLedger
from gproxy.storage.usage_reading import quarantined, totals, usage_page
from gproxy.storage.usage_values import DIMENSIONS
from tests.storage.conftest import Place
from tests.storage.rows import usage_row


async def costs(db: Database) -> dict[str, int]:
    return dict(await db.fetch("SELECT user_id, cost_used_nano_usd FROM user_quotas"))


async def sums(db: Database) -> tuple[int, int, int]:
    """Rows, their cost, and the cost the day rollups know of."""
    ((count, cost),) = await db.fetch("SELECT COUNT(*), COALESCE(SUM(cost_nano_usd), 0) FROM usages")
    ((rolled,),) = await db.fetch("SELECT COALESCE(SUM(cost_nano_usd), 0) FROM usage_rollups WHERE period = 'day'")
    return int(count), int(cost), int(rolled)


async def test_it_keeps_the_promises_of_the_ledger(db: Database) -> None:
    store: UsageStore = SqlLedger(db)
    quotas: QuotaStore = SqlLedger(db)
    assert (await store.insert_usages([], None)).new_ids == frozenset()
    assert await quotas.reconcile() == []


async def test_a_row_comes_back_as_it_went_in(db: Database) -> None:
    row = usage_row(
        user_name="Zoë ✓ 𝄞",
        streamed=True,
        route_name="fast",
        cost_nano_usd=2**62,
        first_byte_ms=None,
        input_tokens=None,
    )
    result = await SqlLedger(db).insert_usages([row], ("journal-a", 3, 4096))
    assert result.new_ids == {row.attempt_id}
    assert not result.duplicates
    assert await usage_page(db) == [row]
    assert await SqlLedger(db).positions() == {"journal-a": (3, 4096)}
    assert await costs(db) == {"user-1": 2**62}


async def test_repeating_a_batch_changes_nothing(db: Database) -> None:
    ledger = SqlLedger(db)
    first, second = usage_row(), usage_row(user_id="user-2", cost_nano_usd=7)
    await ledger.insert_usages([first], ("j", 1, 10))
    result = await ledger.insert_usages([first, second, second], ("j", 1, 20))
    assert result.new_ids == {second.attempt_id}
    assert result.duplicates == {first.attempt_id}
    again = await ledger.insert_usages([second, first], ("j", 1, 20))
    assert not again.new_ids
    assert await costs(db) == {"user-1": 1_000, "user-2": 7}
    assert await sums(db) == (2, 1_007, 1_007)


async def test_the_position_never_goes_back(db: Database) -> None:
    ledger = SqlLedger(db)
    await ledger.insert_usages([], ("j", 2, 5))
    await ledger.insert_usages([], ("j", 1, 900))
    assert await ledger.positions() == {"j": (2, 5)}
    await ledger.insert_usages([], ("j", 2, 6))
    assert await ledger.positions() == {"j": (2, 6)}
    await ledger.forget_journal("j")
    assert await ledger.positions() == {}


async def test_a_budget_is_kept_and_only_what_was_used_moves(db: Database) -> None:
    await db.execute("INSERT INTO user_quotas VALUES ('user-1', 5000, 100, 30, 0, 4)")
    await SqlLedger(db).insert_usages([usage_row(), usage_row(cost_nano_usd=0)], None)
    assert await db.fetch("SELECT quota_nano_usd, cost_used_nano_usd, reserved_nano_usd, version FROM user_quotas") == [
        (5000, 1100, 30, 4)
    ]


async def test_rollups_add_up_by_hour_and_day(db: Database) -> None:
    base = 20_000 * DAY_US
    rows = [
        usage_row(at=base + 1),
        usage_row(at=base + HOUR_US, outcome="failed", cost_nano_usd=0, input_tokens=None),
        usage_row(at=base + DAY_US, provider_name="other"),
    ]
    ledger = SqlLedger(db)
    for row in rows:
        await ledger.insert_usages([row], None)
    hours = await totals(db, period="hour", since=base, until=base + 2 * DAY_US, by=("starts_at",))
    assert [(each.group[0], each.attempts, each.failures) for each in hours] == [
        (base, 1, 0),
        (base + HOUR_US, 1, 1),
        (base + DAY_US, 1, 0),
    ]
    (everything,) = await totals(db, period="day", since=0, until=base + 9 * DAY_US)
    assert (everything.attempts, everything.input_tokens, everything.output_tokens) == (3, 20, 60)
    assert (everything.cache_write_tokens, everything.reasoning_tokens, everything.cost_nano_usd) == (9, 15, 2_000)
    (other,) = await totals(db, period="day", since=0, until=base + 9 * DAY_US, equal={"provider_name": "other"})
    assert other.attempts == 1
    assert await totals(db, period="day", since=0, until=1) != []  # sums of nothing are zeros, not missing


async def test_each_dimension_adds_up_to_the_whole_and_a_replay_counts_once(db: Database) -> None:
    base = 20_000 * DAY_US
    rows = [
        usage_row(at=base + 1, streamed=True, route_name="fast"),
        usage_row(at=base + 2, key_id="key-2", outcome=Outcome.FAILED, model_asked="Fast", cost_nano_usd=5),
        usage_row(at=base + HOUR_US, credential_id="credential-2", channel="vllm", dialect_out="gemini"),
        usage_row(at=base + HOUR_US, route_name="", cost_nano_usd=0),
        usage_row(at=base + DAY_US, key_id="key-2", operation="embed", dialect_in="gemini", input_tokens=None),
    ]
    ledger = SqlLedger(db)
    await ledger.insert_usages(rows[:3], ("j", 1, 10))
    await ledger.insert_usages(rows, ("j", 1, 20))
    await ledger.insert_usages(rows[::-1], ("j", 1, 20))
    for period in ("hour", "day"):
        (whole,) = await totals(db, period=period, since=0, until=base + 9 * DAY_US)
        for dimension in DIMENSIONS:
            groups = await totals(db, period=period, since=0, until=base + 9 * DAY_US, by=(dimension,))
            assert [sum(column) for column in zip(*(astuple(each)[1:] for each in groups), strict=True)] == list(
                astuple(whole)[1:]
            ), dimension

    async def told(dimension: str) -> dict[str, tuple[int, int, int]]:
        groups = await totals(db, period="day", since=0, until=base + 9 * DAY_US, by=(dimension,))
        return {each.group[0]: (each.attempts, each.failures, each.cost_nano_usd) for each in groups}

    assert await told("key_id") == {"key-1": (3, 0, 2_000), "key-2": (2, 1, 1_005)}
    assert await told("route_name") == {"": (4, 1, 2_005), "fast": (1, 0, 1_000)}
    assert await told("outcome") == {"complete": (4, 0, 3_000), "failed": (1, 1, 5)}
    assert await told("streamed") == {"false": (4, 1, 2_005), "true": (1, 0, 1_000)}
    hours = await totals(
        db, period="hour", since=base, until=base + DAY_US, by=("starts_at", "key_id"), equal={"key_id": "key-1"}
    )
    assert [(each.group, each.attempts) for each in hours] == [((base, "key-1"), 1), ((base + HOUR_US, "key-1"), 2)]
    with pytest.raises(AssertionError, match="not kept together"):
        await totals(db, period="day", since=0, until=1, by=("key_id",), equal={"user_id": "user-1"})


async def test_pages_are_stable_and_complete(db: Database) -> None:
    rows = [usage_row(at=1_000 + index // 3, user_id=f"user-{index % 2}") for index in range(20)]
    await SqlLedger(db).insert_usages(rows, None)
    expected = sorted(rows, key=lambda row: (row.at, row.attempt_id), reverse=True)
    seen = []
    cursor = None
    while page := await usage_page(db, before=cursor, limit=6):
        seen += page
        cursor = (page[-1].at, page[-1].attempt_id)
    assert seen == expected
    mine = await usage_page(db, equal={"user_id": "user-1"}, since=1_003)
    assert mine == [row for row in expected if row.user_id == "user-1" and row.at >= 1_003]


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_name": "a\0b"},
        {"model_asked": "half \ud800 pair"},
        {"model_served": "m" * 201},
        {"provider_name": "x" * 10_000_000},
        {"cost_nano_usd": 2**63},
        {"status": 2**31},
        {"output_tokens": -(2**63) - 1},
        {"total_ms": None},
        {"attempt_id": "a" * 37},
        {"total_ms": 1.5},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
async def test_poison_is_named_and_nothing_of_its_batch_lands(db: Database, wrong: dict[str, Any]) -> None:
    ledger = SqlLedger(db)
    good, bad = usage_row(), usage_row(**wrong)
    with pytest.raises(Poison) as caught:
        await ledger.insert_usages([good, bad], ("j", 1, 1))
    assert isinstance(caught.value, StorePoison)
    assert caught.value.row_id == bad.attempt_id
    assert caught.value.field is not None
    assert caught.value.field in wrong
    assert await sums(db) == (0, 0, 0)
    await ledger.quarantine(bad, str(caught.value))
    await ledger.quarantine(bad, str(caught.value))
    (aside,) = await quarantined(db)
    assert caught.value.field in aside.reason
    assert json.loads(aside.raw)["request_id"] == bad.request_id
    await ledger.insert_usages([good], ("j", 1, 1))
    assert await sums(db) == (1, 1_000, 1_000)


async def test_what_cannot_even_be_read_is_set_aside_too(db: Database) -> None:
    ledger = SqlLedger(db)
    await ledger.quarantine(b"\x00\xff broken record", "checksum")
    await ledger.quarantine("text \ud800", "not a record \0")
    assert {row.attempt_id for row in await quarantined(db)} == {None}


async def test_writers_at_the_same_time_count_each_row_once(db: Database, place: Place) -> None:
    """Eight connections, overlapping batches in different orders, all repeated."""
    rows = [usage_row(user_id=f"user-{index % 5}", cost_nano_usd=index) for index in range(120)]
    others = [await connect(place.dsn) for _ in range(3)]
    try:
        ledgers = [SqlLedger(each) for each in (db, *others)]

        async def write(worker: int) -> int:
            new = 0
            for start in range(0, 120, 30):
                at = (start + worker * 30) % 120
                batch = rows[at : at + 40]
                result = await ledgers[worker % 4].insert_usages(
                    batch[:: 1 if worker % 2 else -1], (f"j{worker}", 1, at)
                )
                new += len(result.new_ids)
            return new

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(worker)) for worker in range(8)]
        assert sum(task.result() for task in tasks) == 120
    finally:
        for each in others:
            await each.close()
    expected: dict[str, int] = {}
    for row in rows:
        expected[row.user_id] = expected.get(row.user_id, 0) + row.cost_nano_usd
    assert await costs(db) == expected
    assert await sums(db) == (120, sum(expected.values()), sum(expected.values()))
    keys = await totals(db, period="hour", since=0, until=2**62, by=("key_id",))
    assert [(each.attempts, each.cost_nano_usd) for each in keys] == [(120, sum(expected.values()))]
    assert await SqlLedger(db).reconcile() == []


async def test_reconcile_repairs_drift_and_reports_it(db: Database) -> None:
    ledger = SqlLedger(db)
    await ledger.insert_usages([usage_row(), usage_row(user_id="user-2")], None)
    await db.execute("UPDATE user_quotas SET cost_used_nano_usd = 999 WHERE user_id = 'user-1'")
    await db.execute("DELETE FROM user_quotas WHERE user_id = 'user-2'")
    await db.execute("INSERT INTO user_quotas VALUES ('user-3', NULL, 5, 0, 0, 1)")
    drifts = {each.user_id: (each.was_nano_usd, each.is_nano_usd) for each in await ledger.reconcile()}
    assert drifts == {"user-1": (999, 1_000), "user-2": (0, 1_000), "user-3": (5, 0)}
    assert await costs(db) == {"user-1": 1_000, "user-2": 1_000, "user-3": 0}
    assert await ledger.reconcile() == []


async def test_reconcile_beside_running_batches_finds_no_drift(db: Database, place: Place) -> None:
    other = await connect(place.dsn)
    try:
        ledger = SqlLedger(other)
        done = asyncio.Event()

        async def write() -> None:
            for _ in range(25):
                await ledger.insert_usages([usage_row(cost_nano_usd=3) for _ in range(4)], None)
            done.set()

        async def check() -> list[object]:
            found: list[object] = []
            while not done.is_set():
                found += await SqlLedger(db).reconcile()
                # Look at one user as if they were suspected, which is the path that locks.
                drift = await SqlLedger(db)._repair("user-1")
                found += [drift] if drift else []
            return found

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            checking = group.create_task(check())
        assert checking.result() == []
        assert await costs(db) == {"user-1": 300}
    finally:
        await other.close()


async def test_retired_rows_stay_in_the_sum(db: Database) -> None:
    ledger = SqlLedger(db)
    await ledger.insert_usages([usage_row(at=index, cost_nano_usd=index) for index in range(10)], None)
    assert await ledger.delete_usages_before(6, limit=4) == 4
    assert await ledger.delete_usages_before(6, limit=4) == 2
    assert await ledger.delete_usages_before(6, limit=4) == 0
    assert await db.fetch("SELECT user_id, attempts, cost_nano_usd FROM usage_retired") == [("user-1", 6, 15)]
    assert await ledger.reconcile() == []
    assert await costs(db) == {"user-1": 45}


async def test_retiring_beside_batches_and_reconciling_changes_no_sum(db: Database, place: Place) -> None:
    """Two processes retire at once while a third lands rows: whoever looks finds rows and budgets in step."""
    others = [await connect(place.dsn) for _ in range(2)]
    try:
        done = asyncio.Event()

        async def write() -> None:
            ledger = SqlLedger(others[0])
            for batch in range(25):
                await ledger.insert_usages([usage_row(at=batch, cost_nano_usd=3) for _ in range(4)], None)
            done.set()

        async def retire(database: Database) -> int:
            ledger, gone = SqlLedger(database), 0
            while True:
                last = done.is_set()
                found = await ledger.delete_usages_before(20, limit=7)
                gone += found
                if last and not found:
                    return gone

        async def check() -> list[object]:
            found: list[object] = []
            while not done.is_set():
                found += await SqlLedger(db).reconcile()
                drift = await SqlLedger(db)._repair("user-1")
                found += [drift] if drift else []
            return found

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            retiring = [group.create_task(retire(database)) for database in others]
            checking = group.create_task(check())
        assert checking.result() == []
        assert sum(task.result() for task in retiring) == 80
        assert await costs(db) == {"user-1": 300}
        assert await db.fetch("SELECT attempts, cost_nano_usd FROM usage_retired") == [(80, 240)]
        assert (await sums(db))[:2] == (20, 60)
    finally:
        for database in others:
            await database.close()


async def test_reservations_are_stored_as_a_whole(db: Database) -> None:
    ledger = SqlLedger(db)
    await ledger.insert_usages([usage_row(user_id=f"user-{n}") for n in range(3)], None)
    for held in ({"user-0": 5, "user-1": 6}, {"user-1": 7}):
        ledger.held = lambda held=held: held
        await ledger.publish_held()
    stored: dict[str, int] = dict(await db.fetch("SELECT user_id, reserved_nano_usd FROM user_quotas"))
    assert stored == {"user-0": 0, "user-1": 7, "user-2": 0}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def now_us(self) -> int:
        return 1


async def test_losing_against_another_writer_is_repeated_with_growing_jitter(db: Database) -> None:
    pauses: list[float] = []
    clock = Clock()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    retry = Retry(attempts=5, base=1.0, longest=3.0, clock=clock, dice=lambda: 1.0, sleep=sleep)
    calls = 0

    async def lose_thrice() -> str:
        nonlocal calls
        calls += 1
        if calls <= 3:
            raise Contention("deadlock")
        return "won"

    assert await retry.run(lose_thrice) == "won"
    assert pauses == [1.0, 2.0, 3.0]

    async def always() -> None:
        clock.now += 6
        raise Contention("deadlock")

    with pytest.raises(DatabaseUnavailable):
        await retry.run(always)
    assert clock.now == 12  # patience is up after the second


async def test_deadlocks_now_and_then_lose_and_double_nothing(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of all transactions lose at their end; the dice are loaded, so each run is the same."""
    dice = random.Random(7)
    begin = db.transaction

    @asynccontextmanager
    async def flaky() -> AsyncIterator[Transaction]:
        async with begin() as tx:
            yield tx
            if dice.random() < 0.2:
                raise Contention("deadlock")

    async def at_once(_: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(db, "transaction", flaky)
    ledger = SqlLedger(db, retry=Retry(sleep=at_once))
    batches = [[usage_row(user_id=f"user-{n}") for n in range(5)] for _ in range(30)]
    async with asyncio.TaskGroup() as group:
        for number, batch in enumerate(batches):
            group.create_task(ledger.insert_usages(batch, ("j", 1, number)))
    assert await sums(db) == (150, 150_000, 150_000)
    assert sum((await costs(db)).values()) == 150_000
    assert await ledger.positions() == {"j": (1, 29)}
