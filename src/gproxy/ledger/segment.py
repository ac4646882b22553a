"""One segment file while it is being written.

Space is allocated up front, so that a full disk shows when a segment is made and not when an attempt is closed.
Writes are positional and the end moves only when a write was whole: what a failed write left behind is blanked
before anything else is written, so half a record never stands in front of a good one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Final

from gproxy.ledger import frames

SEAL_ROOM: Final = 32
"""Kept free at the end for the seal frame."""


def unfinished(path: Path) -> Path:
    """The name of a segment that is being made."""
    return path.with_name(f".new-{path.name}")


class Segment:
    """An open, allocated segment. `at` is the offset of the next frame; `seed` starts its checksums."""

    __slots__ = ("_dirty_to", "at", "fd", "frames", "number", "path", "seed", "size")

    def __init__(self, path: Path, number: int, size: int, fd: int, seed: int) -> None:
        self.path = path
        self.number = number
        self.size = size
        self.fd = fd
        self.seed = seed
        self.at = 0
        self.frames = 0
        self._dirty_to = 0

    @classmethod
    def create(cls, path: Path, number: int, size: int, salt: bytes, payloads: list[bytes]) -> Segment:
        """Allocate a segment and write its header and first frames in one write.

        Until that is done it has another name (`unfinished`), so that a death in between leaves no segment without a
        header, which nobody could tell from a ruined one. Raises `OSError`, and then leaves no file.
        """
        hidden = unfinished(path)
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            segment = cls(path, number, size, fd, frames.seed(salt, number))
            head = bytearray(frames.Header(number, size, salt).packed())
            for payload in payloads:
                head += frames.frame(payload, len(head), segment.seed)
            segment.write(bytes(head), len(payloads))
            hidden.rename(path)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                hidden.unlink()
            raise
        return segment

    def room(self) -> int:
        """Bytes left for frames."""
        return self.size - SEAL_ROOM - self.at

    def write(self, data: bytes, count: int) -> None:
        """Write whole frames made for offset `at` and move it. Raises `OSError`; then `at` has not moved."""
        if self._dirty_to:
            self._blank()
        try:
            written = os.pwrite(self.fd, data, self.at)
            if written != len(data):
                raise OSError(errno.ENOSPC, "short write")
        except OSError:
            self._dirty_to = self.at + len(data)
            with contextlib.suppress(OSError):
                self._blank()
            raise
        self.at += written
        self.frames += count

    def seal(self) -> int:
        """Write the seal and give the rest of the space back.

        The size it has then. Best effort: a segment without a seal is read as one whose writer died.
        """
        with contextlib.suppress(OSError):
            seal = frames.encode(frames.Sealed(self.frames))
            self.write(frames.frame(seal, self.at, self.seed), 0)
            os.ftruncate(self.fd, self.at)
            self.size = self.at
        return self.size

    def _blank(self) -> None:
        length = min(self._dirty_to, self.size) - self.at
        if length > 0 and os.pwrite(self.fd, bytes(length), self.at) != length:
            raise OSError(errno.ENOSPC, "short write")
        self._dirty_to = 0
