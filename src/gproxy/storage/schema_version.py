"""Which schema this gproxy works with, known without loading the migration tool."""

from __future__ import annotations

from enum import Enum
from typing import Final

from gproxy.storage.engine import Session
from gproxy.storage.errors import NewerSchema, SchemaMissing

KNOWN: Final = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
"""Every revision there has been, oldest first; a new migration file is a new entry here."""
HEAD: Final = KNOWN[-1]


class SchemaState(Enum):
    """How the database's schema compares with ours."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"


async def current_version(db: Session) -> str | None:
    """The stored revision; None when the database was never set up."""
    try:
        rows = await db.fetch("SELECT version_num FROM alembic_version")
    except SchemaMissing:
        return None
    return str(rows[0][0]) if rows else None


async def schema_state(db: Session) -> SchemaState:
    """Compare with one SELECT. Raises `NewerSchema` for a revision this version has never heard of."""
    version = await current_version(db)
    if version is None:
        return SchemaState.EMPTY
    if version == HEAD:
        return SchemaState.CURRENT
    if version in KNOWN:
        return SchemaState.OLDER
    raise NewerSchema(
        f"the database has schema version {version}, this gproxy knows up to {HEAD}: start a newer gproxy, or "
        "restore the backup made before the upgrade"
    )
