"""Who keeps count of budgets and limits, chosen once at start, and what keeps the count true.

One process with its own SQLite file keeps it in memory: filled from the ledger, told of every row that lands, compared
now and then. Several processes on one database keep budgets there (`quota_holds`) and let through their shares of
limits; with Redis, limits are counted there together, and by share while it is away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from gproxy.access.counters import Counters, MemoryCounters
from gproxy.access.principal import RateLimit
from gproxy.access.shares import Shares, lengths
from gproxy.clock import Clock
from gproxy.config.settings import Settings
from gproxy.ids import new_id
from gproxy.runtime import bindings
from gproxy.runtime.bindings import LedgerStore, translated
from gproxy.secret import Secret
from gproxy.snapshot import Snapshot
from gproxy.storage.database_counters import DatabaseCounters
from gproxy.storage.engine import Database
from gproxy.storage.let_through import let_through
from gproxy.storage.redis_limits import RedisLimits
from gproxy.storage.usage import SqlLedger
from gproxy.workers.settler import Settler
from gproxy.workers.worker_set import Log, Worker

TEND_EVERY: Final = 1.0
"""Seconds between two rounds of upkeep: holds shown, or the other processes seen."""

_US: Final = 1_000_000
# Ten pieces of each of the window's sixty slots: where they cannot be laid into the slots, what is read back sits at
# most that much too late.
_STRETCHES: Final = 600
_RENEW_ROUNDS: Final = 5


@dataclass(frozen=True, slots=True)
class AccountDrift:
    """An account was not what it should have been, and was set right by so much."""

    user_id: str
    kind: str
    nano_usd: int


class Accounts(bindings.Accounts, Protocol):
    """The counters and their upkeep."""

    @property
    def counters(self) -> Counters:
        """What requests ask."""
        ...

    def share(self, limit: int) -> int:
        """This process's part of what is shared out, not counted together; the parts of all add up to it."""
        ...

    async def restore(self) -> None:
        """Begin. Raises `DatabaseUnavailable`."""
        ...

    async def tend(self) -> None:
        """One round of upkeep. Raises `StoreUnavailable`."""
        ...

    async def farewell(self) -> None:
        """The last word before the database is closed. Raises `StoreUnavailable`."""
        ...

    def workers(self, log: Log) -> list[Worker]:
        """Workers of its own."""
        ...


def accounts_for(
    settings: Settings,
    *,
    ledger: SqlLedger,
    store: LedgerStore,
    db: Database,
    clock: Clock,
    snapshot: Callable[[], Snapshot],
) -> Accounts:
    """The accounts that fit how this process is run."""
    if settings.redis_url is not None or settings.workers > 1 or db.dialect != "sqlite":
        return DatabaseAccounts(ledger, db, clock, snapshot, settings.redis_url)
    return MemoryAccounts(ledger, db, clock, snapshot, lambda: store.batches)


class MemoryAccounts:
    """Keeps `MemoryCounters` in step with the ledger."""

    def __init__(
        self,
        ledger: SqlLedger,
        db: Database,
        clock: Clock,
        snapshot: Callable[[], Snapshot],
        batches: Callable[[], int],
    ) -> None:
        self.counters = MemoryCounters(clock)
        self._ledger = ledger
        self._db = db
        self._clock = clock
        self._snapshot = snapshot
        self._batches = batches

    def share(self, limit: int) -> int:
        """All of it: this is the only process."""
        return limit

    async def restore(self) -> None:
        """What was spent, what was let through lately, and no holds."""
        self._ledger.shared = False
        self._ledger.held = self.counters.held
        await self._ledger.publish_held()
        self.counters.quotas.restore(await self._ledger.spent())
        await fill(self.counters.shares, self._snapshot(), self._db, self._clock)

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
        drift = self.counters.quotas.restore(spent)
        return [AccountDrift(user_id, "cost_used", difference) for user_id, difference in drift.items()]

    async def tend(self) -> None:
        """Show the holds in the database when they have changed."""
        async with translated():
            await self._ledger.publish_held()

    async def farewell(self) -> None:
        """Show that nothing is held any more."""
        await self.tend()

    def workers(self, log: Log) -> list[Worker]:
        """None: memory needs nobody to write it down."""
        del log
        return []


