"""Providers and what belongs to them: credentials, models, aliases, routes. Writers run inside `config_write`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from gproxy.ids import new_id
from gproxy.secret import Secret
from gproxy.snapshot import Member
from gproxy.storage import sql
from gproxy.storage.engine import Session
from gproxy.storage.errors import Conflict
from gproxy.storage.shelf import Shelf, birth
from gproxy.storage.vault import Vault


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """`settings_json` is a JSON object."""

    id: str
    name: str
    channel: str
    label: str | None
    enabled: bool
    settings_json: str
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """`secret_json` is sealed: a JSON object of the credential's secret parts."""

    id: str
    provider_id: str
    label: str | None
    enabled: bool
    weight: int
    secret_json: str = field(repr=False)
    rpm: int | None
    tpm: int | None
    max_in_flight: int | None
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class ModelRow:
    """`pricing_json` holds the fields of a rate card; None: priced from the bundled data, if at all."""

    id: str
    provider_id: str
    model_id: str
    display_name: str | None
    enabled: bool
    pricing_json: str | None
    max_output_tokens: int | None
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class AliasRow:
    """Another name for a provider's model."""

    id: str
    alias: str
    provider_id: str
    model_id: str
    enabled: bool
    pricing_json: str | None
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A public name; its members are in `route_members`."""

    id: str
    name: str
    strategy: str
    enabled: bool
    hedge_percentile: int | None
    created_at: int
    updated_at: int
    version: int


PROVIDERS: Final = Shelf("providers", ProviderRow)
CREDENTIALS: Final = Shelf("credentials", CredentialRow)
MODELS: Final = Shelf("models", ModelRow)
ALIASES: Final = Shelf("model_aliases", AliasRow)
ROUTES: Final = Shelf("routes", RouteRow)
MEMBER_COLUMNS: Final = ("route_id", "ordinal", "provider_id", "model_id", "tier", "weight")


async def create_provider(
    tx: Session,
    *,
    name: str,
    channel: str,
    label: str | None = None,
    enabled: bool = True,
    settings: Mapping[str, Any] | None = None,
) -> ProviderRow:
    """Add a provider. Raises `Conflict` when the name is taken."""
    row = ProviderRow(new_id(), name, channel, label, enabled, dump(dict(settings or {})), *birth())
    await PROVIDERS.insert(tx, row)
    return row


async def create_credential(
    tx: Session,
    vault: Vault,
    *,
    provider_id: str,
    fields: Mapping[str, Secret],
    label: str | None = None,
    enabled: bool = True,
    weight: int = 1,
    rpm: int | None = None,
    tpm: int | None = None,
    max_in_flight: int | None = None,
) -> CredentialRow:
    """Add a credential to a provider's pool. Raises `Conflict` when there is no such provider."""
    row_id = new_id()
    sealed = sealed_fields(vault, row_id, fields)
    row = CredentialRow(row_id, provider_id, label, enabled, weight, sealed, rpm, tpm, max_in_flight, *birth())
    await CREDENTIALS.insert(tx, row)
    return row


def sealed_fields(vault: Vault, row_id: str, fields: Mapping[str, Secret]) -> str:
    """The secret parts of a credential as its row holds them."""
    clear = dump({name: secret.reveal() for name, secret in fields.items()})
    return vault.sealer.seal(clear, table="credentials", row=row_id, column="secret_json")


def reveal_credential(vault: Vault, row: CredentialRow) -> dict[str, Secret]:
    """The secret parts by name. Raises `SealError`."""
    clear = vault.sealer.open(row.secret_json, table="credentials", row=row.id, column="secret_json")
    return opened(clear)


def opened(clear: Secret) -> dict[str, Secret]:
    """The parts of a credential from its unsealed text."""
    return {name: Secret(text) for name, text in msgspec.json.decode(clear.reveal(), type=dict[str, str]).items()}


