"""Databases of a test's own on the three engines, and the ledger read from them by plain SQL, without the product."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncmy
import asyncmy.cursors
import asyncpg

from tests.process import rig

ENGINES: Final = ("sqlite", "postgres", "mysql")
SERVERS: Final = ("postgres", "mysql")
POSTGRES: Final = os.environ.get("GPROXY_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
MYSQL: Final = os.environ.get("GPROXY_TEST_MYSQL", "mysql://root@127.0.0.1:3306/mysql")
_PATIENCE: Final = 30.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """One database. `dsn` is the way to it; a fault proxy makes another way (`via`)."""

    engine: str
    dsn: str

    def via(self, port: int) -> Place:
        """The same database through a port of this machine."""
        parts = urlsplit(self.dsn)
        login = parts.netloc.rpartition("@")[0]
        return replace(self, dsn=urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}")))

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        parts = urlsplit(self.dsn)
        return parts.hostname or "", parts.port or 0

    @property
    def path(self) -> Path:
        """The file of a SQLite database."""
        return Path(self.dsn.removeprefix("sqlite:///"))

    async def query(self, sql: str) -> list[Row]:
        """All rows of a statement, as mappings."""
        return (await self.view([sql]))[0]

    async def view(self, statements: list[str]) -> list[list[Row]]:
        """Several queries in one view of the database."""
        if self.engine == "sqlite":
            return await asyncio.to_thread(_sqlite, self.path, statements)
        async with asyncio.timeout(_PATIENCE), self.link() as link:
            return [await link.rows(sql) for sql in statements]

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """A connection to a server, in one transaction; what it locks is free again at the end."""
        link = await Link.open(self)
        try:
            yield link
        finally:
            await link.close()

    async def ledger(self) -> tuple[list[Row], list[Row]]:
        """All of `usages` and all of `user_quotas`."""
        usages, quotas = await self.view(["SELECT * FROM usages ORDER BY at, attempt_id", "SELECT * FROM user_quotas"])
        return usages, quotas

    async def count(self, table: str = "usages") -> int:
        """How many rows a table has."""
        return int((await self.query(f"SELECT COUNT(*) AS n FROM {table}"))[0]["n"])


class Link:
    """One connection to PostgreSQL or MariaDB, in a transaction that is rolled back at the end."""

    def __init__(self, engine: str, raw: Any) -> None:
        self._engine = engine
        self._raw = raw

    @classmethod
    async def open(cls, place: Place, *, transaction: bool = True) -> Link:
        parts = urlsplit(place.dsn)
        name = parts.path.lstrip("/")
        if place.engine == "postgres":
            raw = await asyncpg.connect(
                host=parts.hostname, port=parts.port, user=parts.username, database=name, timeout=_PATIENCE
            )
            if transaction:
                await raw.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        else:
            raw = await asyncmy.connect(
                host=parts.hostname, port=parts.port, user=parts.username, password="", db=name, charset="utf8mb4",
                autocommit=not transaction, connect_timeout=int(_PATIENCE),
            )  # fmt: skip
        return cls(place.engine, raw)

    async def rows(self, sql: str) -> list[Row]:
        if self._engine == "postgres":
            return [dict(record) for record in await self._raw.fetch(sql)]
        async with self._raw.cursor(asyncmy.cursors.DictCursor) as cursor:
            await cursor.execute(sql)
            return list(await cursor.fetchall() or ())

    async def run(self, sql: str) -> None:
        if self._engine == "postgres":
            await self._raw.execute(sql)
        else:
            async with self._raw.cursor() as cursor:
                await cursor.execute(sql)

    async def close(self) -> None:
        if self._engine == "postgres":
            await self._raw.close(timeout=5)
        else:
            self._raw.close()


@asynccontextmanager
async def locked(place: Place) -> AsyncIterator[None]:
    """Nobody else can write to the ledger for as long as this lasts."""
    if place.engine == "sqlite":
        with closing(
            sqlite3.connect(place.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        ) as db:
            await asyncio.to_thread(db.execute, "BEGIN EXCLUSIVE")
            yield
        return
    async with place.link() as link:
        await link.run(
            "LOCK TABLE usages IN ACCESS EXCLUSIVE MODE" if place.engine == "postgres" else "LOCK TABLES usages WRITE"
        )
        yield


@asynccontextmanager
async def database(engine: str, folder: Path, server: str | None = None) -> AsyncIterator[Place]:
    """An empty database, dropped at the end. `server` is another server's address than the machine's."""
    if engine == "sqlite":
        yield Place(engine, f"sqlite:///{folder / 'gproxy.db'}")
        return
    home = Place(engine, server or answering(engine))
    name = f"gproxy_fault_{uuid.uuid4().hex[:12]}"
    await _statement(home, f"CREATE DATABASE {name}")
    try:
        yield replace(home, dsn=f"{home.dsn.rpartition('/')[0]}/{name}")
    finally:
        await _statement(home, f"DROP DATABASE {name}" + (" WITH (FORCE)" if engine == "postgres" else ""))


def answering(engine: str) -> str:
    """The address of the machine's own server; the test is skipped when there is none (and fails in CI)."""
    dsn = POSTGRES if engine == "postgres" else MYSQL
    rig.needed(f"the {engine} server", there=rig.listens(Place(engine, dsn).address))
    return dsn


async def _statement(place: Place, sql: str) -> None:
    link = await Link.open(place, transaction=False)
    try:
        await link.run(sql)
    finally:
        await link.close()


def _sqlite(path: Path, statements: list[str]) -> list[list[Row]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_PATIENCE)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        return [[dict(row) for row in connection.execute(sql)] for sql in statements]


def report_of(row: Row) -> Row:
    """The drain report inside a `shutdowns` row."""
    told: Row = json.loads(row["report_json"])
    return told
