"""Journal directories: one owner at a time, adopted once, removed last."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gproxy.ledger import directory
from gproxy.ledger.directory import adopt, create, lock_salt, others

HOLDER = """
import sys; from pathlib import Path
from gproxy.ledger.directory import create, adopt
found = create(Path(sys.argv[1])) if sys.argv[2] == "create" else adopt(Path(sys.argv[1]))
print(found.id if found else "held", flush=True)
sys.stdin.read()
"""


def holder(path: Path, how: str) -> subprocess.Popen[str]:
    source = str(Path(directory.__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ended(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_dead_owners_directory_is_adopted_by_exactly_one(tmp_path: Path) -> None:
    owner = holder(tmp_path, "create")
    path = tmp_path / said(owner)
    assert adopt(path) is None
    assert others(tmp_path) == [path]
    ended(owner)
    rivals = [holder(path, "adopt") for _ in range(3)]
    verdicts = [said(rival) for rival in rivals]
    assert sorted(verdicts) == [path.name, "held", "held"]
    for rival in rivals:
        ended(rival)
    mine = adopt(path)
    assert mine is not None
    assert mine.salt == lock_salt(path / "LOCK")
    mine.remove()
    assert others(tmp_path) == []


def test_a_ghost_is_not_adopted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another adopter finishes and removes the directory between our opening of the lock file and our locking it."""
    mine = create(tmp_path)
    path = mine.path
    mine.unlock()
    real = fcntl.flock

    def removed_meanwhile(fd: Any, how: Any) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        other = adopt(path)
        assert other is not None
        other.remove()
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", removed_meanwhile)
    assert adopt(path) is None


def test_what_is_no_journal_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("mine")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "notes")
    (tmp_path / "set-aside").mkdir()
    (tmp_path / "half-removed").mkdir()
    assert others(tmp_path) == []
    assert adopt(tmp_path / "notes") is None
    assert adopt(tmp_path / "missing") is None
    assert (tmp_path / "notes" / "readme.txt").exists()
    assert not (tmp_path / "half-removed").exists()
    assert others(tmp_path / "missing") == []


def test_an_unfinished_directory_of_a_dead_process_is_cleared(tmp_path: Path) -> None:
    dead = tmp_path / ".new-0190"
    dead.mkdir()
    (dead / "LOCK").write_bytes(b"")
    empty = tmp_path / ".new-0191"
    empty.mkdir()
    assert others(tmp_path) == []
    assert not dead.exists()
    assert not empty.exists()


def test_a_ruined_lock_file_still_locks(tmp_path: Path) -> None:
    mine = create(tmp_path)
    lock = mine.path / "LOCK"
    data = bytearray(lock.read_bytes())
    data[10] ^= 1
    lock.write_bytes(data)
    mine.unlock()
    taken = adopt(mine.path)
    assert taken is not None
    assert taken.salt is None
    assert lock_salt(lock) is None
    taken.remove()


def test_foreign_files_keep_the_directory(tmp_path: Path) -> None:
    mine = create(tmp_path)
    (mine.path / "photo.jpg").write_bytes(b"x")
    (mine.path / "00000001.seg").write_bytes(b"x")
    assert [p.name for p in mine.foreign()] == ["photo.jpg"]
    mine.remove()
    assert (mine.path / "photo.jpg").exists()
    assert not (mine.path / "00000001.seg").exists()
    assert others(tmp_path) == [mine.path]


@pytest.mark.parametrize("moment", ["open", "flock"])
def test_a_sibling_that_clears_the_directory_being_made_is_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    module: Any = os if moment == "open" else fcntl
    real = getattr(module, moment)

    def cleared_first(*arguments: Any) -> Any:
        monkeypatch.setattr(module, moment, real)
        assert others(tmp_path) == []
        return real(*arguments)

    monkeypatch.setattr(module, moment, cleared_first)
    made = create(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [made.id]
    assert adopt(made.path) is None
    made.remove()
