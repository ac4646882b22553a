"""What happens to shared budgets, and one transaction of it: lock, decide in plain arithmetic, write what changed.

Every row of `quota_holds` is money that counts as reserved. What kind of row it is tells who may end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from gproxy.access.counters import Ask
from gproxy.access.quotas import Reservation, Short, fitting
from gproxy.ids import new_id
from gproxy.storage import sql
from gproxy.storage.allowances import KEPT_SECONDS, NONE, OPEN_SECONDS, Allowance, Taken, portion
from gproxy.storage.engine import Session
from gproxy.storage.users import QUOTA_COLUMNS

HOLD_SECONDS: Final = 18
"""A hold that nobody renewed for so long belongs to a dead process."""
SPENT_SECONDS: Final = 30 * 86_400
"""How long the cost of an attempt counts whose row never lands: its journal is on a machine that is gone."""

HELD: Final = 0
"""What a request holds."""
SPENT: Final = 1
"""What an attempt cost whose usage row has not landed; its id is the attempt's."""
OPEN: Final = 2
"""An allowance that may be given from."""
CLOSED: Final = 3
"""An allowance that may not any more; what is left in its row is what was drawn and is held or lost."""

_US: Final = 1_000_000
_HOLD_COLUMNS: Final = ("id", "user_id", "amount_nano_usd", "instance", "spent", "expires_at")
_LIVES: Final = {HELD: HOLD_SECONDS, SPENT: SPENT_SECONDS, OPEN: KEPT_SECONDS}


class Unsure:
    """What is free does not cover it, but somebody is taking an allowance back, or handing it over, at this moment."""


Decision: TypeAlias = Reservation | Short | Unsure
Answer: TypeAlias = "asyncio.Future[Decision]"


@dataclass(slots=True, eq=False)
class Reserve:
    """Hold what a request asks for."""

    ask: Ask
    answer: Answer
    taken: Taken = NONE
    """The allowance that did not cover it: what it had left is free again first."""
    ahead: bool = False
    """Whether something may be set aside for the next requests."""
    surely: bool = True
    """Whether the answer must be a decision, also when there are allowances that nobody can tell the state of."""

    @property
    def user_id(self) -> str:
        """Whose budget."""
        return self.ask.user_id

    @property
    def hold_id(self) -> str:
        """The hold that it makes."""
        return self.ask.hold_id


@dataclass(slots=True, eq=False)
class Extend:
    """Raise a hold."""

    hold: Reservation
    amount: int
    answer: Answer

    @property
    def user_id(self) -> str:
        """Whose budget."""
        return self.hold.user_id

    @property
    def hold_id(self) -> str:
        """The hold."""
        return self.hold.id


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt's cost moves from the hold it came from to a row of its own, until its usage row lands."""

    user_id: str
    hold_id: str
    """The row that covers it: the request's own, or the allowance it was drawn from."""
    attempt_id: str
    cost: int
    covered: int


@dataclass(frozen=True, slots=True)
class Release:
    """What a request still holds is free."""

    user_id: str
    hold_id: str


@dataclass(frozen=True, slots=True)
class Move:
    """What a request drew from an allowance gets a row of its own. Written before, and never together with, its end."""

    user_id: str
    hold_id: str
    allowance_id: str
    amount: int


@dataclass(frozen=True, slots=True)
class Close:
    """An allowance was taken back, and had so much left."""

    user_id: str
    taken: Taken

    @property
    def hold_id(self) -> str:
        """Its row."""
        return self.taken.id


Op: TypeAlias = Reserve | Extend | Charge | Release | Move | Close


@dataclass(slots=True)
class _Row:
    user_id: str
    amount: int
    kind: int