class DatabaseAccounts:
    """Keeps `DatabaseCounters`: this process is seen, its holds stay alive, those of the dead go."""

    def __init__(
        self,
        ledger: SqlLedger,
        db: Database,
        clock: Clock,
        snapshot: Callable[[], Snapshot],
        redis_url: Secret | None = None,
    ) -> None:
        def in_redis(shares: Shares) -> RedisLimits:
            assert redis_url is not None
            return RedisLimits(redis_url.reveal(), clock, shares, self._fill)

        limits = None if redis_url is None else in_redis
        self.counters = DatabaseCounters(db, clock, instance=new_id(), limits=limits)
        self._by_share = redis_url is None
        self._ledger = ledger
        self._db = db
        self._clock = clock
        self._snapshot = snapshot
        self._round = 0

    def share(self, limit: int) -> int:
        """As much as everybody else's."""
        return self.counters.shares.membership.share(limit)

    async def restore(self) -> None:
        """Be counted among the processes before the first request."""
        await self.counters.reserved_drift()
        await self.counters.limits.tick()  # there before it is a member, or the others would set a share aside for it
        await self.counters.beat()
        # Also where every process dies again before its first round: what the dead held must not wait for one that lives.
        await self.counters.bury()
        alone = self.counters.shares.membership.count == 1
        if not alone and (_capped(self._snapshot()) or (self._by_share and _limited(self._snapshot()))):
            # The others must have seen this process, and keep to their smaller shares, before it uses its own.
            await asyncio.sleep(TEND_EVERY * 1.25)
        await self._fill(self.counters.shares)

    async def landing(self) -> None:
        """What happened to holds is written before the rows that end them."""
        await self.counters.flush()

    def landed(self, costs: Sequence[tuple[str, str, int, bool]]) -> None:
        """Nothing to do: the rows' own transaction ended their holds."""

    async def repair(self) -> Sequence[AccountDrift]:
        """Set every `reserved` to the sum of its holds."""
        drift = await self.counters.reserved_drift()
        return [AccountDrift(user_id, "reserved", now - was) for user_id, (was, now) in drift.items()]

    async def tend(self) -> None:
        """Be seen; now and then renew this process's holds and bury what the dead held."""
        await self.counters.limits.tick()
        async with translated():
            if await self.counters.beat() or self.counters.limits.away:
                await self._fill(self.counters.shares)
            await self.counters.tend_allowances()
            self._round += 1
            if self._round % _RENEW_ROUNDS == 0:
                await self.counters.renew()
                await self.counters.bury()

    async def farewell(self) -> None:
        """Write what waits and leave, so that the others' shares grow."""
        await self.counters.retract(all_of_them=True)
        async with translated():
            await self.counters.flush()
            await self.counters.leave()
        await self.counters.limits.close()

    def workers(self, log: Log) -> list[Worker]:
        """The one that writes."""
        return [Settler(self.counters, log)]

    async def _fill(self, shares: Shares) -> None:
        await fill(shares, self._snapshot(), self._db, self._clock)


async def fill(shares: Shares, snapshot: Snapshot, db: Database, clock: Clock) -> None:
    """Fill limit windows with what the ledger says was let through lately. Raises `DatabaseUnavailable`."""
    limited = _limited(snapshot)
    now, now_us = clock.monotonic(), clock.now_us()
    for length in sorted({length for rows in limited.values() for length in lengths(rows)}):
        stretch, rest = divmod(int(length * _US), _STRETCHES)
        users = [user_id for user_id, rows in limited.items() if length in lengths(rows)]
        since = now_us - int(length * _US) - stretch
        if rest:
            seen = await let_through(db, users, since, stretch)
        else:
            # Laid into this process's slots, each stretch is wholly inside of one, and so are its requests: in the one
            # in which they were counted when they came. (A neighbour would count them beside those that are there.)
            phase = (round(now * _US) - now_us) % stretch
            seen = await let_through(db, users, since, stretch, phase=phase, until=stretch // 2)
        shares.learn(limited, length, seen, now - now_us / _US)


def _capped(snapshot: Snapshot) -> bool:
    return any(provider.capped for provider in snapshot.providers.values())


def _limited(snapshot: Snapshot) -> Mapping[str, Sequence[RateLimit]]:
    return {one.user_id: one.rate_limits for one in snapshot.keys.values() if one.rate_limits}
