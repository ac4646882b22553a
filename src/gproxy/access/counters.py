"""The port behind which budgets and limits are counted, and its implementation for one process.

Where several processes share the counters, the database or Redis stands behind the same port (`storage`). Admission
is awaited and all or nothing: the budget first, then every matching limit, and a refusal leaves no trace in either.
What ends a request (`charge`, `settle`, `withdraw`) is never awaited, so that no cancellation can come between an
answer and its settlement; an implementation that must talk to somebody does so afterwards, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

from gproxy.access.limits import Claim, Counted, Exceeded
from gproxy.access.quotas import Quotas, Reservation, Short
from gproxy.access.shares import Shares
from gproxy.clock import Clock


class Ask(msgspec.Struct, frozen=True):
    """What one request asks for before anything is sent.

    `amount` is the projected cost, `least` the cost with which it could still go on; both nano-USD.
    """

    hold_id: str
    user_id: str
    quota: int | None
    amount: int
    least: int
    claims: tuple[Claim, ...] = ()


class Grant(msgspec.Struct, eq=False):
    """A request that was let through: its hold on the budget, and what was counted."""

    hold: Reservation
    counted: Counted
    over: bool = False
    """Whether it was settled or withdrawn."""


class CountersUnavailable(Exception):  # noqa: N818 - it is a state of the world
    """The shared accounts cannot be reached, and letting a request through unseen could overspend a budget."""


class Counters(Protocol):
    """Budgets and limits."""

    async def admit(self, ask: Ask) -> Grant | Short | Exceeded:
        """Reserve the cost and count every claim, or neither. Raises `CountersUnavailable`."""
        ...

    async def extend(self, grant: Grant, amount: int) -> Short | None:
        """Raise the hold to `amount` for a further attempt. Raises `CountersUnavailable`."""
        ...

    def charge(self, grant: Grant, attempt_id: str, cost: int) -> None:
        """Move an attempt's cost from the hold to what is spent. Once for each attempt, also after `settle`."""
        ...

    def settle(self, grant: Grant, tokens: int) -> None:
        """The request is over: what is left of its hold is free, its tokens become what was used. Once."""
        ...

    def withdraw(self, grant: Grant) -> None:
        """The request was not sent anywhere after all: it consumed nothing. Once, instead of `settle`."""
        ...

    def sweep(self, now: float) -> int:
        """Drop what has expired by `now` (monotonic seconds); how many went."""
        ...


class MemoryCounters:
    """`Counters` for the one process that serves a database: exact, and nothing is ever awaited."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.quotas = Quotas()
        self.shares = Shares()

    async def admit(self, ask: Ask) -> Grant | Short | Exceeded:
        """One comparison for the budget, one per limit, in one turn of the loop."""
        hold = self.quotas.reserve(ask.user_id, ask.quota, ask.amount, least=ask.least, hold_id=ask.hold_id)
        if isinstance(hold, Short):
            return hold
        counted = self.shares.count(ask.claims, self._clock.monotonic())
        if isinstance(counted, Exceeded):
            self.quotas.release(hold)
            return counted
        return Grant(hold, counted)

    async def extend(self, grant: Grant, amount: int) -> Short | None:
        """See `Counters.extend`."""
        return self.quotas.extend(grant.hold, amount)

    def charge(self, grant: Grant, attempt_id: str, cost: int) -> None:
        """See `Counters.charge`."""
        self.quotas.charge(grant.hold, cost, attempt_id)

    def settle(self, grant: Grant, tokens: int) -> None:
        """See `Counters.settle`."""
        if not grant.over:
            grant.over = True
            self.quotas.release(grant.hold)
            self.shares.windows.correct(grant.counted, tokens)

    def withdraw(self, grant: Grant) -> None:
        """See `Counters.withdraw`."""
        if not grant.over:
            grant.over = True
            self.quotas.release(grant.hold)
            self.shares.windows.withdraw(grant.counted)

    def sweep(self, now: float) -> int:
        """Drop limit windows that hold nothing."""
        return self.shares.windows.sweep(now)

    def held(self) -> Mapping[str, int]:
        """What open requests hold against each budget."""
        return self.quotas.held()

    def landed(self, costs: Iterable[tuple[str, str, int, bool]]) -> None:
        """Rows are in the database, see `Quotas.landed`."""
        self.quotas.landed(costs)
