"""Taking over another gateway's configuration: what its readers share.

Elsewhere a public name often has several deployments; here that is a route, one deployment is an alias, and a name that
is the model's own needs neither.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gproxy.seed.schema import Seed, SeedAlias, SeedRoute, provider_name_fault
from gproxy.snapshot import Member

_ODD: Final = re.compile(r"[^A-Za-z0-9._~-]+")


class NotUnderstood(Exception):  # noqa: N818 - it is an answer
    """The document cannot be brought in; `problems` say where and why."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Found:
    """What the document says in our terms, and what of it has no counterpart here, by name."""

    seed: Seed
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Way:
    """One deployment behind a public name."""

    provider: str
    model_id: str
    tier: int
    weight: int

    def at(self, tier: int) -> Way:
        """The same way in another tier."""
        return replace(self, tier=tier)


def path_name(text: str, taken: Collection[str]) -> str:
    """A name for a provider, made of a text that may hold anything; not one of those that are taken."""
    base = _ODD.sub("-", text).strip("-._~")[:60] or "provider"
    if provider_name_fault(base) is not None:
        base = f"{base}-provider"
    number, name = 1, base
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


def public_names(
    groups: Mapping[str, Sequence[Way]], models: Iterable[tuple[str, str]], strategy: str
) -> tuple[tuple[SeedRoute, ...], tuple[SeedAlias, ...]]:
    """The routes and aliases that lead from each public name to its ways.

    `models` are all (provider, model id): a name needs no alias where it is the id of one model only. A way that is
    given twice is taken once, at its first place.
    """
    count: dict[str, int] = {}
    for _, model_id in models:
        count[model_id] = count.get(model_id, 0) + 1
    routes: list[SeedRoute] = []
    aliases: list[SeedAlias] = []
    for name, given in groups.items():
        ways = list({(way.provider, way.model_id): way for way in reversed(given)}.values())[::-1]
        if len(ways) > 1:
            members = tuple(Member(way.provider, way.model_id, way.tier, way.weight) for way in ways)
            routes.append(SeedRoute(name, strategy, members))
        elif (name, count.get(name)) != (ways[0].model_id, 1):
            aliases.append(SeedAlias(name, ways[0].provider, ways[0].model_id))
    return tuple(routes), tuple(aliases)
