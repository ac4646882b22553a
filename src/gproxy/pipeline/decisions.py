"""What is decided about a request before anybody is asked upstream, in words.

Shared by the dry run of a hypothetical request (`admin/explain_routes.py`) and by the trail of a past one
(`trail.py`): both call the functions that decide (`may_call`, `applies`, `resolve`) and say the outcome in the same
words, so neither holds a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from gproxy.access.limits import applies
from gproxy.access.permissions import Allowed, Denied, may_call
from gproxy.access.principal import Permission, Principal, RateLimit
from gproxy.routing.route import Candidate, Resolution, Skipped


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One decision: what was decided, whether the request may go on, and why."""

    step: str
    ok: bool
    text: str


class Ways(NamedTuple):
    """Where a name leads for one caller: the candidates that caller may use, and the others with the reason."""

    candidates: Sequence[Candidate]
    skipped: Sequence[Skipped]
    step: Step


def fitting_permissions(principal: Principal, model: str, provider: str | None) -> list[Permission]:
    """The rows that allow this name. Each is asked alone, by the same function that decides on all of them."""
    return [
        row
        for row in principal.permissions
        if isinstance(may_call(replace(principal, permissions=(row,)), model, provider=provider), Allowed)
    ]


def fitting_limits(principal: Principal, model: str) -> list[RateLimit]:
    """The rate limits that count this name."""
    return [row for row in principal.rate_limits if applies(row, model)]


def permitted(verdict: Allowed | Denied) -> Step:
    """The step for a permission's verdict."""
    if isinstance(verdict, Denied):
        return Step("permit", ok=False, text=f"forbidden: {verdict.what}")
    through = "any provider" if verdict.providers is None else ", ".join(sorted(verdict.providers))
    return Step("permit", ok=True, text=f"through {through}")


def narrowed(found: Resolution, providers: frozenset[str] | None) -> Ways:
    """What is left of a resolution for a caller who may use these providers only (None: all)."""
    ways = [one for one in found.candidates if providers is None or one.provider.name in providers]
    barred = [Skipped(one.provider.name, one.model_id, "not permitted") for one in found.candidates if one not in ways]
    aliases = {one.alias for one in found.candidates if one.alias is not None}
    kind = f"route {found.route!r}, {found.strategy}" if found.route else "by alias" if aliases else "by name"
    if found.hedge_percentile is not None:
        kind += f", hedged after the {found.hedge_percentile}th percentile"
    text = f"{kind}: {len(ways)} of {len(found.candidates)} permitted"
    return Ways(ways, [*found.skipped, *barred], Step("resolve", bool(ways), text))


def able(ways: Ways, barrier: Callable[[Candidate], str | None]) -> Ways:
    """Without the candidates that cannot do what is asked; `barrier` says why one cannot."""
    found = [(one, barrier(one)) for one in ways.candidates]
    left = [one for one, why in found if why is None]
    if len(left) == len(found):
        return ways
    barred = [Skipped(one.provider.name, one.model_id, why) for one, why in found if why is not None]
    step = Step(ways.step.step, bool(left), f"{ways.step.text}, {len(left)} of them can do this")
    return Ways(left, [*ways.skipped, *barred], step)
