"""The ledger's writer: usage rows land exactly once, and budgets and totals move by exactly what was new.

Everything a batch changes is one transaction that looks before it inserts, so it can be repeated at will: after
a lost answer to COMMIT, from two processes at once, or by a journal replay that began too early. Reading the
ledger is in `usage_reading`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gproxy.clock import Clock, SystemClock
from gproxy.ledger.record import UsageRow
from gproxy.ledger.store import Position
from gproxy.storage import sql
from gproxy.storage.engine import LONGEST_STATEMENT, Database, Session
from gproxy.storage.holds import drop_landed, lock_accounts
from gproxy.storage.latencies import count_latencies
from gproxy.storage.retry import Retry
from gproxy.storage.rollups import roll_up
from gproxy.storage.usage_values import COLUMNS, Values, checked, fault_of
from gproxy.storage.users import QUOTA_COLUMNS

_QUARANTINED_TEXT: Final = 4096


@dataclass(frozen=True, slots=True)
class InsertResult:
    """Attempt ids of a batch: those that were new, and those that were there before."""

    new_ids: frozenset[str]
    duplicates: frozenset[str]


@dataclass(frozen=True, slots=True)
class Drift:
    """A user's `cost_used` did not equal the sum of their rows, and was set to it."""

    user_id: str
    was_nano_usd: int
    is_nano_usd: int


