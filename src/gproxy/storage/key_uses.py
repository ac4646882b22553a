"""When keys were last used; written in the background, never moved back."""

from __future__ import annotations

from collections.abc import Mapping

from gproxy.storage import sql
from gproxy.storage.engine import Database, Session

_COLUMNS = ("key_id", "last_used_at")


async def save_uses(db: Database, uses: Mapping[str, int]) -> None:
    """Store the moments (microseconds) by key; a later one that another process has stored is kept."""
    async with db.transaction() as tx:
        # Sorted: two processes that store the same keys must not wait for each other in a circle.
        rows = sorted(uses.items())
        await tx.executemany(sql.upsert(tx.dialect, "key_uses", _COLUMNS, ("key_id",)), rows)
        await tx.executemany(
            "UPDATE key_uses SET last_used_at = ? WHERE key_id = ? AND last_used_at < ?",
            [(at, key_id, at) for key_id, at in rows],
        )


async def forget_gone_keys(db: Session) -> int:
    """Drop the moments of keys that are no more; how many."""
    return await db.execute("DELETE FROM key_uses WHERE key_id NOT IN (SELECT id FROM user_keys)")
