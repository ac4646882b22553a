"""The door to the database: one small `Database` over three drivers, plain SQL, every call with a deadline.

No SQLAlchemy here: importing it costs more than a whole warm start may take (docs/decisions/0002). What lives
here is connecting, pooling, deadlines and transactions; what the SQL means lives in the aggregates beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from gproxy.storage.drivers import Link, Row
from gproxy.storage.dsn import Dsn, parse_dsn
from gproxy.storage.errors import DatabaseUnavailable, StorageError, TooSlow
from gproxy.storage.pool import Pool
from gproxy.storage.sql import STYLE, Dialect, Params, compiled

LONGEST_STATEMENT: Final = 60.0
"""Seconds: the longest `timeout` a caller may give. The servers themselves stop a statement after it, in case we
are gone and nobody else does."""
_ROLLBACK_WAIT: Final = 1.0
_SQLITE_READERS: Final = 2


class Session(Protocol):
    """What the aggregates ask for: a `Database`, or a transaction of it."""

    @property
    def dialect(self) -> Dialect:
        """Which engine answers."""
        ...

    async def fetch(self, sql: str, params: Params = (), *, timeout: float | None = None) -> list[Row]:
        """All rows of a query."""
        ...

    async def execute(self, sql: str, params: Params = (), *, timeout: float | None = None) -> int:
        """Run a statement; the number of rows it matched."""
        ...

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Run a statement with positional parameters once per row."""
        ...


class Transaction:
    """A `Session` on one connection; made by `Database.transaction`, ended by it."""

    def __init__(self, link: Link, dialect: Dialect, statement_timeout: float) -> None:
        self._link = link
        self._dialect = dialect
        self._timeout = statement_timeout

    @property
    def dialect(self) -> Dialect:
        """Which engine answers."""
        return self._dialect

    async def fetch(self, sql: str, params: Params = (), *, timeout: float | None = None) -> list[Row]:
        """All rows of a query. Raises the errors of `storage.errors`."""
        statement = compiled(sql, STYLE[self._dialect])
        async with _deadline(timeout or self._timeout):
            return await self._link.fetch(statement.text, statement.bind(params))

    async def execute(self, sql: str, params: Params = (), *, timeout: float | None = None) -> int:
        """Run a statement; the number of rows it matched. Raises the errors of `storage.errors`."""
        statement = compiled(sql, STYLE[self._dialect])
        async with _deadline(timeout or self._timeout):
            return await self._link.execute(statement.text, statement.bind(params))

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Run a statement with positional parameters once per row. Raises the errors of `storage.errors`."""
        if not rows:
            return
        statement = compiled(sql, STYLE[self._dialect])
        assert statement.names is None, "executemany takes positional parameters"
        async with _deadline(timeout or self._timeout):
            await self._link.executemany(statement.text, rows)


class Database:
    """Made by `connect`. All methods raise only the errors of `storage.errors`."""

    def __init__(self, dsn: Dsn, reads: Pool, writes: Pool, *, statement_timeout: float) -> None:
        self.dsn: Final = dsn
        self._reads = reads
        self._writes = writes
        self._timeout = statement_timeout

    @property
    def dialect(self) -> Dialect:
        """Which engine answers."""
        return self.dsn.engine

    async def fetch(self, sql: str, params: Params = (), *, timeout: float | None = None) -> list[Row]:
        """All rows of a query. A connection that turns out to be dead is replaced once: reading twice harms nobody."""
        for last in (False, True):
            async with self._reads.lend() as link:
                try:
                    return await Transaction(link, self.dialect, self._timeout).fetch(sql, params, timeout=timeout)
                except TooSlow:
                    raise
                except DatabaseUnavailable:
                    if last or link.usable:
                        raise
            self._reads.forget_idle()
        raise AssertionError("unreachable")

    async def execute(self, sql: str, params: Params = (), *, timeout: float | None = None) -> int:
        """Run one statement as its own transaction; the number of rows it matched."""
        async with self._writes.lend() as link:
            return await Transaction(link, self.dialect, self._timeout).execute(sql, params, timeout=timeout)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]], *, timeout: float | None = None) -> None:
        """Run one statement once per row, all as one transaction."""
        async with self.transaction() as tx:
            await tx.executemany(sql, rows, timeout=timeout)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A writing transaction: committed at the end, rolled back on any exception.

        When the commit itself raises `DatabaseUnavailable`, it is unknown whether it happened; writers that must
        not do things twice are written so that repeating them changes nothing.
        """
        async with self._begun() as link:
            try:
                yield Transaction(link, self.dialect, self._timeout)
            except BaseException:
                await self._undo(link)
                raise
            try:
                async with _deadline(self._timeout):
                    await link.commit()
            except BaseException:
                await self._undo(link)
                raise

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[Link]:
        """A link in a fresh transaction; a pooled connection that died while idle is replaced, once."""
        for last in (False, True):
            async with self._writes.lend() as link:
                try:
                    async with _deadline(self._timeout):
                        await link.begin()
                except TooSlow:
                    raise
                except DatabaseUnavailable:
                    if last or link.usable:
                        raise
                else:
                    yield link
                    return
            self._writes.forget_idle()

    async def _undo(self, link: Link) -> None:
        """Roll back, or drop the connection when that cannot be done quickly."""
        if not link.usable:
            return
        try:
            async with asyncio.timeout(_ROLLBACK_WAIT):
                await link.rollback()
        except asyncio.CancelledError:
            link.abandon()
            raise
        except (TimeoutError, StorageError):
            link.abandon()

    async def close(self) -> None:
        """Close all connections; takes at most about a second, whatever hangs."""
        await self._reads.close()
        if self._writes is not self._reads:
            await self._writes.close()


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TooSlow(f"the database did not answer within {seconds:g} s") from None


