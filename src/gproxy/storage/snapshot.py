"""The whole configured world, read in a dozen SELECTs into one `Snapshot`.

A row that cannot be used (a channel that is gone, settings a newer catalog refuses) is left out and reported; it
never keeps the rest of the world from loading. Secrets are opened here and live only in the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gproxy.access.permissions import compile_glob
from gproxy.access.principal import Permission, Principal, RateLimit
from gproxy.channels.vendor import Vendor
from gproxy.ids import CredentialId, KeyId, ProviderId, UserId
from gproxy.ledger.price_data import lookup
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.routing.caps import caps_of
from gproxy.routing.provider import Credential, Provider, assemble
from gproxy.snapshot import Alias, Model, Route, Snapshot
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import revision
from gproxy.storage.engine import Session
from gproxy.storage.errors import SealError
from gproxy.storage.settings import load_settings
from gproxy.storage.vault import Vault
from gproxy.wire.http import Deadlines

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class SnapshotProblem:
    """A row that was left out of the snapshot, and why."""

    table: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.table} {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot and what had to be left out of it."""

    snapshot: Snapshot
    problems: tuple[SnapshotProblem, ...]


async def load_snapshot(
    db: Session, vault: Vault, vendors: Mapping[str, Vendor], *, deadlines: Deadlines | None = None
) -> Loaded:
    """Read the world at one revision.

    `vendors` is the channel catalog, `deadlines` what holds where a provider says nothing. Raises
    `DatabaseUnavailable`.
    """
    for last in (*(False,) * (_TRIES - 1), True):
        before = await revision(db)
        loader = _Loader(vault, vendors, deadlines or Deadlines())
        loaded = await loader.load(db, before)
        # A write in between means tables of two worlds. On a very busy database the last reading stands: its
        # revision is an old one, so the next poll loads again.
        if last or await revision(db) == before:
            return loaded
    raise AssertionError("unreachable")


