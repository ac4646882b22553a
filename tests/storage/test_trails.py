"""Trails and last uses of keys, on every engine."""

from __future__ import annotations

from gproxy.storage.engine import Database
from gproxy.storage.key_uses import forget_gone_keys, save_uses
from gproxy.storage.trails import StoredTrail, delete_trails_before, put_trails, stored_trail
from gproxy.storage.users import create_key, create_user
from gproxy.storage.vault import Vault


def trail(number: int, text: str = "[]") -> StoredTrail:
    return StoredTrail(f"request-{number}", number, "Zoë ✓ 𝄞" if number % 2 else None, 200, text)


async def test_a_trail_comes_back_once_and_goes_when_it_is_old(db: Database) -> None:
    for _ in range(2):
        async with db.transaction() as tx:
            await put_trails(tx, [trail(number, "x" * 70_000) for number in range(7)])
    assert await stored_trail(db, "request-3") == trail(3, "x" * 70_000)
    assert await stored_trail(db, "request-9") is None
    assert await delete_trails_before(db, 5, 3) == 3
    assert await delete_trails_before(db, 5, 3) == 2
    assert await delete_trails_before(db, 5, 3) == 0
    assert [row[0] for row in await db.fetch("SELECT at FROM request_trails ORDER BY at")] == [5, 6]


async def uses(db: Database) -> dict[str, int]:
    return dict(await db.fetch("SELECT key_id, last_used_at FROM key_uses"))


async def test_a_last_use_never_goes_back_and_goes_with_its_key(db: Database, vault: Vault) -> None:
    async with db.transaction() as tx:
        user = await create_user(tx, vault, name="alice", password_hash=None)
        key, _ = await create_key(tx, vault, user_id=user.id)
    await save_uses(db, {key.id: 100, "gone": 50})
    await save_uses(db, {key.id: 90})
    assert await uses(db) == {key.id: 100, "gone": 50}
    await save_uses(db, {key.id: 110})
    assert await forget_gone_keys(db) == 1
    assert await uses(db) == {key.id: 110}
