"""Ends a process that can no longer end itself.

Armed when shutdown begins, for the moment by which it must be over. It must fire while C code holds the
interpreter lock, so no Python thread and no Python signal handler will do: `faulthandler` dumps every stack
from its own C thread, and a POSIX timer then calls `_exit(70)` from another one (timer_create(2) with
SIGEV_THREAD and libc's `_exit` as the notify function: the code 70 travels as its argument, no Python runs).
Where libc has no such timer (macOS), `faulthandler` ends the process itself, with code 1.
"""

from __future__ import annotations

import ctypes
import faulthandler
import sys
from typing import Final, TextIO

EXIT_BUG: Final = 70
_DUMP_BEFORE: Final = 0.15
_EXIT_BEFORE: Final = 0.05
"""Seconds before the promised end: the stacks are written first, and the promise is still kept when it is used."""
_CLOCK_MONOTONIC: Final = 1
_SIGEV_THREAD: Final = 2


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


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


def arm(seconds: float, out: TextIO | None = None) -> None:
    """From now the process is over within `seconds`, whatever hangs; every stack goes to `out` (stderr) first."""
    target = out if out is not None else sys.stderr
    own_end = _exit_timer(max(0.01, seconds - _EXIT_BEFORE))
    try:
        faulthandler.dump_traceback_later(max(0.005, seconds - _DUMP_BEFORE), exit=not own_end, file=target)
    except (ValueError, OSError):  # stderr is closed or no real file: the end still comes, without the stacks
        return


def _exit_timer(seconds: float) -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "timer_create"):
        return False
    event = _Sigevent(value=EXIT_BUG, notify=_SIGEV_THREAD)
    event.function = ctypes.cast(libc._exit, ctypes.c_void_p).value  # noqa: SLF001 - it is libc's name
    timer = ctypes.c_void_p()
    if libc.timer_create(_CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
        return False
    whole = int(seconds)
    when = _Itimerspec(value=_Timespec(whole, int((seconds - whole) * 1e9) + 1))
    return bool(libc.timer_settime(timer, 0, ctypes.byref(when), None) == 0)
