import sqlite3
from pathlib import Path

import pytest

from gproxy.cli.main import main
from gproxy.storage.schema_version import HEAD


def test_a_database_is_made_upgraded_and_found_current(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "upgrade"]) == 0
    assert main(["db", "upgrade"]) == 0
    assert main(["db", "check"]) == 0
    assert main(["db", "current"]) == 0
    first, second, third, fourth = capsys.readouterr().out.splitlines()
    assert first.endswith(f"upgraded to schema version {HEAD}")
    assert second.endswith(f"already at schema version {HEAD}")
    assert third.endswith(f"schema version {HEAD} is current")
    assert fourth == HEAD
    assert (home / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("command", ["check", "current"])
def test_looking_makes_no_database(home: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main(["db", command]) == 1
    assert "gproxy db upgrade" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_a_database_without_a_schema_is_not_current(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sqlite3.connect(home / "x.db").close()
    assert main(["db", "check", "--dsn", "sqlite:///x.db"]) == 1
    assert "no schema yet" in capsys.readouterr().err


def test_a_newer_database_is_refused_with_what_to_do(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["db", "upgrade", "--dsn", "sqlite:///x.db"])
    with sqlite3.connect(home / "x.db") as db:
        db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.close()
    capsys.readouterr()
    assert main(["db", "check", "--dsn", "sqlite:///x.db"]) == 1
    err = capsys.readouterr().err
    assert "9999" in err
    assert "newer gproxy" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("dsn", "code", "word"),
    [
        ("oracle://x", 2, "sqlite://"),
        ("mysql://host", 2, "names no database"),
        ("postgres://nobody:hunter2@127.0.0.1:1/x", 1, "cannot be used"),
        ("sqlite:////dev/null/x.db", 1, ""),
    ],
)
def test_a_database_that_cannot_be_had_is_one_line(
    capsys: pytest.CaptureFixture[str], dsn: str, code: int, word: str
) -> None:
    assert main(["db", "upgrade", "--dsn", dsn]) == code
    err = capsys.readouterr().err
    assert word in err
    assert "hunter2" not in err
    assert len(err.splitlines()) == 1


def test_a_driver_that_is_not_installed_is_named_with_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gproxy.cli.database.find_spec", lambda _: None)
    assert main(["db", "check", "--dsn", "postgres://h/x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "asyncpg" in line
    assert "EXTRAS=postgres" in line
