from pathlib import Path

import pytest

from gproxy.cli.main import main

GOOD = """
[global]
max_body = "10MiB"

[[providers]]
name = "main"
channel = "openai"
credentials = [{ api_key = "${TEST_VENDOR_KEY}" }]

[[models]]
provider_name = "main"
model_id = "gpt-4.1-mini"

[[users]]
name = "alice"
keys = [{ api_key = "sk-alice-1" }]
"""


def test_a_good_file_is_told_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_VENDOR_KEY", "sk-1")
    (home / "gproxy.toml").write_text(GOOD)
    assert main(["check"]) == 0
    assert capsys.readouterr().out == "gproxy.toml: valid: 1 providers, 1 models, 0 routes, 1 users\n"


def test_every_problem_is_told_with_its_place(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "x.toml").write_text(GOOD.replace("10MiB", "lots").replace('"openai"', '"opnai"'))
    assert main(["check", "--config", "x.toml"]) == 1
    out = capsys.readouterr().out.splitlines()
    places = ("global.max_body: ", "providers[1].channel: ", "providers[1].credentials[1].api_key: ")
    assert all(any(line.startswith(f"x.toml: {place}") for line in out) for place in places)
    assert any("TEST_VENDOR_KEY" in line for line in out)
    assert out[-1] == "x.toml: 3 problems"


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [(b"[[providers", 1, "not valid TOML"), (b"\xff\xfe", 1, "not UTF-8"), (b"", 0, "valid: 0 providers")],
)
def test_odd_files(home: Path, capsys: pytest.CaptureFixture[str], content: bytes, code: int, word: str) -> None:
    (home / "gproxy.toml").write_bytes(content)
    assert main(["check"]) == code
    out, err = capsys.readouterr()
    assert word in out + err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--config", "nowhere.toml"]) == 1
    assert capsys.readouterr().err == "gproxy: nowhere.toml: no such file or directory\n"


def test_checking_leaves_nothing_behind(home: Path) -> None:
    (home / "gproxy.toml").write_text("")
    main(["check"])
    assert [path.name for path in home.iterdir()] == ["gproxy.toml"]
