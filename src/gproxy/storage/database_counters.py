"""`access.counters.Counters` where several processes share one database: budgets there, limits by share.

Everything that happens to budgets goes through one queue in the order it happened, and one transaction carries all
that has come together meanwhile: it locks the budgets it touches (in one order everywhere), decides, and writes holds
and sums. A hold stays until its request is over; what an attempt cost stays as a `spent` hold until the attempt's row
lands, in whose transaction it goes (`usage.SqlLedger`). So at every moment `cost_used + reserved` is at least what was
spent, whoever dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from gproxy.access.counters import Ask, CountersUnavailable, Grant
from gproxy.access.limits import Claim, Counted, Exceeded
from gproxy.access.quotas import Reservation, Short, fitting
from gproxy.access.shares import Membership, Shares
from gproxy.clock import Clock
from gproxy.storage import sql
from gproxy.storage.engine import Database, Session
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.retry import Retry
from gproxy.storage.users import QUOTA_COLUMNS

PATIENCE: Final = 2.0
"""Seconds an admission waits for the database before the request is refused."""
HOLD_SECONDS: Final = 18
"""A hold that nobody renewed for so long belongs to a dead process."""
SPENT_SECONDS: Final = 30 * 86_400
"""How long the cost of an attempt counts whose row never lands: its journal is on a machine that is gone."""
SEEN_SECONDS: Final = 10
"""A process that was not seen for so long serves no more."""

_US: Final = 1_000_000
_BATCH: Final = 200
_HOLD_COLUMNS: Final = ("id", "user_id", "amount_nano_usd", "instance", "spent", "expires_at")


@dataclass(slots=True, eq=False)
class _Reserve:
    ask: Ask
    answer: asyncio.Future[Reservation | Short]

    @property
    def user_id(self) -> str:
        return self.ask.user_id

    @property
    def hold_id(self) -> str:
        return self.ask.hold_id


@dataclass(slots=True, eq=False)
class _Extend:
    hold: Reservation
    amount: int
    answer: asyncio.Future[Reservation | Short]

    @property
    def user_id(self) -> str:
        return self.hold.user_id

    @property
    def hold_id(self) -> str:
        return self.hold.id


@dataclass(frozen=True, slots=True)
class _Charge:
    user_id: str
    hold_id: str
    attempt_id: str
    cost: int


@dataclass(frozen=True, slots=True)
class _Release:
    user_id: str
    hold_id: str


_Op = _Reserve | _Extend | _Charge | _Release


class Limits(Protocol):
    """Where limit windows are kept."""

    on_work: Callable[[], None] | None

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
        self._pending: list[_Op] = []
        self._lock = asyncio.Lock()

    # -- Counters ------------------------------------------------------------------------------------------------

    async def admit(self, ask: Ask) -> Grant | Short | Exceeded:
        """Reserve in the database, then count within this instance's share."""
        if ask.quota is None:
            hold = Reservation(ask.user_id, 0, id=ask.hold_id)
        else:
            answer: asyncio.Future[Reservation | Short] = asyncio.get_running_loop().create_future()
            outcome = await self._answered(_Reserve(ask, answer), answer)
            if isinstance(outcome, Short):
                return outcome
            hold = outcome
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
        answer: asyncio.Future[Reservation | Short] = asyncio.get_running_loop().create_future()
        outcome = await self._answered(_Extend(grant.hold, amount, answer), answer)
        return outcome if isinstance(outcome, Short) else None

    def charge(self, grant: Grant, attempt_id: str, cost: int) -> None:
        """See `Counters.charge`. Written afterwards, in order."""
        hold = grant.hold
        hold.moved(cost)
        if hold.quota is not None and cost:
            self._push(_Charge(hold.user_id, hold.id, attempt_id, cost))

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

    # -- the queue -----------------------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Carry out everything that waits. Raises `DatabaseUnavailable`; what must not be forgotten waits on."""
        await self.limits.flush()
        async with self._lock:
            while self._pending:
                ops = self._pending[:_BATCH]
                try:
                    answers = await self._retry.run(lambda ops=ops: self._carry_out(ops))  # type: ignore[misc]
                except DatabaseUnavailable:
                    self._pending[: len(ops)] = list(_kept(ops))
                    raise
                del self._pending[: len(ops)]
                for answer, value in answers:
                    if not answer.done():
                        answer.set_result(value)

    def _push(self, op: _Op) -> None:
        self._pending.append(op)
        self._wake()

    def _wake(self) -> None:
        if self.on_work is not None:
            self.on_work()

    def _release(self, hold: Reservation) -> None:
        ended = hold.settled
        hold.released()
        if hold.quota is not None and not ended:
            self._push(_Release(hold.user_id, hold.id))

    async def _answered(
        self, op: _Reserve | _Extend, answer: asyncio.Future[Reservation | Short]
    ) -> Reservation | Short:
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

    def _give_up(self, op: _Reserve | _Extend) -> None:
        if isinstance(op, _Reserve):
            self._push(_Release(op.user_id, op.hold_id))

    async def _carry_out(
        self, ops: Sequence[_Op]
    ) -> list[tuple[asyncio.Future[Reservation | Short], Reservation | Short]]:
        async with self._db.transaction() as tx:
            work = _Work(tx, self._instance, self._clock.now_us())
            await work.load(ops)
            answers = [answer for op in ops if (answer := work.do(op)) is not None]
            await work.save()
        return answers

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

    async def renew(self) -> None:
        """Say that this process's holds are alive. Raises `DatabaseUnavailable`."""
        until = self._clock.now_us() + HOLD_SECONDS * _US
        await self._db.execute(
            "UPDATE quota_holds SET expires_at = ? WHERE instance = ? AND spent = 0", (until, self._instance)
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
            return was - await _set_reserved(tx, user_id)

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
            return was, await _set_reserved(tx, user_id)

    async def leave(self) -> None:
        """Say good-bye: the others' shares grow at once. Raises `DatabaseUnavailable`."""
        await self._db.execute("DELETE FROM instances WHERE id = ?", (self._instance,))


@dataclass(slots=True)
class _Work:
    """One transaction over locked budgets: load, decide in plain arithmetic, save what changed."""

    tx: Session
    instance: str
    now: int
    accounts: dict[str, list[int]] = field(default_factory=dict)
    """`[cost_used, reserved]` by user."""
    before: dict[str, int] = field(default_factory=dict)
    holds: dict[str, int] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    owners: dict[str, tuple[str, bool]] = field(default_factory=dict)
    """User and whether it is spent, of the holds that may be written."""
    landed: set[str] = field(default_factory=set)

    async def load(self, ops: Iterable[_Op]) -> None:
        users = sorted({op.user_id for op in ops})
        self.accounts = {user_id: list(pair) for user_id, pair in (await lock_accounts(self.tx, users)).items()}
        self.before = {user_id: pair[1] for user_id, pair in self.accounts.items()}
        attempts = [op.attempt_id for op in ops if isinstance(op, _Charge)]
        # A hold that is asked for is not there yet: it is asked for once, and by nobody else under its name.
        known = {*(op.hold_id for op in ops if not isinstance(op, _Reserve)), *attempts}
        if known:
            self.stored = await _amounts(self.tx, known)
            self.holds = dict(self.stored)
        if attempts:
            these, ids = sql.one_of("attempt_id", attempts)
            rows = await self.tx.fetch(sql.select("usages", ("attempt_id",), f"WHERE {these}"), ids)
            self.landed = {row[0] for row in rows}

    def do(self, op: _Op) -> tuple[asyncio.Future[Reservation | Short], Reservation | Short] | None:
        account = self.accounts[op.user_id]
        self.owners[op.hold_id] = (op.user_id, False)
        match op:
            case _Reserve(ask=ask, answer=answer):
                amount = fitting(ask.quota, sum(account), ask.amount, ask.least)
                if isinstance(amount, Short):
                    return answer, amount
                self.holds[op.hold_id] = amount
                account[1] += amount
                left = None if ask.quota is None else max(0, ask.quota - sum(account))
                return answer, Reservation(ask.user_id, amount, ask.quota, left, id=ask.hold_id)
            case _Extend(hold=hold, amount=wanted, answer=answer):
                held = self.holds.get(hold.id, 0)
                granted = fitting(hold.quota, sum(account), max(0, wanted - held), max(0, wanted - held))
                if isinstance(granted, Short):
                    return answer, granted
                self.holds[hold.id] = held + granted
                account[1] += granted
                hold.amount = held + granted
                hold.left = None if hold.quota is None else max(0, hold.quota - sum(account))
                return answer, hold
            case _Charge():
                held = self.holds.get(op.hold_id, 0)
                covered = min(held, op.cost)
                account[1] -= covered
                if held:
                    self.holds[op.hold_id] = held - covered
                if op.attempt_id not in self.landed and op.attempt_id not in self.holds:
                    self.owners[op.attempt_id] = (op.user_id, True)
                    self.holds[op.attempt_id] = op.cost
                    account[1] += op.cost
            case _Release():
                account[1] -= self.holds.pop(op.hold_id, 0)
        return None

    async def save(self) -> None:
        gone = [hold_id for hold_id in self.stored if hold_id not in self.holds]
        made = [hold_id for hold_id in self.holds if hold_id not in self.stored]
        moved = [hold_id for hold_id, amount in self.holds.items() if self.stored.get(hold_id, amount) != amount]
        if gone:
            these, ids = sql.one_of("id", gone)
            await self.tx.execute(sql.delete("quota_holds", these), ids)
        await self.tx.executemany(sql.insert("quota_holds", _HOLD_COLUMNS), [self._row(hold_id) for hold_id in made])
        await self.tx.executemany(
            "UPDATE quota_holds SET amount_nano_usd = ? WHERE id = ?", [(self.holds[one], one) for one in moved]
        )
        await self.tx.executemany(
            "UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?",
            [(max(0, pair[1]), user) for user, pair in self.accounts.items() if pair[1] != self.before[user]],
        )

    def _row(self, hold_id: str) -> tuple[object, ...]:
        user_id, spent = self.owners[hold_id]
        until = self.now + (SPENT_SECONDS if spent else HOLD_SECONDS) * _US
        return hold_id, user_id, self.holds[hold_id], self.instance, int(spent), until


async def lock_accounts(tx: Session, users: Sequence[str]) -> dict[str, tuple[int, int]]:
    """`cost_used` and `reserved` of users, locked until the transaction ends; a user without a row gets an empty one.

    Locked in the order of their ids by one statement, so that nobody waits in a circle. (Two who make missing rows
    beside rows they have locked can; the engine then ends one of them, and it is tried again.)
    """
    wanted = sorted(set(users))
    found = await _locked(tx, wanted)
    missing = [user_id for user_id in wanted if user_id not in found]
    if missing:
        make = sql.upsert(tx.dialect, "user_quotas", QUOTA_COLUMNS, ("user_id",))
        await tx.executemany(make, [(user_id, None, 0, 0, 0, 1) for user_id in missing])
        found |= await _locked(tx, missing)
    return found


async def _locked(tx: Session, users: Sequence[str]) -> dict[str, tuple[int, int]]:
    these, ids = sql.one_of("user_id", users)
    query = sql.select(
        "user_quotas", ("user_id", "cost_used_nano_usd", "reserved_nano_usd"), f"WHERE {these} ORDER BY user_id"
    )
    rows = await tx.fetch(sql.locking(tx.dialect, query), ids)
    return {user_id: (int(used), int(reserved)) for user_id, used, reserved in rows}


async def drop_landed(tx: Session, attempt_ids: Sequence[str]) -> None:
    """Attempts whose rows have landed in this transaction are no longer held: their cost is in `cost_used` now."""
    if not attempt_ids:
        return
    these, ids = sql.one_of("id", attempt_ids)
    rows = await tx.fetch(sql.select("quota_holds", ("id", "user_id", "amount_nano_usd"), f"WHERE {these}"), ids)
    if not rows:
        return
    sums: dict[str, int] = {}
    for _, user_id, amount in rows:
        sums[user_id] = sums.get(user_id, 0) + int(amount)
    accounts = await lock_accounts(tx, list(sums))
    these, ids = sql.one_of("id", [row[0] for row in rows])
    await tx.execute(sql.delete("quota_holds", these), ids)
    await tx.executemany(
        "UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?",
        [(max(0, accounts[user_id][1] - sums[user_id]), user_id) for user_id in sorted(sums)],
    )


def _kept(ops: Iterable[_Op]) -> Iterable[_Op]:
    """What must still be done when a transaction failed, perhaps after it was committed."""
    for op in ops:
        if isinstance(op, _Reserve | _Extend):
            if not op.answer.done():
                op.answer.set_exception(CountersUnavailable("the database that keeps the budgets does not answer"))
        else:
            yield op


async def _amounts(tx: Session, hold_ids: Iterable[str]) -> dict[str, int]:
    these, ids = sql.one_of("id", sorted(hold_ids))
    rows = await tx.fetch(sql.select("quota_holds", ("id", "amount_nano_usd"), f"WHERE {these}"), ids)
    return {hold_id: int(amount) for hold_id, amount in rows}


async def _set_reserved(tx: Session, user_id: str) -> int:
    """Set `reserved` of a locked budget to the sum of its holds, and tell it."""
    ((total,),) = await tx.fetch(
        "SELECT COALESCE(SUM(amount_nano_usd), 0) FROM quota_holds WHERE user_id = ?", (user_id,)
    )
    await tx.execute("UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?", (int(total), user_id))
    return int(total)


_DRIFTED: Final = """
SELECT s.user_id FROM (
  SELECT user_id, SUM(held) AS held FROM (
    SELECT user_id, amount_nano_usd AS held FROM quota_holds
    UNION ALL SELECT user_id, -reserved_nano_usd FROM user_quotas
  ) parts GROUP BY user_id
) s WHERE s.held <> 0 ORDER BY s.user_id
"""
