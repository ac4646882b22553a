"""The resources that say where requests go: providers, credentials, models, aliases, routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gproxy.admin.errors import Problem, invalid
from gproxy.admin.fields import (
    Count,
    Flag,
    Free,
    Hidden,
    Name,
    Positive,
    ProviderName,
    Shape,
    Share,
    Shown,
    Weight,
    optional,
    secret,
)
from gproxy.admin.ports import Ports, Row, Writer
from gproxy.admin.resource import Given, Resource, referred
from gproxy.channels.overrides import SettingsProblem, address_of, check_credential, check_settings, resolve
from gproxy.channels.vendor import Vendor
from gproxy.ids import CredentialId
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.routing.caps import caps_of
from gproxy.seed.schema import HEDGE_PERCENTILES

Strategy = Literal["failover", "weighted", "round_robin", "least_in_flight"]
Hedge = Annotated[int, Field(strict=True, ge=HEDGE_PERCENTILES[0], le=HEDGE_PERCENTILES[1])]
Secrets = Annotated[dict[str, Hidden], Field(max_length=32)]
_LATER: Final = "Microseconds since the epoch, UTC."
_HEDGE: Final = (
    "A second attempt starts when the first byte is later than this percentile of the member's; null: never."
)
_RPM: Final = "Cap: requests a minute that this credential is asked for; null: any."
_TPM: Final = "Cap: tokens a minute, input and output; null: any."
_AT_ONCE: Final = "Cap: requests at the same time; null: any."


class Life(Shown):
    """What every row has."""

    id: str
    created_at: int = Field(description=_LATER)
    updated_at: int = Field(description=_LATER)
    version: int = Field(description="Counts changes; the ETag of the row.")


class Provider(Life):
    """A named upstream: one channel, its settings, and a pool of credentials."""

    name: str
    channel: str
    label: str | None
    enabled: bool
    settings: dict[str, Any]
    credential_count: int
    model_count: int


class ProviderCreate(Shape):
    """A new provider."""

    name: ProviderName = Field(description="Becomes part of paths: `/{name}/v1/…`.")
    channel: Name = Field(description="One of `GET /admin/channels`. Cannot be changed later.")
    label: Name | None = None
    enabled: Flag = True
    settings: Free = Field(default_factory=dict)


class ProviderPatch(Shape):
    """What to change; `settings` is replaced as a whole."""

    name: ProviderName = optional()
    label: Name | None = None
    enabled: Flag = optional()
    settings: Free = optional()


class Health(Shown):
    """How a credential is now, in this process."""

    state: Literal["healthy", "cooldown", "disabled"]
    until: int | None = Field(description=f"When its rest ends. {_LATER}")
    reason: str


class CapsInUse(Shown):
    """What counts against a credential's caps now, in the process that answers."""

    requests: int = Field(description="Sent in the last minute.")
    tokens: int = Field(description="Of the last minute: used, or for requests under way the most they can take.")
    in_flight: int


class Credential(Life):
    """One secret of a provider's pool; `fields` are masked."""

    provider_id: str
    provider_name: str
    label: str | None
    enabled: bool
    weight: int
    rpm: int | None = Field(description=_RPM)
    tpm: int | None = Field(description=_TPM)
    max_in_flight: int | None = Field(description=_AT_ONCE)
    fields: dict[str, str] | None = Field(description="null: the database's secret key cannot open them.")
    health: Health
    in_use: CapsInUse | None = Field(description="null: the credential has no caps.")


class CredentialCreate(Shape):
    """A new credential. `fields` are its secret parts by name, as the provider's channel needs them."""

    provider_id: Name | None = None
    provider_name: Name | None = None
    label: Name | None = None
    enabled: Flag = True
    weight: Weight = 1
    rpm: Positive | None = Field(default=None, description=_RPM)
    tpm: Positive | None = Field(default=None, description=_TPM)
    max_in_flight: Positive | None = Field(default=None, description=_AT_ONCE)
    fields: Secrets = Field(default_factory=dict)


class CredentialPatch(Shape):
    """What to change; `fields` replaces all secret parts."""

    label: Name | None = None
    enabled: Flag = optional()
    weight: Weight = optional()
    rpm: Positive | None = Field(default=None, description=_RPM)
    tpm: Positive | None = Field(default=None, description=_TPM)
    max_in_flight: Positive | None = Field(default=None, description=_AT_ONCE)
    fields: Secrets = optional()


