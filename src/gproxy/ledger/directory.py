"""One journal directory: its name, its lock, its files. Knows nothing of records.

    <root>/<journal id>/LOCK            flock held by the owner for as long as it lives; holds the salt
    <root>/<journal id>/NNNNNNNN.seg    segments, in order; one that is being made has `.new-` before its name
    <root>/set-aside/                   what could not be read, kept for people

The lock is the operating system's (`flock`), so it ends with its owner however that ends, and exactly one process
at a time can hold it: whoever gets the lock of a directory that is not its own has adopted it. A directory is
prepared under a name that adopters skip and then renamed, so a lock is always held before anyone can see it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gproxy.ids import new_id
from gproxy.ledger import frames

LOCK_NAME: Final = "LOCK"
SET_ASIDE: Final = "set-aside"
_SEGMENT: Final = re.compile(r"(\d{8})\.seg\Z")
_OURS: Final = re.compile(r"(?:\.new-)?\d{8}\.seg\Z")
_LOCK_MAGIC: Final = b"GPXYLCK\n"
_NEW: Final = ".new-"


@dataclass(slots=True)
class Directory:
    """A locked journal directory. `salt` is None when the lock file was ruined (segment headers have it too)."""

    path: Path
    lock_fd: int
    salt: bytes | None

    @property
    def id(self) -> str:
        """The journal's id: the directory's name."""
        return self.path.name

    def segment(self, number: int) -> Path:
        """The path of a segment."""
        return self.path / f"{number:08d}.seg"

    def segments(self) -> list[tuple[int, Path]]:
        """The segments that are there, in order."""
        return segments(self.path)

    def foreign(self) -> list[Path]:
        """Files that no journal writes."""
        return sorted(p for p in self.path.iterdir() if p.name != LOCK_NAME and not _OURS.match(p.name))

    def unlock(self) -> None:
        """Give the directory up as it is. Safe to call twice."""
        fd, self.lock_fd = self.lock_fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Delete the directory, segments first and the lock last, so that a crash in between leaves an adoptable one.

        Files that are not ours keep it from being removed. The lock is given up.
        """
        for path in list(self.path.iterdir()):
            if _OURS.match(path.name):
                path.unlink(missing_ok=True)
        if not self.foreign():
            (self.path / LOCK_NAME).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.path.rmdir()
        self.unlock()

    def set_aside(self, path: Path) -> Path:
        """Move a file to the folder for people; the name keeps journal and segment. Same file system, atomic."""
        folder = self.path.parent / SET_ASIDE
        _make(folder)
        target = folder / f"{self.id}-{path.name}.bad"
        path.rename(target)
        return target


def segments(path: Path) -> list[tuple[int, Path]]:
    """The segments in a directory, in order, whoever owns it."""
    found = ((_SEGMENT.match(p.name), p) for p in path.iterdir())
    return sorted((int(match[1]), p) for match, p in found if match)


def create(root: Path) -> Directory:
    """A new, locked, empty journal directory (0700) under `root`. Raises `OSError`."""
    _make(root)
    while True:
        name = new_id()
        hidden = root / f"{_NEW}{name}"
        hidden.mkdir(mode=0o700)
        try:
            fd = os.open(hidden / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # a sibling cleared the empty directory away as a dead one's
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            salt = os.urandom(frames.SALT_SIZE)
            body = _LOCK_MAGIC + salt
            os.write(fd, body + struct.pack("<I", zlib.crc32(body)))
            hidden.rename(root / name)
        except (BlockingIOError, FileNotFoundError):
            os.close(fd)  # a sibling took the unfinished directory for a dead one's and removed it: start over
            continue
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                (hidden / LOCK_NAME).unlink(missing_ok=True)
                hidden.rmdir()
            raise
        return Directory(root / name, fd, salt)


def adopt(path: Path) -> Directory | None:
    """Take over a directory whose owner is gone; None when somebody holds it, or it is no journal directory."""
    lock = path / LOCK_NAME
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between opening and locking, another adopter may have finished and removed it: then this is a ghost.
        if not _same(fd, lock):
            raise BlockingIOError
    except OSError:
        os.close(fd)
        return None
    return Directory(path, fd, _salt(os.pread(fd, 64, 0)))


def lock_salt(lock: Path) -> bytes | None:
    """The salt in a lock file, without taking the lock; None when there is none to read."""
    try:
        return _salt(lock.read_bytes())
    except OSError:
        return None


def others(root: Path) -> list[Path]:
    """The journal directories under `root`, oldest first; unfinished ones of dead processes are cleared away."""
    if not root.is_dir():
        return []
    found = []
    for path in sorted(root.iterdir()):
        if path.name.startswith(_NEW):
            _clear_unfinished(path)
        elif path.is_dir() and not path.is_symlink() and path.name != SET_ASIDE:
            if (path / LOCK_NAME).exists():
                found.append(path)
            else:
                with contextlib.suppress(OSError):
                    path.rmdir()  # only an empty one goes: the end of a removal that was cut short
    return found


def _clear_unfinished(path: Path) -> None:
    # It may be one that is being made right now. That is no harm: whoever is making it starts over.
    taken = adopt(path)
    if taken is not None:
        taken.remove()
    elif not (path / LOCK_NAME).exists():
        with contextlib.suppress(OSError):
            path.rmdir()


def _same(fd: int, path: Path) -> bool:
    try:
        there, held = path.stat(), os.fstat(fd)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _salt(data: bytes) -> bytes | None:
    size = len(_LOCK_MAGIC) + frames.SALT_SIZE
    if len(data) != size + 4 or not data.startswith(_LOCK_MAGIC):
        return None
    if zlib.crc32(data[:size]) != int.from_bytes(data[size:], "little"):
        return None
    return data[len(_LOCK_MAGIC) : size]


def _make(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
