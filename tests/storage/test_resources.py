"""What the control plane reads and writes, on every engine: views, writers, sessions, login tries, merging."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gproxy.ledger.pricing import RateCard
from gproxy.secret import Secret
from gproxy.seed.schema import (
    Seed,
    SeedAlias,
    SeedCredential,
    SeedFilePermission,
    SeedKey,
    SeedModel,
    SeedPermission,
    SeedProvider,
    SeedQuota,
    SeedRateLimit,
    SeedRoute,
    SeedUser,
)
from gproxy.snapshot import Member
from gproxy.storage import login_tries, resource_writing, resources, sessions
from gproxy.storage.audit import audit_rows, note
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database
from gproxy.storage.errors import Conflict
from gproxy.storage.export import export_seed
from gproxy.storage.merging import Merger
from gproxy.storage.shutdowns import record_shutdown, shutdown
from gproxy.storage.vault import Vault

PRICED = RateCard.from_fields({"price": {"input": "0.4", "output": "1.6"}})
SEED = Seed(
    settings={"retention_days": 30},
    providers=(
        SeedProvider(
            "main",
            "openai",
            "Main",
            settings={"base_url": "http://127.0.0.1:9"},
            credentials=(SeedCredential({"api_key": Secret("sk-vendor-0123456789")}, "one", rpm=60, tpm=9),),
        ),
    ),
    models=(SeedModel("main", "org/mini", "Mini", card=PRICED, max_output_tokens=4096),),
    aliases=(SeedAlias("fast", "main", "org/mini"),),
    routes=(SeedRoute("best", "weighted", (Member("main", "org/mini", 0, 3),), hedge_percentile=95),),
    users=(SeedUser("alice", None, is_admin=True, keys=(SeedKey(Secret("sk-alice-0123456789"), "first"),)),),
    permissions=(SeedPermission("alice", None, "*"), SeedPermission("alice", "main", "org/*")),
    file_permissions=(SeedFilePermission("alice", "main"),),
    rate_limits=(SeedRateLimit("alice", "*", rpm=5),),
    quotas=(SeedQuota("alice", 12_500_000_000, 1_250_000_000),),
)


async def merged(db: Database, vault: Vault, seed: Seed) -> dict[str, int]:
    async with config_write(db) as tx:
        rows = await Merger(tx, vault, {}).merge(seed)
    return {action: sum(row.action == action for row in rows) for action in ("create", "update", "same")}


async def test_a_document_is_merged_once_and_for_all(db: Database, vault: Vault) -> None:
    assert await merged(db, vault, SEED) == {"create": 13, "update": 0, "same": 0}
    assert await export_seed(db, vault) == SEED
    assert await merged(db, vault, SEED) == {"create": 0, "update": 0, "same": 13}
    newer = SeedProvider("main", "openai", None, False, {}, (SeedCredential({"api_key": Secret("sk-new")}, "one"),))
    told = await merged(db, vault, Seed(providers=(newer,)))
    assert told == {"create": 0, "update": 2, "same": 0}
    exported = await export_seed(db, vault)
    assert exported.providers == (newer,)
    with pytest.raises(Conflict):
        await merged(db, vault, Seed(providers=(SeedProvider("main", "groq"),)))


async def test_every_view_reads_its_rows(db: Database, vault: Vault) -> None:
    await merged(db, vault, SEED)
    named = {
        "providers": "main", "models": "main/org/mini", "aliases": "fast", "routes": "best", "users": "alice",
        "quotas": "alice",
    }  # fmt: skip
    for resource, view in resources.VIEWS.items():
        rows = await resources.page(db, vault, resource)
        assert rows, resource
        assert set(rows[0]) >= {column.name for column in view.columns}
        for row in rows:
            assert await resources.one(db, vault, resource, row["id"]) == row
        assert await resources.page(db, vault, resource, after=rows[-1]["id"]) == []
        equal = {name: rows[0][name] for name in view.filters if rows[0][name] is not None}
        assert rows[0] in await resources.page(db, vault, resource, equal=equal)
        assert await resources.one(db, vault, resource, "no/such") is None
        if resource in named:
            assert await resources.one(db, vault, resource, named[resource]) == rows[0]
        if view.searched:
            assert await resources.page(db, vault, resource, search="!%_") == []
    assert [row["name"] for row in await resources.page(db, vault, "users", search="ALI")] == ["alice"]
    (credential,) = await resources.page(db, vault, "credentials")
    assert credential["fields"] == {"api_key": "sk-…6789"}
    (quota,) = await resources.page(db, vault, "quotas")
    assert (quota["quota"], quota["cost_used"]) == ("12.5", "1.25")


@pytest.mark.parametrize(
    ("resource", "values"),
    [
        ("providers", {"settings": {"a": 1}, "label": None}),
        ("credentials", {"fields": {"api_key": Secret("sk-vendor-9999999999")}}),
        ("credentials", {"rpm": None, "tpm": 5, "max_in_flight": 2}),
        ("models", {"pricing": None, "enabled": False}),
        ("routes", {"members": [{"provider_name": "main", "model_id": "other", "tier": 1, "weight": 1}]}),
        ("users", {"password_hash": "phc", "enabled": False}),
        ("keys", {"expires_at": 1}),
        ("rate_limits", {"rpm": None, "rpd": 7}),
        ("quotas", {"quota_nano_usd": None}),
    ],
)
async def test_rows_are_changed_and_deleted_at_their_version(
    db: Database, vault: Vault, resource: str, values: dict[str, Any]
) -> None:
    await merged(db, vault, SEED)
    (row, *_) = await resources.page(db, vault, resource)
    async with config_write(db) as tx:
        assert not await resource_writing.change(tx, vault, resource, row["id"], values, if_version=row["version"] + 1)
        assert await resource_writing.change(tx, vault, resource, row["id"], values, if_version=row["version"])
        assert not await resource_writing.delete(tx, resource, row["id"], if_version=row["version"])
        changed = await resources.one(tx, vault, resource, row["id"])
        assert changed is not None
        assert changed != row
        assert await resource_writing.delete(tx, resource, row["id"], if_version=changed["version"])
        if resource != "quotas":
            assert await resources.one(tx, vault, resource, row["id"]) is None
        if resource == "users":
            assert await resource_writing.enabled_admins(tx) == 0


async def test_sessions(db: Database, vault: Vault) -> None:
    await merged(db, vault, SEED)
    (alice,) = await resources.page(db, vault, "users")
    row = await sessions.open_session(db, user_id=alice["id"], digest="d" * 64, address=None, seconds=60)
    holder = await sessions.holder_of(db, "d" * 64)
    assert holder is not None
    assert (holder.session_id, holder.user_name, holder.is_admin) == (row.id, "alice", True)
    assert "d" * 64 not in repr(row)
    assert await sessions.holder_of(db, "e" * 64) is None
    assert await sessions.sweep_sessions(db) == 0
    async with config_write(db) as tx:
        await resource_writing.change(tx, vault, "users", alice["id"], {"enabled": False})
    assert await sessions.holder_of(db, "d" * 64) is None
    with pytest.raises(Conflict):
        await sessions.open_session(db, user_id="nobody", digest="f" * 64, address=None, seconds=60)
    gone = await sessions.open_session(db, user_id=alice["id"], digest="d" * 64, address="::1", seconds=-1)
    assert await sessions.sweep_sessions(db) == 1
    assert not await sessions.end_session(db, gone.id)


async def test_tries_at_once_are_counted_exactly(db: Database) -> None:
    minute = 60_000_000

    async def one(number: int) -> float:
        return await login_tries.note_try(db, ("name", f"address {number % 3}"), most=5, window_us=minute)

    waits = await asyncio.gather(*(one(number) for number in range(15)))
    assert sum(wait == 0 for wait in waits) == 5
    assert all(wait == 0 or 0 < wait <= 60 for wait in waits)
    await login_tries.forgive(db, "name", "address 0")
    assert await one(0) == 0
    assert await login_tries.note_try(db, ("name",), most=5, window_us=0) == 0, "an old try does not count"
    assert await login_tries.sweep_tries(db, window_us=minute) == 0
    assert await login_tries.sweep_tries(db, window_us=-minute) == 4


async def test_audit_rows_are_filtered_and_a_shutdown_is_found(db: Database) -> None:
    async with db.transaction() as tx:
        for action in ("create", "update", "create"):
            await note(
                tx, actor_id="a", actor_name="root", address=None, action=action, resource="users", resource_id="u",
                after={"name": "x"},
            )  # fmt: skip
    created = await audit_rows(db, equal={"action": "create", "resource": "users"})
    assert len(created) == 2
    assert await audit_rows(db, equal={"id": created[0].id}) == created[:1]
    assert await audit_rows(db, until=created[-1].at) == []
    assert len(await audit_rows(db, since=created[-1].at)) == 3
    row_id = await record_shutdown(db, at=1, signal_name="SIGTERM", exit_code=0, duration_ms=5, report={"a": 1})
    found = await shutdown(db, row_id)
    assert found is not None
    assert found.report == {"a": 1}
    assert await shutdown(db, "nobody") is None
