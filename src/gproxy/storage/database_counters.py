"""`access.counters.Counters` where several processes share one database: budgets there, limits by share.

With a Redis, part of each budget in use is set aside there as an allowance (`allowances`): a request that it covers is
let through in one round trip, which counts its limits too, and the database hears of it afterwards.

Everything that happens to budgets goes through one queue in the order it happened, and one transaction carries all
that has come together meanwhile: it locks the budgets it touches (in one order everywhere), decides, and writes holds
and sums. A hold stays until its request is over; what an attempt cost stays as a `spent` hold until the attempt's row
lands, in whose transaction it goes (`usage.SqlLedger`). So at every moment `cost_used + reserved` is at least what was
spent, whoever dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from gproxy.access.counters import Ask, CountersUnavailable, Grant
from gproxy.access.limits import Claim, Counted, Exceeded
from gproxy.access.quotas import Reservation, Short
from gproxy.access.shares import Membership, Shares
from gproxy.clock import Clock
from gproxy.storage import sql
from gproxy.storage.allowances import (
    KEPT_SECONDS,
    LARGEST,
    NONE,
    OPEN_SECONDS,
    OWN_ROW_AFTER,
    Allowance,
    Draw,
    Drawn,
    NotCovered,
    Purse,
)
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.holds import (
    HELD,
    HOLD_SECONDS,
    Answer,
    Charge,
    Close,
    Decision,
    Extend,
    Move,
    Op,
    Release,
    Reserve,
    Work,
    lock_accounts,
    set_reserved,
)
from gproxy.storage.retry import Retry

PATIENCE: Final = 2.0
"""Seconds an admission waits for the database before the request is refused."""
SEEN_SECONDS: Final = 10
"""A process that was not seen for so long serves no more."""

_US: Final = 1_000_000
_BATCH: Final = 200
_SURE_AFTER: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16)
"""Seconds to wait, and ask again, while an allowance is on its way between the database and the purse. Then it is lost."""


class Limits(Protocol):
    """Where limit windows are kept."""

    on_work: Callable[[], None] | None

    @property
    def purse(self) -> Purse | None:
        """Who gives out allowances in the round trip that counts; None: nobody."""
        ...

    @property
    def away(self) -> bool:
        """Whether a shared place for the windows cannot be reached."""
        ...

    async def count(self, claims: Sequence[Claim]) -> Counted | Exceeded:
        """Count every claim, or none."""
        ...

    def correct(self, counted: Counted, tokens: int) -> None:
        """Replace reserved tokens by used ones."""
        ...

    def withdraw(self, counted: Counted) -> None:
        """Take a request back."""
        ...

    async def tick(self) -> None:
        """Once a second: be seen by other instances. Never raises for a shared place that is away."""
        ...

    async def flush(self) -> None:
        """Send what waits. Never raises."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


