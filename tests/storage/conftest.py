"""The same suite on every engine: SQLite always, PostgreSQL and MariaDB when they answer (in CI they must)."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gproxy.secret import Secret
from gproxy.storage.engine import Database, connect
from gproxy.storage.migrate import upgrade
from gproxy.storage.vault import Vault, open_vault
from tests.redis_server import RedisServer, redis_needed

POSTGRES = os.environ.get("GPROXY_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
MYSQL = os.environ.get("GPROXY_TEST_MYSQL", "mysql://root@127.0.0.1:3306/mysql")
TABLES = (
    "audit",
    "config_history",
    "request_logs",
    "request_bodies",
    "request_trails",
    "key_uses",
    "kept_responses",
    "sessions",
    "login_tries",
    "credential_statuses",
    "file_permissions",
    "permissions",
    "rate_limits",
    "route_members",
    "routes",
    "model_aliases",
    "models",
    "credentials",
    "providers",
    "user_keys",
    "users",
    "user_quotas",
    "quota_holds",
    "instances",
    "usages",
    "usage_quarantine",
    "usage_retired",
    "usage_rollups",
    "usage_rollups_by",
    "latency_rollups",
    "credential_history",
    "journal_positions",
    "settings",
    "shutdowns",
)


def _answers(dsn: str) -> bool:
    parts = urlsplit(dsn)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=2):
            return True
    except OSError:
        return False


def _server(engine: str) -> str:
    dsn = POSTGRES if engine == "postgres" else MYSQL
    if not _answers(dsn):
        if os.environ.get("CI") == "true":
            pytest.fail(f"{engine} does not answer; in CI it must")
        pytest.skip(f"no {engine} server")
    return dsn


def on_own_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run to its end on a fresh loop, wherever the caller is."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(coroutine)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


async def _statement(dsn: str, sql: str) -> None:
    db = await connect(dsn)
    try:
        await db.execute(sql)
    finally:
        await db.close()


@dataclass(frozen=True)
class Place:
    """A database of this test session's own."""

    engine: str
    dsn: str


@pytest.fixture(scope="session", params=["sqlite", "postgres", "mysql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def empty_place(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """Makes empty databases on this engine; all are dropped at the end of the session."""
    made: list[tuple[str, str]] = []

    def make() -> Place:
        if engine == "sqlite":
            path: Path = tmp_path_factory.mktemp("db") / "gproxy.db"
            return Place(engine, f"sqlite:///{path}")
        server = _server(engine)
        name = f"gproxy_test_{uuid.uuid4().hex[:12]}"
        on_own_loop(_statement(server, f"CREATE DATABASE {name}"))
        made.append((server, name))
        return Place(engine, f"{server.rpartition('/')[0]}/{name}")

    yield make
    for server, name in made:
        force = " WITH (FORCE)" if engine == "postgres" else ""
        on_own_loop(_statement(server, f"DROP DATABASE {name}{force}"))


@pytest.fixture(scope="session")
def place(empty_place: Callable[[], Place]) -> Place:
    """One migrated database for the session."""
    found: Place = empty_place()
    on_own_loop(upgrade(found.dsn))
    return found


@pytest.fixture
async def db(place: Place) -> AsyncIterator[Database]:
    """The migrated database, emptied before each test."""
    database = await connect(place.dsn)
    async with database.transaction() as tx:
        for table in TABLES:
            await tx.execute(f"DELETE FROM {table}")
        await tx.execute("UPDATE revisions SET revision = 0")
    yield database
    await database.close()


@pytest.fixture
async def vault(db: Database) -> Vault:
    return await open_vault(db, Secret("a test's own secret key"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of the module's own, started by whoever needs it."""
    redis_needed()
    made = RedisServer(tmp_path_factory.mktemp("redis"))
    yield made
    made.stop()
