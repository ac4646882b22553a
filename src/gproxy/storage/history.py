"""What each configuration write changed, row by row, and the way back.

A change is kept as the rows were and are, in the form in which they are stored (secrets sealed), so that a
rollback puts back exactly what was there, ids included. `shown` is the form for people: secrets never leave here.
Everything runs inside `changes.config_write`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from gproxy.clock import SystemClock
from gproxy.storage import sql
from gproxy.storage import users as u
from gproxy.storage.engine import Session
from gproxy.storage.providers import MEMBER_COLUMNS
from gproxy.storage.proxies import masked_settings
from gproxy.storage.resource_writing import SHELVES
from gproxy.storage.sessions import end_sessions_of

KEPT: Final = 10_000
"""Revisions that can be gone back over; older ones are dropped."""

Key: TypeAlias = tuple[str, ...]
"""A table's name, then the row's primary key as text."""
Stored: TypeAlias = dict[str, Any] | None
Image: TypeAlias = dict[Key, dict[str, Any]]
Changes: TypeAlias = dict[Key, tuple[Stored, Stored]]
"""Row → how it was, and how it is; None: it was not there."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A table whose rows are configuration."""

    resource: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ("id",)


_QUOTAS: Final = "user_quotas"
# Parents before children: the order in which rows are put back.
_TABLES: Final[Mapping[str, _Kept]] = {
    **{
        SHELVES[name].table: _Kept(name, SHELVES[name].columns)
        for name in ("users", "providers", "keys", "credentials", "models", "aliases", "routes")
    },
    "route_members": _Kept("routes", MEMBER_COLUMNS, ("route_id", "ordinal")),
    **{
        SHELVES[name].table: _Kept(name, SHELVES[name].columns)
        for name in ("permissions", "file_permissions", "rate_limits")
    },
    "settings": _Kept("settings", ("name", "value", "updated_at"), ("name",)),
    # What was spent is the ledger's; only the budget is configuration.
    _QUOTAS: _Kept("quotas", ("user_id", "quota_nano_usd"), ("user_id",)),
}
_ORDER: Final = {table: number for number, table in enumerate(_TABLES)}
_OWNED: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "users": tuple(
        (table, "user_id") for table in ("user_keys", "permissions", "file_permissions", "rate_limits", _QUOTAS)
    ),
    "providers": tuple(
        (table, "provider_id")
        for table in ("credentials", "models", "model_aliases", "route_members", "permissions", "file_permissions")
    ),
}
"""What the database removes together with a row."""
_SECRET: Final = frozenset({"password", "api_key", "digest", "secret_json"})
_LIFE: Final = frozenset({"created_at", "updated_at", "version"})
_NAMES: Final = ("name", "alias", "model_id", "label", "masked", "model_pattern")
_HIDDEN: Final = "…"


@dataclass(frozen=True, slots=True)
class Revision:
    """One configuration write."""

    revision: int
    at: int
    actor_id: str | None
    actor_name: str
    address: str | None
    action: str
    row_count: int


_COLUMNS: Final = ("revision", "at", "actor_id", "actor_name", "address", "action", "row_count")


class CannotGoBack(Exception):  # noqa: N818 - the state it names is what callers ask for
    """The revision is older than what is kept."""


async def image(db: Session, resource: str, row_id: str, *, owned: bool = False) -> Image:
    """A row as it is stored; `owned`: with what a deletion would take along."""
    if resource == "quotas":
        return await _rows(db, _QUOTAS, "user_id", row_id)
    if resource == "settings":
        return await _rows(db, "settings", "name", row_id)
    found = await _rows(db, SHELVES[resource].table, "id", row_id)
    if resource == "routes":
        found |= await _rows(db, "route_members", "route_id", row_id)
    if owned:
        for table, column in _OWNED.get(resource, ()):
            found |= await _rows(db, table, column, row_id)
    return found


async def whole_image(db: Session) -> Image:
    """Every configured row."""
    found: Image = {}
    for table in _TABLES:
        found |= await _rows(db, table, "", None)
    return {key: row for key, row in found.items() if not (key[0] == "settings" and key[1].startswith("_"))}


async def _rows(db: Session, table: str, column: str, value: str | None) -> Image:
    kept = _TABLES[table]
    where, params = (f"WHERE {column} = ?", [value]) if column else ("", [])
    rows = [
        dict(zip(kept.columns, row, strict=True))
        for row in await db.fetch(sql.select(table, kept.columns, where), params)
    ]
    return {(table, *(str(row[name]) for name in kept.key)): row for row in rows}


