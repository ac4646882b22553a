"""Model lists and single models: answered from the snapshot, filtered by what this key may call."""

from __future__ import annotations

from gproxy.access.permissions import Allowed, may_call
from gproxy.access.principal import Principal
from gproxy.canonical.operation import Dialect
from gproxy.protocols.models import Entry
from gproxy.snapshot import Snapshot
from gproxy.wire.http import Header


def dialect_of(headers: list[Header], query: str, by_path: Dialect | None) -> Dialect:
    """Whose shape the caller expects: by path, then `anthropic-version`, then `x-goog-api-key` or `?key=`."""
    if by_path is not None:
        return by_path
    names = {name for name, _ in headers}
    if b"anthropic-version" in names:
        return Dialect.ANTHROPIC_MESSAGES
    if b"x-goog-api-key" in names or any(field.startswith("key=") for field in query.split("&")):
        return Dialect.GEMINI
    return Dialect.OPENAI_CHAT


def visible(snapshot: Snapshot, principal: Principal, provider: str | None) -> list[Entry]:
    """Everything this key may name, sorted by id.

    Scoped (`provider` given): that provider's models by their bare id. Aggregated: routes, aliases, models by
    bare id where the id is unique to one provider, and always by `provider/model`.
    """
    entries: dict[str, Entry] = {}

    def offer(name: str, owner: str, display: str | None) -> None:
        verdict = may_call(principal, name, provider=provider)
        if isinstance(verdict, Allowed) and (verdict.providers is None or owner in verdict.providers):
            entries.setdefault(name, Entry(name, display, owner))

    for model in snapshot.models.values():
        upstream = snapshot.providers.get(model.provider_name)
        if not model.enabled or upstream is None or not upstream.enabled:
            continue
        if provider is not None:
            if model.provider_name == provider:
                offer(model.model_id, provider, model.display_name)
            continue
        if len(snapshot.model_names.get(model.model_id, ())) == 1:
            offer(model.model_id, model.provider_name, model.display_name)
        offer(f"{model.provider_name}/{model.model_id}", model.provider_name, model.display_name)
    for alias in snapshot.aliases.values():
        if alias.enabled and provider in {None, alias.provider_name}:
            offer(alias.alias, alias.provider_name, None)
    if provider is None:
        for route in snapshot.routes.values():
            if route.enabled and isinstance(may_call(principal, route.name), Allowed):
                entries.setdefault(route.name, Entry(route.name, None, "gproxy"))
    return [entries[name] for name in sorted(entries)]
