"""The world in the database becomes one snapshot, and comes out again as the document it was made from."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings

from gproxy.channels.loader import catalog
from gproxy.secret import Secret
from gproxy.seed.parse import parse
from gproxy.seed.render import render
from gproxy.seed.schema import Seed, SeedPermission
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import config_write, revision
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import Conflict
from gproxy.storage.export import export_seed
from gproxy.storage.migrate import ensure_schema
from gproxy.storage.seeding import import_seed, is_empty
from gproxy.storage.snapshot import load_snapshot
from gproxy.storage.usage import SqlLedger
from gproxy.storage.vault import Vault, open_vault
from gproxy.wire.http import Deadlines, Origin
from tests.seed.seeds import seeds

WORLD = """
[global]
port = 9000
proxy = "http://proxy:3128"
enable_upstream_log = true

[[providers]]
name = "openai-main"
channel = "openai"
settings = { base_url = "https://api.openai.com/v1/", rotation = "sticky", on_disconnect = "finish", idle_timeout = 9 }
credentials = [{ api_key = "sk-up-1" }, { api_key = "sk-up-2", label = "second", enabled = false, weight = 3 }]

[[providers]]
name = "local"
channel = "custom"
enabled = false
settings = { base_url = "http://127.0.0.1:11434/api/v1", dialect = "openai_chat", proxy = "http://other:1" }

[[models]]
provider_name = "openai-main"
model_id = "gpt-4.1-mini"
[[models]]
provider_name = "local"
model_id = "gpt-4.1-mini"
price = { input = 1 }
[[models]]
provider_name = "openai-main"
model_id = "off"
enabled = false
[[model_aliases]]
alias = "fast"
provider_name = "openai-main"
model_id = "gpt-4.1-mini"
price = { output = 2.5 }
[[routes]]
name = "best"
strategy = "weighted"
members = [{ provider_name = "local", model_id = "z" }, { provider_name = "openai-main", model_id = "a", tier = 1, weight = 2 }]

[[users]]
name = "alice"
password = "change-me"
[[users.keys]]
api_key = "sk-alice-1"
label = "laptop"
expires_at = 2030-01-01T00:00:00Z
on_disconnect = "finish"
[[users.keys]]
api_key = "sk-alice-off"
enabled = false
[[users]]
name = "disabled"
enabled = false
keys = [{ api_key = "sk-disabled" }]
[[users]]
name = "root"
is_admin = true
keys = [{ api_key = "sk-root" }]

