"""From the name a client sent to the places that can serve it.

    aggregated: route → alias → model → provider/model (split at the first `/`)
    scoped:     the path names the provider; the model field is an alias or a model of it, or goes through as it is

Nothing here chooses among candidates (`selection`), asks whether they are well (`health`) or whether the caller
may (`access`). The mappings come from the snapshot, which is a floor above: here they are ports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from gproxy.errors import Failure, Kind
from gproxy.routing.provider import Provider


class ModelRow(Protocol):
    """A model as the snapshot holds it."""

    @property
    def provider_name(self) -> str:
        """Whose it is."""
        ...

    @property
    def model_id(self) -> str:
        """Its name at the vendor."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it may be called."""
        ...


class AliasRow(ModelRow, Protocol):
    """Another name for a model."""

    @property
    def alias(self) -> str:
        """The name."""
        ...


class MemberRow(Protocol):
    """One way a route can go."""

    @property
    def provider_name(self) -> str:
        """Where."""
        ...

    @property
    def model_id(self) -> str:
        """What, there."""
        ...

    @property
    def tier(self) -> int:
        """Lower first."""
        ...

    @property
    def weight(self) -> int:
        """Its share."""
        ...


class RouteRow(Protocol):
    """A public name with several members."""

    @property
    def name(self) -> str:
        """The name."""
        ...

    @property
    def strategy(self) -> str:
        """How to choose."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether it may be called."""
        ...

    @property
    def hedge_percentile(self) -> int | None:
        """After what percentile of first-byte time a second attempt starts."""
        ...

    @property
    def members(self) -> Sequence[MemberRow]:
        """The members."""
        ...


