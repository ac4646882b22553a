"""Steps that may be run again after a crash.

MySQL commits each DDL statement by itself, so a migration that died half-way is found half done.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op


def has_table(name: str) -> bool:
    """Whether a table is there already."""
    return sa.inspect(op.get_bind()).has_table(name)


def create_table(name: str, *parts: Any) -> None:
    """Create a table, unless an interrupted run did."""
    if not has_table(name):
        op.create_table(name, *parts, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def add_column(table: str, column: sa.Column[Any]) -> None:
    """Add a column, unless an interrupted run did."""
    if column.name not in {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}:
        op.add_column(table, column)


def create_index(table: str, *columns: str) -> None:
    """Create an index under its conventional name, unless an interrupted run did."""
    name = f"ix_{table}_{'_'.join(columns)}"
    if name not in {index["name"] for index in sa.inspect(op.get_bind()).get_indexes(table)}:
        op.create_index(name, table, list(columns))