[[permissions]]
user_name = "alice"
model_pattern = "gpt-*"
[[permissions]]
user_name = "alice"
provider_name = "local"
model_pattern = "*"
[[file_permissions]]
user_name = "alice"
provider_name = "openai-main"
[[rate_limits]]
user_name = "alice"
model_pattern = "gpt-*"
rpm = 5
[[quotas]]
user_name = "alice"
quota = 10
cost_used = 2.5
[[quotas]]
user_name = "root"
"""


def world() -> Seed:
    return parse(WORLD, {}, catalog())


async def test_a_world_is_loaded_whole(db: Database, vault: Vault) -> None:
    await import_seed(db, vault, world())
    loaded = await load_snapshot(db, vault, catalog(), deadlines=Deadlines(connect=3.0))
    assert loaded.problems == ()
    snapshot = loaded.snapshot
    assert snapshot.revision == await revision(db) == 1
    assert snapshot.settings == {"port": "9000", "proxy": "http://proxy:3128", "enable_upstream_log": "true"}

    main, local = snapshot.providers["openai-main"], snapshot.providers["local"]
    assert (main.origin, main.base_path) == (Origin("https", "api.openai.com", 443), "")
    assert (local.origin, local.base_path) == (Origin("http", "127.0.0.1", 11434), "/api")
    assert main.deadlines == Deadlines(connect=3.0, idle=9.0)
    assert (main.rotation, main.on_disconnect, main.loss, main.proxy) == ("sticky", "finish", "warn", None)
    assert (local.rotation, local.on_disconnect, local.enabled, local.proxy) == (
        "round_robin",
        "cancel",
        False,
        "http://other:1",
    )
    assert [(c.label, c.enabled, c.weight, c.fields) for c in main.credentials] == [
        (None, True, 1, {"api_key": Secret("sk-up-1")}),
        ("second", False, 3, {"api_key": Secret("sk-up-2")}),
    ]

    model = snapshot.models["openai-main", "gpt-4.1-mini"]
    assert model.card is not None, "the bundled price"
    assert snapshot.models["openai-main", "off"].card is None
    assert [m.provider_name for m in snapshot.model_names["gpt-4.1-mini"]] == ["openai-main"]
    assert "off" not in snapshot.model_names
    alias_card = snapshot.aliases["fast"].card
    assert alias_card is not None
    assert alias_card.default.tiers[0].output == 2_500_000_000
    assert [(m.provider_name, m.tier, m.weight) for m in snapshot.routes["best"].members] == [
        ("local", 0, 1),
        ("openai-main", 1, 2),
    ]

    assert len(snapshot.keys) == 2, "enabled keys of enabled users"
    alice = snapshot.keys[bytes.fromhex(vault.digest(Secret("sk-alice-1")))]
    assert (alice.user_name, alice.key_label, alice.is_admin, alice.on_disconnect) == (
        "alice",
        "laptop",
        False,
        "finish",
    )
    assert alice.expires_at == 1_893_456_000_000_000
    assert [(row.provider_name, row.pattern) for row in alice.permissions] == [(None, "gpt-*"), ("local", "*")]
    assert alice.permissions[0].matcher.match("gpt-5")
    assert alice.file_providers == {"openai-main"}
    assert (alice.rate_limits[0].rpm, alice.rate_limits[0].total_tokens_window) == (5, 86_400)
    assert alice.quota_nano_usd == 10_000_000_000
    root = snapshot.keys[bytes.fromhex(vault.digest(Secret("sk-root")))]
    assert (root.is_admin, root.quota_nano_usd, root.permissions) == (True, None, ())


async def test_what_is_exported_makes_the_same_world_elsewhere(db: Database, vault: Vault) -> None:
    await import_seed(db, vault, world())
    exported = await export_seed(db, vault)
    again = parse(render(exported), {}, catalog())
    assert again == exported
    # Passwords leave as hashes; everything else is what came in.
    assert [dataclasses.replace(user, password=None) for user in exported.users] == [
        dataclasses.replace(user, password=None) for user in world().users
    ]
    assert dataclasses.replace(exported, users=()) == dataclasses.replace(world(), users=())
    # What was spent elsewhere is no drift.
    assert await SqlLedger(db).reconcile() == []


async def test_a_seed_that_cannot_be_written_leaves_nothing(db: Database, vault: Vault) -> None:
    broken = dataclasses.replace(world(), permissions=(SeedPermission("nobody", None, "*"),))
    with pytest.raises(Conflict):
        await import_seed(db, vault, broken)
    assert await is_empty(db)
    assert await revision(db) == 0
    assert await import_seed(db, vault, world(), only_if_empty=True) is not None
    assert await import_seed(db, vault, world(), only_if_empty=True) is None
    with pytest.raises(Conflict):
        await import_seed(db, vault, world())
    assert len(await u.USERS.all(db)) == 3


async def test_a_row_that_cannot_be_used_is_left_out_and_named(db: Database, vault: Vault) -> None:
    await import_seed(db, vault, world())
    async with config_write(db) as tx:
        await p.create_provider(tx, name="relic", channel="no-such-channel")
        odd = await p.create_provider(tx, name="odd", channel="openai", settings={"base_url": "ftp://x"})
        broken = await p.create_provider(tx, name="broken", channel="openai")
        await p.PROVIDERS.change(tx, broken.id, {"settings_json": "[]"})
        await p.create_model(tx, provider_id=odd.id, model_id="m")
        (model, *_) = await p.MODELS.all(tx)
        await p.MODELS.change(tx, model.id, {"pricing_json": '{"price_each_call": -1}'})
        (credential, *_) = await p.CREDENTIALS.all(tx)
        await p.CREDENTIALS.change(tx, credential.id, {"secret_json": "v1:a:b:c"})
    loaded = await load_snapshot(db, vault, catalog())
    assert {(problem.table, problem.name) for problem in loaded.problems} == {
        ("providers", "relic"),
        ("providers", "odd"),
        ("providers", "broken"),
        ("models", "openai-main/gpt-4.1-mini"),
        ("credentials", credential.id),
    }
    assert set(loaded.snapshot.providers) == {"openai-main", "local"}
    assert len(loaded.snapshot.providers["openai-main"].credentials) == 1


async def test_deleting_a_provider_takes_what_belongs_to_it(db: Database, vault: Vault) -> None:
    await import_seed(db, vault, world())
    provider = await p.PROVIDERS.find(db, name="local")
    assert provider is not None
    async with config_write(db) as tx:
        assert await p.delete_provider(tx, provider.id)
    loaded = await load_snapshot(db, vault, catalog())
    assert loaded.problems == ()
    assert [m.provider_name for m in loaded.snapshot.routes["best"].members] == ["openai-main"]
    assert all(row.provider_name != "local" for each in loaded.snapshot.keys.values() for row in each.permissions)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(seeds())
def test_any_world_survives_the_database(tmp_path_factory: pytest.TempPathFactory, seed: Seed) -> None:
    """Import and export are inverse (passwords apart), and the snapshot can always be built."""
    import asyncio

    async def round_trip() -> Seed:
        db = await connect(f"sqlite:///{tmp_path_factory.mktemp('world')}/x.db")
        await ensure_schema(db)
        vault = await open_vault(db, Secret("key"))
        await import_seed(db, vault, seed)
        assert (await load_snapshot(db, vault, catalog())).problems == ()
        assert await SqlLedger(db).reconcile() == []
        out = await export_seed(db, vault)
        await db.close()
        return out

    without = dataclasses.replace(seed, users=tuple(dataclasses.replace(user, password=None) for user in seed.users))
    seed = without
    found = asyncio.run(round_trip())
    order = {quota.user_name: quota for quota in found.quotas}
    assert order == {quota.user_name: quota for quota in seed.quotas}
    assert dataclasses.replace(found, quotas=()) == dataclasses.replace(seed, quotas=())
