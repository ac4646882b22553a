"""Addresses in all the forms people write."""

from __future__ import annotations

from pathlib import Path

import pytest

from gproxy.storage.dsn import BadDsn, parse_dsn, sqlite_uri


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("sqlite:///data/gproxy.db", "data/gproxy.db"),
        ("sqlite:////var/lib/gproxy.db", "/var/lib/gproxy.db"),
        ("sqlite://./x.db?mode=rwc", "./x.db"),
        ("sqlite://x.db", "x.db"),
        ("sqlite:x.db", "x.db"),
        ("sqlite+aiosqlite:///x.db", "x.db"),
        ("sqlite:///with%20space%3F.db", "with space?.db"),
    ],
)
def test_sqlite_paths(text: str, path: str) -> None:
    dsn = parse_dsn(text)
    assert (dsn.engine, dsn.path) == ("sqlite", Path(path))


def test_the_uri_for_sqlite_is_absolute_and_quoted() -> None:
    uri = sqlite_uri(parse_dsn("sqlite:////tmp/a b?.db".replace("?", "%3F") + "?mode=ro"))
    assert uri == "file:/tmp/a%20b%3F.db?mode=ro"


@pytest.mark.parametrize(
    ("text", "engine", "port"),
    [
        ("postgres://u:p%40ss@db:6000/gw", "postgres", 6000),
        ("postgresql://u:p%40ss@db/gw?sslmode=require", "postgres", 5432),
        ("postgresql+asyncpg://u:p%40ss@db/gw", "postgres", 5432),
        ("mysql://u:p%40ss@db/gw", "mysql", 3306),
        ("MariaDB://u:p%40ss@db/gw", "mysql", 3306),
    ],
)
def test_servers(text: str, engine: str, port: int) -> None:
    dsn = parse_dsn(text)
    assert (dsn.engine, dsn.host, dsn.port, dsn.user, dsn.password, dsn.database) == (
        engine,
        "db",
        port,
        "u",
        "p@ss",
        "gw",
    )
    assert "ss" not in repr(dsn).replace("sslmode", "")
    assert str(dsn) == f"{engine} at db:{port}/gw"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "oracle://x/y",
        "postgres://",
        "postgres://db",
        "postgres://db:port/x",
        "sqlite://",
        "sqlite://:memory:",
        "sqlite:///x.db?mode=memory",
        "sqlite:///a%00b",
    ],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadDsn):
        parse_dsn(text)


def test_a_complaint_never_holds_the_password() -> None:
    with pytest.raises(BadDsn) as caught:
        parse_dsn("postgres://user:hunter2@db:notaport/x")
    assert "hunter2" not in str(caught.value)
