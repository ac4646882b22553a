"""Every configured resource as the control plane reads it: one view per table, rows as plain values.

A row here is what people may see: references come with names, money as decimal USD, JSON decoded, secrets masked.
Writing is in `resource_writing`; who may see what is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

import msgspec

from gproxy.storage import providers as p
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.errors import SealError
from gproxy.storage.proxies import masked_settings
from gproxy.storage.vault import Vault

PublicRow: TypeAlias = dict[str, Any]
Kind = Literal["plain", "flag", "json", "usd", "sealed"]


@dataclass(frozen=True, slots=True)
class Column:
    """One value of a row: its public name, where it comes from, how it is shown."""

    name: str
    source: str
    kind: Kind = "plain"
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How a resource is read. `names` address a row beside its id (several parts are joined by `/`)."""

    tables: str
    columns: tuple[Column, ...]
    names: tuple[str, ...] = ()
    searched: tuple[str, ...] = ()
    key: str = "t.id"

    @property
    def filters(self) -> frozenset[str]:
        """The public names a list can be narrowed by."""
        return frozenset(column.name for column in self.columns if column.filtered)


def _own(*names: str, kind: Kind = "plain", filtered: bool = False) -> tuple[Column, ...]:
    return tuple(Column(name, f"t.{name}", kind, filtered) for name in names)


def _by(*names: str) -> tuple[Column, ...]:
    return _own(*names, filtered=True)


_LIFE: Final = _own("created_at", "updated_at", "version")
_ENABLED: Final = Column("enabled", "t.enabled", "flag", filtered=True)
_USER: Final = (Column("user_id", "t.user_id", filtered=True), Column("user_name", "u.name", filtered=True))
_PROVIDER: Final = (
    Column("provider_id", "t.provider_id", filtered=True),
    Column("provider_name", "p.name", filtered=True),
)
_PRICING: Final = Column("pricing", "t.pricing_json", "json")
_OF_PROVIDER: Final = "JOIN providers p ON p.id = t.provider_id"
_OF_USER: Final = "JOIN users u ON u.id = t.user_id"

VIEWS: Final[Mapping[str, View]] = {
    "providers": View(
        "providers t",
        (
            *_own("id"),
            *_by("name", "channel"),
            *_own("label"),
            _ENABLED,
            Column("settings", "t.settings_json", "json"),
            Column("credential_count", "(SELECT COUNT(*) FROM credentials c WHERE c.provider_id = t.id)"),
            Column("model_count", "(SELECT COUNT(*) FROM models m WHERE m.provider_id = t.id)"),
            *_LIFE,
        ),
        names=("t.name",),
        searched=("t.name", "t.label", "t.channel"),
    ),
    "credentials": View(
        f"credentials t {_OF_PROVIDER}",
        (
            *_own("id"),
            *_PROVIDER,
            *_by("label"),
            _ENABLED,
            *_own("weight", "rpm", "tpm", "max_in_flight"),
            Column("fields", "t.secret_json", "sealed"),
            *_LIFE,
        ),
        searched=("t.label", "p.name"),
    ),
    "models": View(
        f"models t {_OF_PROVIDER}",
        (
            *_own("id"),
            *_PROVIDER,
            *_by("model_id"),
            *_own("display_name"),
            _ENABLED,
            *_own("max_output_tokens"),
            _PRICING,
            *_LIFE,
        ),
        names=("p.name", "t.model_id"),
        searched=("t.model_id", "t.display_name", "p.name"),
    ),
    "aliases": View(
        f"model_aliases t {_OF_PROVIDER}",
        (*_own("id"), *_by("alias"), *_PROVIDER, *_by("model_id"), _ENABLED, _PRICING, *_LIFE),
        names=("t.alias",),
        searched=("t.alias", "t.model_id", "p.name"),
    ),
    "routes": View(
        "routes t",
        (*_own("id"), *_by("name", "strategy"), _ENABLED, *_own("hedge_percentile"), *_LIFE),
        names=("t.name",),
        searched=("t.name",),
    ),
    "users": View(
        "users t",
        (
            *_own("id"),
            *_by("name"),
            Column("is_admin", "t.is_admin", "flag", filtered=True),
            _ENABLED,
            Column("has_password", "CASE WHEN t.password IS NULL THEN 0 ELSE 1 END", "flag"),
            Column("key_count", "(SELECT COUNT(*) FROM user_keys k WHERE k.user_id = t.id)"),
            *_LIFE,
        ),
        names=("t.name",),
        searched=("t.name",),
    ),
    "keys": View(
        f"user_keys t {_OF_USER}",
        (
            *_own("id"),
            *_USER,
            *_own("masked"),
            *_by("label"),
            _ENABLED,
            *_own("expires_at", "on_disconnect"),
            Column("last_used_at", "(SELECT s.last_used_at FROM key_uses s WHERE s.key_id = t.id)"),
            *_LIFE,
        ),
        searched=("t.label", "t.masked", "u.name"),
    ),
    "permissions": View(
        f"permissions t {_OF_USER} LEFT JOIN providers p ON p.id = t.provider_id",
        (*_own("id"), *_USER, *_PROVIDER, *_by("model_pattern"), *_LIFE),
        searched=("t.model_pattern", "u.name", "p.name"),
    ),
    "file_permissions": View(
        f"file_permissions t {_OF_USER} {_OF_PROVIDER}",
        (*_own("id"), *_USER, *_PROVIDER, *_LIFE),
        searched=("u.name", "p.name"),
    ),
    "rate_limits": View(
        f"rate_limits t {_OF_USER}",
        (
            *_own("id"),
            *_USER,
            *_by("model_pattern"),
            *_own("rpm", "rpd", "total_tokens", "total_tokens_window"),
            *_LIFE,
        ),
        searched=("t.model_pattern", "u.name"),
    ),
    "quotas": View(
        f"user_quotas t {_OF_USER}",
        (
            Column("id", "t.user_id"),
            *_USER,
            Column("quota", "t.quota_nano_usd", "usd"),
            Column("cost_used", "t.cost_used_nano_usd", "usd"),
            Column("reserved", "t.reserved_nano_usd", "usd"),
            *_own("updated_at", "version"),
        ),
        names=("u.name",),
        searched=("u.name",),
        key="t.user_id",
    ),
}
"""By the resource's name in the API."""


