"""Credential health as it outlives a restart: upserted in the background, loaded at start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Final

from gproxy.storage import sql
from gproxy.storage.engine import Database, Session


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """The state of a credential, for all models (`scope` "") or one.

    `state` is healthy, cooldown or disabled; `until` is wall time in microseconds since the epoch (a cooldown's
    end); `backoff` counts failures in a row. `reason` is public text.
    """

    credential_id: str
    scope: str
    state: str
    until: int | None
    reason: str | None
    backoff: int
    updated_at: int


_COLUMNS: Final = tuple(each.name for each in fields(CredentialStatus))


async def load_statuses(db: Session) -> list[CredentialStatus]:
    """All statuses of credentials that exist."""
    rows = await db.fetch(
        sql.select("credential_statuses", _COLUMNS, "WHERE credential_id IN (SELECT id FROM credentials)")
    )
    return [CredentialStatus(*row) for row in rows]


async def save_statuses(db: Database, statuses: Iterable[CredentialStatus]) -> None:
    """Store statuses; a newer one that another process has stored meanwhile is kept."""
    latest = {(each.credential_id, each.scope): each for each in sorted(statuses, key=lambda each: each.updated_at)}
    if not latest:
        return
    async with db.transaction() as tx:
        # Sorted: two processes that flush the same credentials must not wait for each other in a circle.
        rows = [latest[key] for key in sorted(latest)]
        await tx.executemany(
            sql.upsert(tx.dialect, "credential_statuses", _COLUMNS, ("credential_id", "scope")),
            [astuple(each) for each in rows],
        )
        await tx.executemany(
            "UPDATE credential_statuses SET state = ?, until = ?, reason = ?, backoff = ?, updated_at = ?"
            " WHERE credential_id = ? AND scope = ? AND updated_at < ?",
            [
                (
                    each.state,
                    each.until,
                    each.reason,
                    each.backoff,
                    each.updated_at,
                    each.credential_id,
                    each.scope,
                    each.updated_at,
                )
                for each in rows
            ],
        )
