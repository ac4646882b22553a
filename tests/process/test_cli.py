"""The commands that speak to a running gateway."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gproxy.cli.main import main
from tests.process import rig
from tests.process.test_admin import ROOT, SEED

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(tmp_path_factory.mktemp("cli"), rig.seed(vendor.port, SEED)) as made:
        yield made


@pytest.fixture(autouse=True)
def environment(house: rig.Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPROXY_URL", house.url)
    monkeypatch.setenv("GPROXY_API_KEY", ROOT)
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    got = main(words)
    out, err = capsys.readouterr()
    assert got == code, (words, out, err)
    return out if code == 0 else out + err


def read(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(told(capsys, *words, "--json"))


def test_a_user_from_nothing_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert read(capsys, "users", "create", "name=carol")["name"] == "carol"
    made = read(capsys, "keys", "create", "user_name=carol", "label=laptop")
    assert made["api_key"].startswith("sk-")
    assert read(capsys, "keys", "rotate", made["id"], "--overlap", "60")["api_key"] != made["api_key"]
    read(capsys, "quotas", "create", "user_name=carol", "quota=5.5")
    read(capsys, "rate-limits", "create", "user_name=carol", "model_pattern=*", "rpm=5")
    assert "refused" not in told(capsys, "explain", "--user", "alice", "--model", "fast")
    assert "forbidden" in told(capsys, "explain", "--user", "carol", "--model", "fast", code=1)
    read(capsys, "permissions", "create", "user_name=carol", "model_pattern=*")
    assert "at most" in told(capsys, "explain", "--user", "carol", "--model", "fast")
    table = told(capsys, "quotas", "list", "--only", "user_name=carol").splitlines()
    assert table[0].split() == ["USER_NAME", "QUOTA", "COST_USED", "REMAINING"]
    assert table[1].split()[:2] == ["carol", "5.5"]
    assert read(capsys, "users", "set", "carol", "enabled=false")["enabled"] is False
    assert [row["name"] for row in read(capsys, "users", "list", "--search", "car")] == ["carol"]
    assert told(capsys, "users", "delete", "carol") == "deleted carol\n"
    assert "there is no user 'carol'" in told(capsys, "users", "get", "carol", code=1)


def test_every_resource_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("users", "keys", "providers", "credentials", "models", "aliases", "routes", "permissions",
                 "rate-limits", "quotas"):  # fmt: skip
        assert told(capsys, name, "list").splitlines()
        assert isinstance(read(capsys, name, "list", "--limit", "1"), list)
    assert "main" in told(capsys, "providers", "get", "main")
    assert "main" in told(capsys, "models", "get", "main/gpt-4.1-mini")
    assert "added" in told(capsys, "models", "pull", "other", "--add")


def test_usage(capsys: pytest.CaptureFixture[str], house: rig.Gateway) -> None:
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert house.request("POST", "/v1/chat/completions", body)[0] == 200
    house.rows(1)
    assert "sim-model" in told(capsys, "usage", "list")
    assert read(capsys, "usage", "summary")["attempts"] >= 1
    (row,) = read(capsys, "usage", "list", "--limit", "1")
    assert "cost 0.0000" in told(capsys, "explain", "--request", row["request_id"])
    assert read(capsys, "explain", "--request", row["request_id"])["attempts"][0]["attempt_id"] == row["attempt_id"]
    keys = told(capsys, "keys", "list", "--only", "user_name=alice").splitlines()
    assert keys[0].split()[-1] == "LAST_USED_AT"


def test_the_configuration_out_and_in(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = told(capsys, "export")
    assert "sk-" not in text
    assert told(capsys, "export", "--with-secrets", "-o", "all.toml") == "written to all.toml\n"
    assert stat.S_IMODE((tmp_path / "all.toml").stat().st_mode) == 0o600
    assert told(capsys, "import", "all.toml").startswith("imported: 0 new, 0 changed")
    told(capsys, "export", "--with-secrets", "--format", "json", "-o", "all.json")
    assert read(capsys, "import", "all.json", "--dry-run")["applied"] is False
    (tmp_path / "bad.toml").write_text("[[nothing]]\n[[users]]\nname = 7\n")
    assert "nothing" in told(capsys, "import", "bad.toml", code=1)


def test_a_litellm_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry = "{model_name: quick, litellm_params: {model: groq/llama-3.1-8b-instant, api_key: os.environ/GROQ_KEY}}"
    (tmp_path / "config.yaml").write_text(f"model_list: [{entry}]\n")
    assert "GROQ_KEY is not set" in told(capsys, "import", "config.yaml", "--from", "litellm", code=1)
    monkeypatch.setenv("GROQ_KEY", "gsk-0123456789abcdef")
    assert "would be imported: 4 new" in told(capsys, "import", "config.yaml", "--from", "litellm", "--dry-run")
    told(capsys, "import", "config.yaml", "--from", "litellm")
    assert read(capsys, "aliases", "get", "quick")["provider_name"] == "groq"
    assert "no such source" in told(capsys, "import", "config.yaml", "--from", "abacus", code=2)


def test_a_one_api_database_and_a_seed_of_v1(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "one-api.db")) as database, database:
        for statement in (
            "CREATE TABLE channels (id, type, key, status, name, base_url, models, 'group', model_mapping, priority)",
            "CREATE TABLE users (id, username, role, status, quota, used_quota, 'group')",
            "CREATE TABLE tokens (id, user_id, key, status, name, expired_time, unlimited_quota)",
            "INSERT INTO channels VALUES (1, 36, 'sk-deep-0123456789', 1, 'deep', '', 'deepseek-chat', 'default', '', 0)",
            "INSERT INTO channels VALUES (2, 15, 'x', 1, 'baidu', '', 'ernie', 'default', '', 0)",
            "INSERT INTO users VALUES (1, 'dora', 1, 1, 500000, 0, 'default')",
            "INSERT INTO tokens VALUES (1, 1, 'dora-0123456789', 1, 'laptop', -1, 1)",
        ):
            database.execute(statement)
    before = (tmp_path / "one-api.db").read_bytes()
    main(("import", "one-api.db", "--from", "one-api", "--dry-run"))
    out, err = capsys.readouterr()
    assert "would be imported: 7 new" in out
    assert "channels 2 (baidu): is not brought in" in err
    assert "there is no user" in told(capsys, "users", "get", "dora", code=1), "nothing was written"
    assert "imported: 7 new" in told(capsys, "import", "one-api.db", "--from", "one-api")
    assert (tmp_path / "one-api.db").read_bytes() == before
    assert read(capsys, "quotas", "get", "dora")["remaining"] == "1"
    assert "imported: 0 new, 0 changed" in told(capsys, "import", "one-api.db", "--from", "new-api")
    (tmp_path / "empty.db").write_bytes(b"")
    assert "not the database of a one-api" in told(capsys, "import", "empty.db", "--from", "one-api", code=1)
    (tmp_path / "text.db").write_text("hello " * 100)
    assert "text.db cannot be read" in told(capsys, "import", "text.db", "--from", "one-api", code=1)
    assert "must be an SQLite file" in told(capsys, "import", "-", "--from", "one-api", code=1)
    (tmp_path / "old.toml").write_text(
        '[global]\nhost = "127.0.0.1"\nport = 8787\ndsn = "x"\n[[users]]\nname = "emil"\n'
    )
    told(capsys, "import", "old.toml", code=1)
    main(("import", "old.toml", "--from", "gproxy-v1", "--dry-run"))
    out, err = capsys.readouterr()
    assert "would be imported: 3 new" in out
    assert "note: global.dsn" in err


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("users", "list", "--url", "http://127.0.0.1:9"), "does not answer", 1),
        (("users", "list", "--url", "gopher://x"), "not an http:// or https:// address", 2),
        (("users", "list", "--url", "http://x:y"), "is not an address", 2),
        (("users", "list", "--api-key", ""), "GPROXY_API_KEY", 2),
        (("users", "list", "--api-key", "sk-wrong-0123456789"), "", 1),
        (("users", "list", "--only", "colour=red"), "colour", 1),
        (("users", "create", "name"), "NAME=VALUE", 2),
        (("users", "create", "name=7", "colour=red"), "colour", 1),
        (("import", "nowhere.toml"), "cannot be read", 1),
        (("explain",), "--user, --model", 2),
        (("explain", "--request", "x", "--user", "alice"), "by its id alone", 2),
        (("explain", "--request", "x"), "no request", 1),
        (("export", "-o", "no/such/folder"), "cannot be written", 1),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str, code: int
) -> None:
    found = told(capsys, *words, code=code)
    assert text in found
    assert "Traceback" not in found
