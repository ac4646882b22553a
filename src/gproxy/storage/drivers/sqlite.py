"""SQLite through the standard library, one daemon thread per connection.

A thread of our own and not a library's: it must never keep the process from ending, a hung disk included, and
a statement that outlives its deadline is interrupted or left behind. Times and sizes come from `SqliteOptions`.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from gproxy.storage.drivers import Row
from gproxy.storage.dsn import Dsn, sqlite_uri
from gproxy.storage.errors import (
    Conflict,
    Contention,
    DatabaseUnavailable,
    Poison,
    SchemaMissing,
    StorageError,
)

_T = TypeVar("_T")
_Job = tuple["asyncio.Future[Any]", Callable[[], Any]]
_CLOSE_WAIT: Final = 1.0

# Primary result codes (sqlite.org/rescode.html); the extended code's low byte is the primary one.
_BUSY: Final = frozenset({5, 6, 517})
_DOWN: Final = {
    8: "the database is read-only",
    9: "the statement took too long",
    10: "the disk reported an error",
    11: "the database file is damaged",
    13: "the disk is full",
    14: "the database file cannot be opened",
    15: "the database is locked by another protocol",
    23: "access to the database file was refused",
    26: "the file is not a database",
}
_FULL_SYNC: Final = "FULL"


@dataclass(frozen=True, slots=True)
class SqliteOptions:
    """How a connection is set up. `busy_timeout` in seconds; `synchronous` is `NORMAL` or `FULL`."""

    busy_timeout: float = 5.0
    synchronous: str = "NORMAL"


def mapped(error: BaseException) -> StorageError:
    """The storage error for what the library raised."""
    if isinstance(error, StorageError):
        return error
    if isinstance(error, (OverflowError, UnicodeError, sqlite3.DataError)):
        return Poison(f"a value does not fit: {type(error).__name__}")
    code = getattr(error, "sqlite_errorcode", 0) or 0
    primary = code & 0xFF
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        _, _, constraint = text.partition(": ")
        if "UNIQUE" in text or "FOREIGN KEY" in text or "PRIMARY KEY" in text:
            return Conflict(text, constraint or None)
        return Poison(text)
    if primary in _BUSY:
        return Contention("the database is locked")
    if primary in _DOWN:
        return DatabaseUnavailable(_DOWN[primary])
    if primary == 18:  # SQLITE_TOOBIG
        return Poison("a value is too large")
    if text.startswith(("no such table", "no such column")):
        return SchemaMissing(text)
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
        return DatabaseUnavailable("the connection is closed")
    if isinstance(error, sqlite3.InterfaceError) or "type 'surrogate'" in text or "binding parameter" in text:
        return Poison("a value has a type the database cannot hold")
    return StorageError(f"{type(error).__name__}: {text}")


def create_private(dsn: Dsn) -> None:
    """Make the file when it may be made and is not there, readable by its owner only.

    The -wal and -shm files copy its mode. Raises `DatabaseUnavailable`.
    """
    if dsn.option("mode", "rwc") != "rwc":
        return
    try:
        # Only ever created, never opened: closing any descriptor of a file drops all POSIX locks this process holds
        # on it, and with them those of SQLite's own connections (sqlite.org/howtocorrupt.html, section 2.2).
        os.close(os.open(dsn.path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise DatabaseUnavailable(
            f"cannot open {dsn.path.absolute()}: {(error.strerror or 'error').lower()}"
        ) from error


class SqliteLink:
    """One connection on one daemon thread."""

    def __init__(self, dsn: Dsn, options: SqliteOptions) -> None:
        self._dsn = dsn
        self._options = options
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._db: sqlite3.Connection | None = None
        self._usable = True
        self._thread = threading.Thread(target=self._work, name="gproxy-sqlite", daemon=True)

    @property
    def usable(self) -> bool:
        """False once abandoned."""
        return self._usable

    @classmethod
    async def open(cls, dsn: Dsn, options: SqliteOptions) -> SqliteLink:
        """Open the file (created 0600 unless the mode forbids it). Raises `DatabaseUnavailable`."""
        link = cls(dsn, options)
        link._thread.start()
        try:
            await link._run(link._connect)
        except BaseException:
            link.abandon()
            raise
        return link

    def _connect(self) -> None:
        create_private(self._dsn)
        db = sqlite3.connect(sqlite_uri(self._dsn), uri=True, isolation_level=None, check_same_thread=False)
        self._db = db
        db.execute(f"PRAGMA busy_timeout = {int(self._options.busy_timeout * 1000)}")
        db.execute("PRAGMA foreign_keys = ON")
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # A read-only file or a reader holding the old mode: the database still works without it.
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in {*_BUSY, 8, 14}:
                raise
        full = self._options.synchronous == _FULL_SYNC
        db.execute("PRAGMA synchronous = FULL" if full else "PRAGMA synchronous = NORMAL")

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not self._usable:
                break
            result: Any = None
            failure: BaseException | None = None
            try:
                result = call()
            except BaseException as error:
                failure = error
            try:
                self._loop.call_soon_threadsafe(_settle, future, result, failure)
            except RuntimeError:
                break  # the loop is gone; nobody waits any more
            # References would keep a batch alive until the next job.
            del job, future, call, result, failure
        db, self._db = self._db, None
        if db is not None:
            db.close()  # rolls back what was not committed

    async def _run(self, call: Callable[[], _T]) -> _T:
        if not self._usable:
            raise DatabaseUnavailable("the connection is closed")
        future: asyncio.Future[_T] = self._loop.create_future()
        self._jobs.put((future, call))
        try:
            return await future
        except asyncio.CancelledError:
            # The statement may still be running: whatever it did, this connection's state is unknown now.
            self.abandon()
            raise
        except Exception as error:
            raise mapped(error) from error

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise DatabaseUnavailable("the connection is closed")
        return self._db

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """All rows of a query."""
        return await self._run(lambda: self._open_db().execute(sql, params).fetchall())

    async def execute(self, sql: str, params: Sequence[Any]) -> int:
        """Run a statement; the number of rows it matched."""
        return await self._run(lambda: max(self._open_db().execute(sql, params).rowcount, 0))

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once per row; outside a transaction the whole call is one."""

        def call() -> None:
            db = self._open_db()
            own = not db.in_transaction
            if own:
                db.execute("BEGIN IMMEDIATE")
            try:
                db.executemany(sql, rows)
            except BaseException:
                if own:
                    db.execute("ROLLBACK")
                raise
            if own:
                db.execute("COMMIT")

        await self._run(call)

    async def begin(self) -> None:
        """Take the write lock at once, so that no transaction can fail half-way for want of it."""
        await self.execute("BEGIN IMMEDIATE", ())

    async def commit(self) -> None:
        """Make it stay."""
        await self.execute("COMMIT", ())

    async def rollback(self) -> None:
        """Undo it; a transaction that SQLite has already rolled back itself is fine too."""

        def call() -> None:
            db = self._open_db()
            if db.in_transaction:
                db.execute("ROLLBACK")

        await self._run(call)

    async def close(self) -> None:
        """Close after the jobs before it; a thread that does not answer in a second is left behind."""

        def call() -> None:
            db, self._db = self._db, None
            if db is not None:
                db.close()

        if self._usable:
            with suppress(TimeoutError, StorageError):
                async with asyncio.timeout(_CLOSE_WAIT):
                    await self._run(call)
        self.abandon()

    def abandon(self) -> None:
        """Interrupt what is running and let the thread end by itself."""
        self._usable = False
        db = self._db
        if db is not None:
            with suppress(sqlite3.Error):  # closed in this very moment
                db.interrupt()
        self._jobs.put(None)


def _settle(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if future.done():
        return
    if failure is None:
        future.set_result(result)
    else:
        future.set_exception(failure)
