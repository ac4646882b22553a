"""Users, keys and the first admin."""

from __future__ import annotations

import asyncio

import pytest

from gproxy.secret import Secret
from gproxy.storage import users as u
from gproxy.storage.changes import config_write, revision
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import Conflict
from gproxy.storage.sealing import hash_password
from gproxy.storage.usage import SqlLedger
from gproxy.storage.vault import Vault
from tests.storage.conftest import Place
from tests.storage.rows import usage_row


async def test_create_change_and_delete_with_versions(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=None)
    assert await u.USERS.find(db, name="alice") == alice
    async with config_write(db) as tx:
        assert await u.USERS.change(tx, alice.id, {"enabled": False}, if_version=1)
        assert not await u.USERS.change(tx, alice.id, {"enabled": True}, if_version=1)
        assert not await u.USERS.change(tx, "nobody", {"enabled": True})
    changed = await u.USERS.get(db, alice.id)
    assert changed is not None
    assert (changed.enabled, changed.version) == (False, 2)
    assert changed.updated_at >= alice.updated_at
    async with config_write(db) as tx:
        assert not await u.delete_user(tx, alice.id, if_version=1)
        assert await u.delete_user(tx, alice.id, if_version=2)
    assert await u.USERS.all(db) == []
    assert await revision(db) == 3


