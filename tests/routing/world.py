"""A small world for routing tests: providers, a snapshot-like lookup, verdicts by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gproxy.channels.loader import catalog
from gproxy.channels.verdicts import Verdict, VerdictKind, judge, judge_fault
from gproxy.errors import Phase, UpstreamFault
from gproxy.ids import CredentialId, ProviderId
from gproxy.routing.caps import Caps
from gproxy.routing.provider import Credential, Provider, assemble
from gproxy.secret import Secret
from gproxy.snapshot import Alias, Member, Model, Route
from gproxy.wire.http import Deadlines


def credential(
    name: str, weight: int = 1, *, enabled: bool = True, caps: Caps | None = None, **fields: str
) -> Credential:
    secrets = {key: Secret(value) for key, value in (fields or {"api_key": "k"}).items()}
    return Credential(CredentialId(name), name, enabled=enabled, weight=weight, fields=secrets, caps=caps)


def provider(
    name: str, *credentials: Credential | str, channel: str = "openai", enabled: bool = True, **settings: Any
) -> Provider:
    pool = tuple(credential(one) if isinstance(one, str) else one for one in credentials)
    return assemble(
        provider_id=ProviderId(f"id-{name}"),
        name=name,
        label=None,
        enabled=enabled,
        vendor=catalog()[channel],
        settings=settings,
        credentials=pool,
        deadlines=Deadlines(),
    )


@dataclass
class World:
    providers: Mapping[str, Provider] = field(default_factory=dict)
    models: Mapping[tuple[str, str], Model] = field(default_factory=dict)
    model_names: Mapping[str, Sequence[Model]] = field(default_factory=dict)
    aliases: Mapping[str, Alias] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)


def world(
    *providers: Provider,
    models: Sequence[str] = (),
    aliases: Mapping[str, str] | None = None,
    routes: Sequence[Route] = (),
) -> World:
    """`models` are `provider/model`, with `!` in front when disabled; `aliases` map a name to `provider/model`."""
    rows = [_model(text) for text in models]
    names: dict[str, list[Model]] = {}
    for row in rows:
        if row.enabled:
            names.setdefault(row.model_id, []).append(row)
    return World(
        {one.name: one for one in providers},
        {(row.provider_name, row.model_id): row for row in rows},
        names,
        {name.lstrip("!"): _alias(name, to) for name, to in (aliases or {}).items()},
        {route.name: route for route in routes},
    )


def _model(text: str) -> Model:
    name, _, model = text.lstrip("!").partition("/")
    return Model(name, model, None, enabled=not text.startswith("!"), card=None)


def _alias(name: str, to: str) -> Alias:
    where, _, model = to.partition("/")
    return Alias(name.lstrip("!"), where, model, enabled=not name.startswith("!"), card=None)


def route(name: str, *members: str, strategy: str = "failover", enabled: bool = True) -> Route:
    """Members are `provider/model` or `provider/model@tier*weight`."""
    rows = []
    for text in members:
        place, _, rank = text.partition("@")
        tier, _, weight = rank.partition("*")
        where, _, model = place.partition("/")
        rows.append(Member(where, model, int(tier or 0), int(weight or 1)))
    return Route(name, strategy, enabled, tuple(rows))


OK = Verdict(VerdictKind.OK, retryable=False, status=200)


def said(status: int, retry_after: str = "", channel: str = "openai") -> Verdict:
    headers = [(b"retry-after", retry_after.encode())] if retry_after else []
    return judge(catalog()[channel], status, headers, None, 1_790_000_000_000_000)


def broke(phase: Phase = Phase.CONNECT, *, timeout: bool = False) -> Verdict:
    return judge_fault(UpstreamFault(phase, "broke", timeout=timeout))