class SqlLedger:
    """`ledger.store.UsageStore` and `QuotaStore` on a database."""

    def __init__(
        self,
        db: Database,
        *,
        retry: Retry | None = None,
        clock: Clock = SystemClock,
        held: Callable[[], Mapping[str, int]] | None = None,
    ) -> None:
        """`held` tells what open requests hold against each budget, when it is this process that keeps count.

        It is asked inside each transaction, so that whoever reads the database never sees a settled cost beside the
        hold it came from.
        """
        self.held = held
        self.shared = True
        """Whether several processes may hold budgets in `quota_holds`; then a row that lands ends its attempt's hold.

        So it is until somebody knows better: what a start takes over from the dead lands before its own accounts stand.
        """
        self._shown: Mapping[str, int] | None = None
        self._db = db
        self._retry = retry or Retry()
        self._clock = clock

    async def insert_usages(self, rows: Sequence[UsageRow], position: Position | None) -> InsertResult:
        """Insert what is absent, charge it, advance rollups and the journal's position, in one transaction.

        Repeating it changes nothing. Raises `Poison` (naming the row where it can; nothing was written) or
        `DatabaseUnavailable` (whether it was written is unknown when the connection broke: repeat it).
        """
        pairs = zip(rows, checked(rows), strict=True)
        wanted = {row.attempt_id: (row, values) for row, values in sorted(pairs, key=lambda pair: pair[0].attempt_id)}
        return await self._retry.run(lambda: self._insert(wanted, position))

    async def _insert(self, wanted: Mapping[str, tuple[UsageRow, Values]], position: Position | None) -> InsertResult:
        async with self._db.transaction() as tx:
            known = await _present(tx, tuple(wanted))
            new = [pair for attempt_id, pair in wanted.items() if attempt_id not in known]
            fresh = [row for row, _ in new]
            # A row that another process inserts in this moment makes this fail with Conflict; the next try sees it.
            await tx.executemany(sql.insert("usages", COLUMNS), [values for _, values in new])
            await self._charge(tx, fresh)
            await roll_up(tx, fresh)
            await count_latencies(tx, fresh)
            if self.shared:
                await drop_landed(tx, [row.attempt_id for row in fresh if row.cost_nano_usd])
            held = None if self.held is None else self.held()
            if held is not None:
                await _hold(tx, held)
            if position is not None:
                await _advance(tx, position, self._clock.now_us())
        self._shown = held
        return InsertResult(frozenset(row.attempt_id for row in fresh), frozenset(known))

    async def _charge(self, tx: Session, fresh: Iterable[UsageRow]) -> None:
        costs: dict[str, int] = {}
        for row in fresh:
            if row.cost_nano_usd:
                costs[row.user_id] = costs.get(row.user_id, 0) + row.cost_nano_usd
        now = self._clock.now_us()
        statement = sql.upsert(
            tx.dialect,
            "user_quotas",
            QUOTA_COLUMNS,
            ("user_id",),
            replace=("updated_at",),
            add=("cost_used_nano_usd",),
        )
        # In one order everywhere, so that two batches can wait for each other but never in a circle.
        await tx.executemany(statement, [(user_id, None, costs[user_id], 0, now, 1) for user_id in sorted(costs)])

    async def quarantine(self, row: UsageRow | bytes | str, reason: str) -> None:
        """Set a row (or what could not be read as one) aside, once. Raises `DatabaseUnavailable`."""
        attempt_id, raw = _raw(row)
        row_id = attempt_id if attempt_id and len(attempt_id) <= 36 else hashlib.sha256(raw.encode()).hexdigest()[:36]
        statement = sql.upsert(
            self._db.dialect, "usage_quarantine", ("id", "attempt_id", "at", "reason", "raw"), ("id",)
        )
        await self._db.execute(statement, (row_id, attempt_id, self._clock.now_us(), _ascii(reason)[:2000], raw))

    async def positions(self) -> dict[str, tuple[int, int]]:
        """How far each journal has landed: journal id → (segment, offset)."""
        rows = await self._db.fetch("SELECT journal_id, segment, byte_offset FROM journal_positions")
        return {journal_id: (segment, offset) for journal_id, segment, offset in rows}

    async def forget_journal(self, journal_id: str) -> None:
        """Drop the position of a journal whose files are gone."""
        await self._db.execute("DELETE FROM journal_positions WHERE journal_id = ?", (journal_id,))

    async def reconcile(self) -> Sequence[Drift]:
        """Set every `cost_used` to what the rows say (plus what retention retired); what differed, repaired.

        Exact beside running batches: a suspect's budget row is locked before its rows are summed again, and a
        batch inserts its rows in the same transaction that must then wait for that lock. Raises
        `DatabaseUnavailable`.
        """
        suspects = [row[0] for row in await self._db.fetch(_DRIFTED, timeout=_LONG) if row[0] is not None]
        found = []
        for user_id in suspects:
            drift = await self._retry.run(lambda user_id=user_id: self._repair(user_id))  # type: ignore[misc]
            if drift is not None:
                found.append(drift)
        return found

    async def _repair(self, user_id: str) -> Drift | None:
        async with self._db.transaction() as tx:
            was, _ = (await lock_accounts(tx, [user_id]))[user_id]
            ((landed,),) = await tx.fetch(_SPENT, {"user_id": user_id}, timeout=_LONG)
            spent = int(landed)
            if spent == was:
                return None
            await tx.execute(
                "UPDATE user_quotas SET cost_used_nano_usd = ?, updated_at = ? WHERE user_id = ?",
                (spent, self._clock.now_us(), user_id),
            )
        return Drift(user_id, was, spent)

    async def publish_held(self) -> None:
        """Store what `held` says, as of the transaction's own moment; nothing is written when it has not changed."""
        if self.held is not None and self.held() != self._shown:
            async with self._db.transaction() as tx:
                held = self.held()
                await _hold(tx, held)
            self._shown = held

    async def spent(self) -> dict[str, int]:
        """Every user's `cost_used_nano_usd`."""
        rows = await self._db.fetch("SELECT user_id, cost_used_nano_usd FROM user_quotas")
        return {user_id: int(cost) for user_id, cost in rows}

    async def delete_usages_before(self, at: int, limit: int = 1000) -> int:
        """Retire at most `limit` rows older than `at` (microseconds); their sums stay in `usage_retired`. How many."""
        return await self._retry.run(lambda: self._retire(at, limit))

    async def _retire(self, at: int, limit: int) -> int:
        async with self._db.transaction() as tx:
            rows = await tx.fetch(sql.locking(tx.dialect, _OLD), (at, limit))
            if not rows:
                return 0
            sums: dict[str, tuple[int, int]] = {}
            for _, user_id, cost in rows:
                attempts, spent = sums.get(user_id, (0, 0))
                sums[user_id] = (attempts + 1, spent + cost)
            these, ids = sql.one_of("attempt_id", [row[0] for row in rows])
            await tx.execute(sql.delete("usages", these), ids)
            await tx.executemany(
                sql.upsert(
                    tx.dialect,
                    "usage_retired",
                    ("user_id", "attempts", "cost_nano_usd"),
                    ("user_id",),
                    add=("attempts", "cost_nano_usd"),
                ),
                [(user_id, *sums[user_id]) for user_id in sorted(sums)],
            )
            return len(rows)


