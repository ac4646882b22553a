"""Connections, transactions, deadlines, and what is left when something breaks."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from gproxy.ledger.store import StoreUnavailable
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import Conflict, DatabaseUnavailable, Poison, SchemaMissing, StorageError
from gproxy.storage.usage import SqlLedger
from tests.storage.conftest import Place
from tests.storage.relay import Relay
from tests.storage.rows import usage_row

SETTING = "INSERT INTO settings (name, value, updated_at) VALUES (?, ?, ?)"


async def test_rows_counts_and_parameters(db: Database) -> None:
    await db.executemany(SETTING, [("a", "1", 1), ("b", "2%?:x", 2)])
    assert await db.fetch("SELECT name, value FROM settings ORDER BY name") == [("a", "1"), ("b", "2%?:x")]
    assert await db.execute("UPDATE settings SET updated_at = updated_at WHERE name = :n OR name = :n", {"n": "a"}) == 1
    assert await db.execute("UPDATE settings SET updated_at = 2") == 2  # matched, not only changed
    assert await db.execute("DELETE FROM settings WHERE name = ?", ("zzz",)) == 0
    assert await db.fetch("SELECT name FROM settings WHERE value LIKE '2%' AND name = ?", ("b",)) == [("b",)]


async def test_a_transaction_stays_or_goes_as_a_whole(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(SETTING, ("kept", "1", 1))
        assert await tx.fetch("SELECT name FROM settings") == [("kept",)]

    async def fail() -> None:
        async with db.transaction() as tx:
            await tx.execute(SETTING, ("gone", "1", 1))
            raise ZeroDivisionError

    async def collide() -> None:
        async with db.transaction() as tx:
            await tx.execute(SETTING, ("gone too", "1", 1))
            await tx.execute(SETTING, ("kept", "2", 1))

    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(Conflict):
        await collide()
    assert await db.fetch("SELECT name FROM settings") == [("kept",)]


async def test_a_cancelled_transaction_leaves_nothing_and_the_database_usable(db: Database) -> None:
    inside = asyncio.Event()

    async def write() -> None:
        async with db.transaction() as tx:
            await tx.execute(SETTING, ("gone", "1", 1))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(write())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await db.fetch("SELECT name FROM settings") == []
    await db.execute(SETTING, ("next", "1", 1))


async def test_errors_come_out_in_our_own_words(db: Database) -> None:
    await db.execute(SETTING, ("a", "1", 1))
    with pytest.raises(Conflict):
        await db.execute(SETTING, ("a", "1", 1))
    with pytest.raises(Conflict):
        await db.execute(
            "INSERT INTO user_keys (id, user_id, api_key, digest, masked, enabled, created_at, updated_at, version)"
            " VALUES ('k', 'nobody', 'x', 'd', 'm', 1, 1, 1, 1)"
        )
    with pytest.raises(Poison):
        await db.execute(SETTING, ("b", "1", 2**64))
    with pytest.raises(Poison):
        await db.execute(SETTING, ("b", None, 1))
    with pytest.raises(SchemaMissing):
        await db.fetch("SELECT x FROM no_such_table")
    with pytest.raises(StorageError):
        await db.fetch("SELEKT 1")
    assert await db.fetch("SELECT name FROM settings") == [("a",)]


async def test_names_are_compared_letter_by_letter(db: Database) -> None:
    await db.executemany(SETTING, [("Alice", "1", 1), ("alice", "2", 1), ("alïce", "3", 1)])
    assert await db.fetch("SELECT value FROM settings WHERE name = ?", ("alice",)) == [("2",)]


async def test_many_readers_and_writers_share_a_bounded_pool(db: Database) -> None:
    async def one(number: int) -> None:
        await db.execute(SETTING, (f"s{number}", "1", number))
        assert await db.fetch("SELECT updated_at FROM settings WHERE name = ?", (f"s{number}",)) == [(number,)]

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(one(number))
    assert await db.fetch("SELECT COUNT(*) FROM settings") == [(40,)]


async def test_waiting_for_a_connection_ends(place: Place) -> None:
    small = await connect(place.dsn, pool_size=1, acquire_timeout=0.05)
    try:
        async with small.transaction():
            with pytest.raises(DatabaseUnavailable, match="busy"):
                await small.execute("UPDATE revisions SET revision = revision")
        await small.execute("UPDATE revisions SET revision = revision")
    finally:
        await small.close()
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await small.fetch("SELECT 1")


async def test_a_statement_that_takes_too_long_is_given_up(db: Database, engine: str) -> None:
    slow = {
        "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n",
        "postgres": "SELECT pg_sleep(30)",
        "mysql": "SELECT SLEEP(30)",
    }[engine]
    with pytest.raises(DatabaseUnavailable):
        await db.fetch(slow, timeout=0.05)
    assert await db.fetch("SELECT 1") == [(1,)]


async def test_a_writer_that_is_locked_out_is_told_so(db: Database, place: Place) -> None:
    other = await connect(place.dsn, busy_timeout=0.05, statement_timeout=1.0)
    try:
        async with db.transaction() as tx:
            await tx.execute("UPDATE revisions SET revision = 7 WHERE id = 1")
            with pytest.raises(StoreUnavailable):
                await other.execute("UPDATE revisions SET revision = 8 WHERE id = 1")
        await other.execute("UPDATE revisions SET revision = 9 WHERE id = 1")
        assert await db.fetch("SELECT revision FROM revisions") == [(9,)]
    finally:
        await other.close()


async def test_a_server_that_restarts_is_found_again(db: Database, place: Place, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("there is no connection to lose")
    async with Relay(place.dsn) as relay:
        remote = await connect(relay.dsn)
        try:
            await remote.execute(SETTING, ("a", "1", 1))
            relay.cut_all()
            assert await remote.fetch("SELECT name FROM settings") == [("a",)]
            relay.cut_all()
            async with remote.transaction() as tx:
                await tx.execute(SETTING, ("b", "1", 1))
            relay.refuse = True
            relay.cut_all()
            with pytest.raises(DatabaseUnavailable):
                await remote.fetch("SELECT 1")
            relay.refuse = False
            assert await remote.fetch("SELECT COUNT(*) FROM settings") == [(2,)]
        finally:
            await remote.close()


@pytest.mark.parametrize("fate", ["cut", "pass then cut"])
async def test_a_commit_without_an_answer_is_repeated_without_harm(
    db: Database, place: Place, engine: str, fate: Any
) -> None:
    """The connection breaks before COMMIT arrives, or after it was carried out: repeating lands each row once."""
    if engine == "sqlite":
        pytest.skip("there is no connection to lose")
    async with Relay(place.dsn) as relay:
        remote = await connect(relay.dsn)
        try:
            ledger = SqlLedger(remote)
            rows = [usage_row() for _ in range(3)]
            relay.on_client = lambda data: fate if data.rstrip(b"\0").endswith(b"COMMIT") else "pass"
            with pytest.raises(DatabaseUnavailable):
                await ledger.insert_usages(rows, ("j", 1, 1))
            relay.on_client = lambda _: "pass"
            result = await ledger.insert_usages(rows, ("j", 1, 1))
            assert len(result.new_ids) == (3 if fate == "cut" else 0)
            assert await db.fetch("SELECT cost_used_nano_usd FROM user_quotas") == [(3_000,)]
            assert await db.fetch("SELECT COUNT(*) FROM usages") == [(3,)]
        finally:
            await remote.close()


async def test_a_silent_server_costs_the_deadline_and_no_more(place: Place, engine: str) -> None:
    if engine == "sqlite":
        pytest.skip("there is no connection to stall")
    async with Relay(place.dsn) as relay:
        remote = await connect(relay.dsn, statement_timeout=0.2)
        relay.on_client = lambda _: "stall"
        with pytest.raises(DatabaseUnavailable):
            await remote.fetch("SELECT 1")
        await remote.close()


async def test_nobody_at_the_address() -> None:
    for dsn in ("postgres://u@127.0.0.1:1/x", "mysql://u@127.0.0.1:1/x", "sqlite:////proc/nowhere/x.db"):
        with pytest.raises(DatabaseUnavailable):
            await connect(dsn, connect_timeout=2)


class TestSqliteFile:
    async def test_is_private_and_in_wal_mode(self, tmp_path: Path) -> None:
        path = tmp_path / "x.db"
        db = await connect(f"sqlite:///{path}", durability="power")
        await db.execute("CREATE TABLE t (x INTEGER)")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "x.db-wal").stat().st_mode) == 0o600
        assert await db.fetch("PRAGMA journal_mode") == [("wal",)]
        assert await db.fetch("PRAGMA synchronous") == [(2,)]
        assert await db.fetch("PRAGMA foreign_keys") == [(1,)]
        await db.close()

    async def test_rw_does_not_create(self, tmp_path: Path) -> None:
        with pytest.raises(DatabaseUnavailable):
            await connect(f"sqlite:///{tmp_path}/x.db?mode=rw")
        assert not (tmp_path / "x.db").exists()

    async def test_a_file_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "x.db").write_bytes(b"not a database at all" * 100)
        with pytest.raises(DatabaseUnavailable, match="not a database"):
            await connect(f"sqlite:///{tmp_path}/x.db")

    async def test_read_only(self, tmp_path: Path) -> None:
        path = tmp_path / "x.db"
        made = sqlite3.connect(path)
        made.execute("PRAGMA journal_mode = WAL")
        made.execute("CREATE TABLE t (x INTEGER)")
        made.close()
        db = await connect(f"sqlite:///{path}?mode=ro")
        assert await db.fetch("SELECT * FROM t") == []
        with pytest.raises(DatabaseUnavailable, match="read-only"):
            await db.execute("INSERT INTO t VALUES (1)")
        await db.close()

    async def test_a_full_disk(self, tmp_path: Path) -> None:
        db = await connect(f"sqlite:///{tmp_path}/x.db")
        await db.execute("CREATE TABLE t (x TEXT)")
        async with db.transaction() as tx:
            await tx.fetch("PRAGMA max_page_count = 3")
        with pytest.raises(DatabaseUnavailable, match="full"):
            await db.execute("INSERT INTO t VALUES (?)", ("x" * 100_000,))
        assert await db.fetch("SELECT * FROM t") == []
        await db.close()

    def test_a_thread_that_hangs_does_not_keep_the_process(self, tmp_path: Path) -> None:
        """A statement that never ends, then the interpreter's end: it must not wait for the thread."""
        program = textwrap.dedent("""
            import asyncio, sys
            from gproxy.storage.drivers.sqlite import SqliteLink, SqliteOptions
            from gproxy.storage.dsn import parse_dsn
            import threading
            async def main():
                link = await SqliteLink.open(parse_dsn(sys.argv[1]), SqliteOptions())
                hung = threading.Event()
                def hang():
                    hung.set()
                    threading.Event().wait()
                link._jobs.put((asyncio.get_running_loop().create_future(), hang))
                while not hung.is_set():
                    await asyncio.sleep(0)
                await link.close()
                print("left")
            asyncio.run(main())
        """)
        ended = subprocess.run(
            [sys.executable, "-c", program, f"sqlite:///{tmp_path}/x.db"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )
        assert ended.stdout == "left\n"
        assert ended.stderr == ""


def test_a_warm_start_imports_neither_sqlalchemy_nor_foreign_drivers() -> None:
    program = (
        "import sys, gproxy.storage.engine, gproxy.storage.drivers.sqlite, gproxy.storage.migrate,"
        " gproxy.storage.snapshot, gproxy.storage.usage, gproxy.storage.health, gproxy.storage.shutdowns;"
        "print([m for m in ('sqlalchemy', 'alembic', 'asyncpg', 'asyncmy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "[]\n"


async def test_another_process_coming_and_going_does_not_take_our_locks(tmp_path: Path) -> None:
    """Opening a second connection must not drop the file locks of the first (POSIX locks go with any close)."""
    path = tmp_path / "shared.db"
    program = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "db.execute('INSERT INTO notes VALUES (?)', (sys.argv[2],)); db.commit(); db.close()"
    )
    one = await connect(f"sqlite:///{path}")
    await one.execute("CREATE TABLE notes (text TEXT)")
    two = await connect(f"sqlite:///{path}")
    try:
        for number in range(3):
            command = [sys.executable, "-c", program, str(path), f"theirs {number}"]
            await asyncio.to_thread(subprocess.run, command, check=True)
            await one.execute("INSERT INTO notes VALUES (?)", (f"ours {number}",))
            assert len(await two.fetch("SELECT text FROM notes")) == 2 * (number + 1)
        assert (tmp_path / "shared.db-wal").exists()
    finally:
        await one.close()
        await two.close()