class _Loader:
    def __init__(self, vault: Vault, vendors: Mapping[str, Vendor], deadlines: Deadlines) -> None:
        self._vault = vault
        self._vendors = vendors
        self._deadlines = deadlines
        self._problems: list[SnapshotProblem] = []

    async def load(self, db: Session, at_revision: int) -> Loaded:
        provider_rows = await p.PROVIDERS.all(db)
        pools = self._pools(await p.CREDENTIALS.all(db))
        providers: dict[str, Provider] = {}
        for provider_row in provider_rows:
            provider = self._provider(provider_row, pools.get(provider_row.id, ()))
            if provider is not None:
                providers[provider.name] = provider
        names = {row.id: row.name for row in provider_rows}
        models = self._models(await p.MODELS.all(db), names, providers)
        stored = await load_settings(db)
        snapshot = Snapshot(
            revision=at_revision,
            digest_key=self._vault.digest_key,
            keys=await self._principals(db, names),
            providers=providers,
            models=models,
            model_names=_by_bare_name(models.values(), providers),
            aliases={
                row.alias: Alias(
                    row.alias,
                    names[row.provider_id],
                    row.model_id,
                    row.enabled,
                    self._card("model_aliases", row.alias, row.pricing_json),
                )
                for row in await p.ALIASES.all(db)
            },
            routes=await _routes(db),
            settings={
                name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
                for name, value in stored.items()
            },
        )
        return Loaded(snapshot, tuple(self._problems))

    def _leave_out(self, table: str, name: str, text: object) -> None:
        self._problems.append(SnapshotProblem(table, name, str(text)))

    def _pools(self, rows: Iterable[p.CredentialRow]) -> dict[str, tuple[Credential, ...]]:
        pools: dict[str, list[Credential]] = {}
        for row in rows:
            try:
                fields = p.reveal_credential(self._vault, row)
            except (SealError, msgspec.MsgspecError) as error:
                self._leave_out("credentials", row.id, error)
                continue
            pools.setdefault(row.provider_id, []).append(
                Credential(
                    CredentialId(row.id),
                    row.label,
                    row.enabled,
                    row.weight,
                    fields,
                    caps_of(row.rpm, row.tpm, row.max_in_flight),
                )
            )
        return {owner: tuple(pool) for owner, pool in pools.items()}

    def _provider(self, row: p.ProviderRow, pool: tuple[Credential, ...]) -> Provider | None:
        vendor = self._vendors.get(row.channel)
        if vendor is None:
            self._leave_out("providers", row.name, f"there is no channel {row.channel!r}")
            return None
        try:
            return assemble(
                provider_id=ProviderId(row.id),
                name=row.name,
                label=row.label,
                enabled=row.enabled,
                vendor=vendor,
                settings=msgspec.json.decode(row.settings_json, type=dict[str, Any]),
                credentials=pool,
                deadlines=self._deadlines,
            )
        except (ValueError, TypeError, AttributeError) as error:  # msgspec's errors are ValueErrors
            self._leave_out("providers", row.name, error)
            return None

    def _models(
        self, rows: Iterable[p.ModelRow], names: Mapping[str, str], providers: Mapping[str, Provider]
    ) -> dict[tuple[str, str], Model]:
        models: dict[tuple[str, str], Model] = {}
        for row in rows:
            name = names[row.provider_id]
            card = self._card("models", f"{name}/{row.model_id}", row.pricing_json)
            provider = providers.get(name)
            if row.pricing_json is None and provider is not None and provider.vendor.prices:
                card = lookup(provider.vendor.prices, row.model_id)
            models[name, row.model_id] = Model(
                name, row.model_id, row.display_name, row.enabled, card, row.max_output_tokens
            )
        return models

    def _card(self, table: str, name: str, pricing: str | None) -> RateCard | None:
        if pricing is None:
            return None
        try:
            card = RateCard.from_fields(msgspec.json.decode(pricing, type=dict[str, Any]))
        except (PriceError, msgspec.MsgspecError) as error:
            self._leave_out(table, name, f"its price cannot be read: {error}")
            return None
        return card if card.priced else None

    async def _principals(self, db: Session, providers: Mapping[str, str]) -> dict[bytes, Principal]:
        permissions: dict[str, list[Permission]] = {}
        for row in await u.PERMISSIONS.all(db):
            provider = None if row.provider_id is None else providers[row.provider_id]
            permissions.setdefault(row.user_id, []).append(
                Permission(provider, row.model_pattern, compile_glob(row.model_pattern))
            )
        limits: dict[str, list[RateLimit]] = {}
        for limit in await u.RATE_LIMITS.all(db):
            limits.setdefault(limit.user_id, []).append(
                RateLimit(
                    limit.id,
                    limit.model_pattern,
                    compile_glob(limit.model_pattern),
                    limit.rpm,
                    limit.rpd,
                    limit.total_tokens,
                    limit.total_tokens_window,
                )
            )
        files: dict[str, set[str]] = {}
        for grant in await u.FILE_PERMISSIONS.all(db):
            files.setdefault(grant.user_id, set()).add(providers[grant.provider_id])
        quotas: dict[str, int | None] = dict(await db.fetch("SELECT user_id, quota_nano_usd FROM user_quotas"))
        users = {user.id: user for user in await u.USERS.all(db, enabled=True)}
        held = {owner: tuple(rows) for owner, rows in permissions.items()}
        bounds = {owner: tuple(rows) for owner, rows in limits.items()}
        return {
            bytes.fromhex(key.digest): Principal(
                user_id=UserId(key.user_id),
                user_name=users[key.user_id].name,
                is_admin=users[key.user_id].is_admin,
                key_id=KeyId(key.id),
                key_label=key.label,
                expires_at=key.expires_at,
                permissions=held.get(key.user_id, ()),
                rate_limits=bounds.get(key.user_id, ()),
                file_providers=frozenset(files.get(key.user_id, ())),
                quota_nano_usd=quotas.get(key.user_id),
                on_disconnect=key.on_disconnect,
            )
            for key in await u.KEYS.all(db, enabled=True)
            if key.user_id in users
        }


async def _routes(db: Session) -> dict[str, Route]:
    members = await p.members(db)
    return {
        row.name: Route(row.name, row.strategy, row.enabled, members.get(row.id, ()), row.hedge_percentile)
        for row in await p.ROUTES.all(db)
    }


def _by_bare_name(models: Iterable[Model], providers: Mapping[str, Provider]) -> dict[str, tuple[Model, ...]]:
    """Enabled models of enabled providers by model id, in the order of the providers."""
    rank = {name: index for index, name in enumerate(providers)}
    found: dict[str, list[Model]] = {}
    for model in models:
        if model.enabled and model.provider_name in rank and providers[model.provider_name].enabled:
            found.setdefault(model.model_id, []).append(model)
    return {name: tuple(sorted(each, key=lambda m: rank[m.provider_name])) for name, each in found.items()}
