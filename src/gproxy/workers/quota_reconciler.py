"""Every 30 s: let the database recompute `cost_used` and `reserved`, and log what had drifted."""

from __future__ import annotations

from gproxy.ledger.store import QuotaStore
from gproxy.workers.periodic import Periodic
from gproxy.workers.worker_set import Log

EVERY_SECONDS = 30.0


def quota_reconciler(store: QuotaStore, log: Log, *, every: float = EVERY_SECONDS) -> Periodic:
    """The worker. Drift is repaired by the store and is never normal, so each repair is one log line."""

    async def turn() -> None:
        for drift in await store.reconcile():
            log("quota drift repaired", {"drift": drift})

    return Periodic("quota_reconciler", every, turn, log)