async def page(
    db: Session,
    vault: Vault,
    resource: str,
    *,
    equal: Mapping[str, Any] | None = None,
    search: str = "",
    after: str = "",
    limit: int = 100,
) -> list[PublicRow]:
    """At most `limit` rows whose id comes after `after`, oldest first.

    `equal` may name the view's filters; `search` is a piece of one of its searched texts, in any case.
    """
    view = VIEWS[resource]
    chosen = sorted((equal or {}).items())
    assert view.filters.issuperset(name for name, _ in chosen), "not a column to filter by"
    sources = {column.name: column.source for column in view.columns}
    conditions = [f"{view.key} > ?"]
    params: list[Any] = [after]
    for name, value in chosen:
        conditions.append(f"{sources[name]} = ?")
        params.append(int(value) if isinstance(value, bool) else value)
    if search:
        likes = [f"LOWER({each}) LIKE ? ESCAPE '!'" for each in view.searched]
        conditions.append(f"({' OR '.join(likes)})")
        params += [_like(search)] * len(view.searched)
    return await _read(
        db, vault, resource, f"WHERE {' AND '.join(conditions)} ORDER BY {view.key} LIMIT ?", params, limit
    )


async def one(db: Session, vault: Vault, resource: str, reference: str) -> PublicRow | None:
    """The row with this id, else the one with this name."""
    view = VIEWS[resource]
    found = await _read(db, vault, resource, f"WHERE {view.key} = ? LIMIT ?", [reference], 1)
    parts = reference.split("/", len(view.names) - 1) if view.names else []
    if not found and parts and len(parts) == len(view.names):
        where = " AND ".join(f"{name} = ?" for name in view.names)
        found = await _read(db, vault, resource, f"WHERE {where} LIMIT ?", parts, 1)
    return found[0] if found else None


async def _read(db: Session, vault: Vault, resource: str, tail: str, params: list[Any], limit: int) -> list[PublicRow]:
    view = VIEWS[resource]
    query = sql.select(view.tables, tuple(column.source for column in view.columns), tail)
    rows = [_shown(view, row, vault) for row in await db.fetch(query, [*params, limit])]
    if resource == "routes" and rows:
        owned = await p.members(db, route_id=rows[0]["id"] if len(rows) == 1 else None)
        for row in rows:
            row["members"] = [
                {"provider_name": m.provider_name, "model_id": m.model_id, "tier": m.tier, "weight": m.weight}
                for m in owned.get(row["id"], ())
            ]
    return rows


def _shown(view: View, row: tuple[Any, ...], vault: Vault) -> PublicRow:
    found: PublicRow = {}
    for column, value in zip(view.columns, row, strict=True):
        match column.kind:
            case "flag":
                found[column.name] = bool(value)
            case "json":
                decoded = None if value is None else msgspec.json.decode(value)
                found[column.name] = masked_settings(decoded) if column.name == "settings" else decoded
            case "usd":
                found[column.name] = usd(value)
            case "sealed":
                found[column.name] = _masked(vault, found["id"], value)
            case "plain":
                found[column.name] = value
    return found


def _masked(vault: Vault, row_id: str, stored: str) -> dict[str, str] | None:
    """The parts of a credential as people may see them; None when they cannot be opened."""
    try:
        clear = vault.sealer.open(stored, table="credentials", row=row_id, column="secret_json")
        return {name: secret.masked() for name, secret in p.opened(clear).items()}
    except (SealError, msgspec.MsgspecError):
        return None


def usd(nano: int | None) -> str | None:
    """Nano-USD as a decimal text, exactly."""
    if nano is None:
        return None
    text = format(Decimal(nano).scaleb(-9), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _like(text: str) -> str:
    escaped = text.lower().replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"
