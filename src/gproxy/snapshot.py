"""What the gateway currently believes: one frozen object, built whole and swapped whole.

A request takes the current snapshot once and sees one version of the world to its end. Counters, health and
reservations live beside it and survive a swap. Nothing here reads a database; `storage.snapshot` builds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gproxy.access.keys import digest_of
from gproxy.access.principal import Principal
from gproxy.ledger.pricing import RateCard
from gproxy.routing.provider import Provider
from gproxy.secret import Secret


@dataclass(frozen=True, slots=True)
class Model:
    """One row of `models`. `card` None means unpriced: it costs 0 and its usage rows say `unpriced`."""

    provider_name: str
    model_id: str
    display_name: str | None
    enabled: bool
    card: RateCard | None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Alias:
    """Another name for a model; its own card, when there is one, goes before the model's."""

    alias: str
    provider_name: str
    model_id: str
    enabled: bool
    card: RateCard | None


@dataclass(frozen=True, slots=True)
class Member:
    """One way a route can go. Lower tiers are tried first; weights share the load inside a tier."""

    provider_name: str
    model_id: str
    tier: int
    weight: int


@dataclass(frozen=True, slots=True)
class Route:
    """A public name with several members. `strategy`: failover, weighted, round_robin or least_in_flight."""

    name: str
    strategy: str
    enabled: bool
    members: tuple[Member, ...]
    hedge_percentile: int | None = None
    """After what percentile of first-byte time a second attempt starts; None: never."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole configured world at one revision.

    `digest_key` is the key of the HMAC-SHA256 by which API keys are looked up in `keys` (digest → principal).
    `models` is by (provider name, model id); `model_names` by bare model id, enabled ones only, in provider
    order. Providers, aliases and routes are by name and hold disabled ones too, so that a refusal can say why.
    """

    revision: int
    digest_key: bytes
    keys: Mapping[bytes, Principal]
    providers: Mapping[str, Provider]
    models: Mapping[tuple[str, str], Model]
    model_names: Mapping[str, tuple[Model, ...]]
    aliases: Mapping[str, Alias]
    routes: Mapping[str, Route]
    settings: Mapping[str, str] = field(default_factory=dict)
    remembered: dict[tuple[Any, ...], Any] = field(default_factory=dict, compare=False, repr=False)
    """What was worked out from this snapshot and nothing else, kept so that it need not be again; lives as long as
    it holds true. Read and filled by `remember` only."""

    def holder(self, key: Secret, now_us: int) -> Principal | None:
        """Who holds this API key; None when nobody does, or no longer."""
        found = self.keys.get(digest_of(key, self.digest_key))
        return None if found is None or (found.expires_at is not None and found.expires_at <= now_us) else found


_REMEMBERED_MOST: Final = 8192
_T = TypeVar("_T")


def remember(snapshot: Snapshot, key: tuple[Any, ...], value: _T) -> _T:
    """Keep the answer to a question about this snapshot; the answer.

    Callers choose some of the names in the questions, so what is kept has a bound.
    """
    if len(snapshot.remembered) >= _REMEMBERED_MOST:
        snapshot.remembered.clear()
    snapshot.remembered[key] = value
    return value
