"""The committed console belongs to its sources, speaks both languages, and names no registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dev import console

WEB = console.WEB
KEY = re.compile(r'^  "([^"]+)": (".*"),$', re.MULTILINE)


def test_what_is_committed_was_built_from_what_is_committed() -> None:
    assert console.stale() == []


def test_a_changed_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(WEB / "src", tmp_path / "web" / "src")
    monkeypatch.setattr(console, "ROOT", tmp_path)
    monkeypatch.setattr(console, "WEB", tmp_path / "web")
    monkeypatch.setattr(console, "STATIC", tmp_path / "static")
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "index.html").write_text("built")
    monkeypatch.setattr(console, "LIST", tmp_path / "built.json")
    assert console.stale() == ["built.json is missing"]
    monkeypatch.setattr("sys.argv", ["console.py", "--list"])
    assert console.main() == 0
    assert console.stale() == []
    (tmp_path / "web" / "src" / "main.tsx").write_text("other")
    (tmp_path / "static" / "stray.js").write_text("other")
    assert console.stale() == ["web/src/main.tsx: differs", "static/stray.js: is new"]


def test_building_again_gives_the_same_bytes(tmp_path: Path) -> None:
    tools = WEB / "node_modules" / ".bin" / "vite"
    if shutil.which("node") is None or not tools.exists():
        pytest.skip("needs Node and `npm ci` in web/")
    subprocess.run(
        [str(tools), "build", "--logLevel", "error"],
        cwd=WEB,
        check=True,
        env={**os.environ, "CONSOLE_OUT": str(tmp_path)},
        capture_output=True,
    )
    assert console.hashes(tmp_path) == console.hashes(console.STATIC)


def test_both_languages_say_the_same_things() -> None:
    english, chinese = (
        dict(KEY.findall((WEB / "src" / "text" / name).read_text("utf-8"))) for name in ("en.ts", "zh.ts")
    )
    assert english.keys() == chinese.keys()
    assert len(english) > 300
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", chinese[key])), key


def test_every_text_is_used_and_every_used_text_is_there() -> None:
    known = {key for key, _ in KEY.findall((WEB / "src" / "text" / "en.ts").read_text("utf-8"))}
    sources = "\n".join(path.read_text("utf-8") for path in (WEB / "src").rglob("*.ts*") if path.parent.name != "text")
    built = tuple(re.findall(r"t\(`([a-z.]+\.)\$\{", sources))
    unused = {key for key in known if f'"{key}"' not in sources and not key.startswith(built)}
    assert unused == set()


def test_the_lock_file_names_no_host() -> None:
    text = (WEB / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text
    hosts = set(re.findall(r"https?://([^/\"]+)", text))
    assert hosts <= {"github.com", "opencollective.com", "tidelift.com"}, "links to sponsors only"
