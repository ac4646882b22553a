"""Health, drain reports, the audit trail, settings."""

from __future__ import annotations

import asyncio

from gproxy.secret import Secret
from gproxy.storage import audit
from gproxy.storage import providers as p
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database, connect
from gproxy.storage.health import CredentialStatus, delete_changes_before, health_changes, load_statuses, save_statuses
from gproxy.storage.settings import load_settings, put_settings
from gproxy.storage.shutdowns import record_shutdown, shutdowns
from gproxy.storage.vault import Vault
from tests.storage.conftest import Place


async def test_the_newest_status_stands(db: Database, vault: Vault) -> None:
    async with config_write(db) as tx:
        provider = await p.create_provider(tx, name="a", channel="openai")
        one = await p.create_credential(tx, vault, provider_id=provider.id, fields={"api_key": Secret("x")})
    early = CredentialStatus(one.id, "", "cooldown", 99, "429", 3, 10)
    late = CredentialStatus(one.id, "", "healthy", None, None, 0, 20)
    model = CredentialStatus(one.id, "gpt-5", "disabled", None, "401", 1, 15)
    await save_statuses(db, [late, early, model])
    await save_statuses(db, [early])
    await save_statuses(db, [])
    await save_statuses(db, [CredentialStatus("gone", "", "healthy", None, None, 0, 1)])
    assert sorted(await load_statuses(db), key=lambda each: each.scope) == [late, model]
    async with config_write(db) as tx:
        assert await p.delete_credential(tx, one.id)
    assert await load_statuses(db) == []


async def test_two_processes_flush_the_same_credentials(db: Database, place: Place) -> None:
    other = await connect(place.dsn)
    try:
        async with asyncio.TaskGroup() as group:
            for turn in range(12):
                rows = [CredentialStatus(f"c{n}", "", "healthy", None, None, 0, turn) for n in range(10)]
                group.create_task(save_statuses(db if turn % 2 else other, rows[:: 1 if turn % 3 else -1]))
        stored = await db.fetch("SELECT DISTINCT updated_at FROM credential_statuses")
        assert stored == [(11,)]
    finally:
        await other.close()


async def test_what_a_credential_became_is_kept(db: Database) -> None:
    def status(at: int, state: str, until: int | None = None, reason: str | None = None) -> CredentialStatus:
        return CredentialStatus("c", "", state, until, reason, 0, at)

    await save_statuses(db, [status(1, "healthy")])  # it was never anything else
    await save_statuses(db, [status(2, "cooldown", 9, "429")])
    await save_statuses(db, [status(3, "cooldown", 9, "429")])  # said twice
    await save_statuses(db, [status(4, "cooldown", 20, "429")])
    await save_statuses(db, [status(2, "healthy")])  # late, and older than what stands
    await save_statuses(db, [CredentialStatus("c", "gpt-5", "disabled", None, "404", 1, 5)])
    await save_statuses(db, [status(6, "healthy"), CredentialStatus("d", "", "disabled", None, "401", 1, 6)])
    told = [(each.at, each.scope, each.state, each.until) for each in await health_changes(db, "c")]
    assert told == [
        (6, "", "healthy", None),
        (5, "gpt-5", "disabled", None),
        (4, "", "cooldown", 20),
        (2, "", "cooldown", 9),
    ]
    (newest,) = await health_changes(db, "c", limit=1)
    rest = await health_changes(db, "c", before=(newest.at, newest.id), since=4)
    assert [each.at for each in rest] == [5, 4]
    assert [each.at for each in await health_changes(db, "c", whole=True, until=6)] == [4, 2]
    assert await delete_changes_before(db, 5, 1) == 1
    assert await delete_changes_before(db, 5, 10) == 1
    assert await delete_changes_before(db, 5, 10) == 0
    assert [each.at for each in await health_changes(db, "c")] == [6, 5]


async def test_drain_reports_come_back_latest_first(db: Database) -> None:
    for at in (1, 3, 3, 2):
        await record_shutdown(db, at=at, signal_name="SIGTERM", exit_code=0, duration_ms=5, report={"cut": at})
    first = await shutdowns(db, limit=2)
    rest = await shutdowns(db, before=(first[-1].at, first[-1].id))
    assert [each.at for each in [*first, *rest]] == [3, 3, 2, 1]
    assert rest[0].report == {"cut": 2}


async def test_the_audit_trail(db: Database) -> None:
    async with config_write(db) as tx:
        for number in range(3):
            await audit.note(
                tx,
                actor_id="u1",
                actor_name="root",
                address="127.0.0.1",
                action="update",
                resource="users",
                resource_id=str(number),
                before={"enabled": True},
                after=None,
            )
    (latest, *_) = first = await audit.audit_rows(db, limit=2)
    assert (latest.actor_name, latest.before, latest.after) == ("root", {"enabled": True}, None)
    rest = await audit.audit_rows(db, before=(first[-1].at, first[-1].id))
    assert [each.resource_id for each in [*first, *rest]] == ["2", "1", "0"]


async def test_settings_keep_their_types(db: Database, vault: Vault) -> None:
    values = {"port": 1, "proxy": "x", "ratio": 0.5, "flag": False, "list": ["a"]}
    async with config_write(db) as tx:
        await put_settings(tx, values)
        await put_settings(tx, {"port": 2, "proxy": None})
    assert await load_settings(db) == {"port": 2, "ratio": 0.5, "flag": False, "list": ["a"]}
