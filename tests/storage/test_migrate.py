"""The schema: made once, compared with the model, never touched when it is newer."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from gproxy.storage import migrate, sql
from gproxy.storage.dsn import parse_dsn
from gproxy.storage.engine import connect
from gproxy.storage.errors import DatabaseUnavailable, NewerSchema, StorageError
from gproxy.storage.latencies import DAY_US
from gproxy.storage.schema_version import HEAD, KNOWN, SchemaState, current_version, schema_state
from gproxy.storage.tables import metadata
from gproxy.storage.usage import SqlLedger
from gproxy.storage.usage_values import BY_KEY, DIMENSIONS, ROLLUP_SUMS
from tests.storage.conftest import Place
from tests.storage.rows import usage_row


async def test_an_empty_database_is_set_up_once(empty_place: Callable[[], Place]) -> None:
    db = await connect(empty_place().dsn)
    try:
        assert await schema_state(db) is SchemaState.EMPTY
        assert await migrate.ensure_schema(db)
        assert not await migrate.ensure_schema(db)
        assert await current_version(db) == HEAD
        assert await db.fetch("SELECT id, revision FROM revisions") == [(1, 0)]
    finally:
        await db.close()


async def test_nobody_there_is_something_to_try_again_later() -> None:
    for dsn in ("postgres://u@127.0.0.1:1/x", "mysql://u@127.0.0.1:1/x", "sqlite:////proc/nowhere/x.db"):
        with pytest.raises(DatabaseUnavailable):
            await migrate.upgrade(dsn)


async def test_two_instances_at_once_on_an_empty_database(empty_place: Callable[[], Place]) -> None:
    dsn = empty_place().dsn
    instances = [await connect(dsn) for _ in range(2)]
    try:
        worked = await asyncio.gather(*(migrate.ensure_schema(db) for db in instances))
        assert any(worked)
        for db in instances:
            assert await schema_state(db) is SchemaState.CURRENT
            assert await db.fetch("SELECT COUNT(*) FROM revisions") == [(1,)]
    finally:
        for db in instances:
            await db.close()


def test_two_processes_at_once_on_an_empty_database(empty_place: Callable[[], Place]) -> None:
    dsn = empty_place().dsn
    program = (
        "import sys; from gproxy.storage.dsn import parse_dsn; from gproxy.storage.migrate import upgrade_blocking;"
        "upgrade_blocking(parse_dsn(sys.argv[1]))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, dsn], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in running:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors


async def test_a_newer_database_is_refused_and_left_alone(empty_place: Callable[[], Place]) -> None:
    db = await connect(empty_place().dsn)
    try:
        await migrate.ensure_schema(db)
        await db.execute("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(NewerSchema, match=r"9999.*newer gproxy"):
            await migrate.ensure_schema(db)
        await migrate.upgrade(db.dsn)
        assert await current_version(db) == "9999"
    finally:
        await db.close()


async def test_an_upgrade_that_died_half_way_is_finished_by_the_next(
    empty_place: Callable[[], Place], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite and PostgreSQL have rolled back; MySQL has kept the tables made so far, and they are not in the way."""
    dsn = parse_dsn(empty_place().dsn)
    db = await connect(dsn)
    original = migrate._run

    def die(connection: Any) -> None:
        from alembic import op

        made = 0
        create = op.create_table

        def counted(*args: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made == 9:
                raise RuntimeError("killed")
            return create(*args, **options)

        monkeypatch.setattr(op, "create_table", counted)
        try:
            original(connection)
        finally:
            monkeypatch.setattr(op, "create_table", create)

    try:
        monkeypatch.setattr(migrate, "_run", die)
        with pytest.raises(StorageError, match="killed"):
            await migrate.upgrade(dsn)
        monkeypatch.setattr(migrate, "_run", original)
        assert await schema_state(db) is SchemaState.EMPTY
        assert await migrate.ensure_schema(db)
        assert await db.fetch("SELECT COUNT(*) FROM usages") == [(0,)]
    finally:
        await db.close()


@pytest.mark.parametrize("interrupted", [False, True])
async def test_totals_of_rows_from_before_are_what_they_would_have_become(
    empty_place: Callable[[], Place], interrupted: bool
) -> None:
    db = await connect(empty_place().dsn)
    dice = random.Random(11)
    rows = [
        usage_row(
            at=20_000 * DAY_US + dice.randrange(40) * DAY_US // 4 + dice.randrange(DAY_US // 4),
            route_name=dice.choice([None, "fast", "Fast"]),
            outcome=dice.choice(["complete", "failed", "cancelled"]),
            streamed=dice.random() < 0.5,
            input_tokens=dice.choice([None, 7]),
            cache_write_5m_tokens=dice.choice([None, 3]),
            cost_nano_usd=dice.randrange(2**52),
            **{name: f"{name}-{dice.randrange(3)}" for name in DIMENSIONS[2:-2]},
            key_id=f"key-{dice.randrange(9)}",
        )
        for _ in range(300)
    ]
    everything = sql.select("usage_rollups_by", BY_KEY + ROLLUP_SUMS, f"ORDER BY {', '.join(BY_KEY)}")
    try:
        await migrate.ensure_schema(db)
        await SqlLedger(db).insert_usages(rows, None)
        live = await db.fetch(everything)
        assert {row[1] for row in live} == set(DIMENSIONS)
        await db.execute("UPDATE alembic_version SET version_num = '0010'")
        await db.execute(
            "DELETE FROM usage_rollups_by WHERE value < 'key-3'" if interrupted else "DROP TABLE usage_rollups_by"
        )
        assert await migrate.ensure_schema(db)
        assert await db.fetch(everything) == live
    finally:
        await db.close()


def compared(connection: Connection) -> list[str]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return [str(each) for each in compare_metadata(context, metadata)]


async def differences(dsn: str) -> list[str]:
    """How the database differs from the model, one line each."""
    parsed = parse_dsn(dsn)
    if parsed.engine == "sqlite":
        local = migrate.sqlite_engine(parsed)
        try:
            with local.connect() as connection:
                return compared(connection)
        finally:
            local.dispose()
    server = migrate.server_engine(parsed)
    try:
        async with server.connect() as remote:
            return await remote.run_sync(compared)
    finally:
        await server.dispose()


async def test_the_database_is_what_the_model_says(empty_place: Callable[[], Place]) -> None:
    dsn = empty_place().dsn
    await migrate.upgrade(dsn)
    assert await differences(dsn) == []
    db = await connect(dsn)
    await db.execute("DROP TABLE shutdowns")
    await db.close()
    assert any("shutdowns" in each for each in await differences(dsn))


def test_the_constants_know_every_migration() -> None:
    from pathlib import Path

    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    assert tuple(script.revision for script in reversed(scripts)) == KNOWN


def test_the_columns_used_are_the_columns_there_are() -> None:
    from gproxy.storage import health, providers, usage_values, users

    used = {
        shelf.table: shelf.columns
        for shelf in (
            providers.PROVIDERS,
            providers.CREDENTIALS,
            providers.MODELS,
            providers.ALIASES,
            providers.ROUTES,
            users.USERS,
            users.KEYS,
            users.PERMISSIONS,
            users.FILE_PERMISSIONS,
            users.RATE_LIMITS,
        )
    }
    used |= {"usages": usage_values.COLUMNS, "credential_statuses": health._COLUMNS, "user_quotas": users.QUOTA_COLUMNS}
    for table, columns in used.items():
        assert columns == tuple(column.name for column in metadata.tables[table].columns), table


def test_the_widths_checked_are_the_widths_there_are() -> None:
    from sqlalchemy import BigInteger, Integer, SmallInteger, String, Text

    from gproxy.storage import usage_values as usage
    from gproxy.storage.tables import usages

    for column in usages.columns:
        kind = column.type
        assert (column.name in usage._NULLABLE) is bool(column.nullable), column.name
        if isinstance(kind, String) and not isinstance(kind, Text):
            assert usage._WIDTHS.get(column.name, usage._NAME_WIDTH) == kind.length, column.name
        elif isinstance(kind, Integer) and not isinstance(kind, BigInteger | SmallInteger):
            assert column.name in usage._SMALL


def test_every_sealed_column_is_resealed() -> None:
    """The key change must know each column that holds a sealed value (they are marked in the model)."""
    from pathlib import Path

    from gproxy.storage import tables, vault

    marked = {
        line.split('"')[1] for line in Path(tables.__file__).read_text("utf-8").splitlines() if "# sealed" in line
    }
    assert marked == {column for table, _, column, _ in vault._SEALED if table != "settings"}
