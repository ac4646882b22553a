"""Creating, changing and deleting any configured resource; the counterpart of `resources`.

Values arrive checked, with references as ids, passwords hashed and secrets as `Secret`. Everything here runs
inside `changes.config_write`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from gproxy.secret import Secret
from gproxy.snapshot import Member
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.engine import Session
from gproxy.storage.proxies import unmasked_settings
from gproxy.storage.sessions import end_sessions_of
from gproxy.storage.shelf import Shelf
from gproxy.storage.vault import Vault

Values: TypeAlias = Mapping[str, Any]
Made: TypeAlias = tuple[str, Secret | None]
"""The new row's id, and its secret when it was generated."""

SHELVES: Final[Mapping[str, Shelf[Any]]] = {
    "providers": p.PROVIDERS,
    "credentials": p.CREDENTIALS,
    "models": p.MODELS,
    "aliases": p.ALIASES,
    "routes": p.ROUTES,
    "users": u.USERS,
    "keys": u.KEYS,
    "permissions": u.PERMISSIONS,
    "file_permissions": u.FILE_PERMISSIONS,
    "rate_limits": u.RATE_LIMITS,
}
"""By the resource's name in the API. Budgets are no shelf: the ledger owns their rows."""


async def create(tx: Session, vault: Vault, resource: str, values: Values) -> Made:
    """Add a row. Raises `Conflict`."""
    return await _CREATORS[resource](tx, vault, values)


async def change(
    tx: Session, vault: Vault, resource: str, row_id: str, values: Values, *, if_version: int | None = None
) -> bool:
    """Set some values; false when there is no such row or it is not at that version any more. Raises `Conflict`."""
    if resource == "quotas":
        return await u.set_quota(tx, row_id, values["quota_nano_usd"], if_version=if_version)
    columns = dict(values)
    if "settings" in columns:
        held = await p.PROVIDERS.get(tx, row_id)
        stored = None if held is None else msgspec.json.decode(held.settings_json)
        columns["settings_json"] = p.dump(unmasked_settings(columns.pop("settings"), stored))
    if "pricing" in columns:
        columns["pricing_json"] = p.prices_json(columns.pop("pricing"))
    if "fields" in columns:
        columns["secret_json"] = p.sealed_fields(vault, row_id, columns.pop("fields"))
    if "password_hash" in columns:
        columns["password"] = u.sealed_password(vault, row_id, columns.pop("password_hash"))
    members = columns.pop("members", None)
    if not await SHELVES[resource].change(tx, row_id, columns, if_version=if_version):
        return False
    if members is not None:
        await p.set_members(tx, row_id, _members(members))
    if resource == "users" and columns.keys() & {"password", "enabled", "is_admin"}:
        await end_sessions_of(tx, row_id)
    return True


async def delete(tx: Session, resource: str, row_id: str, *, if_version: int | None = None) -> bool:
    """Remove a row and what hangs on it; false when it was not there or not at that version any more."""
    match resource:
        case "providers":
            return await p.delete_provider(tx, row_id, if_version=if_version)
        case "credentials":
            return await p.delete_credential(tx, row_id, if_version=if_version)
        case "users":
            return await u.delete_user(tx, row_id, if_version=if_version)
        case "quotas":  # what was spent stays on record; without a limit the user is unlimited
            return await u.set_quota(tx, row_id, None, if_version=if_version)
        case _:
            return await SHELVES[resource].delete(tx, row_id, if_version=if_version)


async def enabled_admins(tx: Session) -> int:
    """How many users can administer."""
    rows = await tx.fetch("SELECT COUNT(*) FROM users WHERE is_admin = 1 AND enabled = 1")
    return int(rows[0][0])


def _members(members: list[Mapping[str, Any]]) -> list[Member]:
    return [Member(m["provider_name"], m["model_id"], m["tier"], m["weight"]) for m in members]


async def _provider(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await p.create_provider(tx, **values)).id, None


async def _credential(tx: Session, vault: Vault, values: Values) -> Made:
    return (await p.create_credential(tx, vault, **values)).id, None


async def _model(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await p.create_model(tx, **values)).id, None


async def _alias(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await p.create_alias(tx, **values)).id, None


async def _route(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await p.create_route(tx, **{**values, "members": _members(values["members"])})).id, None


async def _user(tx: Session, vault: Vault, values: Values) -> Made:
    return (await u.create_user(tx, vault, **values)).id, None


async def _key(tx: Session, vault: Vault, values: Values) -> Made:
    row, secret = await u.create_key(tx, vault, **values)
    return row.id, secret


async def _permission(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await u.grant(tx, **values)).id, None


async def _file_permission(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await u.grant_files(tx, **values)).id, None


async def _rate_limit(tx: Session, _vault: Vault, values: Values) -> Made:
    return (await u.limit_rate(tx, **values)).id, None


async def _quota(tx: Session, _vault: Vault, values: Values) -> Made:
    await u.set_quota(tx, values["user_id"], values["quota_nano_usd"])
    return values["user_id"], None


_CREATORS: Final[Mapping[str, Callable[[Session, Vault, Values], Awaitable[Made]]]] = {
    "providers": _provider,
    "credentials": _credential,
    "models": _model,
    "aliases": _alias,
    "routes": _route,
    "users": _user,
    "keys": _key,
    "permissions": _permission,
    "file_permissions": _file_permission,
    "rate_limits": _rate_limit,
    "quotas": _quota,
}
