"""Latencies are counted with the rows they belong to, once."""

from __future__ import annotations

from gproxy.ledger.latency import bucket_of
from gproxy.storage.engine import Database
from gproxy.storage.latencies import DAY_US, HOUR_US, Held, latencies
from gproxy.storage.usage import SqlLedger
from tests.storage.rows import usage_row

BASE = 20_000 * DAY_US


async def test_whole_answers_are_counted_once_by_hour_and_day(db: Database) -> None:
    rows = [
        usage_row(at=BASE + 1, first_byte_ms=12, total_ms=40),
        usage_row(at=BASE + 2, first_byte_ms=None, total_ms=41),
        usage_row(at=BASE + HOUR_US, first_byte_ms=40, total_ms=900),
        usage_row(at=BASE + 3, outcome="failed", total_ms=5),
        usage_row(at=BASE + 3, outcome="cancelled", total_ms=5),
    ]
    ledger = SqlLedger(db)
    await ledger.insert_usages(rows[:2], None)
    await ledger.insert_usages(rows, None)
    await ledger.insert_usages(rows, None)
    first, whole = bucket_of(12), bucket_of(40)
    assert bucket_of(41) == whole
    assert await latencies(db, period="hour", since=BASE, until=BASE + DAY_US) == [
        Held(BASE, first, 1, 0),
        Held(BASE, whole, 0, 2),
        Held(BASE + HOUR_US, whole, 1, 0),
        Held(BASE + HOUR_US, bucket_of(900), 0, 1),
    ]
    day = await latencies(db, period="day", since=BASE, until=BASE + DAY_US)
    assert {(each.bucket, each.first_bytes, each.totals) for each in day} == {
        (first, 1, 0),
        (whole, 1, 2),
        (bucket_of(900), 0, 1),
    }


async def test_a_span_is_closed_below_and_open_above(db: Database) -> None:
    rows = [usage_row(at=BASE + hour * HOUR_US, first_byte_ms=None) for hour in range(3)]
    await SqlLedger(db).insert_usages(rows, None)
    found = await latencies(db, period="hour", since=BASE + HOUR_US, until=BASE + 2 * HOUR_US)
    assert [each.starts_at for each in found] == [BASE + HOUR_US]


async def test_one_provider_or_model(db: Database) -> None:
    rows = [
        usage_row(at=BASE, provider_name="a", model_served="m"),
        usage_row(at=BASE, provider_name="b", model_served="m"),
        usage_row(at=BASE, provider_name="b", model_served="n"),
    ]
    await SqlLedger(db).insert_usages(rows, None)
    for equal, count in (({}, 3), ({"provider_name": "b"}, 2), ({"provider_name": "b", "model_served": "n"}, 1)):
        found = await latencies(db, period="hour", since=BASE, until=BASE + 1, equal=equal)
        assert sum(each.totals for each in found) == count
