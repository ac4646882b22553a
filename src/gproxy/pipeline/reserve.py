"""How much: a request's projected cost is held against its owner's budget and its limits are counted, or neither.

A refusal consumes nothing. What was granted travels with the exchange as its `admission`: each attempt's cost moves
from the hold to what is spent, a further attempt needs its full bound again, and the end of the request frees the
rest and replaces the reserved tokens by the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from gproxy.access.counters import Ask, Counters, CountersUnavailable, Grant
from gproxy.access.limits import Exceeded, Standing, claims_of
from gproxy.access.principal import Principal
from gproxy.access.quotas import Short
from gproxy.errors import Failure, Kind, Refused
from gproxy.ids import new_id
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.head import usd
from gproxy.pipeline.projection import (
    FREE,
    SMALLEST_CAP,
    Projection,
    Tariff,
    cap_edit,
    dearest,
    largest_cap,
    project,
)
from gproxy.pipeline.tariffs import tariff_of
from gproxy.routing.route import Resolution
from gproxy.wire.http import Header
from gproxy.wire.json import JsonProblem, patch
from gproxy.wire.peek import Peek

UNREACHABLE: Final = Failure(
    Kind.LEDGER_UNAVAILABLE,
    "budgets cannot be checked at the moment; send the request again in a moment",
    retry_after=1.0,
)
_TOKENS: Final = "total_tokens"


class Granted:
    """What one request was granted. `sent` is set once an attempt is on record."""

    __slots__ = ("_counters", "_grant", "_projection", "_second", "_tier", "cap", "sent")

    def __init__(
        self, counters: Counters, grant: Grant, projection: Projection | None, cap: int | None, tier: str | None
    ) -> None:
        self._counters = counters
        self._grant = grant
        self._projection = projection
        self._tier = tier
        self.cap = cap
        """The output cap that the upstream body must carry, when the client stated none and not everything fits."""
        self.sent = False
        self._second: Grant | None = None
        """The tokens of a second attempt that ran beside the first; in the end all tokens count on the request's own."""

    @property
    def left(self) -> int | None:
        """What the budget has left beside all holds, in nano-USD; None without a budget."""
        return self._grant.hold.left

    @property
    def standings(self) -> Sequence[Standing]:
        """How every limit that counted the request stood right after."""
        return self._grant.counted.standings

    async def cover(self, tariff: Tariff) -> int:
        """Hold the most that one more attempt at this tariff can cost; how much that is, in nano-USD.

        0 for a user without a budget. Raises `Refused`: 402 when what earlier attempts left of the budget does not
        cover it, 503.
        """
        projection, hold = self._projection, self._grant.hold
        if projection is None or hold.quota is None:
            return 0
        bound = dearest([tariff], projection, projection.output if self.cap is None else self.cap, self._tier)
        if bound > hold.amount:
            try:
                short = await self._counters.extend(self._grant, bound)
            except CountersUnavailable:
                raise Refused(UNREACHABLE) from None
            if short is not None:
                raise Refused(_too_dear(bound, short.left))
        return bound

    async def beside(self, tariff: Tariff) -> bool:
        """Hold the bound of a second attempt beside that of the first, and its tokens; false when they do not fit.

        Requests are counted once. What was held is free when the request ends, whether the attempt is made or not.
        """
        projection, hold = self._projection, self._grant.hold
        try:
            if projection is not None and hold.quota is not None:
                output = projection.output if self.cap is None else self.cap
                bound = dearest([tariff], projection, output, self._tier)
                if await self._counters.extend(self._grant, hold.amount + bound) is not None:
                    return False
            tokens = [claim._replace(least=None) for claim in self._grant.counted.claims if claim.dimension == _TOKENS]
            if tokens:
                ask = Ask(new_id(), hold.user_id, None, 0, 0, tuple(tokens))
                grant = await self._counters.admit(ask)
                if isinstance(grant, Short | Exceeded):
                    return False
                self._second = grant
        except CountersUnavailable:
            return False
        return True

    def charge(self, attempt_id: str, cost: int) -> None:
        """An attempt has ended and cost this much."""
        self._counters.charge(self._grant, attempt_id, cost)

    def finish(self, tokens: int) -> None:
        """Nothing more will be spent. Safe to call twice; a request that was never sent consumed nothing."""
        if self._grant.over:
            return
        if self._second is not None:
            self._counters.settle(self._second, 0)
        if self.sent:
            self._counters.settle(self._grant, tokens)
        else:
            self._counters.withdraw(self._grant)

    def headers(self, tokens: int | None = None) -> list[Header]:
        """How the caller's limits stand; with `tokens`, after the reserved tokens were corrected to that many."""
        standings: Sequence[Standing] = self._grant.counted.standings
        if self._grant.over and not self.sent:
            standings = [_withdrawn(standing) for standing in standings]
        elif tokens is not None:
            standings = [_corrected(standing, tokens) for standing in standings]
        headers = limit_headers(standings) if standings else []
        if self.cap is not None:
            headers.append((b"x-gproxy-output-cap", str(self.cap).encode("ascii")))
        return headers

    def receipt(self) -> list[Header]:
        """What the budget still holds, when there is one."""
        left = self.left
        return [] if left is None else [(b"x-gproxy-quota-remaining", usd(left).encode("ascii"))]


def capped(x: Exchange) -> bytes:
    """The client's body, told to produce no more than its budget and its limits can bear."""
    cap = None if x.admission is None else x.admission.cap
    return x.body if cap is None else patch(x.body, cap_edit(x.call.dialect, cap))


