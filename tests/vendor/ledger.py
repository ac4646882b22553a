"""The ledger read from outside: plain SQL on the stable names of `usages` and `user_quotas`, nothing of the product's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

Rows = list[Mapping[str, Any]]


def read_sqlite(path: Path) -> tuple[Rows, Rows]:
    """All of `usages` and all of `user_quotas`, read-only and in one view of the database."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        usages = [dict(row) for row in connection.execute("SELECT * FROM usages ORDER BY at, attempt_id")]
        quotas = [dict(row) for row in connection.execute("SELECT * FROM user_quotas")]
    return list(usages), list(quotas)
