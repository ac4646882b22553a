"""Who keeps count of budgets and limits, chosen once at start, and what keeps the count true.

One process that serves a database keeps it in memory: filled from the ledger at start, told of every row that lands,
compared with the database now and then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gproxy.access.counters import MemoryCounters
from gproxy.access.limits import DAY, MINUTE, applies
from gproxy.access.principal import Principal, RateLimit
from gproxy.clock import Clock
from gproxy.ids import UserId
from gproxy.runtime.bindings import translated
from gproxy.snapshot import Snapshot
from gproxy.storage.engine import Database
from gproxy.storage.let_through import let_through
from gproxy.storage.usage import SqlLedger

PUBLISH_EVERY: Final = 1.0
"""Seconds between two looks whether holds have changed and must be shown in the database."""

_US: Final = 1_000_000
# Ten pieces of each of the window's sixty slots: what is read back sits at most that much too late.
_STRETCHES: Final = 600


@dataclass(frozen=True, slots=True)
class AccountDrift:
    """An account in memory was not what the database says; it was set right by so much."""

    user_id: str
    nano_usd: int


class MemoryAccounts:
    """Keeps `MemoryCounters` in step with the ledger."""

    def __init__(
        self, counters: MemoryCounters, ledger: SqlLedger, db: Database, clock: Clock, batches: Callable[[], int]
    ) -> None:
        self.counters = counters
        self._ledger = ledger
        self._db = db
        self._clock = clock
        self._batches = batches

    async def restore(self, snapshot: Snapshot) -> None:
        """Begin: what was spent, what was let through lately, and no holds. Raises `DatabaseUnavailable`."""
        self._ledger.held = self.counters.held
        await self._ledger.publish_held()
        self.counters.quotas.restore(await self._ledger.spent())
        await self._fill_windows(snapshot)

    async def landing(self) -> None:
        """Nothing to do: memory is told afterwards."""

    def landed(self, costs: Sequence[tuple[str, str, int, bool]]) -> None:
        """Rows are in the database."""
        self.counters.landed(costs)

    async def repair(self) -> Sequence[AccountDrift]:
        """Take over what the database says was spent, unless a batch is landing at this moment."""
        before = self._batches()
        spent = await self._ledger.spent()
        if before % 2 or before != self._batches():
            return []
        return [AccountDrift(user_id, drift) for user_id, drift in self.counters.quotas.restore(spent).items()]

    async def publish(self) -> None:
        """Show the holds in the database when they have changed. Raises `StoreUnavailable`."""
        async with translated():
            await self._ledger.publish_held()

    async def _fill_windows(self, snapshot: Snapshot) -> None:
        limited = {one.user_id: one for one in snapshot.keys.values() if one.rate_limits}
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        for length in sorted(
            {length for one in limited.values() for row in one.rate_limits for length in _lengths(row)}
        ):
            stretch = max(1, int(length * _US / _STRETCHES))
            users = [user for user, one in limited.items() if any(length in _lengths(row) for row in one.rate_limits)]
            for seen in await let_through(self._db, users, now_us - int(length * _US) - stretch, stretch):
                at = min(now, now - (now_us - seen.at) / _US)
                self._refill(limited[UserId(seen.user_id)], seen.model_asked, length, seen.requests, seen.tokens, at)

    def _refill(self, principal: Principal, model: str, length: float, requests: int, tokens: int, at: float) -> None:
        restore = self.counters.windows.restore
        for row in principal.rate_limits:
            if not applies(row, model):
                continue
            if row.rpm is not None and length == MINUTE:
                restore(row.id, "rpm", length, requests, at)
            if row.rpd is not None and length == DAY:
                restore(row.id, "rpd", length, requests, at)
            if row.total_tokens is not None and length == row.total_tokens_window:
                restore(row.id, "total_tokens", length, tokens, at)


def _lengths(row: RateLimit) -> list[float]:
    return [
        *([MINUTE] if row.rpm is not None else []),
        *([DAY] if row.rpd is not None else []),
        *([float(row.total_tokens_window)] if row.total_tokens is not None else []),
    ]