_LONG: Final = LONGEST_STATEMENT
_OLD: Final = "SELECT attempt_id, user_id, cost_nano_usd FROM usages WHERE at < ? ORDER BY at, attempt_id LIMIT ?"

# One statement, one view of the database: rows and what they moved are compared as of the same moment.
_DRIFTED: Final = """
SELECT s.user_id FROM (
  SELECT user_id, SUM(cost) AS cost FROM (
    SELECT user_id, SUM(cost_nano_usd) AS cost FROM usages GROUP BY user_id
    UNION ALL SELECT user_id, cost_nano_usd FROM usage_retired
    UNION ALL SELECT user_id, -cost_used_nano_usd FROM user_quotas
  ) parts GROUP BY user_id
) s WHERE s.cost <> 0 ORDER BY s.user_id
"""
_SPENT: Final = """
SELECT COALESCE((SELECT SUM(cost_nano_usd) FROM usages WHERE user_id = :user_id), 0)
     + COALESCE((SELECT cost_nano_usd FROM usage_retired WHERE user_id = :user_id), 0)
"""


async def _hold(tx: Session, held: Mapping[str, int]) -> None:
    rows = await tx.fetch("SELECT user_id, reserved_nano_usd FROM user_quotas WHERE reserved_nano_usd <> 0")
    stored = {user_id: int(reserved) for user_id, reserved in rows}
    changed = sorted(user for user in {*stored, *held} if stored.get(user, 0) != held.get(user, 0))
    await tx.executemany(
        "UPDATE user_quotas SET reserved_nano_usd = ? WHERE user_id = ?",
        [(held.get(user_id, 0), user_id) for user_id in changed],
    )


async def _present(tx: Session, attempt_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(attempt_ids), 512):
        these, ids = sql.one_of("attempt_id", attempt_ids[start : start + 512])
        rows = await tx.fetch(sql.select("usages", ("attempt_id",), f"WHERE {these}"), ids)
        found.update(row[0] for row in rows)
    return found


async def _advance(tx: Session, position: Position, now: int) -> None:
    journal_id, segment, offset = position
    await tx.execute(
        sql.upsert(
            tx.dialect, "journal_positions", ("journal_id", "segment", "byte_offset", "updated_at"), ("journal_id",)
        ),
        (journal_id, segment, offset, now),
    )
    # Never backwards: a repeated older batch must not make a restart read again what has landed.
    await tx.execute(
        "UPDATE journal_positions SET segment = :segment, byte_offset = :offset, updated_at = :now"
        " WHERE journal_id = :journal_id AND (segment < :segment OR (segment = :segment AND byte_offset < :offset))",
        {"segment": segment, "offset": offset, "now": now, "journal_id": journal_id},
    )


def _raw(row: UsageRow | bytes | str) -> tuple[str | None, str]:
    """The attempt id, where it can be told, and the row as ASCII JSON with giant texts cut."""
    if isinstance(row, bytes):
        return None, json.dumps({"bytes": row[:_QUARANTINED_TEXT].hex(), "length": len(row)})
    if isinstance(row, str):
        return None, json.dumps({"text": _cut(row)})
    fields = {name: _cut(getattr(row, name)) for name in COLUMNS}
    attempt_id = row.attempt_id if fault_of("attempt_id", row.attempt_id) is None else None
    return attempt_id, json.dumps(fields, ensure_ascii=True, default=repr)


def _cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _QUARANTINED_TEXT:
        return f"{value[:_QUARANTINED_TEXT]}… ({len(value)} characters)"
    return value


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii").replace("\0", "\\0")
