"""MySQL and MariaDB through asyncmy, with server-side prepared statements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

import asyncmy
from asyncmy import errors as driver

from gproxy.storage.drivers import Row, transport_is_gone
from gproxy.storage.dsn import Dsn
from gproxy.storage.errors import (
    Conflict,
    Contention,
    DatabaseUnavailable,
    Poison,
    SchemaMissing,
    StorageError,
)

_CLOSE_WAIT: Final = 1.0

# The driver logs the server's notes one by one, such as MySQL's opinion that VALUES() is old (MariaDB knows no other
# way). In strict mode whatever matters is an error.
logging.getLogger("asyncmy").setLevel(logging.ERROR)
_FOUND_ROWS: Final = 2  # CLIENT_FOUND_ROWS: UPDATE counts the rows it matched, as the other engines do

# Server error numbers (mariadb.com/kb/en/mariadb-error-code-reference, dev.mysql.com/doc/mysql-errors).
_CONFLICT: Final = frozenset({1022, 1062, 1169, 1216, 1217, 1451, 1452, 1586})
_CONTENTION: Final = frozenset({1205, 1213, 1020, 3572})
_POISON: Final = frozenset({1048, 1264, 1265, 1300, 1364, 1366, 1406, 1690, 3819, 4025})
_MISSING: Final = frozenset({1054, 1146})
_UNAVAILABLE: Final = frozenset(
    {
        1021, 1030, 1036, 1037, 1038, 1040, 1041, 1042, 1043, 1044, 1045, 1049, 1053, 1077, 1079, 1080, 1114, 1129,
        1130, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1290, 1317, 1792, 1836, 1927, 1969, 3024, 3032,
        4031,
    }
)  # fmt: skip


def mapped(error: BaseException) -> StorageError:
    """The storage error for what the driver raised."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, driver.MySQLError):
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = str(error.args[1]) if len(error.args) > 1 else str(error)
        if number in _CONFLICT:
            return Conflict(text, text.rpartition("'")[0].rpartition("'")[2] or None)
        if number in _CONTENTION:
            return Contention(text)
        if number in _POISON:
            return Poison(f"a value does not fit its column ({number})")
        if number in _MISSING:
            return SchemaMissing(text)
        if number in _UNAVAILABLE or number == 0 or 2000 <= number < 3000:
            return DatabaseUnavailable(text)
        return StorageError(f"{number}: {text}")
    gone = (OSError, TimeoutError, EOFError, asyncio.IncompleteReadError)
    if isinstance(error, gone) or transport_is_gone(error):
        return DatabaseUnavailable(f"no connection to the database: {type(error).__name__}")
    if isinstance(error, (OverflowError, ValueError)):  # refused by the driver before it was sent
        return Poison(f"a value does not fit: {type(error).__name__}")
    return StorageError(f"{type(error).__name__}: {error}")


async def connection_to(dsn: Dsn, **options: Any) -> Any:
    """The driver's own connection, for the link and for the migration tool. Raises the driver's errors."""
    return await asyncmy.connect(
        host=dsn.host,
        port=dsn.port,
        user=dsn.user,
        password=dsn.password,
        database=dsn.database,
        charset="utf8mb4",
        client_flag=_FOUND_ROWS,
        ssl=_tls(dsn),
        **options,
    )


class MysqlLink:
    """One connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._usable = True

    @property
    def usable(self) -> bool:
        """False once closed by either side or left in an unknown state."""
        return self._usable and bool(self._connection.connected)

    @classmethod
    async def open(
        cls, dsn: Dsn, *, connect_timeout: float, lock_timeout: float, longest_statement: float
    ) -> MysqlLink:
        """Connect and set the session up. Times in seconds. Raises `DatabaseUnavailable`."""
        try:
            async with asyncio.timeout(connect_timeout):
                connection = await connection_to(dsn, autocommit=True, stmt_cache_size=100)
        except Exception as error:
            raise mapped(error) from error
        link = cls(connection)
        try:
            await link._set_up(lock_timeout, longest_statement)
        except BaseException:
            link.abandon()
            raise
        return link

    async def _set_up(self, lock_timeout: float, longest_statement: float) -> None:
        ((version,),) = await self.fetch("SELECT VERSION()", ())
        await self.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", ())
        await self.execute("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'", ())
        await self.execute(f"SET SESSION innodb_lock_wait_timeout = {max(1, int(lock_timeout))}", ())
        if "mariadb" in str(version).lower():
            await self.execute(f"SET SESSION max_statement_time = {float(longest_statement)}", ())
        else:
            await self.execute(f"SET SESSION max_execution_time = {int(longest_statement * 1000)}", ())

    async def _run(self, sql: str, params: Sequence[Any], *, many: bool = False) -> tuple[list[Row], int]:
        cursor = self._connection.cursor()
        done = False
        try:
            if many:
                await cursor.executemany(sql, [tuple(row) for row in params])
            else:
                await cursor.execute(sql, tuple(params) or None)
            rows = [tuple(row) for row in await cursor.fetchall()] if cursor.description else []
            count = cursor.rowcount
            await cursor.close()
            done = True
        except Exception as error:
            fault = mapped(error)
            # Only an answer of the server leaves the connection in a known state.
            done = isinstance(fault, (Conflict, Contention, Poison, SchemaMissing))
            raise fault from error
        finally:
            if not done:
                self.abandon()
        return rows, max(count or 0, 0)

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """All rows of a query."""
        return (await self._run(sql, params))[0]

    async def execute(self, sql: str, params: Sequence[Any]) -> int:
        """Run a statement; the number of rows it matched."""
        return (await self._run(sql, params))[1]

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once per row (in bulk where the server can)."""
        await self._run(sql, rows, many=True)

    async def begin(self) -> None:
        """Begin a transaction."""
        await self.execute("START TRANSACTION", ())

    async def commit(self) -> None:
        """Make it stay."""
        await self.execute("COMMIT", ())

    async def rollback(self) -> None:
        """Undo it."""
        await self.execute("ROLLBACK", ())

    async def close(self) -> None:
        """Leave politely, for at most a second."""
        if self.usable:
            try:
                async with asyncio.timeout(_CLOSE_WAIT):
                    await self._connection.ensure_closed()
            except Exception:
                self._connection.close()
        self._usable = False

    def abandon(self) -> None:
        """Drop the connection now."""
        self._usable = False
        self._connection.close()


def _tls(dsn: Dsn) -> Any:
    """A verifying TLS context when the address asks for TLS (`?ssl=true` or `?ssl-ca=file`), otherwise None."""
    ca = dsn.option("ssl-ca")
    mode = (dsn.option("ssl-mode") or dsn.option("ssl") or "").lower()
    if ca is None and mode in {"", "false", "0", "disabled"}:
        return None
    import ssl

    return ssl.create_default_context(cafile=ca)
