"""A small honest `UsageStore` on a real SQLite file: one transaction a batch, insert-if-absent, exact sums."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from gproxy.ledger.record import UsageRow
from gproxy.ledger.store import Position, StorePoison

COLUMNS = UsageRow.__struct_fields__


@dataclass(frozen=True)
class Inserted:
    new_ids: frozenset[str]


class SqliteStore:
    """`poison` says which rows the database will never take; `trouble` runs before each batch and may raise or wait."""

    def __init__(self, path: Path | str = ":memory:") -> None:
        self.db = sqlite3.connect(path, isolation_level=None)
        columns = ", ".join(f"{name}{' PRIMARY KEY' if name == 'attempt_id' else ''}" for name in COLUMNS)
        self.db.execute(f"CREATE TABLE IF NOT EXISTS usages ({columns})")
        self.db.execute("CREATE TABLE IF NOT EXISTS spent (user_id PRIMARY KEY, cost_used INTEGER)")
        self.db.execute("CREATE TABLE IF NOT EXISTS positions (journal PRIMARY KEY, segment, at)")
        self.db.execute("CREATE TABLE IF NOT EXISTS quarantine (attempt_id PRIMARY KEY, reason)")
        self.poison: Callable[[UsageRow], bool] = lambda row: False
        self.trouble: Callable[[], object] = lambda: None
        self.batches: list[int] = []

    async def insert_usages(self, rows: Sequence[UsageRow], position: Position | None) -> Inserted:
        wait = self.trouble()
        if asyncio.iscoroutine(wait):
            await wait
        self.batches.append(len(rows))
        if any(self.poison(row) for row in rows):
            raise StorePoison("the row cannot be stored")
        marks = ", ".join("?" * len(COLUMNS))
        new = set()
        self.db.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                done = self.db.execute(f"INSERT OR IGNORE INTO usages VALUES ({marks})", msgspec.structs.astuple(row))
                if done.rowcount:
                    new.add(row.attempt_id)
                    self.db.execute(
                        "INSERT INTO spent VALUES (?, ?) ON CONFLICT DO UPDATE SET cost_used = cost_used + excluded.cost_used",
                        (row.user_id, row.cost_nano_usd),
                    )
            if position is not None:
                self.db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", position)
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")
        return Inserted(frozenset(new))

    async def quarantine(self, row: UsageRow, reason: str) -> None:
        self.db.execute("INSERT OR IGNORE INTO quarantine VALUES (?, ?)", (row.attempt_id, reason))

    def ids(self) -> list[str]:
        return [found for (found,) in self.db.execute("SELECT attempt_id FROM usages ORDER BY rowid")]

    def outcomes(self) -> dict[str, str]:
        return dict(self.db.execute("SELECT attempt_id, outcome FROM usages"))

    def row(self, attempt_id: str) -> UsageRow:
        (found,) = self.db.execute("SELECT * FROM usages WHERE attempt_id = ?", (attempt_id,)).fetchall()
        values = dict(zip(COLUMNS, found, strict=True))
        return UsageRow(**{**values, "streamed": bool(values["streamed"])})

    def quarantined(self) -> list[str]:
        return [found for (found,) in self.db.execute("SELECT attempt_id FROM quarantine")]

    def position(self, journal: str) -> tuple[int, int] | None:
        found = self.db.execute("SELECT segment, at FROM positions WHERE journal = ?", (journal,)).fetchone()
        return None if found is None else (found[0], found[1])

    def check(self) -> None:
        """cost_used is exactly the sum of the rows."""
        sums = dict(self.db.execute("SELECT user_id, SUM(cost_nano_usd) FROM usages GROUP BY 1"))
        assert dict(self.db.execute("SELECT user_id, cost_used FROM spent")) == sums
