"""Several processes on one host (`--workers`): a master that holds the listening sockets and keeps the workers alive.

    master ── sockets, lifeline ──► worker 1 … worker n        each a whole gateway with a journal of its own

The master serves nothing and holds no state worth losing: it starts workers one after the other (the first one
migrates and seeds), starts a crashed one again with back-off, passes signals on and collects exit codes. Workers
live in sessions of their own, so that a signal to the terminal's process group reaches them once, through
the master. A master that dies takes its end of the lifeline pipe with it; its workers see that and drain.
A worker that does not serve yet hears of a stop only as SIGTERM, which ends a start, and is waited for like the others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from gproxy.runtime import upgrade
from gproxy.runtime.lifecycle import Bounds
from gproxy.runtime.logs import Log
from gproxy.runtime.notify import Notifier
from gproxy.runtime.report import EXIT_CLEAN, EXIT_LEFT_BEHIND
from gproxy.runtime.watchdog import EXIT_BUG

WORKER: Final = "GPROXY_NTH_PROCESS"
"""Set in a worker's environment: its number, from 1."""
LIFELINE: Final = "GPROXY_LIFELINE"
"""Descriptor number of the pipe that ends with the master."""

_FIRST_REST: Final = 0.25
_LONGEST_REST: Final = 10.0
_STEADY: Final = 30.0


def worker_number(environ: dict[str, str] | os._Environ[str]) -> int:
    """Which worker this process is; 0 when it is none."""
    number = environ.get(WORKER, "")
    return int(number) if number.isdigit() else 0