def compared(before: Image, after: Image) -> Changes:
    """The rows that differ."""
    keys = [*before, *(key for key in after if key not in before)]
    return {key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def joined(first: Changes, then: Changes) -> Changes:
    """Two changes one after the other, as one."""
    found = dict(first)
    for key, (before, after) in then.items():
        found[key] = (found[key][0] if key in found else before, after)
    return {key: (before, after) for key, (before, after) in found.items() if before != after}


async def keep(
    tx: Session,
    revision: int,
    changes: Changes,
    *,
    actor_id: str | None,
    actor_name: str,
    address: str | None,
    action: str,
) -> None:
    """Write down what a revision changed, and drop what is too old."""
    stored = [[*key, {"before": before, "after": after}] for key, (before, after) in changes.items()]
    values = (revision, SystemClock.now_us(), actor_id, actor_name, address, action, len(changes))
    await tx.execute(
        sql.insert("config_history", (*_COLUMNS, "changes_json")), (*values, msgspec.json.encode(stored).decode())
    )
    await tx.execute(sql.delete("config_history", "revision <= ?"), (revision - KEPT,))


async def revisions(db: Session, *, before: int, limit: int) -> list[Revision]:
    """Writes before that revision, the latest first."""
    rows = await db.fetch(
        sql.select("config_history", _COLUMNS, "WHERE revision < ? ORDER BY revision DESC LIMIT ?"), (before, limit)
    )
    return [Revision(*row) for row in rows]


async def changes_of(db: Session, revision: int) -> Changes | None:
    """What a revision changed; None when it is not on record."""
    rows = await db.fetch("SELECT changes_json FROM config_history WHERE revision = ?", (revision,))
    return _read(rows[0][0]) if rows else None


def _read(text: str) -> Changes:
    return {tuple(key): (each["before"], each["after"]) for *key, each in msgspec.json.decode(text)}


async def go_back(tx: Session, revision: int) -> Changes:
    """Make every recorded row what it was after `revision`; what that changed. Raises `CannotGoBack`, `Conflict`."""
    ((oldest,),) = await tx.fetch("SELECT MIN(revision) FROM config_history")
    if oldest is None or revision < oldest - 1:
        raise CannotGoBack
    wanted: dict[Key, Stored] = {}
    for (text,) in await tx.fetch(
        "SELECT changes_json FROM config_history WHERE revision > ? ORDER BY revision DESC", (revision,)
    ):
        for key, (before, _) in _read(text).items():
            wanted[key] = before  # the oldest change after the revision has the last word
    held = {key: await _held(tx, key) for key in wanted}
    differing = sorted(
        (key for key in wanted if _plain(held[key]) != _plain(wanted[key])), key=lambda key: _ORDER[key[0]]
    )
    for key in reversed(differing):
        if wanted[key] is None:
            await _remove(tx, key)
    for key in differing:
        row = wanted[key]
        if row is not None:
            await _put(tx, key, row, held[key])
    for key in differing:
        if key[0] == "users" and wanted[key] is not None:
            await end_sessions_of(tx, key[1])
    return {key: (held[key], await _held(tx, key)) for key in differing}


def _plain(row: Stored) -> Stored:
    """What counts when rows are compared: a budget that is unlimited is as good as none."""
    if row is None or (row.keys() == {"user_id", "quota_nano_usd"} and row["quota_nano_usd"] is None):
        return None
    return {name: value for name, value in row.items() if name not in _LIFE}


def _where(key: Key) -> tuple[str, tuple[Any, ...]]:
    kept = _TABLES[key[0]]
    values = tuple(int(value) if name == "ordinal" else value for name, value in zip(kept.key, key[1:], strict=True))
    return " AND ".join(f"{name} = ?" for name in kept.key), values


async def _held(tx: Session, key: Key) -> Stored:
    columns = _TABLES[key[0]].columns
    where, params = _where(key)
    rows = await tx.fetch(sql.select(key[0], columns, f"WHERE {where}"), params)
    return dict(zip(columns, rows[0], strict=True)) if rows else None


async def _remove(tx: Session, key: Key) -> None:
    if key[0] == _QUOTAS:
        await u.set_quota(tx, key[1], None)
        return
    where, params = _where(key)
    await tx.execute(sql.delete(key[0], where), params)


async def _put(tx: Session, key: Key, row: dict[str, Any], held: Stored) -> None:
    if key[0] == _QUOTAS:
        await u.set_quota(tx, key[1], row["quota_nano_usd"])
        return
    values = {**row}
    if "updated_at" in values:
        values["updated_at"] = SystemClock.now_us()
    if "version" in values:  # an ETag never comes back with another content
        values["version"] = max(row["version"], 0 if held is None else held["version"]) + 1
    if held is None:
        await tx.execute(sql.insert(key[0], tuple(values)), tuple(values.values()))
        return
    where, params = _where(key)
    await tx.execute(sql.update(key[0], tuple(values), where), (*values.values(), *params))


def shown(changes: Changes) -> list[dict[str, Any]]:
    """The changes for people: an update tells only what differs, secrets are dots."""
    return [_shown(key, before, after) for key, (before, after) in changes.items()]


def _shown(key: Key, before: Stored, after: Stored) -> dict[str, Any]:
    named = after or before or {}
    name = next((named[column] for column in _NAMES if named.get(column)), "/".join(key[1:]))
    differing = [
        column
        for column in _TABLES[key[0]].columns
        if column not in _LIFE and (before is None or after is None or before[column] != after[column])
    ]
    return {
        "resource": "route_members" if key[0] == "route_members" else _TABLES[key[0]].resource,
        "id": "/".join(key[1:]),
        "name": str(name),
        "action": "create" if before is None else "delete" if after is None else "update",
        "before": _told(before, differing),
        "after": _told(after, differing),
    }


def _told(row: Stored, columns: list[str]) -> dict[str, Any] | None:
    if row is None:
        return None
    found: dict[str, Any] = {}
    for column in columns:
        value = row[column]
        if column in _SECRET:
            found[column.removesuffix("_json")] = None if value is None else _HIDDEN
        elif column.endswith("_json"):
            decoded = None if value is None else msgspec.json.decode(value)
            found[column.removesuffix("_json")] = masked_settings(decoded) if column == "settings_json" else decoded
        else:
            found[column] = value
    return found
