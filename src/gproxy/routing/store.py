"""What routing asks of the database: keeping credential health across restarts. `storage` keeps the promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gproxy.routing.health import HealthRecord


class HealthStore(Protocol):
    """Where `HealthBroadcaster` puts changes and where a start takes them from."""

    async def save_health(self, records: Sequence[HealthRecord]) -> None:
        """Store these states; a `healthy` record removes what was stored. Later records of a pair win.

        Records of credentials that no longer exist are ignored.
        """
        ...

    async def load_health(self) -> Sequence[HealthRecord]:
        """Everything stored."""
        ...
