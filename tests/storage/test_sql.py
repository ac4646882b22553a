"""One statement, three drivers."""

from __future__ import annotations

import pytest

from gproxy.storage import sql


@pytest.mark.parametrize(
    ("style", "text"),
    [("qmark", "a = ? AND b = ?"), ("dollar", "a = $1 AND b = $2"), ("format", "a = %s AND b = %s")],
)
def test_positional(style: sql.Style, text: str) -> None:
    compiled = sql.compiled("a = ? AND b = ?", style)
    assert (compiled.text, compiled.bind((1, 2))) == (text, (1, 2))


def test_named_parameters_may_come_twice() -> None:
    statement = "at < :at OR (at = :at AND id < :id)"
    dollar = sql.compiled(statement, "dollar")
    assert (dollar.text, dollar.bind({"id": "x", "at": 1})) == ("at < $1 OR (at = $1 AND id < $2)", [1, "x"])
    format_ = sql.compiled(statement, "format")
    assert (format_.text, format_.bind({"id": "x", "at": 1})) == ("at < %s OR (at = %s AND id < %s)", [1, 1, "x"])


def test_quoted_text_is_left_alone() -> None:
    statement = "SELECT 'what? :no it''s 5%', \"odd?:name\", x::text FROM t WHERE a = ? AND b LIKE '5%'"
    assert sql.compiled(statement, "dollar").text == statement.replace("a = ?", "a = $1")
    assert sql.compiled(statement, "format").text == statement.replace("%", "%%").replace("a = ?", "a = %s")
    assert sql.compiled("SELECT '5%'", "format").text == "SELECT '5%'"


def test_upsert() -> None:
    columns = ("k", "a", "b")
    assert sql.upsert("postgres", "t", columns, ("k",), replace=("a",), add=("b",)) == (
        "INSERT INTO t (k, a, b) VALUES (?, ?, ?) ON CONFLICT (k) DO UPDATE SET a = excluded.a, b = t.b + excluded.b"
    )
    assert sql.upsert("sqlite", "t", columns, ("k",)).endswith("ON CONFLICT (k) DO NOTHING")
    assert sql.upsert("mysql", "t", columns, ("k",), replace=("a",), add=("b",)).endswith(
        "ON DUPLICATE KEY UPDATE a = VALUES(a), b = b + VALUES(b)"
    )
    assert sql.upsert("mysql", "t", columns, ("k",)).endswith("ON DUPLICATE KEY UPDATE k = k")


def test_one_of_is_padded() -> None:
    assert sql.one_of("c", [1, 2, 3]) == ("c IN (?, ?, ?, ?)", [1, 2, 3, 3])
    assert sql.one_of("c", [1]) == ("c IN (?)", [1])