def watch_lifeline(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """In a worker: call `stop` when the master is gone."""
    number = os.environ.get(LIFELINE, "")
    if number.isdigit():
        loop.add_reader(int(number), _lifeline_moved, loop, int(number), stop)


def _lifeline_moved(loop: asyncio.AbstractEventLoop, fd: int, stop: Callable[[], None]) -> None:
    loop.remove_reader(fd)
    stop()


class _Worker:
    def __init__(self, number: int) -> None:
        self.number = number
        self.process: asyncio.subprocess.Process | None = None
        self.rest = _FIRST_REST
        self.code: int | None = None
        self.serves = False
        self.reload_due = False
        """A reload was asked for while it started; it may have read the old configuration by then."""


class Supervisor:
    """The master. `run` returns the process's exit code."""

    def __init__(self, count: int, sockets: list[socket.socket], bounds: Bounds, log: Log) -> None:
        self._sockets = sockets
        self._bounds = bounds
        self._log = log
        self._workers = [_Worker(number) for number in range(1, count + 1)]
        self._stopping = asyncio.Event()
        self._reading, self._writing = os.pipe()
        self._upgrading: asyncio.Task[None] | None = None
        self._notifier = Notifier(os.environ)

    async def run(self) -> int:
        """Start the workers, keep them, stop them."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._pass_on, signal.SIGHUP)
        loop.add_signal_handler(signal.SIGUSR2, self._upgrade)
        keepers: list[asyncio.Task[None]] = []
        for worker in self._workers:
            # One after the other: the first sets up the database, the others find it ready.
            serves = await self._start(worker)
            if worker.process is not None:
                keepers.append(loop.create_task(self._keep(worker), name=f"worker-{worker.number}"))
            if not serves:
                # Refused, it ends the others. A stop has told them already, and twice would be a second signal.
                if not self._stopping.is_set():
                    self._stop(signal.SIGTERM)
                break
        else:
            self._log.info("all workers serve", workers=len(keepers))
            upgrade.tell_ready(os.environ)
            upgrade.forget(os.environ)  # type: ignore[arg-type]  # a dict in all but type
            self._notifier.send("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serving with {len(keepers)} workers")
        await self._stopping.wait()
        if self._upgrading is not None:
            self._upgrading.cancel()  # if it is still under way: nobody is to take the place of who was told to stop
        if keepers:
            _, late = await asyncio.wait(keepers, timeout=self._bounds.total + 1.0)
            for task in late:
                task.cancel()
        return self._end()

    def _end(self) -> int:
        codes = []
        for worker in self._workers:
            if worker.process is not None and worker.process.returncode is None:
                worker.process.kill()
                worker.code = EXIT_BUG
            # A watchdog that could not even run its own code ends its process by SIGALRM.
            hung = worker.code == -signal.SIGALRM
            # The interpreter of one that had just been started knew no handler yet, so nothing had begun.
            unborn = worker.code == -signal.SIGTERM and not worker.serves
            codes.append(EXIT_BUG if hung else EXIT_CLEAN if worker.code is None or unborn else worker.code)
        for code in (EXIT_BUG, EXIT_LEFT_BEHIND):
            if code in codes:
                return code
        # A worker that was refused (a broken seed) ends with its own code; one that was killed lost nothing either.
        return next((code for code in codes if code > 0), EXIT_LEFT_BEHIND if any(codes) else EXIT_CLEAN)

    async def _start(self, worker: _Worker) -> bool:
        """Start one worker and wait until it is ready; False when it ended instead, or a stop came first."""
        if self._stopping.is_set():
            return False
        worker.serves = worker.reload_due = False
        reading, writing = os.pipe()
        numbers = [sock.fileno() for sock in self._sockets]
        environ = {
            **os.environ,
            WORKER: str(worker.number),
            LIFELINE: str(self._reading),
            upgrade.SOCKETS: ",".join(map(str, numbers)),
            upgrade.READY: str(writing),
        }
        for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID"):
            environ.pop(name, None)
        worker.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            env=environ,
            pass_fds=(*numbers, writing, self._reading),
            start_new_session=True,
        )
        os.close(writing)
        if self._stopping.is_set():  # told while this one was being made
            self._tell(worker, signal.SIGTERM)
        try:
            ready = asyncio.ensure_future(upgrade.first_byte(reading))  # noqa: TID251 - awaited and ended here
            stopped = asyncio.ensure_future(self._stopping.wait())  # noqa: TID251 - likewise
            await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not ready.done():
                ready.cancel()
                return False
            if not ready.result():
                worker.code = await worker.process.wait()
                return False
            worker.serves = True
            if worker.reload_due:
                self._tell(worker, signal.SIGHUP)
            return not self._stopping.is_set()
        finally:
            os.close(reading)

    async def _keep(self, worker: _Worker) -> None:
        """Start the worker again whenever it ends, until the master is told to stop."""
        loop = asyncio.get_running_loop()
        while True:
            assert worker.process is not None
            began = loop.time()
            worker.code = await worker.process.wait()
            if self._stopping.is_set():
                return
            self._log.warning("worker ended, starting it again", worker=worker.number, code=worker.code)
            if loop.time() - began > _STEADY:
                worker.rest = _FIRST_REST
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), worker.rest)
                if self._stopping.is_set():
                    return
                worker.rest = min(worker.rest * 2, _LONGEST_REST)
                if await self._start(worker):
                    self._log.info("worker serves", worker=worker.number)
                    break
                if self._stopping.is_set():
                    break

    def _stop(self, number: signal.Signals) -> None:
        """Every stop signal is passed on, so that a second and a third mean in the workers what they mean here."""
        first = not self._stopping.is_set()
        self._stopping.set()
        if first:
            self._notifier.send("STOPPING=1", "STATUS=shutting down")
            # With our copies open, clients would queue in a socket that nobody serves any more.
            for sock in self._sockets:
                sock.close()
        self._pass_on(number)

    def _pass_on(self, number: signal.Signals) -> None:
        for worker in self._workers:
            if worker.serves:
                self._tell(worker, number)
            elif number is signal.SIGHUP:
                worker.reload_due = True
            else:
                # SIGUSR2 means nothing to it yet, and SIGINT to a young interpreter is an exception anywhere.
                self._tell(worker, signal.SIGTERM)

    @staticmethod
    def _tell(worker: _Worker, number: signal.Signals) -> None:
        if worker.process is not None and worker.process.returncode is None:
            with suppress(ProcessLookupError):
                worker.process.send_signal(number)

    def _upgrade(self) -> None:
        if self._upgrading is None or self._upgrading.done():
            self._upgrading = asyncio.get_running_loop().create_task(self._replace(), name="upgrade")

    async def _replace(self) -> None:
        try:
            pid = await upgrade.start_successor(self._sockets)
        except upgrade.UpgradeFailed as error:
            self._log.error("upgrade failed, this process goes on", error=str(error))
            return
        self._log.info("upgrade: the new process serves, this one drains", successor=pid)
        self._notifier.send(f"MAINPID={pid}")
        # Workers take SIGUSR2 for "a successor serves": they drain for as long as streams may run.
        self._bounds = Bounds(0.0, self._bounds.drain + 3600.0, self._bounds.worker)
        self._stop(signal.SIGUSR2)
