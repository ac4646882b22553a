"""One way to write SQL for three engines: `?` or `:name` parameters, translated once per statement.

Statements are constants of this room. The small builders below put together names that are constants too;
values only ever travel as parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

Params: TypeAlias = Mapping[str, Any] | Sequence[Any]
Style = Literal["qmark", "dollar", "format"]
Dialect = Literal["sqlite", "postgres", "mysql"]

STYLE: Final[dict[Dialect, Style]] = {"sqlite": "qmark", "postgres": "dollar", "mysql": "format"}

# A quoted text or name is passed over; then `?` or `:name` (not `::`).
_TOKEN: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|(?P<positional>\?)|(?<!:):(?P<name>[a-z_][a-z0-9_]*)|%")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement in one driver's own form. `names` is the order of its parameters, None when they are positional."""

    text: str
    names: tuple[str, ...] | None

    def bind(self, params: Params) -> Sequence[Any]:
        """The parameters in the order the text asks for."""
        if self.names is None:
            assert not isinstance(params, Mapping), "this statement has positional parameters"
            return params
        assert isinstance(params, Mapping), "this statement has named parameters"
        return [params[name] for name in self.names]


@lru_cache(maxsize=1024)
def compiled(sql: str, style: Style) -> Compiled:
    """Translate a statement; remembered, so that it happens once per statement and not per call."""
    names: list[str] = []
    count = 0

    def replace(match: re.Match[str]) -> str:
        nonlocal count
        if match["positional"]:
            count += 1
            return f"${count}" if style == "dollar" else "?" if style == "qmark" else "%s"
        name = match["name"]
        if name is None:
            return match[0].replace("%", "%%") if style == "format" else match[0]
        if style == "dollar":
            if name not in names:
                names.append(name)
            return f"${names.index(name) + 1}"
        names.append(name)
        return "?" if style == "qmark" else "%s"

    text = _TOKEN.sub(replace, sql)
    assert not (names and count), "a statement has either named or positional parameters"
    if style == "format" and not names and not count:
        text = sql  # sent without parameters, and then the driver leaves `%` alone
    return Compiled(text, tuple(names) if names else None)


@lru_cache(maxsize=256)
def insert(table: str, columns: tuple[str, ...]) -> str:
    """`INSERT` with one positional parameter per column."""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608 - names are the code's own


@lru_cache(maxsize=256)
def upsert(
    dialect: Dialect,
    table: str,
    columns: tuple[str, ...],
    key: tuple[str, ...],
    *,
    replace: tuple[str, ...] = (),
    add: tuple[str, ...] = (),
) -> str:
    """`INSERT` that, when the key is taken, replaces some columns and adds to others (or leaves the row alone).

    MySQL's `INSERT IGNORE` is not used: it would also wave through values that do not fit.
    """
    if dialect == "mysql":
        changes = [f"{c} = VALUES({c})" for c in replace] + [f"{c} = {c} + VALUES({c})" for c in add]
        return f"{insert(table, columns)} ON DUPLICATE KEY UPDATE {', '.join(changes or [f'{key[0]} = {key[0]}'])}"
    changes = [f"{c} = excluded.{c}" for c in replace] + [f"{c} = {table}.{c} + excluded.{c}" for c in add]
    action = f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING"
    return f"{insert(table, columns)} ON CONFLICT ({', '.join(key)}) DO {action}"


@lru_cache(maxsize=256)
def update(table: str, columns: tuple[str, ...], where: str) -> str:
    """`UPDATE` with one positional parameter per column, then those of `where`."""
    return f"UPDATE {table} SET {', '.join(f'{c} = ?' for c in columns)} WHERE {where}"  # noqa: S608


@lru_cache(maxsize=256)
def select(table: str, columns: tuple[str, ...], tail: str = "") -> str:
    """`SELECT` of named columns; `tail` is a constant `WHERE …`/`ORDER BY …`."""
    return f"SELECT {', '.join(columns)} FROM {table} {tail}".rstrip()  # noqa: S608


@lru_cache(maxsize=256)
def delete(table: str, where: str) -> str:
    """`DELETE` of what a constant condition says."""
    return f"DELETE FROM {table} WHERE {where}"  # noqa: S608


@lru_cache(maxsize=256)
def bump(table: str, columns: tuple[str, ...], where: str) -> str:
    """`UPDATE` of a versioned row: as `update`, with `updated_at` as the last value and `version` one higher."""
    changes = [f"{column} = ?" for column in (*columns, "updated_at")]
    return f"UPDATE {table} SET {', '.join(changes)}, version = version + 1 WHERE {where}"  # noqa: S608


def one_of(column: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """`column IN (…)` and its values, padded to a power of two so that few statement texts exist."""
    assert values, "IN () is not SQL"
    size = 1 << (len(values) - 1).bit_length()
    return f"{column} IN ({', '.join('?' * size)})", [*values, *[values[-1]] * (size - len(values))]


def locking(dialect: Dialect, query: str) -> str:
    """The query, locking the rows it reads; SQLite's write transaction holds the whole file already."""
    return query if dialect == "sqlite" else f"{query} FOR UPDATE"
