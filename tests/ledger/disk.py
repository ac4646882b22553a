"""A disk that remembers in which order it was written, and shows every state in which a power failure may leave it.

What a file system promises, and no more: data is on the disk once a sync of its file that began later has returned; a
name once a sync of its directory has. Before that any of it may be there or not, writes in pieces of a sector; names
appear and go in the order they were made (journalling file systems keep that), but any time.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

SECTOR: Final = 512


@dataclass(frozen=True)
class Name:
    """A change of the tree: `mkdir`, `create`, `rename`, `unlink`, `rmdir`. Paths are relative."""

    what: str
    path: str
    to: str = ""
    inode: int = 0


@dataclass(frozen=True)
class Data:
    """A change of a file: bytes at an offset, or a size."""

    inode: int
    at: int
    data: bytes | None


@dataclass(frozen=True)
class Sync:
    """A sync that has returned; it covers what was written before step `since`. `path` for a directory."""

    since: int
    inode: int = 0
    path: str | None = None


@dataclass(frozen=True)
class Mark:
    """What the journal has promised by now."""

    word: str
    attempt: str


class Disk:
    """Records what is done below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.steps: list[Name | Data | Sync | Mark] = []
        self._lock = threading.Lock()

    def mark(self, word: str, attempt: str) -> None:
        """Note a promise."""
        self._add(Mark(word, attempt))

    def _add(self, step: Name | Data | Sync | Mark) -> None:
        with self._lock:
            self.steps.append(step)

    def watch(self, patch: pytest.MonkeyPatch, modules: list[Any]) -> None:
        """Stand between these modules and the operating system from now on."""
        for module in modules:
            patch.setattr(module, "os", _Os(self))
        for what in ("mkdir", "rename", "unlink", "rmdir"):
            patch.setattr(Path, what, self._naming(what, getattr(Path, what)))

    def _naming(self, what: str, really: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, *args: Any, **more: Any) -> Any:
            there = path.exists()
            found = really(path, *args, **more)
            if path.is_relative_to(self.root) and (what != "mkdir" or not there):
                to = str(args[0].relative_to(self.root)) if what == "rename" else ""
                self._add(Name(what, str(path.relative_to(self.root)), to))
            return found

        return call

    # -- after the power has failed -------------------------------------------------------------------------------

    def image(self, moment: int, dice: random.Random, keep: float, folder: Path) -> None:
        """Write into `folder` what may be left when the power fails before step `moment`.

        `keep` is the chance of each thing that was not synced: 0 loses all of it, 1 none.
        """
        done = self.steps[:moment]
        names = [at for at, step in enumerate(done) if isinstance(step, Name)]
        sure = max((self._named_before(step, done) for step in done if isinstance(step, Sync) and step.path), default=0)
        free = [at for at in names if at >= sure]
        first = sum(dice.random() < keep for _ in free)
        kept = {at for at in names if at < sure} | set(free[:first])
        where: dict[str, int | None] = {}
        for at in sorted(kept):
            _rename(where, done[at])
        files = self._contents(done, dice, keep)
        for path, inode in where.items():
            if inode is None:
                (folder / path).mkdir(parents=True, exist_ok=True)
        for path, inode in where.items():
            if inode is not None and (folder / path).parent.is_dir():
                (folder / path).write_bytes(files.get(inode, b""))

    @staticmethod
    def _named_before(sync: Sync, done: list[Name | Data | Sync | Mark]) -> int:
        """Names are kept in order, so those before the last one that this sync covers are there too."""
        covered = 0
        for at, step in enumerate(done[: sync.since]):
            if isinstance(step, Name) and sync.path in {
                str(Path(step.path).parent),
                str(Path(step.to or step.path).parent),
            }:
                covered = at + 1
        return covered

    @staticmethod
    def _contents(done: list[Name | Data | Sync | Mark], dice: random.Random, keep: float) -> dict[int, bytes]:
        synced: dict[int, int] = {}
        for step in done:
            if isinstance(step, Sync) and step.path is None:
                synced[step.inode] = max(synced.get(step.inode, 0), step.since)
        files: dict[int, bytearray] = {}
        for at, step in enumerate(done):
            if not isinstance(step, Data):
                continue
            file = files.setdefault(step.inode, bytearray())
            safe = at < synced.get(step.inode, 0)
            if step.data is None:
                if safe or dice.random() < keep:
                    _resize(file, step.at)
                continue
            for begin, piece in _sectors(step.at, step.data):
                if safe or dice.random() < keep:
                    _resize(file, max(len(file), begin + len(piece)))
                    file[begin : begin + len(piece)] = piece
        return {inode: bytes(file) for inode, file in files.items()}


def _sectors(at: int, data: bytes) -> list[tuple[int, bytes]]:
    pieces = []
    while data:
        room = SECTOR - at % SECTOR
        pieces.append((at, data[:room]))
        at, data = at + room, data[room:]
    return pieces


def _resize(file: bytearray, size: int) -> None:
    if len(file) > size:
        del file[size:]
    else:
        file.extend(bytes(size - len(file)))


def _rename(where: dict[str, int | None], step: object) -> None:
    assert isinstance(step, Name)
    match step.what:
        case "mkdir":
            where[step.path] = None
        case "create":
            where[step.path] = step.inode
        case "rename":
            for path in [path for path in where if path == step.path or path.startswith(step.path + "/")]:
                where[step.to + path[len(step.path) :]] = where.pop(path)
        case _:
            where.pop(step.path, None)


class _Os:
    """The module `os`, and a note of whatever changes the disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._directories: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            self._disk._add(Name("create", str(path.relative_to(self._disk.root)), inode=os.fstat(fd).st_ino))
        elif flags & os.O_DIRECTORY:
            self._directories[fd] = str(path.relative_to(self._disk.root))
        return fd

    def _data(self, fd: int, at: int, data: bytes | None) -> None:
        self._disk._add(Data(os.fstat(fd).st_ino, at, data))

    def pwrite(self, fd: int, data: bytes, at: int) -> int:
        written = os.pwrite(fd, data, at)
        self._data(fd, at, data[:written])
        return written

    def write(self, fd: int, data: bytes) -> int:
        self._data(fd, os.lseek(fd, 0, os.SEEK_CUR), data)
        return os.write(fd, data)

    def posix_fallocate(self, fd: int, at: int, size: int) -> None:
        os.posix_fallocate(fd, at, size)
        self._data(fd, max(at + size, os.fstat(fd).st_size), None)

    def ftruncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)
        self._data(fd, size, None)

    def fdatasync(self, fd: int) -> None:
        since = len(self._disk.steps)
        os.fdatasync(fd)
        self._disk._add(Sync(since, os.fstat(fd).st_ino))

    def fsync(self, fd: int) -> None:
        since = len(self._disk.steps)
        os.fsync(fd)
        self._disk._add(Sync(since, path=self._directories.pop(fd)))
