"""The ports of the ledger: what it asks of the database, and how the database says no.

Storage implements `UsageStore`; nothing here, and nothing that uses it, imports storage.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeAlias

from gproxy.ledger.record import UsageRow

Position: TypeAlias = tuple[str, int, int]
"""Journal id, segment number, offset of the end of the last `Closed` that has landed."""


class StoreUnavailable(Exception):  # noqa: N818 - it is a state of the world, not a mistake
    """The database is slow, locked, down, read-only or full. Nothing is wrong with the rows: try them again."""


class StorePoison(Exception):  # noqa: N818 - it says what the batch holds
    """The database refuses these rows for what they are. At least one of them will never land."""


class InsertResult(Protocol):
    """What a batch did."""

    @property
    def new_ids(self) -> Collection[str]:
        """Attempt ids that were not there before; only these moved `cost_used`."""
        ...


class UsageStore(Protocol):
    """Where usage rows land."""

    async def insert_usages(self, rows: Sequence[UsageRow], position: Position | None) -> InsertResult:
        """Insert what is absent, in one transaction.

        In the same transaction `cost_used` moves by exactly the rows that were new, rollups advance and the
        position is stored. Repeating it changes nothing. Raises `StoreUnavailable` or `StorePoison`.
        """
        ...

    async def quarantine(self, row: UsageRow, reason: str) -> None:
        """Set one poison row aside in `usage_quarantine`, idempotent by attempt id. Raises `StoreUnavailable`."""
        ...


class QuotaStore(Protocol):
    """Where the reconciler looks for drift."""

    async def reconcile(self) -> Sequence[object]:
        """Recompute `cost_used` and `reserved`, repair what differs and return one item for each repair."""
        ...
