"""Where concrete parts meet the ports: storage's errors become the ledger's, nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager

from gproxy.clock import SystemClock
from gproxy.ids import CredentialId
from gproxy.ledger.record import UsageRow
from gproxy.ledger.store import Position, StorePoison, StoreUnavailable
from gproxy.routing.health import HealthRecord, Status
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable, Poison
from gproxy.storage.health import CredentialStatus, save_statuses
from gproxy.storage.usage import Drift, InsertResult, SqlLedger


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        raise StoreUnavailable(str(error)) from error
    except Poison as error:
        raise StorePoison(str(error)) from error


class LedgerStore:
    """`ledger.store.UsageStore` and `QuotaStore` over the SQL ledger."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger

    async def insert_usages(self, rows: Sequence[UsageRow], position: Position | None) -> InsertResult:
        """Land a batch, see `SqlLedger.insert_usages`."""
        async with _translated():
            return await self._ledger.insert_usages(rows, position)

    async def quarantine(self, row: UsageRow, reason: str) -> None:
        """Set one row aside."""
        async with _translated():
            await self._ledger.quarantine(row, reason)

    async def reconcile(self) -> Sequence[Drift]:
        """Recompute every budget from its rows."""
        async with _translated():
            return await self._ledger.reconcile()


class HealthStore:
    """The broadcaster's port over `credential_statuses`, and the way back at start."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save_health(self, states: Mapping[str, HealthRecord]) -> None:
        """Replace the stored states."""
        now = SystemClock.now_us()
        async with _translated():
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
