"""Where concrete parts meet the ports: storage's errors become the ledger's, nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from gproxy.clock import SystemClock
from gproxy.ids import CredentialId
from gproxy.ledger.record import UsageRow
from gproxy.ledger.store import Position, StorePoison, StoreUnavailable
from gproxy.routing.health import HealthRecord, Status
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable, Poison
from gproxy.storage.health import CredentialStatus, save_statuses
from gproxy.storage.usage import InsertResult, SqlLedger


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Storage's errors as the ledger's."""
    try:
        yield
    except DatabaseUnavailable as error:
        raise StoreUnavailable(str(error)) from error
    except Poison as error:
        raise StorePoison(str(error)) from error


class Accounts(Protocol):
    """What keeps count of budgets in this process and must hear what lands."""

    async def landing(self) -> None:
        """Rows are about to land."""
        ...

    def landed(self, costs: Sequence[tuple[str, str, int, bool]]) -> None:
        """They are in the database: (attempt id, user id, cost, whether it is new there)."""
        ...

    async def repair(self) -> Sequence[object]:
        """Compare with the database and set right what differs; what did."""
        ...


class LedgerStore:
    """`ledger.store.UsageStore` and `QuotaStore` over the SQL ledger; tells `accounts`, once there are any."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.accounts: Accounts | None = None
        self.batches = 0
        """Batches begun and ended: odd or changed, the database and the accounts are not of the same moment."""

    async def insert_usages(self, rows: Sequence[UsageRow], position: Position | None) -> InsertResult:
        """Land a batch, see `SqlLedger.insert_usages`."""
        async with translated():
            accounts = self.accounts
            if accounts is not None:
                await accounts.landing()
            self.batches += 1
            try:
                result = await self._ledger.insert_usages(rows, position)
            finally:
                self.batches += 1
        if accounts is not None:
            new = result.new_ids
            accounts.landed([(row.attempt_id, row.user_id, row.cost_nano_usd, row.attempt_id in new) for row in rows])
        return result

    async def quarantine(self, row: UsageRow, reason: str) -> None:
        """Set one row aside."""
        async with translated():
            await self._ledger.quarantine(row, reason)
        if self.accounts is not None:
            self.accounts.landed([(row.attempt_id, row.user_id, row.cost_nano_usd, False)])

    async def reconcile(self) -> Sequence[object]:
        """Recompute every budget from its rows, then the accounts from the budgets."""
        async with translated():
            found: list[object] = list(await self._ledger.reconcile())
            if self.accounts is not None:
                found += await self.accounts.repair()
        return found


class HealthStore:
    """The broadcaster's port over `credential_statuses`, and the way back at start."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save_health(self, states: Mapping[str, HealthRecord]) -> None:
        """Replace the stored states."""
        now = SystemClock.now_us()
        async with translated():
            await save_statuses(
                self._db,
                [
                    CredentialStatus(
                        credential_id=record.credential_id,
                        scope=record.model or "",
                        state=record.status.value,
                        until=record.until_us,
                        reason=record.reason or None,
                        backoff=record.streak,
                        updated_at=now,
                    )
                    for record in states.values()
                ],
            )

    @staticmethod
    def records(stored: Iterable[CredentialStatus]) -> list[HealthRecord]:
        """Stored states as the health board takes them in."""
        return [
            HealthRecord(
                credential_id=CredentialId(row.credential_id),
                model=row.scope or None,
                status=Status(row.state),
                until_us=row.until,
                streak=row.backoff,
                reason=row.reason or "",
            )
            for row in stored
        ]
