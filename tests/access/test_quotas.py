from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from gproxy.access.quotas import Account, Quotas, Reservation, Short

QUOTA = 1_000


def test_a_thousand_at_once_on_a_budget_for_ten() -> None:
    quotas = Quotas()
    outcomes = [quotas.reserve("u", QUOTA, 100) for _ in range(1000)]
    assert sum(isinstance(outcome, Reservation) for outcome in outcomes) == 10


def test_without_a_limit_everything_is_admitted_and_counted() -> None:
    quotas = Quotas()
    held = quotas.reserve("u", None, 10**15)
    assert isinstance(held, Reservation)
    quotas.charge(held, 7)
    quotas.release(held)
    assert (quotas.account("u").used, quotas.account("u").reserved) == (7, 0)
    assert quotas.left("u", None) is None


def test_a_lowered_quota_refuses_but_never_goes_negative() -> None:
    quotas = Quotas()
    quotas.restore({"u": 900})
    assert quotas.reserve("u", 500, 1) == Short(0)
    assert quotas.left("u", 500) == 0


def test_attempts_are_charged_from_the_hold() -> None:
    quotas = Quotas()
    held = quotas.reserve("u", QUOTA, 300)
    assert isinstance(held, Reservation)
    quotas.charge(held, 100)
    assert (quotas.account("u").used, quotas.account("u").reserved) == (100, 200)
    quotas.charge(held, 50)
    quotas.release(held)
    assert (quotas.account("u").used, quotas.account("u").reserved) == (150, 0)


@given(st.integers(0, 500))
def test_ending_a_hold_twice_changes_nothing(cost: int) -> None:
    quotas = Quotas()
    held = quotas.reserve("u", QUOTA, 500)
    assert isinstance(held, Reservation)
    quotas.charge(held, cost)
    quotas.release(held)
    quotas.release(held)
    assert (quotas.account("u").used, quotas.account("u").reserved) == (cost, 0)
    assert held.left == QUOTA - cost


def test_a_cost_that_comes_after_the_hold_ended_is_still_spent() -> None:
    quotas = Quotas()
    held = quotas.reserve("u", QUOTA, 500)
    assert isinstance(held, Reservation)
    quotas.release(held)
    quotas.charge(held, 30)
    assert (quotas.account("u").used, quotas.account("u").reserved) == (30, 0)


def test_a_budget_that_covers_the_least_gives_what_it_has() -> None:
    quotas = Quotas()
    assert quotas.reserve("u", 100, 500, least=101) == Short(100)
    held = quotas.reserve("u", 100, 500, least=40)
    assert isinstance(held, Reservation)
    assert (held.amount, held.left) == (100, 0)


def test_a_further_attempt_needs_the_whole_bound_again() -> None:
    quotas = Quotas()
    held = quotas.reserve("u", 100, 60)
    assert isinstance(held, Reservation)
    quotas.charge(held, 40)
    assert quotas.extend(held, 60) is None
    assert quotas.account("u") == Account(used=40, reserved=60)
    quotas.charge(held, 40)
    assert quotas.extend(held, 60) == Short(0)
    assert quotas.account("u") == Account(used=80, reserved=20)


def test_what_is_on_its_way_to_the_database_is_not_forgotten_when_the_database_is_asked() -> None:
    quotas = Quotas()
    held = quotas.reserve("u", 100, 50)
    assert isinstance(held, Reservation)
    quotas.charge(held, 30, "attempt")
    quotas.release(held)
    assert quotas.restore({"u": 10}) == {"u": 10}
    assert quotas.account("u").used == 40
    quotas.landed([("attempt", "u", 30, True), ("a dead process's", "u", 5, True), ("seen before", "u", 7, False)])
    assert quotas.account("u").used == 45
    assert quotas.restore({"u": 45}) == {}


class Budget(RuleBasedStateMachine):
    """Any interleaving of reserve, charge and settle keeps used + reserved within the quota."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.quotas = Quotas()
        self.spent = 0

    @rule(target=holds, amount=st.integers(0, 400))
    def reserve(self, amount: int) -> Reservation | None:
        outcome = self.quotas.reserve("u", QUOTA, amount)
        return outcome if isinstance(outcome, Reservation) else None

    @rule(hold=holds, share=st.floats(0, 1))
    def charge(self, hold: Reservation | None, share: float) -> None:
        if hold is not None and not hold.settled:
            cost = int(hold.amount * share)
            self.quotas.charge(hold, cost)
            self.spent += cost

    @rule(hold=consumes(holds), share=st.floats(0, 1))
    def settle(self, hold: Reservation | None, share: float) -> None:
        if hold is not None:
            cost = int(hold.amount * share)
            self.quotas.charge(hold, cost)
            self.quotas.release(hold)
            self.spent += cost

    @invariant()
    def never_beyond(self) -> None:
        account = self.quotas.account("u")
        assert account.used == self.spent
        assert account.used + account.reserved <= QUOTA
        assert account.reserved >= 0


TestBudget = Budget.TestCase