async def delete_credential(tx: Session, credential_id: str, *, if_version: int | None = None) -> bool:
    """Remove a credential and what is known of its health."""
    if not await CREDENTIALS.delete(tx, credential_id, if_version=if_version):
        return False
    await tx.execute("DELETE FROM credential_statuses WHERE credential_id = ?", (credential_id,))
    return True


async def delete_provider(tx: Session, provider_id: str, *, if_version: int | None = None) -> bool:
    """Remove a provider with credentials, models, aliases and route members. Its ledger rows stay."""
    await tx.execute(
        "DELETE FROM credential_statuses WHERE credential_id IN (SELECT id FROM credentials WHERE provider_id = ?)",
        (provider_id,),
    )
    return await PROVIDERS.delete(tx, provider_id, if_version=if_version)


async def create_model(
    tx: Session,
    *,
    provider_id: str,
    model_id: str,
    display_name: str | None = None,
    enabled: bool = True,
    pricing: Mapping[str, Any] | None = None,
    max_output_tokens: int | None = None,
) -> ModelRow:
    """Add a model; `pricing` are rate card fields. Raises `Conflict`."""
    row = ModelRow(
        new_id(), provider_id, model_id, display_name, enabled, prices_json(pricing), max_output_tokens, *birth()
    )
    await MODELS.insert(tx, row)
    return row


async def create_alias(
    tx: Session,
    *,
    alias: str,
    provider_id: str,
    model_id: str,
    enabled: bool = True,
    pricing: Mapping[str, Any] | None = None,
) -> AliasRow:
    """Add an alias. Raises `Conflict`."""
    row = AliasRow(new_id(), alias, provider_id, model_id, enabled, prices_json(pricing), *birth())
    await ALIASES.insert(tx, row)
    return row


async def create_route(
    tx: Session,
    *,
    name: str,
    strategy: str,
    members: Sequence[Member],
    enabled: bool = True,
    hedge_percentile: int | None = None,
) -> RouteRow:
    """Add a route with its members. Raises `Conflict` when the name is taken or a provider does not exist."""
    row = RouteRow(new_id(), name, strategy, enabled, hedge_percentile, *birth())
    await ROUTES.insert(tx, row)
    await set_members(tx, row.id, members)
    return row


async def set_members(tx: Session, route_id: str, members: Sequence[Member]) -> None:
    """Replace the members of a route; their order is kept."""
    await tx.execute("DELETE FROM route_members WHERE route_id = ?", (route_id,))
    ids = {row.name: row.id for row in await PROVIDERS.all(tx)}
    missing = sorted({member.provider_name for member in members} - set(ids))
    if missing:
        raise Conflict(f"no provider named {missing[0]}", "route_members")
    await tx.executemany(
        sql.insert("route_members", MEMBER_COLUMNS),
        [
            (route_id, ordinal, ids[member.provider_name], member.model_id, member.tier, member.weight)
            for ordinal, member in enumerate(members)
        ],
    )


async def members(db: Session, *, route_id: str | None = None) -> dict[str, tuple[Member, ...]]:
    """The members by route id, of all routes or one."""
    query = sql.select(
        "route_members m JOIN providers p ON p.id = m.provider_id",
        ("m.route_id", "p.name", "m.model_id", "m.tier", "m.weight"),
        f"{'' if route_id is None else 'WHERE m.route_id = ?'} ORDER BY m.route_id, m.ordinal",
    )
    rows = await db.fetch(query, () if route_id is None else (route_id,))
    found: dict[str, list[Member]] = {}
    for owner, provider_name, model_id, tier, weight in rows:
        found.setdefault(owner, []).append(Member(provider_name, model_id, tier, weight))
    return {owner: tuple(rows) for owner, rows in found.items()}


def prices_json(pricing: Mapping[str, Any] | None) -> str | None:
    """Rate card fields as a row holds them."""
    return None if pricing is None else dump(dict(pricing))


def dump(value: Any) -> str:
    """JSON text as it is stored. Decimals keep every digit (as JSON numbers)."""
    return _ENCODER.encode(value).decode()


_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
