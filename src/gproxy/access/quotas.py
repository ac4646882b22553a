"""Budgets: reserve before, settle after, and never a cent beyond.

    admitted  ⇔  used + reserved + projected ≤ quota

`projected` is an upper bound of what the request can cost, so whatever the answers turn out to cost, the sum of
settled costs stays within the quota, under any number of concurrent requests: admission is one comparison and
one addition in one turn of the loop, with nothing awaited in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec


@dataclass(slots=True)
class Account:
    """What one user has spent and holds, in nano-USD. The limit itself is in the snapshot and may change any time."""

    used: int = 0
    reserved: int = 0


class Reservation(msgspec.Struct, eq=False):
    """A hold on a budget; settled exactly once, whatever happens to the request."""

    user_id: str
    amount: int
    quota: int | None = None
    left: int | None = None
    """What was still free beside this hold when it was made or last changed; None without a limit."""
    settled: bool = False
    id: str = ""
    """Names the hold where several processes share the accounts."""
    drawn_from: str = ""
    """Names the money set aside that it is a part of, as long as it has no row of its own."""

    def moved(self, cost: int) -> int:
        """Take an attempt's cost out of the hold; how much of it the hold covered."""
        covered = min(cost, self.amount)
        self.amount -= covered
        if self.left is not None:
            self.left = max(0, self.left - (cost - covered))
        return covered

    def released(self) -> int:
        """End the hold; the amount that is free again (0 when it had ended before)."""
        if self.settled:
            return 0
        self.settled = True
        freed, self.amount = self.amount, 0
        if self.left is not None:
            self.left += freed
        return freed


@dataclass(frozen=True, slots=True)
class Short:
    """The budget does not cover the projected cost; `left` is what it would still cover, never negative."""

    left: int


def fitting(quota: int | None, taken: int, amount: int, least: int) -> int | Short:
    """How much of `amount` may be held beside what is taken: all of it, or what is left if that is at least `least`."""
    if quota is None or taken + amount <= quota:
        return amount
    left = quota - taken
    return left if 0 <= least <= left else Short(max(0, left))


class Quotas:
    """Every user's account in this process."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._unlanded: dict[str, tuple[str, int]] = {}

    def restore(self, used: Mapping[str, int]) -> dict[str, int]:
        """Take over what the database says was spent, beside what of ours is still on its way there.

        Call when no batch of ours is landing. Returns by how much each account differed.
        """
        truth = dict(used)
        for user_id, cost in self._unlanded.values():
            truth[user_id] = truth.get(user_id, 0) + cost
        drift: dict[str, int] = {}
        for user_id in {*truth, *self._accounts}:
            account = self._account(user_id)
            difference = truth.get(user_id, 0) - account.used
            if difference:
                drift[user_id] = difference
                account.used += difference
        return drift

    def account(self, user_id: str) -> Account:
        """A copy of how a user stands."""
        account = self._accounts.get(user_id, _NOTHING)
        return Account(account.used, account.reserved)

    def left(self, user_id: str, quota: int | None) -> int | None:
        """What may still be reserved; None without a limit."""
        if quota is None:
            return None
        account = self._accounts.get(user_id, _NOTHING)
        return max(0, quota - account.used - account.reserved)

    def held(self) -> dict[str, int]:
        """What open requests hold, by user; users without a hold are not named."""
        return {user_id: account.reserved for user_id, account in self._accounts.items() if account.reserved}

    def reserve(
        self, user_id: str, quota: int | None, projected: int, *, least: int | None = None, hold_id: str = ""
    ) -> Reservation | Short:
        """Hold `projected` against the budget, or say how much is left.

        With `least`, a budget that covers that much but not all gives what it has.
        """
        account = self._account(user_id)
        taken = account.used + account.reserved
        amount = fitting(quota, taken, projected, projected if least is None else least)
        if isinstance(amount, Short):
            return amount
        account.reserved += amount
        left = None if quota is None else max(0, quota - taken - amount)
        return Reservation(user_id, amount, quota, left, id=hold_id)

    def extend(self, reservation: Reservation, amount: int) -> Short | None:
        """Raise a hold to `amount` for a further attempt; `Short` when the budget does not cover it."""
        more = amount - reservation.amount
        if more <= 0:
            return None
        account = self._account(reservation.user_id)
        granted = fitting(reservation.quota, account.used + account.reserved, more, more)
        if isinstance(granted, Short):
            return granted
        account.reserved += more
        reservation.amount = amount
        self._look(reservation)
        return None

    def charge(self, reservation: Reservation, cost: int, attempt_id: str | None = None) -> None:
        """Charge one attempt of a request that goes on: the cost moves from the hold to what is used.

        With `attempt_id` the cost is remembered as on its way to the database, until `landed`.
        """
        account = self._account(reservation.user_id)
        account.used += cost
        account.reserved -= reservation.moved(cost)
        if cost and attempt_id is not None:
            self._unlanded[attempt_id] = (reservation.user_id, cost)
        self._look(reservation)

    def release(self, reservation: Reservation) -> None:
        """End a hold: what is left of it is free again. A second time changes nothing."""
        self._account(reservation.user_id).reserved -= reservation.released()
        self._look(reservation)

    def landed(self, costs: Iterable[tuple[str, str, int, bool]]) -> None:
        """Rows are in the database: (attempt id, user id, cost, whether the row is new there).

        Ours are no longer on their way. A new row that was never ours (a dead process's journal) is spent money that
        this process did not know of.
        """
        for attempt_id, user_id, cost, new in costs:
            if self._unlanded.pop(attempt_id, None) is None and new and cost:
                self._account(user_id).used += cost

    def _look(self, reservation: Reservation) -> None:
        if reservation.quota is not None:
            reservation.left = self.left(reservation.user_id, reservation.quota)

    def _account(self, user_id: str) -> Account:
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = Account()
        return account


_NOTHING: Final = Account()