class World(Protocol):
    """The part of the snapshot that names are looked up in (`snapshot.Snapshot` is one)."""

    @property
    def providers(self) -> Mapping[str, Provider]:
        """All providers by name, disabled ones too."""
        ...

    @property
    def models(self) -> Mapping[tuple[str, str], ModelRow]:
        """All models by (provider name, model id)."""
        ...

    @property
    def model_names(self) -> Mapping[str, Sequence[ModelRow]]:
        """Enabled models by bare id, in provider order."""
        ...

    @property
    def aliases(self) -> Mapping[str, AliasRow]:
        """All aliases by name."""
        ...

    @property
    def routes(self) -> Mapping[str, RouteRow]:
        """All routes by name."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One place that can serve a request: an enabled provider and the model's name there."""

    provider: Provider
    model_id: str
    tier: int = 0
    weight: int = 1
    alias: str | None = None
    """The alias that led here, whose own prices go first."""
    known: bool = True
    """False: the model is not in the table and goes through as the client wrote it."""

    @property
    def load_key(self) -> str:
        """What requests in flight are counted by."""
        return f"{self.provider.name}/{self.model_id}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A member that cannot serve now, and why; for `explain` and for refusals."""

    provider_name: str
    model_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a name leads. `candidates` is never empty and not yet ordered."""

    name: str
    candidates: tuple[Candidate, ...]
    route: str | None = None
    strategy: str = "failover"
    skipped: tuple[Skipped, ...] = ()
    hedge_percentile: int | None = None
    """A first byte later than that percentile of the member's is late, and a second attempt starts; None: never."""
    capped: bool = field(init=False)
    """Whether some credential it may come to has caps; worked out once, because every request asks."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "capped", any(one.provider.capped for one in self.candidates))


@dataclass(frozen=True, slots=True)
class Unresolved:
    """A name that leads nowhere."""

    failure: Failure
    skipped: tuple[Skipped, ...] = ()


def resolve(world: World, name: str, provider: str | None = None) -> Resolution | Unresolved:
    """Where the model field `name` leads; `provider` is the one a scoped path names."""
    if provider is not None:
        return _scoped(world, name, provider)
    if not name:
        return Unresolved(Failure(Kind.INVALID_REQUEST, "the request names no model", param="model"))
    route = world.routes.get(name)
    if route is not None:
        return _by_route(world, route)
    alias = world.aliases.get(name)
    if alias is not None:
        return _by_alias(world, alias)
    models = world.model_names.get(name)
    if models:
        return _by_models(world, name, models)
    before, slash, rest = name.partition("/")
    if slash and rest and before in world.providers:
        return _scoped(world, rest, before, asked=name)
    return _not_found(f"the model {name!r} does not exist")


def _by_route(world: World, route: RouteRow) -> Resolution | Unresolved:
    if not route.enabled:
        return _not_found(f"the route {route.name!r} is disabled")
    found: list[Candidate] = []
    skipped: list[Skipped] = []
    for member in route.members:
        one = _candidate(world, member.provider_name, member.model_id, member.tier, member.weight)
        if isinstance(one, Candidate):
            found.append(one)
        else:
            skipped.append(one)
    if not found:
        return _none_left(f"the route {route.name!r}", skipped)
    return Resolution(
        route.name, tuple(found), route.name, route.strategy, tuple(skipped), hedge_percentile=route.hedge_percentile
    )


def _by_alias(world: World, alias: AliasRow) -> Resolution | Unresolved:
    if not alias.enabled:
        return _not_found(f"the model {alias.alias!r} is disabled")
    one = _candidate(world, alias.provider_name, alias.model_id, alias=alias.alias)
    if isinstance(one, Skipped):
        return _none_left(f"the model {alias.alias!r}", [one])
    return Resolution(alias.alias, (one,))


def _by_models(world: World, name: str, models: Sequence[ModelRow]) -> Resolution | Unresolved:
    """A bare model id: every provider that has it, one after the other in their order."""
    ones = [_candidate(world, model.provider_name, model.model_id, tier) for tier, model in enumerate(models)]
    found = tuple(one for one in ones if isinstance(one, Candidate))
    skipped = tuple(one for one in ones if isinstance(one, Skipped))
    return Resolution(name, found, skipped=skipped) if found else _none_left(f"the model {name!r}", skipped)


def _scoped(world: World, name: str, provider: str, asked: str | None = None) -> Resolution | Unresolved:
    if provider not in world.providers:
        return Unresolved(Failure(Kind.NOT_FOUND, f"the provider {provider!r} does not exist"))
    if not name:
        return Unresolved(Failure(Kind.INVALID_REQUEST, "the request names no model", param="model"))
    alias = world.aliases.get(name)
    if alias is not None and alias.provider_name == provider and alias.enabled:
        one = _candidate(world, provider, alias.model_id, alias=name)
    else:
        one = _candidate(world, provider, name)
    if isinstance(one, Skipped):
        return _none_left(f"the model {asked or name!r}", [one])
    return Resolution(asked or name, (one,))


def _candidate(
    world: World, provider: str, model_id: str, tier: int = 0, weight: int = 1, alias: str | None = None
) -> Candidate | Skipped:
    found = world.providers.get(provider)
    if found is None:
        return Skipped(provider, model_id, "the provider does not exist")
    if not found.enabled:
        return Skipped(provider, model_id, "the provider is disabled")
    model = world.models.get((provider, model_id))
    if model is not None and not model.enabled:
        return Skipped(provider, model_id, "the model is disabled")
    return Candidate(found, model_id, tier, weight, alias, known=model is not None)


def _none_left(what: str, skipped: Sequence[Skipped]) -> Unresolved:
    why = "; ".join(dict.fromkeys(f"{one.provider_name}: {one.reason}" for one in skipped))
    return Unresolved(Failure(Kind.MODEL_NOT_FOUND, f"{what} cannot be served: {why}", param="model"), tuple(skipped))


def _not_found(text: str) -> Unresolved:
    return Unresolved(Failure(Kind.MODEL_NOT_FOUND, text, param="model"))