async def reserve(x: Exchange, counters: Counters, resolution: Resolution, asked: Peek) -> Granted | None:
    """Hold the projected cost and count the request; None for operations that consume nothing.

    Raises `Refused`: 402 when the budget does not cover the request, 429 when a limit does not, 503 when shared
    accounts cannot be reached.
    """
    principal = x.principal
    assert principal is not None
    if x.call.operation in FREE:
        return None
    rows = principal.rate_limits
    if principal.quota_nano_usd is None and not rows:
        grant = await _admitted(counters, Ask(x.request_id, principal.user_id, None, 0, 0))
        return Granted(counters, grant, None, None, None)
    tariffs = [tariff_of(x.snapshot, candidate) for candidate in resolution.candidates]
    try:
        projection = project(x.call.operation, x.call.dialect, asked, x.body, max(one.longest for one in tariffs))
    except JsonProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
    ask = _ask(x, principal, tariffs, projection, asked.service_tier)
    grant = await _admitted(counters, ask)
    cap = _cap(grant, ask, tariffs, projection, asked.service_tier)
    return Granted(counters, grant, projection, cap, asked.service_tier)


def _ask(x: Exchange, principal: Principal, tariffs: Sequence[Tariff], projection: Projection, tier: str | None) -> Ask:
    full = projection.output
    least = full if projection.stated else min(full, SMALLEST_CAP)
    claims = claims_of(principal.rate_limits, x.model_asked, projection.tokens(full), projection.tokens(least))
    if principal.quota_nano_usd is None:
        return Ask(x.request_id, principal.user_id, None, 0, 0, claims)
    amount = dearest(tariffs, projection, full, tier)
    return Ask(
        x.request_id,
        principal.user_id,
        principal.quota_nano_usd,
        amount,
        amount if least == full else dearest(tariffs, projection, least, tier),
        claims,
    )


async def _admitted(counters: Counters, ask: Ask) -> Grant:
    try:
        outcome = await counters.admit(ask)
    except CountersUnavailable:
        raise Refused(UNREACHABLE) from None
    match outcome:
        case Short():
            raise Refused(_too_dear(ask.least, outcome.left))
        case Exceeded():
            raise Refused(_too_often(outcome))
        case _:
            return outcome


def _cap(grant: Grant, ask: Ask, tariffs: Sequence[Tariff], projection: Projection, tier: str | None) -> int | None:
    """The output cap to impose: None when everything that was asked for was granted."""
    if projection.stated:
        return None
    tokens = min((claim.cost for claim in grant.counted.claims if claim.dimension == _TOKENS), default=None)
    money = grant.hold.amount
    whole = (ask.quota is None or money >= ask.amount) and (
        tokens is None or tokens >= projection.tokens(projection.output)
    )
    if whole:
        return None
    return largest_cap(tariffs if ask.quota is not None else (), projection, tier, money=money, tokens=tokens)


def _too_dear(cost: int, left: int) -> Failure:
    return Failure(
        Kind.QUOTA_EXCEEDED,
        f"this request could cost up to {usd(cost)} USD and {usd(left)} USD of the budget is left; "
        "lower the output limit, wait for requests in flight to finish, or ask for a larger budget",
        headers=((b"x-gproxy-limit", b"quota"), (b"x-gproxy-quota-remaining", usd(left).encode("ascii"))),
    )


def _too_often(refusal: Exceeded) -> Failure:
    claim = refusal.claim
    wait = max(1, math.ceil(refusal.retry_after))
    named = {
        "rpm": f"{claim.limit} requests per minute",
        "rpd": f"{claim.limit} requests per day",
        _TOKENS: f"{claim.limit} tokens per {_span(claim.length)}",
    }[claim.dimension]
    text = f"rate limit reached: {named}"
    if claim.needs > claim.limit:
        text += f"; this request alone could take {claim.needs}"
    else:
        text += f"; there is room again in {wait} s"
    return Failure(
        Kind.RATE_LIMITED,
        text,
        retry_after=refusal.retry_after,
        headers=((b"x-gproxy-limit", claim.dimension.encode("ascii")), *limit_headers(refusal.standings)),
    )


def limit_headers(standings: Sequence[Standing]) -> list[Header]:
    """`x-ratelimit-*` for requests and for tokens, each of the row that is tightest."""
    headers: list[Header] = []
    for kind, of_kind in (
        (b"requests", [one for one in standings if one.claim.dimension != _TOKENS]),
        (b"tokens", [one for one in standings if one.claim.dimension == _TOKENS]),
    ):
        if of_kind:
            tightest = min(of_kind, key=lambda one: (one.remaining, -one.reset))
            headers += [
                (b"x-ratelimit-limit-" + kind, str(tightest.claim.limit).encode("ascii")),
                (b"x-ratelimit-remaining-" + kind, str(tightest.remaining).encode("ascii")),
                (b"x-ratelimit-reset-" + kind, _duration(tightest.reset)),
            ]
    return headers


def _corrected(standing: Standing, tokens: int) -> Standing:
    claim = standing.claim
    if claim.dimension != _TOKENS:
        return standing
    remaining = min(claim.limit, max(0, standing.remaining + claim.cost - tokens))
    return Standing(claim, remaining, standing.reset)


def _withdrawn(standing: Standing) -> Standing:
    claim = standing.claim
    return Standing(claim, min(claim.limit, standing.remaining + claim.cost), standing.reset)


def _duration(seconds: float) -> bytes:
    """Seconds as the OpenAI SDKs know them: `0.5s`, `60s`."""
    return f"{math.ceil(seconds * 1000) / 1000:.3f}".rstrip("0").rstrip(".").encode("ascii") + b"s"


def _span(seconds: float) -> str:
    for unit, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= unit and seconds % unit == 0:
            count = int(seconds // unit)
            return name if count == 1 else f"{count} {name}s"
    return f"{seconds:g} s"
