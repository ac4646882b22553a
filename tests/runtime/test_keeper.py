"""Kept answers between memory and database: found at once, written once, lost only when counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.ledger.store import StoreUnavailable
from gproxy.protocols.openai_responses.kept import KeptResponse, public_id
from gproxy.runtime import keeper as kp
from gproxy.runtime.keeper import ResponseKeeper
from gproxy.storage import kept_responses
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.migrate import upgrade
from tests.workers.virtual import Lines

USER = "user-1"


class Given:
    """An answer whose reading is this simple."""

    def __init__(
        self, previous: str | None = None, *, user_id: str = USER, size: int = 10, readable: bool = True
    ) -> None:
        self.id = public_id(new_id())
        self.user_id = user_id
        self.size = size
        self._row = KeptResponse(self.id, user_id, self.id, previous, SystemClock.now_us(), "[]", '{"output":[]}')
        self._readable = readable

    def kept(self) -> KeptResponse | None:
        return self._row if self._readable else None


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    dsn = f"sqlite:///{tmp_path / 'gproxy.db'}"
    await asyncio.to_thread(asyncio.run, upgrade(dsn))
    made = await connect(dsn)
    await made.execute(
        "INSERT INTO users (id, name, is_admin, enabled, created_at, updated_at, version) VALUES (?, ?, 0, 1, 0, 0, 1)",
        (USER, "alice"),
    )
    yield made
    await made.close()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kp, "_PATIENCE", (0.0,))


@pytest.fixture
def keeper(db: Database, lines: Lines) -> ResponseKeeper:
    return ResponseKeeper(lambda: db, SystemClock(), lines, most=10_000)


async def test_it_is_found_before_and_after_it_is_written(keeper: ResponseKeeper, db: Database) -> None:
    rung: list[int] = []
    keeper.on_work = lambda: rung.append(keeper.waiting)
    first = Given()
    second = Given(first.id)
    keeper.keep(first)
    await keeper.flush()
    keeper.keep(second)
    assert rung == [1, 1]
    for waiting in (1, 0):
        assert keeper.waiting == waiting
        chain = await keeper.chain(USER, second.id)
        assert [one.id for one in chain.responses] == [first.id, second.id]
        assert await keeper.one(USER, second.id) == second.kept()
        for look in (keeper.one("somebody", second.id), keeper.one(USER, public_id(new_id()))):
            assert await look is None
        stranger = await keeper.chain("somebody", second.id)
        assert (stranger.responses, stranger.others) == ((), True)
        assert not (await keeper.chain("somebody", "resp_of_a_vendor")).others
        await keeper.flush()
    assert await kept_responses.one(db, USER, second.id) == second.kept()


async def test_one_that_another_process_is_about_to_write_is_waited_for(
    keeper: ResponseKeeper, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Given()
    row = late.kept()
    assert row is not None
    read = kept_responses.chain

    async def written_meanwhile(*args: Any, **more: Any) -> Any:
        found = await read(*args, **more)
        async with db.transaction() as tx:
            await kept_responses.put(tx, [row])
        return found

    monkeypatch.setattr(kept_responses, "chain", written_meanwhile)
    assert (await keeper.chain(USER, late.id)).responses == (row,)


async def test_it_is_deleted_even_while_it_waits(keeper: ResponseKeeper) -> None:
    one = Given()
    keeper.keep(one)
    assert not await keeper.forget("somebody", one.id)
    assert await keeper.forget(USER, one.id)
    assert not await keeper.forget(USER, one.id)
    assert await keeper.one(USER, one.id) is None


async def test_what_cannot_be_kept_is_counted_and_said(
    keeper: ResponseKeeper, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kp, "MOST_BYTES", 50)
    monkeypatch.setattr(kp, "LARGEST", 40)
    good = Given()
    for one in (Given(size=41), Given(readable=False), Given(user_id="deleted meanwhile"), good, Given(size=30)):
        keeper.keep(one)
    assert keeper.dropped == 2
    await keeper.flush()
    assert keeper.dropped == 4
    assert keeper.waiting == 0
    assert await keeper.one(USER, good.id) == good.kept()
    assert lines.lines[-1][1] == {"dropped": 4}
    await keeper.flush()
    assert len(lines.lines) == 1
    keeper.keep(Given(size=40))  # what was written or dropped takes no room
    assert keeper.waiting == 1


async def test_a_database_that_is_away_loses_nothing(keeper: ResponseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Given()
    keeper.keep(one)
    with monkeypatch.context() as away:

        async def refuse(*_: Any, **__: Any) -> None:
            raise DatabaseUnavailable("away")

        away.setattr(kept_responses, "put", refuse)
        away.setattr(kept_responses, "chain", refuse)
        away.setattr(kept_responses, "one", refuse)
        with pytest.raises(StoreUnavailable):
            await keeper.flush()
        assert (await keeper.chain(USER, one.id)).responses == (one.kept(),)
        with pytest.raises(StoreUnavailable):
            await keeper.chain(USER, public_id(new_id()))
        with pytest.raises(StoreUnavailable):
            await keeper.one(USER, public_id(new_id()))
    await keeper.flush()
    assert keeper.waiting == 0
    assert await keeper.one(USER, one.id) == one.kept()


async def test_a_conversation_that_is_too_long_is_not_read(db: Database, lines: Lines) -> None:
    keeper = ResponseKeeper(lambda: db, SystemClock(), lines, most=30)
    first = Given()
    second = Given(first.id)
    third = Given(second.id)
    keeper.keep(first)
    await keeper.flush()
    keeper.keep(second)
    assert not (await keeper.chain(USER, second.id)).too_long  # half from each place
    keeper.keep(third)
    assert (await keeper.chain(USER, third.id)).too_long


async def test_time_runs_out_by_the_stored_setting(keeper: ResponseKeeper) -> None:
    one = Given()
    keeper.keep(one)
    await keeper.flush()
    for settings, on in (({}, True), ({kp.SETTING: "7"}, True), ({kp.SETTING: "nonsense"}, True)):
        keeper.set(settings)
        assert keeper.on is on
        await keeper.sweep()
        assert await keeper.one(USER, one.id)
    keeper.set({kp.SETTING: "0"})
    assert not keeper.on
    await keeper.sweep()
    assert await keeper.one(USER, one.id) is None


async def test_the_last_of_an_id_counts(keeper: ResponseKeeper) -> None:
    first, second = Given(size=7), Given(size=9)
    second.id = first.id
    keeper.keep(first)
    keeper.keep(second)
    assert keeper.waiting == 1
    await keeper.flush()
    assert keeper.waiting == 0
    assert keeper._bytes == 0
