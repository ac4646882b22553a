from __future__ import annotations

import signal
import subprocess
import sys

import pytest

HANGS = {
    "interpreter lock held in C": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "a lock nobody releases": "import threading; threading.Lock().acquire(); lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a thread that is not a daemon": (
        "import threading; threading.Thread(target=threading.Event().wait).start(); raise SystemExit(0)"
    ),
    "signals ignored in a blocking call": (
        "import signal, socket; signal.signal(signal.SIGALRM, signal.SIG_IGN); a, b = socket.socketpair(); a.recv(1)"
    ),
    "armed twice, and the later time counts": "dog.arm(600); dog.arm(0.2); import threading; threading.Event().wait()",
}
ARMED = "from gproxy.runtime.watchdog import Watchdog; dog = Watchdog()\ndog.arm(0.2)\n"

# The handler is there, as the event loop's is, and nobody ever comes to run it: the main thread is in C.
LISTENING = """
import ctypes, os, signal, sys
from gproxy.runtime.watchdog import Watchdog
signal.signal(signal.SIGTERM, lambda *_: None)
Watchdog().listen(lambda: 1.2)
"""
DEAF = {
    "the lock is free": ("import threading; os.kill(os.getpid(), 15); ctypes.CDLL(None).sleep(600)", 70),
    "the lock is held": ("libc = ctypes.PyDLL(None); libc.kill(os.getpid(), 15); libc.sleep(600)", -signal.SIGALRM),
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_whatever_hangs_the_process_ends_and_every_stack_is_printed(hang: str) -> None:
    done = _run(ARMED + hang)
    assert done.returncode == (70 if sys.platform == "linux" else 1)
    assert "most recent call first" in done.stderr


def test_it_ends_the_process_without_a_stderr() -> None:
    done = _run(f"import os\n{ARMED}os.close(2)\ndog.arm(0.2)\nimport threading; threading.Event().wait()")
    assert done.returncode in {70, 1}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the means")
@pytest.mark.parametrize(("hang", "code"), DEAF.values(), ids=DEAF)
def test_a_signal_that_nobody_handles_arms_it(hang: str, code: int) -> None:
    done = _run(LISTENING + "import sys; sys.setswitchinterval(600)\n" + hang)
    assert done.returncode == code, done.stderr
    assert "most recent call first" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the means")
def test_a_signal_that_is_handled_is_answered_as_before_and_its_alarm_has_no_force() -> None:
    program = """
import os, signal, threading
from gproxy.runtime.watchdog import Watchdog
handled = threading.Semaphore(0)
signal.signal(signal.SIGTERM, lambda *_: handled.release())
dog = Watchdog()
dog.listen(lambda: 600.0)
for _ in range(3):
    os.kill(os.getpid(), signal.SIGTERM)
    handled.acquire()
dog.arm(600.0)
signal.alarm(1)
threading.Event().wait(1.5)  # beyond the alarm
"""
    assert _run(program).returncode == 0


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