async def connect(
    dsn: str | Dsn,
    *,
    pool_size: int = 5,
    acquire_timeout: float = 5.0,
    connect_timeout: float = 5.0,
    statement_timeout: float = 10.0,
    busy_timeout: float = 5.0,
    durability: str = "process",
) -> Database:
    """Open the database and prove that it answers.

    Timeouts are in seconds. `durability="power"` makes SQLite wait for the disk at each commit (the servers have
    their own setting for that). Raises `BadDsn`, or `DatabaseUnavailable` when nobody answers.
    """
    parsed = parse_dsn(dsn) if isinstance(dsn, str) else dsn
    if parsed.engine == "sqlite":
        from gproxy.storage.drivers.sqlite import SqliteLink, SqliteOptions

        options = SqliteOptions(busy_timeout, "FULL" if durability == "power" else "NORMAL")

        async def opener() -> Link:
            return await SqliteLink.open(parsed, options)

        # One writer, because SQLite has one write lock; readers see the last committed state meanwhile.
        writes = Pool(opener, size=1, acquire_timeout=acquire_timeout)
        reads = Pool(opener, size=_SQLITE_READERS, acquire_timeout=acquire_timeout)
    else:
        if parsed.engine == "postgres":
            from gproxy.storage.drivers.postgres import PostgresLink as Driver
        else:
            from gproxy.storage.drivers.mysql import MysqlLink as Driver  # type: ignore[assignment]

        async def opener() -> Link:
            return await Driver.open(
                parsed,
                connect_timeout=connect_timeout,
                lock_timeout=statement_timeout,
                longest_statement=max(LONGEST_STATEMENT, statement_timeout),
            )

        reads = writes = Pool(opener, size=pool_size, acquire_timeout=acquire_timeout)
    database = Database(parsed, reads, writes, statement_timeout=statement_timeout)
    try:
        await database.fetch("SELECT 1")
    except BaseException:
        await database.close()
        raise
    return database