class Model(Life):
    """A model of a provider. Without prices of its own it has those of the bundled list, if it is there."""

    provider_id: str
    provider_name: str
    model_id: str
    display_name: str | None
    enabled: bool
    max_output_tokens: int | None
    pricing: dict[str, Any] | None
    effective_pricing: dict[str, Any] | None
    price_source: Literal["own", "bundled", "none"]


class ModelCreate(Shape):
    """A new model."""

    provider_id: Name | None = None
    provider_name: Name | None = None
    model_id: Name
    display_name: Name | None = None
    enabled: Flag = True
    max_output_tokens: Positive | None = None
    pricing: Free | None = Field(default=None, description="Price fields as in the seed file.")


class ModelPatch(Shape):
    """What to change; `pricing` is replaced as a whole, null means the bundled prices."""

    model_id: Name = optional()
    display_name: Name | None = None
    enabled: Flag = optional()
    max_output_tokens: Positive | None = None
    pricing: Free | None = None


class Alias(Life):
    """Another name for a model; its own prices, where it has any, go before the model's."""

    alias: str
    provider_id: str
    provider_name: str
    model_id: str
    enabled: bool
    pricing: dict[str, Any] | None


class AliasCreate(Shape):
    """A new alias."""

    alias: Name
    provider_id: Name | None = None
    provider_name: Name | None = None
    model_id: Name
    enabled: Flag = True
    pricing: Free | None = None


class AliasPatch(Shape):
    """What to change."""

    alias: Name = optional()
    provider_id: Name = optional()
    provider_name: Name = optional()
    model_id: Name = optional()
    enabled: Flag = optional()
    pricing: Free | None = None


class Member(Shape):
    """One way a route can go. Lower tiers are tried first; weights share the load inside a tier."""

    provider_name: Name
    model_id: Name
    tier: Count = 0
    weight: Share = 1


class Route(Life):
    """A public name with several members."""

    name: str
    strategy: Strategy
    enabled: bool
    hedge_percentile: int | None = Field(description=_HEDGE)
    members: list[Member]


Members = Annotated[list[Member], Field(min_length=1, max_length=100)]


class RouteCreate(Shape):
    """A new route."""

    name: Name
    strategy: Strategy = "failover"
    enabled: Flag = True
    hedge_percentile: Hedge | None = Field(default=None, description=_HEDGE)
    members: Members


class RoutePatch(Shape):
    """What to change; `members` is replaced as a whole."""

    name: Name = optional()
    strategy: Strategy = optional()
    enabled: Flag = optional()
    hedge_percentile: Hedge | None = Field(default=None, description=_HEDGE)
    members: Members = optional()


def _refused(problems: list[SettingsProblem], prefix: str) -> Problem:
    told = [(f"{prefix}.{each.key}" if each.key else prefix, each.text) for each in problems]
    return Problem(400, f"{told[0][0]}: {told[0][1]}", field=told[0][0], problems=told)


def vendor_of(ports: Ports, channel: str) -> Vendor:
    """A channel of the catalog. Raises `Problem`."""
    vendor = ports.channels.get(channel)
    if vendor is None:
        raise invalid(f"channel: {channel[:200]!r} is not a channel; see GET /admin/channels", "channel")
    return vendor