class ShareLimits:
    """`Limits` of one instance among several: its share, in its own memory."""

    away = False
    purse = None

    def __init__(self, shares: Shares, clock: Clock) -> None:
        self.on_work: Callable[[], None] | None = None
        self._shares = shares
        self._clock = clock

    async def count(self, claims: Sequence[Claim]) -> Counted | Exceeded:
        """Count within this instance's share."""
        return self._shares.count(claims, self._clock.monotonic())

    def correct(self, counted: Counted, tokens: int) -> None:
        """Replace reserved tokens by used ones."""
        self._shares.windows.correct(counted, tokens)

    def withdraw(self, counted: Counted) -> None:
        """Take a request back."""
        self._shares.windows.withdraw(counted)

    async def tick(self) -> None:
        """Instances see each other in the database."""

    async def flush(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """Nothing is open."""


class DatabaseCounters:
    """One process's part of the shared accounts. `instance` is its name among them."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        instance: str,
        limits: Callable[[Shares], Limits] | None = None,
        retry: Retry | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.shares = Shares()
        self.limits: Limits = ShareLimits(self.shares, clock) if limits is None else limits(self.shares)
        self.limits.on_work = self._wake
        self.on_work: Callable[[], None] | None = None
        """Called when something waits for `flush`."""
        self._db = db
        self._clock = clock
        self._instance = instance
        self._retry = retry or Retry(patience=patience)
        self._patience = patience
        self._pending: list[Op] = []
        self._lock = asyncio.Lock()
        self._drawn: dict[str, tuple[Reservation, float]] = {}
        """What this process has drawn and still holds, and since when."""
        self._back: list[tuple[Reservation, int]] = []
        """What was drawn and is over, to be given back: what held it, and how much."""
        self._giving_back = asyncio.Lock()
        self._set_aside: list[tuple[Allowance, float]] = []
        """Allowances of this process's making, and when they were handed over."""

    # -- Counters ------------------------------------------------------------------------------------------------

    async def admit(self, ask: Ask) -> Grant | Short | Exceeded:
        """Draw from the user's allowance; where that does not cover it, reserve in the database, then count."""
        if ask.quota is None:
            return await self._counted(ask, Reservation(ask.user_id, 0, id=ask.hold_id))
        for pause in (*_SURE_AFTER, None):
            taken = NONE
            purse = self._purse(ask)
            if purse is not None:
                drawn = await self._draw(purse, ask)
                if isinstance(drawn, Grant | Exceeded):
                    return drawn
                if isinstance(drawn, NotCovered):
                    taken = drawn.taken
            answer: Answer = asyncio.get_running_loop().create_future()
            open_ = purse is not None and purse.open
            surely = pause is None or not open_
            outcome = await self._answered(Reserve(ask, answer, taken, ahead=open_, surely=surely), answer)
            if isinstance(outcome, Reservation):
                return await self._counted(ask, outcome)
            if isinstance(outcome, Short):
                return outcome
            await asyncio.sleep(pause or 0.0)
        raise AssertionError("the last answer is a decision")

    async def _counted(self, ask: Ask, hold: Reservation) -> Grant | Exceeded:
        """Count the claims of a request whose cost is held."""
        try:
            counted = await self.limits.count(ask.claims)
        except BaseException as error:
            self._release(hold)
            if isinstance(error, DatabaseUnavailable):
                raise CountersUnavailable("limits cannot be told") from error
            raise
        if isinstance(counted, Exceeded):
            self._release(hold)
            return counted
        return Grant(hold, counted)

    async def extend(self, grant: Grant, amount: int) -> Short | None:
        """See `Counters.extend`."""
        self._to_own_row(grant.hold)
        outcome = await self._extended(grant.hold, amount)
        purse = self.limits.purse
        if isinstance(outcome, Short) and purse is not None and purse.open:
            taken = await purse.take(grant.hold.user_id)
            if taken is not None and taken.id:
                self._push(Close(grant.hold.user_id, taken))
                outcome = await self._extended(grant.hold, amount)
        return outcome if isinstance(outcome, Short) else None

    async def _extended(self, hold: Reservation, amount: int) -> Decision:
        answer: Answer = asyncio.get_running_loop().create_future()
        return await self._answered(Extend(hold, amount, answer), answer)

    def charge(self, grant: Grant, attempt_id: str, cost: int) -> None:
        """See `Counters.charge`. Written afterwards, in order."""
        hold = grant.hold
        covered = hold.moved(cost)
        if hold.quota is not None and cost:
            self._push(Charge(hold.user_id, hold.drawn_from or hold.id, attempt_id, cost, covered))

    def settle(self, grant: Grant, tokens: int) -> None:
        """See `Counters.settle`."""
        if not grant.over:
            grant.over = True
            self._release(grant.hold)
            self.limits.correct(grant.counted, tokens)

    def withdraw(self, grant: Grant) -> None:
        """See `Counters.withdraw`."""
        if not grant.over:
            grant.over = True
            self._release(grant.hold)
            self.limits.withdraw(grant.counted)

    def sweep(self, now: float) -> int:
        """Drop limit windows that hold nothing."""
        return self.shares.windows.sweep(now)

    # -- allowances ----------------------------------------------------------------------------------------------

    def _purse(self, ask: Ask) -> Purse | None:
        purse = self.limits.purse
        return purse if purse is not None and purse.open and ask.amount <= LARGEST else None

    async def _draw(self, purse: Purse, ask: Ask) -> Grant | NotCovered | Exceeded | None:
        if self._back or self._giving_back.locked():
            await self._give_back()
        assert ask.quota is not None
        try:
            drawn = await purse.draw(ask.claims, Draw(ask.user_id, ask.amount, ask.quota, self._clock.now_us()))
        except DatabaseUnavailable as error:
            raise CountersUnavailable("limits cannot be told") from error
        if not isinstance(drawn, Drawn):
            return drawn
        hold = Reservation(ask.user_id, ask.amount, ask.quota, drawn.left, id=ask.hold_id)
        hold.drawn_from = drawn.allowance_id
        self._drawn[hold.id] = (hold, self._clock.monotonic())
        return Grant(hold, drawn.counted)

    def _to_own_row(self, hold: Reservation) -> None:
        if hold.drawn_from:
            del self._drawn[hold.id]
            self._push(Move(hold.user_id, hold.id, hold.drawn_from, hold.amount))
            hold.drawn_from = ""

    async def _give_back(self) -> None:
        """Give back what was drawn and is over. What nobody can tell of is lost until its allowance's row ends."""
        async with self._giving_back:
            purse = self.limits.purse
            while self._back:  # one by one: whoever waits here may be cancelled
                hold, amount = self._back.pop(0)
                # One that is known to be away has not got it, and will not: then it is freed where it was set aside.
                there: bool | None = False
                if purse is not None and purse.open:
                    there = await purse.give_back(hold.user_id, hold.drawn_from, amount)
                if there is False:
                    self._push(Move(hold.user_id, hold.id, hold.drawn_from, amount))
                    self._push(Release(hold.user_id, hold.id))

    async def _hand_over(self, made: Sequence[Allowance]) -> None:
        purse = self.limits.purse
        assert purse is not None
        for one in made:
            self._set_aside.append((one, self._clock.monotonic()))
            instead = await purse.give(one)
            if instead is not None and instead.id:
                self._push(Close(one.user_id, instead))

    async def retract(self, *, all_of_them: bool = False) -> None:
        """Take back the allowances of this process's making whose time is over, or all of them."""
        purse, now = self.limits.purse, self._clock.monotonic()
        if purse is None:
            return
        standing, self._set_aside = self._set_aside, []
        for one, at in standing:
            if not all_of_them and now < at + OPEN_SECONDS:
                self._set_aside.append((one, at))
                continue
            taken = await purse.take(one.user_id, one.id)
            if taken is None and now < at + KEPT_SECONDS:
                self._set_aside.append((one, at))
            elif taken is not None and taken.id:
                self._push(Close(one.user_id, taken))

    # -- the queue -----------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Carry out everything that waits. Raises `DatabaseUnavailable`; what must not be forgotten waits on."""
        await self._give_back()
        await self.limits.flush()
        async with self._lock:
            while self._pending:
                ops = self._next()
                try:
                    answers, made = await self._retry.run(lambda ops=ops: self._carry_out(ops))  # type: ignore[misc]
                except DatabaseUnavailable:
                    self._pending[: len(ops)] = list(_kept(ops))
                    raise
                del self._pending[: len(ops)]
                for answer, value in answers:
                    if not answer.done():
                        answer.set_result(value)
                if made:
                    await self._hand_over(made)

    def _next(self) -> list[Op]:
        """What fits one transaction, which may have to be repeated: a move and what ends it are not in the same one."""
        moved: set[str] = set()
        ops = self._pending[:_BATCH]
        for number, op in enumerate(ops):
            if isinstance(op, Move):
                moved.add(op.hold_id)
            elif isinstance(op, Release) and op.hold_id in moved:
                return ops[:number]
        return ops

    def _push(self, op: Op) -> None:
        self._pending.append(op)
        self._wake()

    def _wake(self) -> None:
        if self.on_work is not None:
            self.on_work()

    def _release(self, hold: Reservation) -> None:
        ended = hold.settled
        amount = hold.released()
        if hold.quota is None or ended:
            return
        if not hold.drawn_from:
            self._push(Release(hold.user_id, hold.id))
            return
        del self._drawn[hold.id]
        if amount:
            self._back.append((hold, amount))
            self._wake()

    async def _answered(self, op: Reserve | Extend, answer: Answer) -> Decision:
        self._push(op)
        try:
            async with asyncio.timeout(self._patience):
                return await answer
        except (TimeoutError, CountersUnavailable) as error:
            # It may have been carried out, or may be yet; what comes after it in the queue undoes it.
            self._give_up(op)
            raise CountersUnavailable("the database that keeps the budgets does not answer") from error
        except asyncio.CancelledError:
            self._give_up(op)
            raise

    def _give_up(self, op: Reserve | Extend) -> None:
        if isinstance(op, Reserve):
            self._push(Release(op.user_id, op.hold_id))

    async def _carry_out(self, ops: Sequence[Op]) -> tuple[list[tuple[Answer, Decision]], list[Allowance]]:
        async with self._db.transaction() as tx:
            work = Work(tx, self._instance, self._clock.now_us())
            return await work.run(ops), work.set_aside

    # -- upkeep --------------------------------------------------------------------------------------------------

    async def beat(self) -> bool:
        """Be seen, and see the others; whether the membership has changed. Raises `DatabaseUnavailable`."""
        now = self._clock.now_us()
        statement = sql.upsert(self._db.dialect, "instances", ("id", "seen_at"), ("id",), replace=("seen_at",))
        await self._db.execute(statement, (self._instance, now))
        rows = await self._db.fetch(
            "SELECT id FROM instances WHERE seen_at >= ? ORDER BY id", (now - SEEN_SECONDS * _US,)
        )
        ids = [row[0] for row in rows]
        before = self.shares.membership
        self.shares.membership = Membership(len(ids), ids.index(self._instance)) if self._instance in ids else before
        return before != self.shares.membership

    async def tend_allowances(self) -> None:
        """Once a second: what is drawn and held for long gets a row of its own, allowances that are over come back."""
        now = self._clock.monotonic()
        for hold, since in list(self._drawn.values()):
            if now >= since + OWN_ROW_AFTER:
                self._to_own_row(hold)
        await self.retract()

    async def renew(self) -> None:
        """Say that this process's holds are alive. Raises `DatabaseUnavailable`."""
        until = self._clock.now_us() + HOLD_SECONDS * _US
        await self._db.execute(
            "UPDATE quota_holds SET expires_at = ? WHERE instance = ? AND spent = ?", (until, self._instance, HELD)
        )

    async def bury(self) -> int:
        """Free what dead processes held, and forget them; how much, nano-USD. Raises `DatabaseUnavailable`."""
        now = self._clock.now_us()
        expired = await self._db.fetch("SELECT DISTINCT user_id FROM quota_holds WHERE expires_at < ?", (now,))
        freed = 0
        for (user_id,) in sorted(expired):
            freed += await self._retry.run(lambda user_id=user_id: self._bury(user_id, now))  # type: ignore[misc]
        await self._db.execute("DELETE FROM instances WHERE seen_at < ?", (now - 360 * SEEN_SECONDS * _US,))
        return freed

    async def _bury(self, user_id: str, now: int) -> int:
        async with self._db.transaction() as tx:
            _, was = (await lock_accounts(tx, [user_id]))[user_id]
            await tx.execute("DELETE FROM quota_holds WHERE user_id = ? AND expires_at < ?", (user_id, now))
            return was - await set_reserved(tx, user_id)

    async def reserved_drift(self) -> dict[str, tuple[int, int]]:
        """Set every `reserved` to the sum of its holds; what differed, as (was, is). Raises `DatabaseUnavailable`."""
        suspects = [row[0] for row in await self._db.fetch(_DRIFTED)]
        found: dict[str, tuple[int, int]] = {}
        for user_id in suspects:
            drift = await self._retry.run(lambda user_id=user_id: self._repair(user_id))  # type: ignore[misc]
            if drift[0] != drift[1]:
                found[user_id] = drift
        return found

    async def _repair(self, user_id: str) -> tuple[int, int]:
        async with self._db.transaction() as tx:
            _, was = (await lock_accounts(tx, [user_id]))[user_id]
            return was, await set_reserved(tx, user_id)

    async def leave(self) -> None:
        """Say good-bye: the others' shares grow at once. Raises `DatabaseUnavailable`."""
        await self._db.execute("DELETE FROM instances WHERE id = ?", (self._instance,))


def _kept(ops: Iterable[Op]) -> Iterable[Op]:
    """What must still be done when a transaction failed, perhaps after it was committed."""
    for op in ops:
        if isinstance(op, Reserve | Extend):
            if not op.answer.done():
                op.answer.set_exception(CountersUnavailable("the database that keeps the budgets does not answer"))
            if isinstance(op, Reserve) and op.taken.id:
                yield Close(op.user_id, op.taken)
        else:
            yield op


_DRIFTED: Final = """
SELECT s.user_id FROM (
  SELECT user_id, SUM(held) AS held FROM (
    SELECT user_id, amount_nano_usd AS held FROM quota_holds
    UNION ALL SELECT user_id, -reserved_nano_usd FROM user_quotas
  ) parts GROUP BY user_id
) s WHERE s.held <> 0 ORDER BY s.user_id
"""