async def test_a_name_is_taken_once(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        await u.create_user(tx, vault, name="alice", password_hash=None)
        await u.create_user(tx, vault, name="Alice", password_hash=None)
    with pytest.raises(Conflict):
        async with config_write(db) as tx:
            await u.create_user(tx, vault, name="alice", password_hash=None)
    assert await revision(db) == 1  # the failed write is no change


HOSTILE = (
    "'; DROP TABLE users; --",
    '" OR "1"="1',
    "\\'; --",
    "\\",
    "%s %(name)s %d",
    "? :name $1 ${x}",
    "/* */ --",
    "a\tb",
    "ʼ ＇ 𝄞 \u202e",
    "x" * 200,
)


async def test_names_are_only_ever_values(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        for name in HOSTILE:
            user = await u.create_user(tx, vault, name=name, password_hash=name)
            await u.create_key(tx, vault, user_id=user.id, api_key=Secret(name), label=name)
            await u.grant(tx, user_id=user.id, provider_id=None, model_pattern=name)
    for name in HOSTILE:
        found = await u.USERS.find(db, name=name)
        assert found is not None
        assert (found.name, u.stored_password(vault, found)) == (name, Secret(name))
        (key,) = await u.KEYS.all(db, label=name)
        assert u.reveal_key(vault, key) == Secret(name)
    assert len(await u.USERS.all(db)) == len(HOSTILE)


async def test_pages(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        made = [await u.create_user(tx, vault, name=f"user {n}", password_hash=None) for n in range(7)]
    first = await u.USERS.page(db, limit=3)
    rest = await u.USERS.page(db, after=first[-1].id, limit=10)
    assert [*first, *rest] == made
    assert await u.USERS.page(db, where={"enabled": True, "name": "user 3"}) == [made[3]]
    assert await u.USERS.page(db, where={"password": None}, limit=1) == made[:1]


async def test_keys_are_shown_once_and_found_by_digest(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=None)
        row, secret = await u.create_key(tx, vault, user_id=alice.id, label="laptop", expires_at=5)
        _, given = await u.create_key(tx, vault, user_id=alice.id, api_key=Secret("sk-alice-1"))
    assert given.reveal() == "sk-alice-1"
    stored = await u.KEYS.find(db, digest=vault.digest(secret))
    assert stored == row
    assert secret.reveal() not in f"{row} {row.masked} {row.api_key}"
    assert u.reveal_key(vault, row) == secret
    with pytest.raises(Conflict):
        async with config_write(db) as tx:
            await u.create_key(tx, vault, user_id=alice.id, api_key=Secret("sk-alice-1"))
    with pytest.raises(Conflict):
        async with config_write(db) as tx:
            await u.create_key(tx, vault, user_id="nobody")


async def test_equal_permissions_are_refused_also_from_two_writers(db: Database, vault: Vault, place: Place) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=None)
    other = await connect(place.dsn)

    async def write(database: Database) -> bool:
        try:
            async with config_write(database) as tx:
                await u.grant(tx, user_id=alice.id, provider_id=None, model_pattern="gpt-*")
        except Conflict:
            return False
        return True

    try:
        assert sorted(await asyncio.gather(write(db), write(other))) == [False, True]
    finally:
        await other.close()
    assert len(await u.PERMISSIONS.all(db)) == 1


async def test_budgets(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=None)
    await SqlLedger(db).insert_usages([usage_row(user_id=alice.id), usage_row(user_id="long gone")], None)
    async with config_write(db) as tx:
        assert await u.set_quota(tx, alice.id, 5_000)
        bob = await u.create_user(tx, vault, name="bob", password_hash=None)
        assert await u.set_quota(tx, bob.id, None)
    (first, second) = await u.quotas(db)
    assert (first.quota_nano_usd, first.cost_used_nano_usd) == (5_000, 1_000)
    assert (second.user_id, second.quota_nano_usd) == (bob.id, None)
    async with config_write(db) as tx:
        assert not await u.set_quota(tx, alice.id, 1, if_version=99)
        assert await u.set_quota(tx, alice.id, 6_000, if_version=first.version)
        await u.delete_user(tx, alice.id)
    assert [quota.user_id for quota in await u.quotas(db)] == [bob.id]
    # What was spent stays on record, and late rows of a deleted user still land.
    await SqlLedger(db).insert_usages([usage_row(user_id=alice.id)], None)
    ((spent,),) = await db.fetch("SELECT cost_used_nano_usd FROM user_quotas WHERE user_id = ?", (alice.id,))
    assert spent == 2_000
    assert await SqlLedger(db).reconcile() == []


async def test_deleting_a_user_takes_what_they_held(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=None)
        await u.create_key(tx, vault, user_id=alice.id)
        await u.grant(tx, user_id=alice.id, provider_id=None, model_pattern="*")
        await u.limit_rate(tx, user_id=alice.id, model_pattern="*", rpm=1)
        await u.delete_user(tx, alice.id)
    for shelf in (u.KEYS, u.PERMISSIONS, u.RATE_LIMITS):
        assert await shelf.all(db) == []


async def test_logging_in(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        alice = await u.create_user(tx, vault, name="alice", password_hash=hash_password(Secret("right")))
        nobody = await u.create_user(tx, vault, name="bob", password_hash=None)
    assert u.password_of(vault, alice, Secret("right"))
    assert not u.password_of(vault, alice, Secret("wrong"))
    assert not u.password_of(vault, nobody, Secret(""))
    assert not u.password_of(vault, None, Secret("right"))
    async with config_write(db) as tx:
        await u.USERS.change(tx, alice.id, {"enabled": False})
    assert not u.password_of(vault, await u.USERS.get(db, alice.id), Secret("right"))


class TestFirstAdmin:
    async def test_is_made_once_with_generated_secrets(self, db: Database, vault: Vault) -> None:
        made = await u.ensure_admin(db, vault, name="admin", password=None, api_key=None, explicit=False)
        assert made is not None
        assert made.password is not None
        assert made.api_key is not None
        assert not made.reset
        (user,) = await u.USERS.all(db)
        assert u.password_of(vault, user, made.password)
        assert user.is_admin
        key = await u.KEYS.find(db, digest=vault.digest(made.api_key))
        assert key is not None
        assert [(each.provider_id, each.model_pattern) for each in await u.PERMISSIONS.all(db)] == [(None, "*")]
        assert made.password.reveal() not in repr(made)
        assert await u.ensure_admin(db, vault, name="admin", password=None, api_key=None, explicit=False) is None

    async def test_given_secrets_are_not_returned(self, db: Database, vault: Vault) -> None:
        made = await u.ensure_admin(
            db, vault, name="root", password=Secret("pw"), api_key=Secret("sk-root"), explicit=True
        )
        assert made == u.AdminCreated("root", None, None, reset=False)
        assert await revision(db) == 1
        again = await u.ensure_admin(
            db, vault, name="root", password=Secret("pw"), api_key=Secret("sk-root"), explicit=True
        )
        assert again is None
        assert await revision(db) == 1  # a restart with the same values is no change

    async def test_explicit_values_reset_that_admin(self, db: Database, vault: Vault) -> None:
        await u.ensure_admin(db, vault, name="root", password=Secret("old"), api_key=Secret("sk-old"), explicit=True)
        (user,) = await u.USERS.all(db)
        async with config_write(db) as tx:
            await u.USERS.change(tx, user.id, {"enabled": False, "is_admin": False})
        reset = await u.ensure_admin(
            db, vault, name="root", password=Secret("new"), api_key=Secret("sk-new"), explicit=True
        )
        assert reset == u.AdminCreated("root", None, None, reset=True)
        (user,) = await u.USERS.all(db)
        assert user.enabled
        assert user.is_admin
        assert u.password_of(vault, user, Secret("new"))
        assert not u.password_of(vault, user, Secret("old"))

    async def test_an_admin_without_a_living_key_is_no_admin(self, db: Database, vault: Vault) -> None:
        made = await u.ensure_admin(db, vault, name="admin", password=Secret("pw"), api_key=None, explicit=False)
        assert made is not None
        assert made.api_key is not None
        async with config_write(db) as tx:
            for key in await u.KEYS.all(tx):
                await u.KEYS.change(tx, key.id, {"expires_at": 1})
        again = await u.ensure_admin(db, vault, name="admin", password=None, api_key=None, explicit=False)
        assert again is not None
        assert again.password is None  # it has one
        assert again.api_key is not None

    async def test_a_tenant_who_is_called_admin_is_not_promoted(self, db: Database, vault: Vault) -> None:
        async with config_write(db) as tx:
            tenant = await u.create_user(tx, vault, name="admin", password_hash=None)
            await u.create_key(tx, vault, user_id=tenant.id)
        made = await u.ensure_admin(db, vault, name="admin", password=None, api_key=None, explicit=False)
        assert made is not None
        assert made.name == "admin-2"
        assert await u.USERS.get(db, tenant.id) == tenant

    async def test_a_key_of_somebody_else_is_not_taken(self, db: Database, vault: Vault) -> None:
        async with config_write(db) as tx:
            bob = await u.create_user(tx, vault, name="bob", password_hash=None)
            await u.create_key(tx, vault, user_id=bob.id, api_key=Secret("sk-bob"))
        with pytest.raises(Conflict):
            await u.ensure_admin(db, vault, name="root", password=None, api_key=Secret("sk-bob"), explicit=True)
        assert [user.name for user in await u.USERS.all(db)] == ["bob"]

    async def test_two_instances_make_one(self, db: Database, vault: Vault, place: Place) -> None:
        other = await connect(place.dsn)
        try:
            made = await asyncio.gather(
                *(
                    u.ensure_admin(each, vault, name="admin", password=Secret("p"), api_key=None, explicit=False)
                    for each in (db, other)
                )
            )
        finally:
            await other.close()
        assert sorted(each is None for each in made) == [False, True]
        assert len(await u.KEYS.all(db)) == 1
