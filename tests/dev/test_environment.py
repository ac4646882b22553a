import json
import os
import subprocess
from pathlib import Path

import pytest

from dev.environment import EXTRAS, ROOT, Stopped, Wanted, commands, installed, lock_key, pinned_uv, uv_environment

RUN = Wanted(dev=False, extras=frozenset())
DEV = Wanted(dev=True, extras=frozenset())


def test_the_bigger_set_serves_for_the_smaller() -> None:
    postgres = Wanted(dev=False, extras=frozenset({"postgres"}))
    assert RUN <= DEV
    assert not DEV <= RUN
    assert not postgres <= DEV
    assert postgres <= postgres | DEV
    assert (postgres | DEV).arguments() == ["--extra", "postgres"]
    assert RUN.arguments() == ["--no-default-groups"]


def test_the_extras_are_those_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(project["optional-dependencies"]) == sorted(EXTRAS)


def test_a_stamp_that_cannot_be_read_says_nothing_is_there(tmp_path: Path) -> None:
    assert installed(tmp_path) == ("", RUN)
    (tmp_path / ".venv").mkdir()
    stamp = tmp_path / ".venv" / "gproxy-stamp.json"
    for broken in ("", "[]", "{}", '{"key": "x", "dev": true, "extras": 5}'):
        stamp.write_text(broken)
        assert installed(tmp_path) == ("", RUN)
    stamp.write_text(json.dumps({"key": "x", "dev": True, "extras": ["redis"]}))
    assert installed(tmp_path) == ("x", Wanted(dev=True, extras=frozenset({"redis"})))


def test_the_key_follows_the_lock_and_the_project(tmp_path: Path) -> None:
    keys = set()
    for lock, project in (("a", "b"), ("a2", "b"), ("a", "b2")):
        (tmp_path / "uv.lock").write_text(lock)
        (tmp_path / "pyproject.toml").write_text(project)
        keys.add(lock_key(tmp_path))
    assert len(keys) == 3


def test_the_locks_own_index_needs_one_step_and_another_one_the_exported_hashes() -> None:
    assert commands("uv", "py", RUN, None) == [["uv", "sync", "--locked", "--python", "py", "--no-default-groups"]]
    steps = commands("uv", "py", DEV, "mirror")
    assert [step[1] for step in steps] == ["venv", "export", "pip", "pip"]
    assert "--require-hashes" in steps[2]


def test_the_callers_configuration_is_kept() -> None:
    changed = uv_environment({"UV_INDEX": "x", "PIP_CERT": "ca.pem", "VIRTUAL_ENV": "/other"}, "mirror")
    assert changed["UV_INDEX"] == "x"
    assert changed["UV_DEFAULT_INDEX"] == "mirror"
    assert changed["SSL_CERT_FILE"] == "ca.pem"
    assert "VIRTUAL_ENV" not in changed
    assert uv_environment({"SSL_CERT_FILE": "mine", "PIP_CERT": "ca"}, None)["SSL_CERT_FILE"] == "mine"


def test_without_pip_ensurepip_or_uv_the_one_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Stopped, match="apt install python3-venv"):
        pinned_uv(tmp_path, {}, has=lambda _: False)


def fake(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


def bootstrap(path: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The real script in a copy of its place, with nothing but the fakes on PATH."""
    root = path / "checkout"
    (root / "dev").mkdir(parents=True)
    (root / "dev" / "bootstrap").write_bytes((ROOT / "dev" / "bootstrap").read_bytes())
    return subprocess.run(
        ["/bin/sh", str(root / "dev" / "bootstrap"), "run"],
        env={"PATH": str(path), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_python_that_only_pretends_is_passed_over(tmp_path: Path) -> None:
    fake(tmp_path, "python3.13", "exit 127")
    fake(tmp_path, "python3.12", 'if [ "$1" = -c ]; then exit 1; fi; echo old')
    fake(tmp_path, "python3", 'if [ "$1" = -c ]; then exit 0; fi; echo "chosen $@"')
    done = bootstrap(tmp_path)
    assert (done.returncode, done.stdout) == (0, "chosen dev/environment.py run\n")


def test_without_any_python_the_message_says_what_to_install(tmp_path: Path) -> None:
    done = bootstrap(tmp_path)
    assert done.returncode == 1
    assert "apt install python3" in done.stderr
    assert "brew install python" in done.stderr


def test_a_python_named_by_hand_is_taken_or_refused_but_never_replaced(tmp_path: Path) -> None:
    fake(tmp_path, "python3", 'if [ "$1" = -c ]; then exit 0; fi; echo chosen')
    done = bootstrap(tmp_path, PYTHON=os.devnull)
    assert done.returncode == 1
    assert "PYTHON=/dev/null" in done.stderr
