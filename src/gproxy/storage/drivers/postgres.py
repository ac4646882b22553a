"""PostgreSQL through asyncpg."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from gproxy.storage.drivers import Row, transport_is_gone
from gproxy.storage.dsn import BadDsn, Dsn
from gproxy.storage.errors import (
    Conflict,
    Contention,
    DatabaseUnavailable,
    Poison,
    SchemaMissing,
    StorageError,
)

_T = TypeVar("_T")
_CLOSE_WAIT: Final = 1.0

# SQLSTATE (postgresql.org/docs/current/errcodes-appendix.html). Whole classes first, then single codes.
_UNAVAILABLE_CLASSES: Final = frozenset({"08", "28", "3D", "53", "57", "58", "XX"})
_CONTENTION: Final = frozenset({"40001", "40P01", "55P03"})
_CONFLICT: Final = frozenset({"23505", "23503", "23P01"})
_POISON: Final = frozenset({"23502", "23514", "54000"})
_MISSING: Final = frozenset({"42P01", "42703"})
_READ_ONLY: Final = frozenset({"25006"})


def mapped(error: BaseException) -> StorageError:
    """The storage error for what the driver raised."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, asyncpg.DataError) and not getattr(error, "sqlstate", None):
        return Poison("a value does not fit its column")  # refused by the driver before it was sent
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        text = str(error)
        if state in _CONFLICT:
            return Conflict(text, getattr(error, "constraint_name", None))
        if state in _CONTENTION:
            return Contention(text)
        if state in _MISSING:
            return SchemaMissing(text)
        if state in _POISON or state.startswith("22"):
            return Poison(f"a value does not fit its column ({state})")
        if state[:2] in _UNAVAILABLE_CLASSES or state in _READ_ONLY:
            return DatabaseUnavailable(text)
        return StorageError(f"{state}: {text}")
    if isinstance(error, (OSError, TimeoutError, asyncpg.InterfaceError)) or transport_is_gone(error):
        return DatabaseUnavailable(f"no connection to the database: {type(error).__name__}")
    if isinstance(error, (OverflowError, UnicodeError)):
        return Poison(f"a value does not fit: {type(error).__name__}")
    return StorageError(f"{type(error).__name__}: {error}")


async def connection_to(dsn: Dsn, *, connect_timeout: float = 10.0, settings: Mapping[str, str] | None = None) -> Any:
    """The driver's own connection, for the link and for the migration tool. Raises the driver's errors.

    Of the address's options `sslmode` and `statement_cache_size` (0 behind pgbouncer) are the driver's; all others
    are server settings.
    """
    options = dict(dsn.options)
    cache = options.pop("statement_cache_size", "100")
    if not cache.isdigit():
        raise BadDsn("statement_cache_size must be a number")
    ssl = options.pop("sslmode", options.pop("ssl", None))
    return await asyncpg.connect(
        host=dsn.host,
        port=dsn.port,
        user=dsn.user or None,
        password=dsn.password or None,
        database=dsn.database,
        ssl=ssl,
        timeout=connect_timeout,
        statement_cache_size=int(cache),
        server_settings={"application_name": "gproxy", "timezone": "UTC", **(settings or {}), **options},
    )


class PostgresLink:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._abandoned = False

    @property
    def usable(self) -> bool:
        """False once closed by either side."""
        return not self._abandoned and not self._connection.is_closed()

    @classmethod
    async def open(
        cls, dsn: Dsn, *, connect_timeout: float, lock_timeout: float, longest_statement: float
    ) -> PostgresLink:
        """Connect. Times in seconds. Raises `DatabaseUnavailable`."""
        settings = {
            "statement_timeout": str(int(longest_statement * 1000)),
            "lock_timeout": str(int(lock_timeout * 1000)),
            "idle_in_transaction_session_timeout": str(int(longest_statement * 1000)),
        }
        try:
            connection = await connection_to(dsn, connect_timeout=connect_timeout, settings=settings)
        except Exception as error:
            raise mapped(error) from error
        return cls(connection)

    async def _run(self, call: Awaitable[_T]) -> _T:
        try:
            return await call
        except asyncio.CancelledError:
            self.abandon()
            raise
        except Exception as error:
            raise mapped(error) from error

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """All rows of a query."""
        return [tuple(row) for row in await self._run(self._connection.fetch(sql, *params))]

    async def execute(self, sql: str, params: Sequence[Any]) -> int:
        """Run a statement; the number of rows it matched (the last word of the command tag)."""
        tag: str = await self._run(self._connection.execute(sql, *params))
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once per row, pipelined in one implicit transaction."""
        await self._run(self._connection.executemany(sql, rows))

    async def begin(self) -> None:
        """Begin a transaction (READ COMMITTED: each statement sees what was committed before it)."""
        await self._run(self._connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED"))

    async def commit(self) -> None:
        """Make it stay."""
        await self._run(self._connection.execute("COMMIT"))

    async def rollback(self) -> None:
        """Undo it."""
        await self._run(self._connection.execute("ROLLBACK"))

    async def close(self) -> None:
        """Leave politely, for at most a second."""
        if self.usable:
            try:
                await self._connection.close(timeout=_CLOSE_WAIT)
            except Exception:
                self._connection.terminate()
        self._abandoned = True

    def abandon(self) -> None:
        """Drop the connection now."""
        self._abandoned = True
        if not self._connection.is_closed():
            self._connection.terminate()
