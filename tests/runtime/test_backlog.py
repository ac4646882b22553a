"""Rows on their way to the database: bounded, retried, never lost for another's fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gproxy.ledger.store import StoreUnavailable
from gproxy.runtime.backlog import Backlog
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable, Poison


class Table:
    """A table that can be away, and that some rows do not fit."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.batches: list[int] = []
        self.poison: set[int] = set()
        self.away: BaseException | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Table]:
        yield self

    async def put(self, tx: Any, rows: Sequence[int]) -> None:
        assert tx is self
        if self.away is not None:
            raise self.away
        if self.poison & set(rows):
            raise Poison("no")
        self.batches.append(len(rows))
        self.rows += rows


def filled(table: Table, count: int, **bounds: int) -> tuple[Backlog[int], list[Mapping[str, Any]]]:
    said: list[Mapping[str, Any]] = []
    given = {"most_rows": 10_000, "most_bytes": 1 << 30, **bounds}
    backlog: Backlog[int] = Backlog("rows", table.put, lambda _, fields: said.append(fields), **given)
    for number in range(count):
        backlog.add(number, 10)
    return backlog, said


def database(table: Table) -> Database:
    return cast("Database", table)


async def test_it_writes_in_batches_and_no_more_than_asked() -> None:
    table = Table()
    backlog, _ = filled(table, 250)
    await backlog.flush(database(table), 120)
    assert (table.batches, len(backlog)) == ([100, 20], 130)
    await backlog.flush(database(table))
    assert table.rows == list(range(250))
    assert len(backlog) == 0


@pytest.mark.parametrize("bounds", [{"most_rows": 3}, {"most_bytes": 35}])
async def test_what_does_not_fit_is_dropped_counted_and_said_once(bounds: dict[str, int]) -> None:
    table = Table()
    backlog, said = filled(table, 5, **bounds)
    assert backlog.dropped == 2
    await backlog.flush(database(table))
    await backlog.flush(database(table))
    assert said == [{"dropped": 2}]
    backlog.add(9, 10)
    assert not backlog.full, "room that was given back is used again"
    await backlog.flush(database(table))
    assert table.rows == [0, 1, 2, 9]


async def test_full_is_told_before_anything_is_made_for_it() -> None:
    assert filled(Table(), 3, most_rows=3)[0].full
    assert filled(Table(), 3, most_bytes=30)[0].full
    assert not filled(Table(), 2, most_rows=3)[0].full


@pytest.mark.parametrize("why", [DatabaseUnavailable("down"), asyncio.CancelledError()])
async def test_what_the_database_does_not_take_now_waits_in_order(why: BaseException) -> None:
    table = Table()
    backlog, _ = filled(table, 150)
    table.away = why
    with pytest.raises(StoreUnavailable if isinstance(why, DatabaseUnavailable) else asyncio.CancelledError):
        await backlog.flush(database(table))
    assert len(backlog) == 150
    table.away = None
    await backlog.flush(database(table))
    assert table.rows == list(range(150))


async def test_poison_takes_nobody_with_it() -> None:
    table = Table()
    table.poison = {3, 7}
    backlog, _ = filled(table, 10)
    await backlog.flush(database(table))
    assert table.rows == [0, 1, 2, 4, 5, 6, 8, 9]
    assert backlog.dropped == 2
