"""Deleting what is old from a table that keeps what happened, a bounded number of rows at a time."""

from __future__ import annotations

from gproxy.storage import sql
from gproxy.storage.engine import Session


async def delete_before(db: Session, table: str, before: int, limit: int, *, key: str = "id") -> int:
    """Delete at most `limit` rows whose `at` is before that (microseconds), the oldest first; how many were found.

    Ids are read first, because MySQL knows no `LIMIT` in a subquery. Two processes that delete at once find the
    same rows and the later one deletes nothing, which is as good.
    """
    rows = await db.fetch(sql.select(table, (key,), f"WHERE at < ? ORDER BY at, {key} LIMIT ?"), (before, limit))
    if rows:
        these, ids = sql.one_of(key, [row[0] for row in rows])
        await db.execute(sql.delete(table, these), ids)
    return len(rows)
