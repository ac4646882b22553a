"""Landing a batch: poison alone is set aside, and only what proves itself poison."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.ledger.intake import Waiting
from gproxy.ledger.landing import Landed, land
from gproxy.ledger.record import row_of
from gproxy.ledger.store import StoreUnavailable
from tests.ledger.records import closed, opened
from tests.ledger.sqlite_store import SqliteStore


def batch(count: Any) -> Any:
    return [Waiting(row_of(opened(f"a{n:03d}"), closed(f"a{n:03d}")), ("j", 1, 100 + n), 0.0) for n in range(count)]


async def test_a_whole_batch_lands_in_one_try() -> None:
    store = SqliteStore()
    assert await land(store, batch(100)) == Landed(100, 100, 0)
    assert store.batches == [100]
    assert store.position("j") == (1, 199)
    assert await land(store, batch(100)) == Landed(100, 0, 0)
    store.check()


@pytest.mark.parametrize("bad", [{0}, {99}, {42}, {0, 99}, {10, 11, 12}, set(range(100))])
async def test_poison_alone_is_quarantined(bad: Any) -> None:
    store = SqliteStore()
    store.poison = lambda row: int(row.attempt_id[1:]) in bad
    assert await land(store, batch(100)) == Landed(100 - len(bad), 100 - len(bad), len(bad))
    assert store.quarantined() == [f"a{n:03d}" for n in sorted(bad)]
    assert store.ids() == [f"a{n:03d}" for n in range(100) if n not in bad]
    store.check()


async def test_the_database_going_away_half_way_repeats_harmlessly() -> None:
    store = SqliteStore()
    store.poison = lambda row: row.attempt_id == "a050"
    calls = iter(range(100))

    def trouble() -> None:
        if next(calls) == 3:
            raise StoreUnavailable("gone")

    store.trouble = trouble
    with pytest.raises(StoreUnavailable):
        await land(store, batch(100))
    assert 0 < len(store.ids()) < 99
    landed = await land(store, batch(100))
    assert landed.rows == 99
    assert store.quarantined() == ["a050"]
    store.check()


class Bug(Exception):  # noqa: N818 - what it stands for
    pass


async def test_an_unknown_error_of_one_row_among_others_counts_as_poison() -> None:
    store = SqliteStore()
    real = store.insert_usages

    async def buggy(rows: Any, position: Any) -> Any:
        if any(row.attempt_id == "a007" for row in rows):
            raise Bug("driver trips over it")
        return await real(rows, position)

    store.insert_usages = buggy  # type: ignore[method-assign]
    assert await land(store, batch(20)) == Landed(19, 19, 1)
    assert store.quarantined() == ["a007"]
    assert store.position("j") == (1, 106), "the position waits while a row is undecided"


async def test_an_unknown_error_of_every_row_proves_nothing() -> None:
    store = SqliteStore()

    def trouble() -> None:
        raise Bug("everything is broken")

    store.trouble = trouble
    with pytest.raises(Bug):
        await land(store, batch(20))
    assert store.quarantined() == []


async def test_nothing_is_nothing() -> None:
    assert await land(SqliteStore(), []) == Landed()
