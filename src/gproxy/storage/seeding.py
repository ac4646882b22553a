"""A seed document into the database, in one transaction: all of it or nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gproxy.secret import Secret
from gproxy.seed.schema import Seed, SeedUser
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database, Session
from gproxy.storage.errors import Conflict
from gproxy.storage.sealing import hash_password
from gproxy.storage.settings import put_settings
from gproxy.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Imported:
    """How much came in."""

    providers: int
    credentials: int
    models: int
    users: int
    keys: int


async def is_empty(db: Session) -> bool:
    """Whether nothing is configured yet: no users and no providers."""
    rows = await db.fetch("SELECT 1 WHERE EXISTS (SELECT 1 FROM users) OR EXISTS (SELECT 1 FROM providers)")
    return not rows


async def import_seed(db: Database, vault: Vault, seed: Seed, *, only_if_empty: bool = False) -> Imported | None:
    """Write a checked seed. None when `only_if_empty` and somebody else was first.

    Raises `Conflict` when a name is taken already, `DatabaseUnavailable`; nothing is written then.
    """
    # 30 ms each: before the transaction, and not on the event loop.
    hashes = await asyncio.to_thread(lambda: [_hash(user.password) for user in seed.users])
    async with config_write(db) as tx:
        if only_if_empty and not await is_empty(tx):
            return None
        await put_settings(tx, seed.settings)
        providers = await _providers(tx, vault, seed)
        users = {}
        for user, hashed in zip(seed.users, hashes, strict=True):
            users[user.name] = await _user(tx, vault, user, hashed)
        await _access(tx, seed, users, providers)
    return Imported(
        len(seed.providers),
        sum(len(provider.credentials) for provider in seed.providers),
        len(seed.models),
        len(seed.users),
        sum(len(user.keys) for user in seed.users),
    )


def _hash(password: Secret | None) -> str | None:
    return None if password is None else hash_password(password)


async def _providers(tx: Session, vault: Vault, seed: Seed) -> dict[str, str]:
    ids = {row.name: row.id for row in await p.PROVIDERS.all(tx)}
    for each in seed.providers:
        provider = await p.create_provider(
            tx, name=each.name, channel=each.channel, label=each.label, enabled=each.enabled, settings=each.settings
        )
        ids[each.name] = provider.id
        for credential in each.credentials:
            await p.create_credential(
                tx,
                vault,
                provider_id=provider.id,
                fields=credential.fields,
                label=credential.label,
                enabled=credential.enabled,
                weight=credential.weight,
                rpm=credential.rpm,
                tpm=credential.tpm,
                max_in_flight=credential.max_in_flight,
            )
    for model in seed.models:
        await p.create_model(
            tx,
            provider_id=_id(ids, "provider", model.provider_name),
            model_id=model.model_id,
            display_name=model.display_name,
            enabled=model.enabled,
            pricing=None if model.card is None else model.card.to_fields(),
            max_output_tokens=model.max_output_tokens,
        )
    for alias in seed.aliases:
        await p.create_alias(
            tx,
            alias=alias.alias,
            provider_id=_id(ids, "provider", alias.provider_name),
            model_id=alias.model_id,
            enabled=alias.enabled,
            pricing=None if alias.card is None else alias.card.to_fields(),
        )
    for route in seed.routes:
        await p.create_route(
            tx,
            name=route.name,
            strategy=route.strategy,
            members=route.members,
            enabled=route.enabled,
            hedge_percentile=route.hedge_percentile,
        )
    return ids


async def _user(tx: Session, vault: Vault, user: SeedUser, hashed: str | None) -> str:
    row = await u.create_user(
        tx, vault, name=user.name, password_hash=hashed, is_admin=user.is_admin, enabled=user.enabled
    )
    for key in user.keys:
        await u.create_key(
            tx,
            vault,
            user_id=row.id,
            api_key=key.api_key,
            label=key.label,
            enabled=key.enabled,
            expires_at=key.expires_at,
            on_disconnect=key.on_disconnect,
        )
    return row.id


async def _access(tx: Session, seed: Seed, users: dict[str, str], providers: dict[str, str]) -> None:
    for permission in seed.permissions:
        provider = permission.provider_name
        await u.grant(
            tx,
            user_id=_id(users, "user", permission.user_name),
            provider_id=None if provider is None else _id(providers, "provider", provider),
            model_pattern=permission.model_pattern,
        )
    for files in seed.file_permissions:
        await u.grant_files(
            tx,
            user_id=_id(users, "user", files.user_name),
            provider_id=_id(providers, "provider", files.provider_name),
        )
    for limit in seed.rate_limits:
        await u.limit_rate(
            tx,
            user_id=_id(users, "user", limit.user_name),
            model_pattern=limit.model_pattern,
            rpm=limit.rpm,
            rpd=limit.rpd,
            total_tokens=limit.total_tokens,
            total_tokens_window=limit.total_tokens_window,
        )
    for quota in seed.quotas:
        await u.open_quota(
            tx,
            user_id=_id(users, "user", quota.user_name),
            quota_nano_usd=quota.quota_nano_usd,
            cost_used_nano_usd=quota.cost_used_nano_usd,
        )


def _id(ids: dict[str, str], what: str, name: str) -> str:
    if name not in ids:
        raise Conflict(f"there is no {what} named {name!r}")
    return ids[name]
