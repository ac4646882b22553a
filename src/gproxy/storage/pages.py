"""What is read newest first, page by page: one query for every table that keeps what happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from gproxy.storage import sql
from gproxy.storage.drivers import Row
from gproxy.storage.engine import Session

Cursor: TypeAlias = tuple[int, str]
"""The (at, key) of the last row seen."""

END: Final = 2**63 - 1
"""Later than anything, microseconds."""
_NEWEST: Final[Cursor] = (END, "~")


async def newest_first(
    db: Session,
    table: str,
    columns: tuple[str, ...],
    *,
    key: str = "id",
    equal: Mapping[str, Any] | None = None,
    filters: frozenset[str] = frozenset(),
    since: int = 0,
    until: int = END,
    before: Cursor | None = None,
    limit: int,
) -> list[Row]:
    """At most `limit` rows with `at` in [since, until), after the cursor `before`.

    `equal` may name the columns of `filters`. `key` is unique and tells rows of one moment apart.
    """
    chosen = sorted((equal or {}).items())
    assert filters.issuperset(name for name, _ in chosen), "not a column to filter by"
    at, last = before or _NEWEST
    conditions = [*(f"{name} = ?" for name, _ in chosen), "at >= ?", "at < ?", f"(at < ? OR (at = ? AND {key} < ?))"]
    return await db.fetch(
        sql.select(table, columns, f"WHERE {' AND '.join(conditions)} ORDER BY at DESC, {key} DESC LIMIT ?"),
        [*(value for _, value in chosen), since, until, at, at, last, limit],
    )
