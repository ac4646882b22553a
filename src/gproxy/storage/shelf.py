"""Rows as frozen records: the reading and writing that every configured table has in common.

A shelf is made from a dataclass whose fields are the table's columns. What a column means (sealed, priced,
unique together with another) is the aggregates' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar, cast

from gproxy.clock import SystemClock
from gproxy.storage import sql
from gproxy.storage.engine import Session

R = TypeVar("R")
_OWN = frozenset({"id", "created_at", "updated_at", "version"})


class Shelf(Generic[R]):
    """One table with an `id`, and `created_at`, `updated_at`, `version`."""

    def __init__(self, table: str, kind: type[R]) -> None:
        self.table = table
        self._kind = cast("Any", kind)
        described = fields(self._kind)
        self.columns = tuple(each.name for each in described)
        self._flags = tuple(at for at, each in enumerate(described) if each.type in {"bool", bool})

    def record(self, row: tuple[Any, ...]) -> R:
        """A row as a record."""
        if self._flags:
            values = list(row)
            for at in self._flags:
                values[at] = bool(values[at])
            return self._kind(*values)  # type: ignore[no-any-return]
        return self._kind(*row)  # type: ignore[no-any-return]

    async def get(self, db: Session, row_id: str) -> R | None:
        """The row with this id."""
        return await self.find(db, id=row_id)

    async def find(self, db: Session, **equal: Any) -> R | None:
        """The first row with these values."""
        found = await self.page(db, where=equal, limit=1)
        return found[0] if found else None

    async def all(self, db: Session, **equal: Any) -> list[R]:
        """All rows with these values, oldest first."""
        where, params = self._where(equal)
        return [self.record(row) for row in await db.fetch(self._select(f"{where} ORDER BY id"), params)]

    async def page(
        self, db: Session, *, where: Mapping[str, Any] | None = None, after: str = "", limit: int = 100
    ) -> list[R]:
        """At most `limit` rows whose id comes after `after`, oldest first (ids are time-ordered)."""
        condition, params = self._where(where or {})
        condition = f"{condition} AND id > ?" if condition else "WHERE id > ?"
        rows = await db.fetch(self._select(f"{condition} ORDER BY id LIMIT ?"), [*params, after, limit])
        return [self.record(row) for row in rows]

    async def insert(self, tx: Session, record: R) -> None:
        """Add a row. Raises `Conflict` when a unique value is taken."""
        values = tuple(_plain(getattr(record, column)) for column in self.columns)
        await tx.execute(sql.insert(self.table, self.columns), values)

    async def change(
        self, tx: Session, row_id: str, changes: Mapping[str, Any], *, if_version: int | None = None
    ) -> bool:
        """Set some columns; false when there is no such row or it is not at `if_version` any more."""
        names = tuple(sorted(changes))
        unknown = set(names) - (set(self.columns) - _OWN)
        assert not unknown, f"{self.table} has no column {unknown} to change"
        where, at_version = _at(row_id, if_version)
        values = [*(_plain(changes[name]) for name in names), SystemClock.now_us(), *at_version]
        return await tx.execute(sql.bump(self.table, names, where), values) == 1

    async def delete(self, tx: Session, row_id: str, *, if_version: int | None = None) -> bool:
        """Remove a row; false when it was not there, or not at `if_version` any more."""
        where, at_version = _at(row_id, if_version)
        return await tx.execute(sql.delete(self.table, where), at_version) == 1

    def _select(self, tail: str) -> str:
        return sql.select(self.table, self.columns, tail)

    def _where(self, equal: Mapping[str, Any]) -> tuple[str, list[Any]]:
        unknown = set(equal) - set(self.columns)
        assert not unknown, f"{self.table} has no column {unknown}"
        parts = [f"{name} IS NULL" if value is None else f"{name} = ?" for name, value in equal.items()]
        params = [_plain(value) for value in equal.values() if value is not None]
        return (f"WHERE {' AND '.join(parts)}" if parts else ""), params


def _at(row_id: str, version: int | None) -> tuple[str, list[Any]]:
    return ("id = ?", [row_id]) if version is None else ("id = ? AND version = ?", [row_id, version])


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def birth() -> tuple[int, int, int]:
    """The last three columns of a new row: `created_at`, `updated_at`, `version`."""
    now = SystemClock.now_us()
    return now, now, 1
