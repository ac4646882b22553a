import json
import socket
from pathlib import Path

import pytest

from gproxy.cli.main import main

NAMES = ["settings", "data folder", "disk", "clock", "seed file", "database", "journal", "port", "open files"]


def verdicts(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["verdict"], each["text"]) for each in json.loads(capsys.readouterr().out)}


def test_a_fresh_folder_is_healthy_and_stays_as_it_was(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--port", "0", "--json"]) == 0
    found = verdicts(capsys)
    assert list(found) == NAMES
    assert "fail" not in {verdict for verdict, _ in found.values()}
    assert list(home.iterdir()) == []


def test_after_a_first_run_the_database_answers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["db", "upgrade"])
    capsys.readouterr()
    assert main(["doctor", "--port", "0", "--json"]) == 0
    assert "schema is current" in verdicts(capsys)["database"][1]


def test_each_trouble_is_found_and_does_not_hide_the_next(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "file").write_text("")
    (home / "gproxy.toml").write_text("[[nonsense]]")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["doctor", "--data-dir=file", "--dsn=postgres://x@127.0.0.1:1/x", f"--port={port}", "--json"]) == 1
    found = verdicts(capsys)
    assert {name for name, (verdict, _) in found.items() if verdict == "fail"} == {
        "data folder",
        "seed file",
        "database",
        "port",
    }
    assert list(found) == NAMES


def test_settings_that_cannot_be_used_are_the_first_finding(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--workers", "many"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("fail  settings  --workers (or GPROXY_WORKERS): ")


def test_a_folder_open_to_others_is_a_warning(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "data").mkdir(mode=0o755)
    assert main(["doctor", "--port", "0"]) == 0
    assert "warn  data folder" in capsys.readouterr().out
