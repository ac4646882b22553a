"""Limits without a shared counter: each of several instances lets through its share of every limit.

The shares of all instances add up to the limit, so together they never let through more. What an instance knows of
the recent past (from the ledger, where everybody's requests land) it takes on in equal parts, so that a limit stays
one when instances come and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gproxy.access.limits import DAY, Claim, Counted, Exceeded, Standing, Windows, applies
from gproxy.access.principal import RateLimit
from gproxy.window import MINUTE


@dataclass(frozen=True, slots=True)
class Membership:
    """How many instances there are, and which one this is, counted from 0."""

    count: int = 1
    rank: int = 0

    def share(self, limit: int) -> int:
        """This instance's part of a limit; the parts of all add up to it exactly."""
        return limit // self.count + (self.rank < limit % self.count)

    def parts(self, costs: Mapping[float, int]) -> dict[float, int]:
        """This instance's part of what everybody let through at these moments.

        Running totals are shared out, not single moments, so that the parts are fair and still add up exactly.
        """
        parts: dict[float, int] = {}
        total = 0
        for at in sorted(costs):
            parts[at] = self.share(total + costs[at]) - self.share(total)
            total += costs[at]
        return parts


@dataclass(frozen=True, slots=True)
class Through:
    """Requests of one user for one model name in one short stretch of time; `at` is when they count, microseconds."""

    user_id: str
    model_asked: str
    at: int
    requests: int
    tokens: int


class Shares:
    """The windows of one instance. With one member it is the whole limit, exactly."""

    def __init__(self) -> None:
        self.windows = Windows()
        self.membership = Membership()

    def count(self, claims: Sequence[Claim], now: float) -> Counted | Exceeded:
        """Count every claim within this instance's share, or none."""
        if self.membership.count == 1:
            return self.windows.count(claims, now)
        limits = {(claim.row_id, claim.dimension): claim.limit for claim in claims}
        outcome = self.windows.count([one._replace(limit=self.membership.share(one.limit)) for one in claims], now)
        standings = tuple(_told(standing, limits) for standing in outcome.standings)
        if isinstance(outcome, Exceeded):
            return Exceeded(_whole(outcome.claim, limits), outcome.retry_after, standings)
        return Counted(outcome.claims, outcome.slots, standings)

    def learn(
        self, rows: Mapping[str, Sequence[RateLimit]], length: float, seen: Iterable[Through], offset: float
    ) -> None:
        """Take on this instance's part of what everybody let through in windows of `length` seconds.

        `rows` are the limits by user id; `offset` is what turns seconds since the epoch into this process's monotonic
        seconds.
        """
        sums: dict[tuple[str, str], dict[float, int]] = {}
        for one in seen:
            for row in rows.get(one.user_id, ()):
                if applies(row, one.model_asked):
                    for dimension, cost in _counted(row, length, one):
                        moments = sums.setdefault((row.id, dimension), {})
                        at = one.at / 1_000_000 + offset
                        moments[at] = moments.get(at, 0) + cost
        for (row_id, dimension), moments in sums.items():
            self.windows.raise_to(row_id, dimension, length, self.membership.parts(moments))


def lengths(rows: Iterable[RateLimit]) -> set[float]:
    """Every window length that these rows use, in seconds."""
    found: set[float] = set()
    for row in rows:
        if row.rpm is not None:
            found.add(MINUTE)
        if row.rpd is not None:
            found.add(DAY)
        if row.total_tokens is not None:
            found.add(float(row.total_tokens_window))
    return found


def _counted(row: RateLimit, length: float, one: Through) -> Iterable[tuple[str, int]]:
    if row.rpm is not None and length == MINUTE:
        yield "rpm", one.requests
    if row.rpd is not None and length == DAY:
        yield "rpd", one.requests
    if row.total_tokens is not None and length == row.total_tokens_window:
        yield "total_tokens", one.tokens


def _told(standing: Standing, limits: Mapping[tuple[str, str], int]) -> Standing:
    return Standing(_whole(standing.claim, limits), standing.remaining, standing.reset)


def _whole(claim: Claim, limits: Mapping[tuple[str, str], int]) -> Claim:
    return claim._replace(limit=limits[claim.row_id, claim.dimension])
