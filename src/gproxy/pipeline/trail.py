"""The trail of a past request: what was decided about it, and why, as compact values.

Nothing is collected while a request is well. What was decided before the first attempt is worked out afterwards from
the snapshot that the request held; only what no longer can be (credentials passed over, verdicts) is noted by the
plan, where something went wrong. What a client or a vendor said is in no trail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from gproxy.access.permissions import Denied, may_call
from gproxy.access.principal import Principal
from gproxy.canonical.operation import Operation
from gproxy.channels.verdicts import VerdictKind
from gproxy.errors import Failure, Kind
from gproxy.ledger.record import Outcome
from gproxy.pipeline.decisions import Step, Ways, able, fitting_limits, fitting_permissions, narrowed, permitted
from gproxy.pipeline.exchange import Cause, Exchange
from gproxy.pipeline.head import usd
from gproxy.pipeline.roads import barrier
from gproxy.routing.plan import Note
from gproxy.routing.route import Unresolved, resolve

_MOST: Final = 50
"""Members, skipped members or credentials of one request that are told; a route may have thousands."""
_LONGEST: Final = 400
_OK: Final = VerdictKind.OK.value
_BUDGET: Final = frozenset({Kind.QUOTA_EXCEEDED, Kind.RATE_LIMITED, Kind.LEDGER_UNAVAILABLE})
_LISTS: Final = frozenset({Operation.LIST_MODELS, Operation.GET_MODEL})


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """A permission that fits the name."""

    provider_name: str | None
    model_pattern: str


class Counter(msgspec.Struct, frozen=True, array_like=True):
    """How one limit stood. `cost` is what the request was counted for; None where it was counted nowhere."""

    id: str
    model_pattern: str
    dimension: str
    limit: int
    cost: int | None = None
    before: int | None = None
    after: int | None = None
    """What was left of it before and after the request was counted."""


class Budget(msgspec.Struct, frozen=True, array_like=True):
    """How the budget stood, in nano-USD beside what other requests held; None where it was not asked."""

    quota: int
    before: int | None = None
    after: int | None = None


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A place that could serve."""

    provider_name: str
    model_id: str
    tier: int
    weight: int
    alias: str | None = None


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """A place that could not."""

    provider_name: str
    model_id: str
    reason: str


class Considered(msgspec.Struct, frozen=True, array_like=True):
    """A credential: tried (`attempt` counts from 1) with this verdict, or passed over (0) for this reason."""

    attempt: int
    provider_name: str
    model_id: str
    credential_id: str
    verdict: str
    reason: str


class Trail(msgspec.Struct, frozen=True, array_like=True):
    """The whole trail. Fields are only ever added at the end: stored trails of older versions stay readable."""

    status: int
    code: str | None
    outcome: str
    operation: str
    dialect: str
    model_asked: str
    key_id: str | None
    steps: Sequence[Step]
    permissions: Sequence[Grant] = ()
    rate_limits: Sequence[Counter] = ()
    quota: Budget | None = None
    route: str | None = None
    strategy: str | None = None
    candidates: Sequence[Member] = ()
    skipped: Sequence[Passed] = ()
    credentials: Sequence[Considered] = ()


def trail_of(x: Exchange) -> Trail:
    """The trail of a request that is over."""
    steps: list[Step] = []
    principal = x.principal
    ways: Ways | None = None
    route = strategy = None
    if principal is None:
        steps.append(_ended("identify", x))
    else:
        steps.append(Step("identify", ok=True, text=f"key {principal.key_id} of {principal.user_name}"))
        ways, route, strategy = _decided(x, principal, steps)
    notes = x.notes or ()
    steps += [_tried(note) for note in notes if note.attempt and note.verdict != _OK]
    if principal is not None and (not steps or steps[-1].ok or x.attempts):
        steps.append(_ended("answer", x))
    return Trail(
        status=x.answered_status,
        code=None if x.failure is None else x.failure.kind.value,
        outcome=x.outcome,
        operation=x.operation.value,
        dialect=x.call.dialect.value,
        model_asked=clean(x.model_asked),
        key_id=None if principal is None else principal.key_id,
        steps=steps,
        permissions=() if principal is None else _grants(x, principal),
        rate_limits=() if principal is None else _counters(x, principal),
        quota=None if principal is None else _budget(x, principal),
        route=route,
        strategy=strategy,
        candidates=()
        if ways is None
        else [
            Member(one.provider.name, one.model_id, one.tier, one.weight, one.alias) for one in ways.candidates[:_MOST]
        ],
        skipped=()
        if ways is None
        else [Passed(one.provider_name, one.model_id, one.reason) for one in ways.skipped[:_MOST]],
        credentials=_considered(x, ways, notes),
    )


def _decided(x: Exchange, principal: Principal, steps: list[Step]) -> tuple[Ways | None, str | None, str | None]:
    """What is decided between the key and the first attempt: the steps, and where the name leads."""
    if x.call.operation in _LISTS:
        return None, None, None
    if not x.model_asked:
        steps.append(_ended("read", x))
        return None, None, None
    provider = x.call.scoped_provider
    verdict = may_call(principal, x.model_asked, provider=provider)
    steps.append(permitted(verdict))
    if isinstance(verdict, Denied):
        return None, None, None
    found = resolve(x.snapshot, x.model_asked, provider)
    if isinstance(found, Unresolved):
        steps.append(Step("resolve", ok=False, text=_text(found.failure)))
        return Ways((), found.skipped, steps[-1]), None, None
    operation, dialect = x.operation, x.call.dialect
    ways = able(narrowed(found, verdict.providers), lambda one: barrier(one, operation, dialect))
    steps.append(ways.step)
    failure = x.failure
    if ways.candidates and x.admission is not None:
        steps.append(Step("reserve", ok=True, text=_reserved(x)))
    elif ways.candidates and failure is not None and failure.kind in _BUDGET and not x.attempts:
        steps.append(Step("reserve", ok=False, text=_text(failure)))
    return ways, found.route, found.strategy


