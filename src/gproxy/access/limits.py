"""Rate limits as pure arithmetic: (state, cost, now) → allowed or not, and when it would be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gproxy.access.principal import RateLimit
from gproxy.window import MINUTE, Window

DAY: Final = 86_400.0


class Claim(NamedTuple):
    """One counter that a request wants to pass: which row, which of its limits, and how much."""

    row_id: str
    dimension: str
    """`rpm`, `rpd` or `total_tokens`: what `x-gproxy-limit` names."""
    length: float
    limit: int
    cost: int
    least: int | None = None
    """What the request could make do with, when it can be told to produce less; None: `cost` or nothing."""

    @property
    def needs(self) -> int:
        """The smallest amount with which the request can go on."""
        return self.cost if self.least is None else min(self.least, self.cost)

    def fitted(self, used: int) -> Claim | None:
        """The claim as it fits beside what is used: in full, or as much as is left; None when not even the least."""
        left = self.limit - used
        if self.cost <= left:
            return self
        return self.costing(left) if self.needs <= left else None

    def costing(self, cost: int) -> Claim:
        """The same claim at another cost."""
        return self._replace(cost=cost)


class Standing(NamedTuple):
    """How a counter stands after a decision; what the rate-limit headers tell."""

    claim: Claim
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The claim that does not fit, and when it would."""

    claim: Claim
    retry_after: float
    standings: tuple[Standing, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """Every claim was counted, with the cost it was granted; `slots` is what `correct` needs."""

    claims: tuple[Claim, ...]
    slots: tuple[int, ...]
    standings: tuple[Standing, ...]


_NOTHING: Final = Counted((), (), ())


def applies(row: RateLimit, name: str) -> bool:
    """Whether a row limits a model name as the client wrote it.

    `main/gpt-4` is limited like `gpt-4`: a prefix must be no way around a limit.
    """
    if row.matcher.match(name) is not None:
        return True
    _, slash, tail = name.partition("/")
    return bool(slash) and row.matcher.match(tail) is not None


def claims_of(rows: Iterable[RateLimit], name: str, tokens: int, least_tokens: int | None = None) -> tuple[Claim, ...]:
    """What a request for the model `name` must pass: every matching row, every limit it sets.

    `tokens` is the request's upper bound, `least_tokens` what it could make do with.
    """
    claims: list[Claim] = []
    for row in rows:
        if not applies(row, name):
            continue
        if row.rpm is not None:
            claims.append(Claim(row.id, "rpm", MINUTE, row.rpm, 1))
        if row.rpd is not None:
            claims.append(Claim(row.id, "rpd", DAY, row.rpd, 1))
        if row.total_tokens is not None:
            length = float(row.total_tokens_window)
            claims.append(Claim(row.id, "total_tokens", length, row.total_tokens, tokens, least_tokens))
    return tuple(claims)


class Windows:
    """All counters of this process. `count` is all or nothing: a refused request leaves no trace in any of them."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str, float], Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def count(self, claims: Sequence[Claim], now: float) -> Counted | Exceeded:
        """Count every claim if all of them fit, otherwise none. The tightest refusal is reported."""
        if not claims:
            return _NOTHING
        windows: list[Window] = []
        granted: list[Claim] = []
        for claim in claims:
            window = self._window(claim)
            windows.append(window)
            fits = claim.fitted(window.used(now))
            if fits is None:
                return self._refusal(claims, now)
            granted.append(fits)
        slots = tuple([window.add(claim.cost, now) for claim, window in zip(granted, windows, strict=True)])
        return Counted(tuple(granted), slots, _standings(granted, windows, now))

    def _refusal(self, claims: Sequence[Claim], now: float) -> Exceeded:
        windows = [self._window(claim) for claim in claims]
        waits = [
            (window.wait_for(claim.needs, claim.limit, now), claim)
            for claim, window in zip(claims, windows, strict=True)
            if claim.fitted(window.used(now)) is None
        ]
        wait, worst = max(waits, key=lambda pair: pair[0])
        return Exceeded(worst, wait, _standings(claims, windows, now))

    def raise_to(self, row_id: str, dimension: str, length: float, costs: Mapping[float, int]) -> None:
        """Count at least so much at these moments (monotonic seconds): what is known of before this process began."""
        self._of(row_id, dimension, length).raise_to(costs)

    def add(self, claim: Claim, now: float) -> int:
        """Count a claim that somebody else has let through; the slot, for `correct`."""
        return self._window(claim).add(claim.cost, now)

    def moments(self) -> dict[tuple[str, str, float], dict[float, int]]:
        """What every window holds: by row, dimension and length, how much at which moment (monotonic seconds)."""
        return {key: window.moments() for key, window in self._windows.items()}

    def correct(self, counted: Counted, tokens: int) -> None:
        """Replace the reserved tokens of a counted request by what it really used."""
        for claim, slot in zip(counted.claims, counted.slots, strict=True):
            if claim.dimension == "total_tokens":
                self._window(claim).correct(slot, tokens - claim.cost)

    def withdraw(self, counted: Counted) -> None:
        """Take back a request that in the end was not sent anywhere."""
        for claim, slot in zip(counted.claims, counted.slots, strict=True):
            self._window(claim).correct(slot, -claim.cost)

    def sweep(self, now: float) -> int:
        """Drop counters that hold nothing any more; how many."""
        idle = [key for key, window in self._windows.items() if window.used(now) == 0]
        for key in idle:
            del self._windows[key]
        return len(idle)

    def _window(self, claim: Claim) -> Window:
        key = claim[:3]
        return self._windows.get(key) or self._of(*key)

    def _of(self, row_id: str, dimension: str, length: float) -> Window:
        key = (row_id, dimension, length)
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(length)
        return window


def _standings(claims: Sequence[Claim], windows: Sequence[Window], now: float) -> tuple[Standing, ...]:
    """How windows stand that were all looked at or added to at `now`."""
    found: list[Standing] = []
    for claim, window in zip(claims, windows, strict=True):
        used, reset = window.standing(now)
        left = claim.limit - used
        found.append(Standing(claim, max(0, left), reset))
    return tuple(found)
