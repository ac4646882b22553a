"""Ends a process that can no longer end itself.

`arm` is called when shutdown begins, with the time by which it must be over. It must fire while C code holds the
interpreter lock, so no Python thread and no Python signal handler will do: `faulthandler` dumps every stack
from its own C thread, and a POSIX timer then calls `_exit(70)` from another one (timer_create(2) with
SIGEV_THREAD and libc's `_exit` as the notify function: the code 70 travels as its argument, no Python runs).
Where libc has no such timer (macOS), `faulthandler` ends the process itself, with code 1.

A loop that hung before the stop signal came never gets to call `arm`. So `listen` takes the signal where C does:
`faulthandler` writes to a pipe from the C signal handler and passes the signal on as before. Two read that pipe:

    a thread of ours      arms as above; it needs the interpreter lock, which a hanging loop mostly leaves free
    aio_read(3) of libc   its notify function is alarm(2): SIGALRM ends the process when even that thread cannot run,
                          after a dump of every stack. Whoever arms in time takes the alarm out of force.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TextIO

EXIT_BUG: Final = 70
_DUMP_BEFORE: Final = 0.15
_EXIT_BEFORE: Final = 0.05
"""Seconds before the promised end: the stacks are written first, and the promise is still kept when it is used."""
_CLOCK_MONOTONIC: Final = 1
_SIGEV_THREAD: Final = 2
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class _Sigevent(ctypes.Structure):
    # struct sigevent of Linux, 64 bytes: the value, the signal, how to notify, then a function and its attributes.
    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p),
        ("pad", ctypes.c_char * 32),
    )


class _Aiocb(ctypes.Structure):
    # struct aiocb of 64-bit Linux: what POSIX names comes first and in this order in glibc and musl; then their own.
    _fields_ = (
        ("fildes", ctypes.c_int),
        ("lio_opcode", ctypes.c_int),
        ("reqprio", ctypes.c_int),
        ("buf", ctypes.c_void_p),
        ("nbytes", ctypes.c_size_t),
        ("sigevent", _Sigevent),
        ("internal", ctypes.c_char * 128),
    )


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class Watchdog:
    """One per process. `out` is where the stacks go (stderr)."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stderr
        self._libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
        self._timer: ctypes.c_void_p | None = None
        self._lock = threading.Lock()
        self._armed = False
        self._request: tuple[_Aiocb, object] | None = None

    def arm(self, seconds: float) -> None:
        """From now the process is over within `seconds`, whatever hangs. A later call replaces an earlier one."""
        with self._lock:
            self._arm(seconds)

    def listen(self, seconds: Callable[[], float]) -> None:
        """Arm with `seconds()` at the first stop signal, also when nobody is there to handle it.

        To be called in the main thread, after the handlers of the stop signals have been installed.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        self._await_in_c(reading, seconds())
        threading.Thread(target=self._await, args=(reading, seconds), name="watchdog", daemon=True).start()
        # Each signal writes more than two bytes (a stack), and each of the two readers takes one.
        for number in _STOP_SIGNALS:
            faulthandler.register(number, file=writing, all_threads=False, chain=True)

    def _await(self, reading: int, seconds: Callable[[], float]) -> None:
        os.read(reading, 1)
        with self._lock:
            if not self._armed:
                self._arm(seconds())

    def _await_in_c(self, reading: int, seconds: float) -> None:
        if self._libc is None or not hasattr(self._libc, "aio_read"):
            return
        byte = ctypes.create_string_buffer(1)
        # Whole seconds, and not beyond the promise.
        event = _Sigevent(value=max(1, int(seconds)), notify=_SIGEV_THREAD, function=_address(self._libc.alarm))
        request = _Aiocb(fildes=reading, buf=ctypes.addressof(byte), nbytes=1, sigevent=event)
        self._request = (request, byte)  # libc works with both for as long as the process lives
        with suppress(ValueError, OSError, AttributeError):  # no stderr: the end comes without the stacks
            faulthandler.register(signal.SIGALRM, file=self._out, all_threads=True, chain=True)
        self._libc.aio_read(ctypes.byref(request))

    def _arm(self, seconds: float) -> None:
        own_end = self._exit_timer(max(0.01, seconds - _EXIT_BEFORE))
        with suppress(ValueError, OSError, AttributeError):  # likewise
            faulthandler.dump_traceback_later(max(0.005, seconds - _DUMP_BEFORE), exit=not own_end, file=self._out)
        if own_end and self._request is not None:
            # The alarm may be set any moment now, by a thread that nobody can wait for; so it is not cancelled.
            faulthandler.unregister(signal.SIGALRM)
            self._libc.signal(ctypes.c_int(signal.SIGALRM), ctypes.c_void_p(signal.SIG_IGN))
        self._armed = True

    def _exit_timer(self, seconds: float) -> bool:
        if self._libc is None or not hasattr(self._libc, "timer_create"):
            return False
        if self._timer is None:
            event = _Sigevent(value=EXIT_BUG, notify=_SIGEV_THREAD, function=_address(self._libc._exit))  # noqa: SLF001 - it is libc's name
            timer = ctypes.c_void_p()
            if self._libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
                return False
            self._timer = timer
        whole = int(seconds)
        when = _Itimerspec(value=_Timespec(whole, int((seconds - whole) * 1e9) + 1))
        return bool(self._libc.timer_settime(self._timer, 0, ctypes.byref(when), None) == 0)


def _address(function: object) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]  # a function of libc
