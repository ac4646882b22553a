"""Budgets: reserve before, settle after, and never a cent beyond.

    admitted  ⇔  used + reserved + projected ≤ quota

`projected` is an upper bound of what the request can cost, so whatever the answers turn out to cost, the sum of
settled costs stays within the quota, under any number of concurrent requests: admission is one comparison and
one addition in one turn of the loop, with nothing awaited in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class Account:
    """What one user has spent and holds, in nano-USD. The limit itself is in the snapshot and may change any time."""

    used: int = 0
    reserved: int = 0


@dataclass(slots=True, eq=False)
class Reservation:
    """A hold on a budget; settled exactly once, whatever happens to the request."""

    user_id: str
    amount: int
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Short:
    """The budget does not cover the projected cost; `left` is what it would still cover, never negative."""

    left: int


class Quotas:
    """Every user's account in this process."""

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}

    def restore(self, used: Mapping[str, int]) -> None:
        """Begin with what the database says was spent (after the journal was replayed)."""
        for user_id, amount in used.items():
            self._account(user_id).used = amount

    def account(self, user_id: str) -> Account:
        """A copy of how a user stands."""
        account = self._account(user_id)
        return Account(account.used, account.reserved)

    def left(self, user_id: str, quota: int | None) -> int | None:
        """What may still be reserved; None without a limit."""
        if quota is None:
            return None
        account = self._account(user_id)
        return max(0, quota - account.used - account.reserved)

    def reserve(self, user_id: str, quota: int | None, projected: int) -> Reservation | Short:
        """Hold `projected` against the budget, or say how much is left."""
        account = self._account(user_id)
        if quota is not None and account.used + account.reserved + projected > quota:
            return Short(max(0, quota - account.used - account.reserved))
        account.reserved += projected
        return Reservation(user_id, projected)

    def settle(self, reservation: Reservation, cost: int) -> None:
        """Replace the hold by the real cost (0 releases it). A second settlement changes nothing."""
        if reservation.settled:
            return
        reservation.settled = True
        account = self._account(reservation.user_id)
        account.reserved -= reservation.amount
        account.used += cost

    def charge(self, reservation: Reservation, cost: int) -> None:
        """Charge one attempt of a request that goes on: the cost moves from the hold to what is used."""
        if reservation.settled:
            return
        account = self._account(reservation.user_id)
        account.used += cost
        moved = min(cost, reservation.amount)
        account.reserved -= moved
        reservation.amount -= moved

    def correct(self, user_id: str, difference: int) -> None:
        """Apply a drift that the reconciler found."""
        self._account(user_id).used += difference

    def _account(self, user_id: str) -> Account:
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = Account()
        return account
