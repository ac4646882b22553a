"""The configured world as a seed document; importing it into an empty database gives the same world.

Every secret is in it in clear (passwords as hashes): whoever receives it must be allowed to.
"""

from __future__ import annotations

import msgspec

from gproxy.ledger.pricing import RateCard
from gproxy.seed.schema import (
    Seed,
    SeedAlias,
    SeedCredential,
    SeedFilePermission,
    SeedKey,
    SeedModel,
    SeedPermission,
    SeedProvider,
    SeedQuota,
    SeedRateLimit,
    SeedRoute,
    SeedUser,
)
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.engine import Session
from gproxy.storage.settings import load_settings
from gproxy.storage.vault import Vault


async def export_seed(db: Session, vault: Vault) -> Seed:
    """Read everything. Raises `SealError` when a secret cannot be opened, `DatabaseUnavailable`."""
    provider_rows = await p.PROVIDERS.all(db)
    providers = {row.id: row.name for row in provider_rows}
    user_rows = await u.USERS.all(db)
    users = {row.id: row.name for row in user_rows}
    pools: dict[str, list[SeedCredential]] = {}
    for credential in await p.CREDENTIALS.all(db):
        pools.setdefault(credential.provider_id, []).append(
            SeedCredential(
                p.reveal_credential(vault, credential),
                credential.label,
                credential.enabled,
                credential.weight,
                credential.rpm,
                credential.tpm,
                credential.max_in_flight,
            )
        )
    keys: dict[str, list[SeedKey]] = {}
    for key in await u.KEYS.all(db):
        keys.setdefault(key.user_id, []).append(
            SeedKey(u.reveal_key(vault, key), key.label, key.enabled, key.expires_at, key.on_disconnect)
        )
    members = await p.members(db)
    return Seed(
        settings=await load_settings(db),
        providers=tuple(
            SeedProvider(
                row.name,
                row.channel,
                row.label,
                row.enabled,
                msgspec.json.decode(row.settings_json),
                tuple(pools.get(row.id, ())),
            )
            for row in provider_rows
        ),
        models=tuple(
            SeedModel(
                providers[row.provider_id],
                row.model_id,
                row.display_name,
                row.enabled,
                _card(row.pricing_json),
                row.max_output_tokens,
            )
            for row in await p.MODELS.all(db)
        ),
        aliases=tuple(
            SeedAlias(row.alias, providers[row.provider_id], row.model_id, row.enabled, _card(row.pricing_json))
            for row in await p.ALIASES.all(db)
        ),
        routes=tuple(
            SeedRoute(row.name, row.strategy, members.get(row.id, ()), row.enabled, row.hedge_percentile)
            for row in await p.ROUTES.all(db)
        ),
        users=tuple(
            SeedUser(row.name, u.stored_password(vault, row), row.is_admin, row.enabled, tuple(keys.get(row.id, ())))
            for row in user_rows
        ),
        permissions=tuple(
            SeedPermission(
                users[row.user_id],
                None if row.provider_id is None else providers[row.provider_id],
                row.model_pattern,
            )
            for row in await u.PERMISSIONS.all(db)
        ),
        file_permissions=tuple(
            SeedFilePermission(users[row.user_id], providers[row.provider_id])
            for row in await u.FILE_PERMISSIONS.all(db)
        ),
        rate_limits=tuple(
            SeedRateLimit(
                users[row.user_id], row.model_pattern, row.rpm, row.rpd, row.total_tokens, row.total_tokens_window
            )
            for row in await u.RATE_LIMITS.all(db)
        ),
        quotas=tuple(
            SeedQuota(users[row.user_id], row.quota_nano_usd, row.cost_used_nano_usd) for row in await u.quotas(db)
        ),
    )


def _card(pricing: str | None) -> RateCard | None:
    return None if pricing is None else RateCard.from_fields(msgspec.json.decode(pricing))
