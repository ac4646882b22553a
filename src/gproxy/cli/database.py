"""The database as a command opens it: what is wrong becomes one clear line, and looking creates nothing."""

from __future__ import annotations

import contextlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from gproxy.cli.terminal import Complaint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gproxy.config.settings import Settings
    from gproxy.storage.dsn import Dsn
    from gproxy.storage.engine import Database


_DRIVERS: Final = {"postgres": "asyncpg", "mysql": "asyncmy"}
"""Optional packages by engine; the engine's name is also the name of the extra that brings it."""


def dsn_of(settings: Settings) -> Dsn:
    """The database's address, understood and with its driver installed."""
    from gproxy.storage.dsn import BadDsn, parse_dsn

    try:
        dsn = parse_dsn(settings.database.reveal())
    except BadDsn as bad:
        raise Complaint(f"--dsn (or GPROXY_DSN): {bad}", code=2) from bad
    driver = _DRIVERS.get(dsn.engine)
    if driver is not None and find_spec(driver) is None:
        raise Complaint(
            f"{dsn.engine} needs the package {driver}: install gproxy[{dsn.engine}], "
            f"or run `make install EXTRAS={dsn.engine}` in a checkout"
        )
    return dsn


@contextlib.asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[Database]:
    """The database of these settings. `create` makes a SQLite file that is not there yet."""
    from gproxy.storage.engine import connect
    from gproxy.storage.errors import StorageError

    dsn = dsn_of(settings)
    if dsn.engine == "sqlite" and not dsn.path.exists() and not create:
        # Looking must not leave an empty file behind.
        raise Complaint(f"{dsn}: there is no such file yet; `gproxy db upgrade` or `gproxy serve` makes it")
    try:
        if dsn.engine == "sqlite":
            dsn.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database = await connect(dsn)
    except (StorageError, OSError) as error:
        raise Complaint(f"the database cannot be used: {error}") from error
    try:
        yield database
    except StorageError as error:
        raise Complaint(str(error)) from error
    finally:
        await database.close()
