"""Stored global settings: JSON values by name. Names that begin with `_` are the database's own and never listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gproxy.clock import SystemClock
from gproxy.storage import sql
from gproxy.storage.engine import Session

INTERNAL: Final = "_"
_COLUMNS: Final = ("name", "value", "updated_at")


async def load_settings(db: Session) -> dict[str, Any]:
    """All stored settings."""
    rows = await db.fetch("SELECT name, value FROM settings ORDER BY name")
    return {name: msgspec.json.decode(value) for name, value in rows if not name.startswith(INTERNAL)}


async def put_settings(tx: Session, values: Mapping[str, Any]) -> None:
    """Store settings; None removes one. Inside `changes.config_write`."""
    now = SystemClock.now_us()
    for name, value in values.items():
        assert not name.startswith(INTERNAL), "a setting of the database itself"
        if value is None:
            await tx.execute("DELETE FROM settings WHERE name = ?", (name,))
        else:
            statement = sql.upsert(tx.dialect, "settings", _COLUMNS, ("name",), replace=("value", "updated_at"))
            await tx.execute(statement, (name, msgspec.json.encode(value).decode(), now))


async def put_if_absent(tx: Session, name: str, value: str) -> None:
    """Store one of the database's own values unless there is one."""
    await tx.execute(sql.upsert(tx.dialect, "settings", _COLUMNS, ("name",)), (name, value, SystemClock.now_us()))
