"""Upgrade in place (SIGUSR2): a new process takes over the listening sockets, proves itself ready, then we drain.

    old: SIGUSR2 ─ start the same command line with our sockets and a pipe ─ wait ─ "ready" ─ drain and exit
    new: sockets from the environment ─ whole start ─ listening ─ one byte into the pipe

Both processes hold the same kernel sockets, so the accept queue is never without an owner: no connection is
refused and no stream is cut. A new process that fails or does not get ready in time is ended; the old one goes
on as if nothing had happened. Sockets travel as inherited descriptors, the only copy the kernel needs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

SOCKETS: Final = "GPROXY_INHERITED_SOCKETS"
"""Descriptor numbers of the listening sockets, comma separated."""
READY: Final = "GPROXY_INHERITED_READY"
"""Descriptor number of the pipe that takes the one byte."""
TIMEOUT: Final = 60.0
"""Seconds a new process gets to become ready."""


class UpgradeFailed(Exception):  # noqa: N818 - it is reported, and the process goes on
    """The new process did not become ready; the text says why."""


def inherited_sockets(environ: Mapping[str, str]) -> list[socket.socket]:
    """The sockets a predecessor hands over; usually none."""
    found: list[socket.socket] = []
    for number in filter(None, environ.get(SOCKETS, "").split(",")):
        inherited = socket.socket(fileno=int(number))
        inherited.setblocking(False)
        os.set_inheritable(inherited.fileno(), False)
        found.append(inherited)
    return found


def tell_ready(environ: Mapping[str, str]) -> None:
    """Tell the predecessor, if there is one, that this process serves."""
    number = environ.get(READY, "")
    if number.isdigit():
        with suppress(OSError):
            os.write(int(number), b"1")
            os.close(int(number))


def forget(environ: dict[str, str]) -> None:
    """Drop the hand-over variables, so that a later successor is given its own."""
    environ.pop(SOCKETS, None)
    environ.pop(READY, None)


async def start_successor(sockets: Sequence[socket.socket], timeout: float = TIMEOUT) -> int:
    """Start a new process on these sockets and wait until it is ready; its process id.

    Raises `UpgradeFailed` when it ends, cannot be started or takes longer than `timeout` seconds; it is gone then. Likewise
    when this is cancelled: a stop is meant for all of us.
    """
    if os.getpid() == 1:
        raise UpgradeFailed("this is process 1: its end would end the container, and the successor with it")
    reading, writing = os.pipe()
    numbers = [sock.fileno() for sock in sockets]
    environ = {**os.environ, SOCKETS: ",".join(map(str, numbers)), READY: str(writing)}
    # A service manager's variables name this process; the successor must not take our place by accident.
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"):
        environ.pop(name, None)
    try:
        child = subprocess.Popen(  # noqa: S603, ASYNC220 - our own command line again; fork and exec take a millisecond
            [sys.executable, *sys.orig_argv[1:]],
            env=environ,
            pass_fds=(*numbers, writing),
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        os.close(reading)
        os.close(writing)
        raise UpgradeFailed(f"the new process cannot be started: {error.strerror}") from error
    os.close(writing)
    try:
        told = await asyncio.wait_for(first_byte(reading), timeout)
    except TimeoutError:
        told = False
        reason = f"the new process was not ready within {timeout:g} s"
    except asyncio.CancelledError:
        _end(child)
        raise
    else:
        reason = "the new process ended before it was ready; its own output says why"
    finally:
        os.close(reading)
    if not told:
        _end(child)
        raise UpgradeFailed(reason)
    # It outlives us and is nobody's child then; without this the interpreter warns that it still runs.
    child.returncode = 0
    return child.pid


def _end(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGKILL)
    child.wait()


async def first_byte(reading: int) -> bool:
    """Whether a byte comes before the end of the pipe (the other side's death closes it)."""
    loop = asyncio.get_running_loop()
    told: asyncio.Future[bool] = loop.create_future()

    def readable() -> None:
        loop.remove_reader(reading)
        if not told.done():
            told.set_result(os.read(reading, 1) == b"1")

    loop.add_reader(reading, readable)
    try:
        return await told
    finally:
        loop.remove_reader(reading)
