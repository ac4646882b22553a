from __future__ import annotations

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
}


@pytest.mark.parametrize("hang", HANGS.values(), ids=HANGS)
def test_whatever_hangs_the_process_ends_and_every_stack_is_printed(hang: str) -> None:
    program = f"from gproxy.runtime.watchdog import arm; arm(0.2)\n{hang}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == (70 if sys.platform == "linux" else 1)
    assert "most recent call first" in done.stderr


def test_it_ends_the_process_without_a_stderr() -> None:
    program = "import os, sys\nfrom gproxy.runtime.watchdog import arm\nos.close(2)\narm(0.2)\nimport threading; threading.Event().wait()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False)
    assert done.returncode in {70, 1}
