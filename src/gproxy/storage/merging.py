"""A seed document into a database that holds something already: rows are found by name, changed or made.

Nothing is deleted. Credentials are found by their secrets or label, keys by their digest. Runs inside
`changes.config_write`; passwords arrive hashed where they are new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gproxy.secret import Secret
from gproxy.seed.schema import Seed, SeedCredential, SeedKey, SeedProvider, SeedQuota, SeedUser
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.engine import Session
from gproxy.storage.errors import Conflict
from gproxy.storage.resource_writing import SHELVES, change
from gproxy.storage.settings import load_settings, put_settings
from gproxy.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class Merged:
    """One row of the document: what became of it. `fields` are those that differed."""

    table: str
    name: str
    row_id: str | None
    action: str
    fields: tuple[str, ...] = ()


@dataclass(slots=True)
class Merger:
    """One import. `hashes` are the PHC strings of the users' new passwords by name; without one, the old stays."""

    tx: Session
    vault: Vault
    hashes: Mapping[str, str]
    merged: list[Merged] = field(default_factory=list)
    _providers: dict[str, str] = field(default_factory=dict)
    _users: dict[str, str] = field(default_factory=dict)

    async def merge(self, seed: Seed) -> list[Merged]:
        """Bring everything in. Raises `Conflict`."""
        await self._settings(seed)
        for provider in seed.providers:
            await self._provider(provider)
        for model in seed.models:
            owner = self._providers[model.provider_name]
            wanted = {
                "display_name": model.display_name,
                "enabled": model.enabled,
                "pricing": None if model.card is None else model.card.to_fields(),
                "max_output_tokens": model.max_output_tokens,
            }
            key = {"provider_id": owner, "model_id": model.model_id}
            name = f"{model.provider_name}/{model.model_id}"
            if not await self._known("models", name, key, wanted):
                row = await p.create_model(self.tx, **key, **wanted)  # type: ignore[arg-type]
                self._made("models", name, row.id)
        for alias in seed.aliases:
            wanted = {
                "provider_id": self._providers[alias.provider_name],
                "model_id": alias.model_id,
                "enabled": alias.enabled,
                "pricing": None if alias.card is None else alias.card.to_fields(),
            }
            if not await self._known("aliases", alias.alias, {"alias": alias.alias}, wanted):
                self._made("aliases", alias.alias, (await p.create_alias(self.tx, alias=alias.alias, **wanted)).id)  # type: ignore[arg-type]
        await self._routes(seed)
        for user in seed.users:
            await self._user(user)
        await self._access(seed)
        for quota in seed.quotas:
            await self._quota(quota)
        return self.merged

    def _made(self, table: str, name: str, row_id: str | None) -> None:
        self.merged.append(Merged(table, name, row_id, "create"))

    def _changed(self, table: str, name: str, row_id: str | None, fields: tuple[str, ...]) -> None:
        self.merged.append(Merged(table, name, row_id, "update" if fields else "same", fields))

    async def _known(self, table: str, name: str, key: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
        """Bring a row that is there up to date; false when it is not there."""
        row = await SHELVES[table].find(self.tx, **key)
        if row is None:
            return False
        await self._update(table, name, row, wanted)
        return True

    async def _update(self, table: str, name: str, row: Any, wanted: Mapping[str, Any]) -> None:
        differing = {column: value for column, value in wanted.items() if _stored(row, column) != value}
        if differing:
            await change(self.tx, self.vault, table, row.id, differing)
        self._changed(table, name, row.id, tuple(sorted(differing)))

    async def _settings(self, seed: Seed) -> None:
        before = await load_settings(self.tx)
        differing = {name: value for name, value in seed.settings.items() if before.get(name) != value}
        if differing:
            await put_settings(self.tx, differing)
        for name in seed.settings:
            if name not in differing:
                self._changed("settings", name, name, ())
            elif name in before:
                self._changed("settings", name, name, ("value",))
            else:
                self._made("settings", name, name)

    async def _provider(self, provider: SeedProvider) -> None:
        row = await p.PROVIDERS.find(self.tx, name=provider.name)
        if row is None:
            row = await p.create_provider(
                self.tx,
                name=provider.name,
                channel=provider.channel,
                label=provider.label,
                enabled=provider.enabled,
                settings=provider.settings,
            )
            self._made("providers", provider.name, row.id)
        elif row.channel != provider.channel:
            raise Conflict(f"the provider {provider.name!r} is of channel {row.channel}, which cannot change")
        else:
            wanted = {"label": provider.label, "enabled": provider.enabled, "settings": dict(provider.settings)}
            await self._update("providers", provider.name, row, wanted)
        self._providers[provider.name] = row.id
        pool = [
            (held, p.reveal_credential(self.vault, held))
            for held in await p.CREDENTIALS.all(self.tx, provider_id=row.id)
        ]
        for number, credential in enumerate(provider.credentials, start=1):
            await self._credential(f"{provider.name} number {number}", row.id, credential, pool)

    async def _credential(
        self,
        name: str,
        provider_id: str,
        credential: SeedCredential,
        pool: list[tuple[p.CredentialRow, dict[str, Secret]]],
    ) -> None:
        fields = dict(credential.fields)
        found = next((pair for pair in pool if pair[1] == fields), None)
        if found is None and credential.label is not None:
            found = next((pair for pair in pool if pair[0].label == credential.label), None)
        if found is None:
            row = await p.create_credential(
                self.tx,
                self.vault,
                provider_id=provider_id,
                fields=fields,
                label=credential.label,
                enabled=credential.enabled,
                weight=credential.weight,
                rpm=credential.rpm,
                tpm=credential.tpm,
                max_in_flight=credential.max_in_flight,
            )
            self._made("credentials", name, row.id)
            return
        pool.remove(found)  # two equal credentials of a document are two rows
        names = ("label", "enabled", "weight", "rpm", "tpm", "max_in_flight")
        wanted: dict[str, Any] = {name: getattr(credential, name) for name in names}
        if found[1] != fields:
            wanted["fields"] = fields
        await self._update("credentials", name, found[0], wanted)

    async def _routes(self, seed: Seed) -> None:
        for route in seed.routes:
            row = await p.ROUTES.find(self.tx, name=route.name)
            if row is None:
                row = await p.create_route(
                    self.tx,
                    name=route.name,
                    strategy=route.strategy,
                    members=route.members,
                    enabled=route.enabled,
                    hedge_percentile=route.hedge_percentile,
                )
                self._made("routes", route.name, row.id)
                continue
            held = (await p.members(self.tx, route_id=row.id)).get(row.id, ())
            differing: dict[str, Any] = {
                name: getattr(route, name)
                for name in ("strategy", "enabled", "hedge_percentile")
                if getattr(row, name) != getattr(route, name)
            }
            fields = [*differing, *(["members"] if held != route.members else [])]
            if fields:
                await p.ROUTES.change(self.tx, row.id, differing)
                await p.set_members(self.tx, row.id, route.members)
            self._changed("routes", route.name, row.id, tuple(sorted(fields)))

    async def _user(self, user: SeedUser) -> None:
        row = await u.USERS.find(self.tx, name=user.name)
        if row is None:
            row = await u.create_user(
                self.tx,
                self.vault,
                name=user.name,
                password_hash=self.hashes.get(user.name),
                is_admin=user.is_admin,
                enabled=user.enabled,
            )
            self._made("users", user.name, row.id)
        else:
            wanted: dict[str, Any] = {"is_admin": user.is_admin, "enabled": user.enabled}
            if user.name in self.hashes:
                wanted["password_hash"] = self.hashes[user.name]
            await self._update("users", user.name, row, wanted)
        self._users[user.name] = row.id
        for number, key in enumerate(user.keys, start=1):
            await self._key(f"{user.name} number {number}", row.id, key)

    async def _key(self, name: str, user_id: str, key: SeedKey) -> None:
        held = await u.KEYS.find(self.tx, digest=self.vault.digest(key.api_key))
        wanted: dict[str, Any] = {
            "label": key.label,
            "enabled": key.enabled,
            "expires_at": key.expires_at,
            "on_disconnect": key.on_disconnect,
        }
        if held is None:
            row, _ = await u.create_key(self.tx, self.vault, user_id=user_id, api_key=key.api_key, **wanted)
            self._made("keys", name, row.id)
        elif held.user_id != user_id:
            raise Conflict(f"the key of {name} belongs to another user already")
        else:
            await self._update("keys", name, held, wanted)

    async def _access(self, seed: Seed) -> None:
        for permission in seed.permissions:
            provider = permission.provider_name
            key: dict[str, Any] = {
                "user_id": self._users[permission.user_name],
                "provider_id": None if provider is None else self._providers[provider],
                "model_pattern": permission.model_pattern,
            }
            name = f"{permission.user_name}: {permission.model_pattern}"
            if not await self._known("permissions", name, key, {}):
                self._made("permissions", name, (await u.grant(self.tx, **key)).id)
        for files in seed.file_permissions:
            key = {"user_id": self._users[files.user_name], "provider_id": self._providers[files.provider_name]}
            name = f"{files.user_name}: {files.provider_name}"
            if not await self._known("file_permissions", name, key, {}):
                self._made("file_permissions", name, (await u.grant_files(self.tx, **key)).id)
        for limit in seed.rate_limits:
            key = {"user_id": self._users[limit.user_name], "model_pattern": limit.model_pattern}
            wanted: dict[str, Any] = {
                "rpm": limit.rpm,
                "rpd": limit.rpd,
                "total_tokens": limit.total_tokens,
                "total_tokens_window": limit.total_tokens_window,
            }
            name = f"{limit.user_name}: {limit.model_pattern}"
            if not await self._known("rate_limits", name, key, wanted):
                self._made("rate_limits", name, (await u.limit_rate(self.tx, **key, **wanted)).id)

    async def _quota(self, quota: SeedQuota) -> None:
        user_id = self._users[quota.user_name]
        held = await u.quotas(self.tx, user_id=user_id)
        if held:
            differs = held[0].quota_nano_usd != quota.quota_nano_usd
            if differs:
                await u.set_quota(self.tx, user_id, quota.quota_nano_usd)
            self._changed("quotas", quota.user_name, user_id, ("quota",) if differs else ())
            return
        await u.open_quota(
            self.tx,
            user_id=user_id,
            quota_nano_usd=quota.quota_nano_usd,
            cost_used_nano_usd=quota.cost_used_nano_usd,
        )
        self._made("quotas", quota.user_name, user_id)


def _stored(row: Any, column: str) -> Any:
    """A row's value in the form in which a document gives it."""
    match column:
        case "settings":
            return msgspec.json.decode(row.settings_json)
        case "pricing":
            return None if row.pricing_json is None else msgspec.json.decode(row.pricing_json)
        case "fields" | "password_hash":
            return None  # asked for only when it differs
        case _:
            return getattr(row, column)
