"""Credential health as it outlives a restart: upserted in the background, loaded at start, its changes kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Final

from gproxy.ids import new_id
from gproxy.storage import sql
from gproxy.storage.engine import Database, Session
from gproxy.storage.pages import END, Cursor, newest_first
from gproxy.storage.pruning import delete_before


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


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A credential, for all models (`scope` "") or one, became this at that moment (microseconds)."""

    id: str
    credential_id: str
    scope: str
    at: int
    state: str
    until: int | None
    reason: str | None


_COLUMNS: Final = tuple(each.name for each in fields(CredentialStatus))
_CHANGE: Final = tuple(each.name for each in fields(HealthChange))
_WELL: Final = ("healthy", None, None)


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
        await _keep_changes(tx, latest)
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


async def _keep_changes(tx: Session, latest: Mapping[tuple[str, str], CredentialStatus]) -> None:
    """Write down what is about to differ from what is stored."""
    these, ids = sql.one_of("credential_id", sorted({credential_id for credential_id, _ in latest}))
    columns = ("credential_id", "scope", "state", "until", "reason", "updated_at")
    stored = {
        (credential_id, scope): ((state, until, reason), updated_at)
        for credential_id, scope, state, until, reason, updated_at in await tx.fetch(
            sql.select("credential_statuses", columns, f"WHERE {these}"), ids
        )
    }
    changes = []
    for key, each in sorted(latest.items()):
        before, updated_at = stored.get(key, (_WELL, -1))
        if updated_at < each.updated_at and before != (each.state, each.until, each.reason):
            changes.append((new_id(), *key, each.updated_at, each.state, each.until, each.reason))
    await tx.executemany(sql.insert("credential_history", _CHANGE), changes)


async def health_changes(
    db: Session,
    credential_id: str,
    *,
    since: int = 0,
    until: int = END,
    before: Cursor | None = None,
    limit: int = 100,
    whole: bool = False,
) -> list[HealthChange]:
    """Changes of one credential in [since, until) (microseconds), the latest first.

    `before` is the (at, id) of the last one seen; `whole`: only those that are not about a single model.
    """
    equal = {"credential_id": credential_id, **({"scope": ""} if whole else {})}
    rows = await newest_first(
        db, "credential_history", _CHANGE, equal=equal, filters=_CHANGE_FILTERS, since=since, until=until,
        before=before, limit=limit,
    )  # fmt: skip
    return [HealthChange(*row) for row in rows]


_CHANGE_FILTERS: Final = frozenset({"credential_id", "scope"})


async def delete_changes_before(db: Session, before: int, limit: int) -> int:
    """Drop at most `limit` changes older than `before` (microseconds); how many there were."""
    return await delete_before(db, "credential_history", before, limit)
