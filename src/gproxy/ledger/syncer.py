"""Group commit: one thread that tells the disk to keep what was written, for `durability = power`.

Whoever waits while a sync runs shares the next one. The thread is a daemon on purpose: a disk that hangs in fsync
must not hold up the end of the process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final, TypeAlias

Waiters: TypeAlias = list["asyncio.Future[None]"]

_STOP_SECONDS: Final = 1.0


class Syncer:
    """Runs fdatasync off the loop. `directory` is set when a file was made in it that a sync must cover."""

    def __init__(self) -> None:
        self.directory: Path | None = None
        self._jobs: SimpleQueue[_Sync | int | None] = SimpleQueue()
        self._waiters: Waiters = []
        self._fd = -1
        self._busy = False
        self._thread: threading.Thread | None = None

    async def synced(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """Wait until everything written to `fd` so far is on the disk. Raises `OSError`."""
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.append(waiter)
        self._fd = fd
        if not self._busy:
            self._start(loop)
        await waiter

    def retire(self, fd: int) -> None:
        """Sync and close a file that is finished. Later syncs wait for this one."""
        self._put(fd)

    def stop(self, fd: int | None) -> None:
        """Sync and close the last file and end the thread; waits a moment for it, not for ever."""
        if fd is not None:
            self._put(fd)
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(_STOP_SECONDS)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._busy = True
        waiters, self._waiters = self._waiters, []
        directory, self.directory = self.directory, None
        self._put(_Sync(self, self._fd, directory, loop, waiters))

    def done(self, job: _Sync, error: OSError | None) -> None:
        """Back on the loop: tell those who waited, and start for those who came meanwhile."""
        for waiter in job.waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
        self._busy = False
        if self._waiters:
            self._start(job.loop)

    def _put(self, job: _Sync | int) -> None:
        self._jobs.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=_run, args=(self._jobs,), name="journal-sync", daemon=True)
            self._thread.start()


class _Sync:
    """One sync for everybody who waited when it started."""

    def __init__(
        self, owner: Syncer, fd: int, directory: Path | None, loop: asyncio.AbstractEventLoop, waiters: Waiters
    ) -> None:
        self.owner = owner
        self.fd = fd
        self.directory = directory
        self.loop = loop
        self.waiters = waiters

    def run(self, error: OSError | None) -> None:
        """Sync and report; `error` is what went wrong with files finished since the last time."""
        try:
            if self.directory is not None:
                _sync_directory(self.directory)
                _sync_directory(self.directory.parent)
            os.fdatasync(self.fd)
        except OSError as failed:
            error = failed
        with suppress(RuntimeError):  # the loop is gone, and so are those who waited
            self.loop.call_soon_threadsafe(self.owner.done, self, error)


def _run(jobs: SimpleQueue[_Sync | int | None]) -> None:
    error: OSError | None = None
    while True:
        job = jobs.get()
        if job is None:
            return
        if isinstance(job, int):
            try:
                os.fdatasync(job)
            except OSError as failed:
                error = failed
            with suppress(OSError):
                os.close(job)
        else:
            job.run(error)
            error = None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
