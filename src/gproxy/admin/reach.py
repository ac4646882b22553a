"""What a user may do, read from the rows themselves: also for a user who has no key yet."""

from __future__ import annotations

from typing import Any, Final

from gproxy.access.permissions import Allowed, compile_glob, may_call
from gproxy.access.principal import Permission, Principal, RateLimit
from gproxy.admin.ports import Ports, Reader, Row
from gproxy.ids import KeyId, UserId
from gproxy.snapshot import Snapshot

_PAGE: Final = 500


async def all_rows(reader: Reader, resource: str, **equal: Any) -> list[Row]:
    """Every row with these values."""
    found: list[Row] = []
    after = ""
    while rows := await reader.page(resource, equal, search="", after=after, limit=_PAGE):
        found += rows
        after = rows[-1]["id"]
        if len(rows) < _PAGE:
            break
    return found


async def principal_of(ports: Ports, user: Row) -> Principal:
    """The user as a request of theirs would be judged, whichever key it came with."""
    permissions = await all_rows(ports.desk, "permissions", user_id=user["id"])
    limits = await all_rows(ports.desk, "rate_limits", user_id=user["id"])
    return Principal(
        user_id=UserId(user["id"]),
        user_name=user["name"],
        is_admin=user["is_admin"],
        key_id=KeyId(""),
        key_label=None,
        expires_at=None,
        permissions=tuple(
            Permission(row["provider_name"], row["model_pattern"], compile_glob(row["model_pattern"]))
            for row in permissions
        ),
        rate_limits=tuple(
            RateLimit(
                row["id"],
                row["model_pattern"],
                compile_glob(row["model_pattern"]),
                row["rpm"],
                row["rpd"],
                row["total_tokens"],
                row["total_tokens_window"],
            )
            for row in limits
        ),
        file_providers=frozenset(),
        quota_nano_usd=None,
    )


def callable_names(snapshot: Snapshot, principal: Principal) -> list[Row]:
    """Every name the user may put into a request: routes, aliases, models by bare id and by `provider/model`."""
    found: dict[str, Row] = {}

    def offer(name: str, kind: str, provider: str | None, display: str | None) -> None:
        verdict = may_call(principal, name)
        if isinstance(verdict, Allowed) and (
            provider is None or verdict.providers is None or provider in verdict.providers
        ):
            row = {"id": name, "kind": kind, "provider_name": provider, "display_name": display}
            found.setdefault(name, row)

    for route in snapshot.routes.values():
        if route.enabled:
            offer(route.name, "route", None, None)
    for alias in snapshot.aliases.values():
        if alias.enabled and _open(snapshot, alias.provider_name):
            offer(alias.alias, "alias", alias.provider_name, None)
    for model in snapshot.models.values():
        if model.enabled and _open(snapshot, model.provider_name):
            if len(snapshot.model_names.get(model.model_id, ())) == 1:
                offer(model.model_id, "model", model.provider_name, model.display_name)
            offer(f"{model.provider_name}/{model.model_id}", "model", model.provider_name, model.display_name)
    return [found[name] for name in sorted(found)]


def _open(snapshot: Snapshot, provider: str) -> bool:
    found = snapshot.providers.get(provider)
    return found is not None and found.enabled