def _reserved(x: Exchange) -> str:
    admission = x.admission
    assert admission is not None
    told = []
    if admission.cap is not None:
        told.append(f"the answer was capped at {admission.cap} tokens")
    if x.principal is not None and x.principal.quota_nano_usd is None:
        told.append("no budget")
    elif admission.left is not None:
        told.append(f"within the budget, {usd(admission.left)} USD of it left afterwards")
    told.append(f"{len(admission.standings)} limits counted it")
    return "; ".join(told)


def _grants(x: Exchange, principal: Principal) -> list[Grant]:
    rows = fitting_permissions(principal, x.model_asked, x.call.scoped_provider) if x.model_asked else []
    return [Grant(row.provider_name, row.pattern) for row in rows[:_MOST]]


def _counters(x: Exchange, principal: Principal) -> list[Counter]:
    """Every limit that fits the name, with how it stood where the request was counted."""
    counted = {} if x.admission is None else {
        (one.claim.row_id, one.claim.dimension): one for one in x.admission.standings
    }  # fmt: skip
    told = []
    for row in fitting_limits(principal, x.model_asked) if x.model_asked else []:
        for dimension, limit in (("rpm", row.rpm), ("rpd", row.rpd), ("total_tokens", row.total_tokens)):
            if limit is None:
                continue
            standing = counted.get((row.id, dimension))
            if standing is None:
                told.append(Counter(row.id, row.pattern, dimension, limit))
                continue
            cost, after = standing.claim.cost, standing.remaining
            told.append(Counter(row.id, row.pattern, dimension, limit, cost, min(limit, after + cost), after))
    return told[:_MOST]


def _budget(x: Exchange, principal: Principal) -> Budget | None:
    quota = principal.quota_nano_usd
    if quota is None:
        return None
    left = None if x.admission is None else x.admission.left
    return Budget(quota) if left is None else Budget(quota, left + x.cost_nano_usd, left)


def _considered(x: Exchange, ways: Ways | None, notes: Sequence[Note]) -> list[Considered]:
    told = [
        Considered(
            note.attempt,
            note.candidate.provider.name,
            clean(note.candidate.model_id),
            note.credential.id,
            note.verdict,
            clean(note.reason),
        )
        for note in notes
    ]
    # The last attempt has no note when nothing went wrong before it, or when no verdict ended it.
    noted = any(note.verdict == _OK for note in notes)
    if x.attempts and x.credential_id is not None and not noted and (x.outcome != Outcome.FAILED or x.failure is None):
        number = max((note.attempt for note in notes), default=0) + 1
        verdict = _OK if x.outcome == Outcome.COMPLETE else x.outcome
        model = clean(x.model_served or "")
        told.append(Considered(number, x.provider_name or "", model, x.credential_id, verdict, ""))
    for one in () if ways is None else ways.candidates:
        told += [
            Considered(0, one.provider.name, clean(one.model_id), key.id, "", "switched off")
            for key in one.provider.credentials
            if not key.enabled
        ]
    return told[:_MOST]


def _tried(note: Note) -> Step:
    where = f"{note.candidate.provider.name}/{note.candidate.model_id}"
    text = f"attempt {note.attempt} at {where} with credential {note.credential.id}: {note.verdict}"
    return Step("attempt", ok=False, text=clean(f"{text}, {note.reason}" if note.reason else text))


def _ended(step: str, x: Exchange) -> Step:
    if x.failure is not None:
        return Step(step, ok=False, text=f"{x.answered_status} {x.failure.kind.value}: {_text(x.failure)}")
    if x.cause is Cause.CLIENT_GONE and x.outcome != Outcome.COMPLETE:
        return Step(step, ok=False, text="the client left")
    good = x.outcome == Outcome.COMPLETE
    return Step(step, good, f"{x.answered_status} {x.outcome}, cost {usd(x.cost_nano_usd)} USD")


def _text(failure: Failure) -> str:
    """Our own words about a refusal; a vendor's may repeat what the client said, and that is in no trail."""
    if failure.kind is Kind.UPSTREAM_ERROR:
        return "the vendor's own answer was passed on" if failure.upstream_status is not None else failure.text
    return clean(failure.text)


def written(trail: Trail) -> str:
    """A trail as it is stored: JSON without names, a few hundred characters."""
    return msgspec.json.encode(trail).decode()


def read(text: str) -> dict[str, Any]:
    """A stored trail with its names. Raises `msgspec.DecodeError` for what is none."""
    told: dict[str, Any] = _named(msgspec.json.decode(text, type=Trail))
    return told


def _named(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _named(getattr(value, name)) for name in value.__struct_fields__}
    return [_named(each) for each in value] if isinstance(value, list | tuple) else value


def clean(text: str) -> str:
    """A text that every database takes: no NUL, no half of a surrogate pair, no more than is read."""
    return text[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode("utf-8")
