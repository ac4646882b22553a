"""Bring a database's schema up to date, under a lock. The only door to Alembic and SQLAlchemy.

Two instances starting on an empty database: one migrates, the other waits and finds the work done. The work
runs on a thread of its own, so that a start that is cancelled does not wait for it; a migration that dies
half-way is rolled back (SQLite, PostgreSQL) or finished by the next one (MySQL cannot roll back DDL, so every
step there checks what is already done).
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gproxy.storage.dsn import Dsn, parse_dsn, sqlite_uri
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable, StorageError
from gproxy.storage.schema_version import SchemaState, schema_state

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

LOCK_WAIT: Final = 120.0
"""Seconds an instance waits for another one that migrates."""
_LOCK_TIMEOUT: Final = 60
"""Seconds a migration waits for a table that is in use, before it gives up rather than stop everybody else."""
_POLL: Final = 0.1
_ADVISORY_KEY: Final = 0x67_70_72_6F_78_79  # "gproxy"


async def ensure_schema(db: Database) -> bool:
    """Make the schema current; True when there was something to do.

    A current database costs one SELECT. Raises `NewerSchema`, or `DatabaseUnavailable` when the lock cannot be
    had or the database goes away.
    """
    if await schema_state(db) is SchemaState.CURRENT:
        return False
    await upgrade(db.dsn)
    await schema_state(db)
    return True


async def upgrade(dsn: Dsn | str) -> None:
    """Migrate to the newest revision. Raises `StorageError`."""
    parsed = parse_dsn(dsn) if isinstance(dsn, str) else dsn
    await _on_thread(lambda: upgrade_blocking(parsed))


def upgrade_blocking(dsn: Dsn) -> None:
    """The same, on the calling thread."""
    from sqlalchemy.exc import DBAPIError

    try:
        if dsn.engine == "sqlite":
            _upgrade_sqlite(dsn)
        else:
            asyncio.run(_upgrade_server(dsn))
    except DBAPIError as error:
        # SQLAlchemy wraps the driver's own error, for PostgreSQL in one of its own.
        cause = error.orig or error
        fault = _mapped(dsn, cause.__cause__ or cause)
        kind = DatabaseUnavailable if isinstance(fault, DatabaseUnavailable) else StorageError
        raise kind(f"the schema upgrade failed: {error.orig}") from error
    except Exception as error:
        raise _mapped(dsn, error) from error


def _mapped(dsn: Dsn, error: BaseException) -> StorageError:
    """What a connection of ours raised before SQLAlchemy could wrap it."""
    if dsn.engine == "postgres":
        from gproxy.storage.drivers.postgres import mapped
    elif dsn.engine == "mysql":
        from gproxy.storage.drivers.mysql import mapped
    else:
        from gproxy.storage.drivers.sqlite import mapped
    return mapped(error)


def sqlite_engine(dsn: Dsn) -> Engine:
    """A synchronous engine whose transactions really begin when they should, also before DDL."""
    from sqlalchemy import create_engine, event
    from sqlalchemy.pool import NullPool

    engine = create_engine(
        "sqlite://", poolclass=NullPool, creator=lambda: sqlite3.connect(sqlite_uri(dsn), uri=True, timeout=LOCK_WAIT)
    )

    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None  # the driver must not begin or commit by itself

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN EXCLUSIVE")

    return engine


def server_engine(dsn: Dsn) -> AsyncEngine:
    """An engine for PostgreSQL or MySQL without a pool, on the same connections that the gateway itself makes."""
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    if dsn.engine == "postgres":
        from gproxy.storage.drivers import postgres

        return create_async_engine(
            "postgresql+asyncpg://",
            poolclass=NullPool,
            async_creator=lambda: postgres.connection_to(dsn, settings={"lock_timeout": f"{_LOCK_TIMEOUT}s"}),
        )
    from gproxy.storage.drivers import mysql

    # The server's default for waiting on a table somebody uses is a whole day.
    limit = f"SET SESSION lock_wait_timeout = {_LOCK_TIMEOUT}"
    return create_async_engine(
        "mysql+asyncmy://", poolclass=NullPool, async_creator=lambda: mysql.connection_to(dsn, init_command=limit)
    )


def _upgrade_sqlite(dsn: Dsn) -> None:
    from gproxy.storage.drivers.sqlite import create_private

    create_private(dsn)
    engine = sqlite_engine(dsn)
    try:
        # BEGIN EXCLUSIVE is the lock: a second instance waits here and then finds the work done.
        with engine.begin() as connection:
            _run(connection)
    finally:
        engine.dispose()


async def _upgrade_server(dsn: Dsn) -> None:
    engine = server_engine(dsn)
    lock = _PostgresLock() if dsn.engine == "postgres" else _MysqlLock(dsn.database)
    try:
        async with engine.connect() as holder:
            await holder.run_sync(lock.take)
            try:
                async with engine.begin() as connection:
                    await connection.run_sync(_run)
            finally:
                await holder.run_sync(lock.release)
    finally:
        await engine.dispose()


class _PostgresLock:
    """A session-level advisory lock of this database; gone by itself when its holder dies."""

    def take(self, connection: Connection) -> None:
        from sqlalchemy import text

        until = time.monotonic() + LOCK_WAIT
        while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _ADVISORY_KEY}).scalar():
            if time.monotonic() > until:
                raise DatabaseUnavailable("another instance has been upgrading the schema for too long")
            connection.execute(text("SELECT pg_sleep(:pause)"), {"pause": _POLL})

    def release(self, connection: Connection) -> None:
        from sqlalchemy import text

        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_KEY})


class _MysqlLock:
    """A named lock; names are server-wide, so the database's is part of it."""

    def __init__(self, database: str) -> None:
        self._name = "gproxy-" + hashlib.sha256(database.encode()).hexdigest()[:32]

    def take(self, connection: Connection) -> None:
        from sqlalchemy import text

        if not connection.execute(
            text("SELECT GET_LOCK(:name, :wait)"), {"name": self._name, "wait": LOCK_WAIT}
        ).scalar():
            raise DatabaseUnavailable("another instance has been upgrading the schema for too long")

    def release(self, connection: Connection) -> None:
        from sqlalchemy import text

        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": self._name})


def _run(connection: Connection) -> None:
    """Run the migrations that are missing, on this connection. Leaves a newer database alone."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext

    from gproxy.storage.schema_version import HEAD, KNOWN

    version = MigrationContext.configure(connection).get_current_revision()
    if version == HEAD or (version is not None and version not in KNOWN):
        return
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _on_thread(call: Callable[[], None]) -> None:
    """Run on a daemon thread, which never keeps the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        elif isinstance(error, StorageError):
            done.set_exception(error)
        else:
            done.set_exception(StorageError(f"the schema upgrade failed: {type(error).__name__}: {error}"))

    def work() -> None:
        failure: BaseException | None = None
        try:
            call()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop is gone; nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    threading.Thread(target=work, name="gproxy-migrate", daemon=True).start()
    await done
