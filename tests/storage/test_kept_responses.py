"""Kept answers on every engine: chains come back whole, to their own user only, and go together."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.ids import new_id
from gproxy.protocols.openai_responses.kept import Chain, KeptResponse
from gproxy.storage import kept_responses as store
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database
from gproxy.storage.errors import Conflict
from gproxy.storage.vault import Vault

PLENTY = 1 << 30


@pytest.fixture
async def alice(db: Database, vault: Vault) -> str:
    async with config_write(db) as tx:
        return str((await u.create_user(tx, vault, name="alice", password_hash=None)).id)


def kept(user_id: str, previous: KeptResponse | None = None, **given: Any) -> KeptResponse:
    own = new_id()
    fields: dict[str, Any] = {
        "id": own,
        "user_id": user_id,
        "conversation_id": own if previous is None else previous.conversation_id,
        "previous_id": None if previous is None else previous.id,
        "at": 1000,
        "said": '["Zoë ✓ 𝄞 \\u0000"]',
        "answer": '{"output":[]}',
    }
    return KeptResponse(**fields | given)


def line(user_id: str, length: int, **given: Any) -> list[KeptResponse]:
    rows: list[KeptResponse] = []
    for _ in range(length):
        rows.append(kept(user_id, rows[-1] if rows else None, **given))
    return rows


async def put(db: Database, *rows: KeptResponse) -> None:
    async with db.transaction() as tx:
        await store.put(tx, rows)


async def test_a_conversation_comes_back_in_order(db: Database, alice: str) -> None:
    rows = line(alice, 130)
    branch = kept(alice, rows[2])
    await put(db, *reversed(rows), branch)
    await put(db, rows[0])  # a batch may come twice
    assert (await store.chain(db, alice, rows[-1].id, most=PLENTY)).responses == tuple(rows)
    assert (await store.chain(db, alice, branch.id, most=PLENTY)).responses == (*rows[:3], branch)
    assert await store.one(db, alice, branch.id) == branch


async def test_nobody_else_sees_it(db: Database, alice: str, vault: Vault) -> None:
    async with config_write(db) as tx:
        bob = (await u.create_user(tx, vault, name="bob", password_hash=None)).id
    rows = line(alice, 2)
    stolen = kept(bob, rows[-1])
    await put(db, *rows, stolen)
    assert await store.chain(db, bob, rows[-1].id, most=PLENTY) == Chain(others=True)
    assert await store.chain(db, bob, "resp_unknown", most=PLENTY) == Chain()
    assert await store.one(db, bob, rows[0].id) is None
    assert not await store.forget(db, bob, rows[0].id)
    # Even a row of theirs that names another's as the one before does not lead there.
    found = await store.chain(db, bob, stolen.id, most=PLENTY)
    assert found.responses == (stolen,)
    assert found.broken


async def test_what_is_too_long_is_not_read(db: Database, alice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = line(alice, 4)
    await put(db, *rows)
    size = sum(row.size for row in rows)
    assert not (await store.chain(db, alice, rows[-1].id, most=size)).too_long
    assert (await store.chain(db, alice, rows[-1].id, most=size - 1)).too_long
    monkeypatch.setattr(store, "MOST_TURNS", 3)
    assert (await store.chain(db, alice, rows[-1].id, most=size)).too_long
    assert not (await store.chain(db, alice, rows[-2].id, most=size)).too_long


async def test_as_many_turns_as_are_allowed(db: Database, alice: str) -> None:
    rows = line(alice, store.MOST_TURNS + 1)
    await put(db, *rows)
    assert len((await store.chain(db, alice, rows[-2].id, most=PLENTY)).responses) == store.MOST_TURNS
    assert (await store.chain(db, alice, rows[-1].id, most=PLENTY)).too_long


async def test_one_that_a_provider_keeps_is_known_by_its_place(db: Database, alice: str) -> None:
    row = kept(alice, id="r" * 200, provider_name="main", credential_id="c", said="", answer="")
    await put(db, row)
    assert (await store.chain(db, alice, row.id, most=0)).responses == (row,)


async def test_a_server_may_count_its_answers_from_one_again(db: Database, alice: str, vault: Vault) -> None:
    async with config_write(db) as tx:
        bob = str((await u.create_user(tx, vault, name="bob", password_hash=None)).id)
    old, new = kept(alice, id="resp_1", answer='{"output":[1]}'), kept(alice, id="resp_1", answer='{"output":[2]}')
    theirs = kept(bob, id="resp_1")
    await put(db, old)
    await put(db, theirs, new)
    assert await store.one(db, alice, "resp_1") == new
    assert (await store.chain(db, bob, "resp_1", most=PLENTY)).responses == (theirs,)
    assert await store.forget(db, alice, "resp_1")
    assert await store.one(db, bob, "resp_1") == theirs


async def test_a_deleted_one_leaves_a_gap(db: Database, alice: str) -> None:
    rows = line(alice, 3)
    await put(db, *rows)
    assert await store.forget(db, alice, rows[1].id)
    assert not await store.forget(db, alice, rows[1].id)
    assert not (await store.chain(db, alice, rows[0].id, most=PLENTY)).broken
    assert (await store.chain(db, alice, rows[2].id, most=PLENTY)).broken


async def test_a_conversation_goes_as_a_whole(db: Database, alice: str) -> None:
    old, alive = line(alice, 3, at=100), line(alice, 2, at=100)
    await put(db, *old, *alive, kept(alice, alive[-1], at=300))
    assert await store.sweep(db, before=200) == 1
    assert await store.one(db, alice, old[-1].id) is None
    assert await store.one(db, alice, alive[0].id) == alive[0]
    assert await store.sweep(db, before=200) == 0
    assert await store.sweep(db, before=301, conversations=1) == 1


async def test_it_goes_with_its_user(db: Database, alice: str, vault: Vault) -> None:
    row = kept(alice)
    await put(db, row)
    async with config_write(db) as tx:
        assert await u.delete_user(tx, alice)
    assert await store.one(db, alice, row.id) is None
    with pytest.raises(Conflict):
        await put(db, row)