@dataclass(slots=True)
class Work:
    """One transaction over locked budgets. Every operation may come again after it was written, and changes nothing then."""

    tx: Session
    instance: str
    now: int
    set_aside: list[Allowance] = field(default_factory=list)
    """What was set aside; to be handed over once it is written."""
    _accounts: dict[str, list[int]] = field(default_factory=dict)
    """`[cost_used, reserved]` by user."""
    _before: dict[str, int] = field(default_factory=dict)
    _rows: dict[str, _Row] = field(default_factory=dict)
    _stored: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Amount and kind as they were read."""
    _open: dict[str, dict[str, int]] = field(default_factory=dict)
    """Open allowances by user: when their rows end."""
    _landed: set[str] = field(default_factory=set)

    async def run(self, ops: Sequence[Op]) -> list[tuple[Answer, Decision]]:
        """Do all of them, in this order; what to answer once it is written."""
        await self._load(ops)
        for op in ops:
            if isinstance(op, Reserve):
                self._close(op.taken)
        answers = [answer for op in ops if (answer := self._do(op)) is not None]
        self._look_ahead(ops)
        await self._save()
        return answers

    async def _load(self, ops: Iterable[Op]) -> None:
        users = sorted({op.user_id for op in ops})
        self._accounts = {user_id: list(pair) for user_id, pair in (await lock_accounts(self.tx, users)).items()}
        self._before = {user_id: pair[1] for user_id, pair in self._accounts.items()}
        attempts = [op.attempt_id for op in ops if isinstance(op, Charge)]
        # A hold that is asked for is not there yet: it is asked for once, and by nobody else under its name.
        known = {op.taken.id if isinstance(op, Reserve) else op.hold_id for op in ops}
        known |= {*attempts, *(op.allowance_id for op in ops if isinstance(op, Move))}
        known.discard("")
        if known:
            these, ids = sql.one_of("id", sorted(known))
            query = sql.select("quota_holds", ("id", "user_id", "amount_nano_usd", "spent"), f"WHERE {these}")
            self._remember(await self.tx.fetch(query, ids))
        ahead = sorted({op.user_id for op in ops if isinstance(op, Reserve) and (op.ahead or not op.surely)})
        if ahead:
            these, ids = sql.one_of("user_id", ahead)
            query = sql.select("quota_holds", ("id", "user_id", "expires_at"), f"WHERE {these} AND spent = ?")
            for hold_id, user_id, ends in await self.tx.fetch(query, [*ids, OPEN]):
                if ends > self.now:
                    self._open.setdefault(user_id, {})[hold_id] = ends
        if attempts:
            these, ids = sql.one_of("attempt_id", attempts)
            rows = await self.tx.fetch(sql.select("usages", ("attempt_id",), f"WHERE {these}"), ids)
            self._landed = {row[0] for row in rows}

    def _remember(self, rows: Iterable[tuple[str, str, int, int]]) -> None:
        for hold_id, user_id, amount, kind in rows:
            self._stored[hold_id] = (int(amount), int(kind))
            self._rows[hold_id] = _Row(user_id, int(amount), int(kind))

    def _do(self, op: Op) -> tuple[Answer, Decision] | None:
        account = self._accounts[op.user_id]
        match op:
            case Reserve():
                return op.answer, self._reserve(op)
            case Extend(hold=hold, amount=wanted, answer=answer):
                row = self._rows.get(hold.id)
                held = 0 if row is None else row.amount
                more = max(0, wanted - held)
                granted = fitting(hold.quota, sum(account), more, more)
                if isinstance(granted, Short):
                    return answer, granted
                self._add(hold.id, hold.user_id, granted, HELD)
                hold.amount = held + granted
                hold.left = None if hold.quota is None else max(0, hold.quota - sum(account))
                return answer, hold
            case Charge():
                if op.attempt_id not in self._landed and op.attempt_id not in self._rows:
                    self._take(op.hold_id, op.covered)
                    self._add(op.attempt_id, op.user_id, op.cost, SPENT)
            case Release():
                self._end(op.hold_id)
            case Move():
                if op.hold_id not in self._rows:
                    self._take(op.allowance_id, op.amount)
                    self._add(op.hold_id, op.user_id, op.amount, HELD)
            case Close():
                self._close(op.taken)
        return None

    def _reserve(self, op: Reserve) -> Decision:
        ask, account = op.ask, self._accounts[op.user_id]
        amount = fitting(ask.quota, sum(account), ask.amount, ask.least)
        if amount != ask.amount and not op.surely and self._open.get(op.user_id):
            return Unsure()
        if isinstance(amount, Short):
            return amount
        self._add(ask.hold_id, ask.user_id, amount, HELD)
        left = None if ask.quota is None else max(0, ask.quota - sum(account))
        return Reservation(ask.user_id, amount, ask.quota, left, id=ask.hold_id)

    def _look_ahead(self, ops: Iterable[Op]) -> None:
        """Set something aside for users who have no allowance that may be given from."""
        for op in {op.user_id: op for op in ops if isinstance(op, Reserve) and op.ahead}.values():
            ends = self._open.get(op.user_id, {}).values()
            if op.ask.quota is None or any(end - (KEPT_SECONDS - OPEN_SECONDS) * _US > self.now for end in ends):
                continue
            rest = op.ask.quota - sum(self._accounts[op.user_id])
            amount = portion(rest, op.ask.amount)
            if amount:
                made = Allowance(
                    new_id(), op.user_id, amount, op.ask.quota, rest - amount, self.now + OPEN_SECONDS * _US
                )
                self._add(made.id, made.user_id, amount, OPEN)
                self.set_aside.append(made)

    def _add(self, hold_id: str, user_id: str, amount: int, kind: int) -> None:
        row = self._rows.get(hold_id)
        if row is None:
            self._rows[hold_id] = _Row(user_id, amount, kind)
        else:
            row.amount += amount
        self._accounts[user_id][1] += amount

    def _take(self, hold_id: str, amount: int) -> None:
        """Less in a row, as far as it goes; one that is gone was taken for lost."""
        row = self._rows.get(hold_id)
        if row is not None:
            part = min(row.amount, amount)
            row.amount -= part
            self._accounts[row.user_id][1] -= part
            if row.kind == CLOSED and not row.amount:
                del self._rows[hold_id]

    def _end(self, hold_id: str) -> None:
        row = self._rows.pop(hold_id, None)
        if row is not None:
            self._accounts[row.user_id][1] -= row.amount

    def _close(self, taken: Taken) -> None:
        row = self._rows.get(taken.id)
        if row is not None and row.kind == OPEN:
            row.kind = CLOSED
            self._open.get(row.user_id, {}).pop(taken.id, None)
            self._take(taken.id, taken.free)

    async def _save(self) -> None:
        gone = [hold_id for hold_id in self._stored if hold_id not in self._rows]
        made = [hold_id for hold_id in self._rows if hold_id not in self._stored]
        if gone:
            these, ids = sql.one_of("id", gone)
            await self.tx.execute(sql.delete("quota_holds", these), ids)
        await self.tx.executemany(sql.insert("quota_holds", _HOLD_COLUMNS), [self._values(one) for one in made])
        await self.tx.executemany(
            "UPDATE quota_holds SET amount_nano_usd = ?, spent = ? WHERE id = ?",
            [
                (row.amount, row.kind, hold_id)
                for hold_id, row in self._rows.items()
                if self._stored.get(hold_id, (row.amount, row.kind)) != (row.amount, row.kind)
            ],
        )
        await self.tx.executemany(
            "UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?",
            [(max(0, pair[1]), user) for user, pair in self._accounts.items() if pair[1] != self._before[user]],
        )

    def _values(self, hold_id: str) -> tuple[object, ...]:
        row = self._rows[hold_id]
        return hold_id, row.user_id, row.amount, self.instance, row.kind, self.now + _LIVES[row.kind] * _US


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


async def set_reserved(tx: Session, user_id: str) -> int:
    """Set `reserved` of a locked budget to the sum of its holds, and tell it."""
    ((total,),) = await tx.fetch(
        "SELECT COALESCE(SUM(amount_nano_usd), 0) FROM quota_holds WHERE user_id = ?", (user_id,)
    )
    await tx.execute("UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?", (int(total), user_id))
    return int(total)