async def _provider(ports: Ports, _writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    vendor = vendor_of(ports, given["channel"] if before is None else before["channel"])
    if before is None or "settings" in given:
        problems = check_settings(vendor, given["settings"])
        if problems:
            raise _refused(problems, "settings")
        address_of(vendor, given["settings"])
    return given


async def _credential(ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    if before is None:
        provider = await referred(writer, "providers", "provider", given)
    else:
        provider = await writer.one("providers", before["provider_id"])
    assert provider is not None
    if before is None or "fields" in given:
        given["fields"] = {name: secret(value) for name, value in given["fields"].items()}
        vendor = ports.channels.get(provider["channel"])
        if vendor is None:
            raise invalid(f"the provider's channel {provider['channel']!r} is not there", "provider_name")
        problems = check_credential(resolve(vendor, provider["settings"]), given["fields"])
        if problems:
            raise _refused(problems, "fields")
    return given


async def _model(_ports: Ports, writer: Writer, given: Given, before: Row | None) -> dict[str, Any]:
    await referred(writer, "providers", "provider", given, required=before is None)
    _priced(given)
    return given


def _priced(given: Given) -> None:
    """Price fields in the form in which they are kept."""
    if given.get("pricing") is None:
        return
    try:
        card = RateCard.from_fields(given["pricing"])
    except PriceError as error:
        raise invalid(f"pricing.{error.field}: {error.text}", f"pricing.{error.field}") from None
    given["pricing"] = card.to_fields() if card.priced else None


async def _route(_ports: Ports, writer: Writer, given: Given, _before: Row | None) -> dict[str, Any]:
    for index, member in enumerate(given.get("members") or ()):
        provider = await writer.one("providers", member["provider_name"])
        if provider is None:
            field = f"members[{index}].provider_name"
            raise invalid(f"{field}: there is no provider {member['provider_name']!r}", field)
        member["provider_name"] = provider["name"]
    return given


def _as_it_is(ports: Ports, rows: Sequence[Row]) -> None:
    """Health, and what counts against the caps."""
    unwell, now = ailments(ports), ports.clock.monotonic()
    for row in rows:
        row["health"] = unwell.get((row["id"], None), WELL)
        row["in_use"] = None
        if caps_of(row["rpm"], row["tpm"], row["max_in_flight"]) is not None:
            used = ports.board.caps.standing(CredentialId(row["id"]), now)
            row["in_use"] = {"requests": used.requests, "tokens": used.tokens, "in_flight": used.in_flight}


def _given_a_chance(ports: Ports, row: Row, given: Given) -> None:
    """A credential with a new secret, or switched on by hand, is tried again whatever was held against the old one."""
    if "fields" in given or given.get("enabled"):
        ports.board.health.enable(CredentialId(row["id"]))
        ports.health_changed()


WELL: Final[Row] = {"state": "healthy", "until": None, "reason": ""}


def ailments(ports: Ports) -> dict[tuple[str, str | None], Row]:
    """How this process sees what is not healthy: credentials (None), and credentials with one model.

    One walk over the whole board, which may be long: ask once and look up, not once for each row.
    """
    now, now_us = ports.clock.monotonic(), ports.clock.now_us()
    return {
        (record.credential_id, record.model): {
            "state": record.status.value,
            "until": record.until_us,
            "reason": record.reason,
        }
        for record in ports.board.health.listing(now, now_us)
        if record.until_us is None or record.until_us > now_us  # else its rest is over
    }


def _with_prices(ports: Ports, rows: Sequence[Row]) -> None:
    models = ports.snapshot().models
    for row in rows:
        found = models.get((row["provider_name"], row["model_id"]))
        card = None if found is None else found.card
        row["effective_pricing"] = None if card is None else card.to_fields()
        row["price_source"] = "own" if row["pricing"] is not None else "none" if card is None else "bundled"


_TEXT: Final[Mapping[str, type]] = {"provider_id": str, "provider_name": str, "enabled": bool}

UPSTREAM: Final = (
    Resource(
        "providers", "provider", Provider, ProviderCreate, ProviderPatch, _provider,
        {"name": str, "channel": str, "enabled": bool}, "name",
        text="Named upstreams. `settings` are those of the seed file.",
    ),
    Resource(
        "credentials", "credential", Credential, CredentialCreate, CredentialPatch, _credential,
        {**_TEXT, "label": str}, "label", dress=_as_it_is, landed=_given_a_chance, ids_only=True,
        text="The secrets of a provider's pool. In clear once, at creation; later masked.",
    ),
    Resource(
        "models", "model", Model, ModelCreate, ModelPatch, _model,
        {**_TEXT, "model_id": str}, "model_id", dress=_with_prices,
        text="Models by provider. `provider/model_id` works as an id.",
    ),
    Resource(
        "aliases", "alias", Alias, AliasCreate, AliasPatch, _model,
        {**_TEXT, "alias": str, "model_id": str}, "alias",
        text="Other names for models.",
    ),
    Resource(
        "routes", "route", Route, RouteCreate, RoutePatch, _route,
        {"name": str, "strategy": str, "enabled": bool}, "name",
        text="Public names with several members.",
    ),
)  # fmt: skip
