from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gproxy.runtime.notify import Notifier, activated_sockets


def test_messages_arrive_as_one_datagram_each(tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        notifier = Notifier({"NOTIFY_SOCKET": path})
        notifier.send("READY=1", "STATUS=serving")
        notifier.send("STOPPING=1")
        assert manager.recv(1000) == b"READY=1\nSTATUS=serving"
        assert manager.recv(1000) == b"STOPPING=1"


def test_abstract_addresses_work() -> None:
    if sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's")
    name = f"gproxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).send("READY=1")
        assert manager.recv(100) == b"READY=1"


def test_a_missing_or_broken_socket_disturbs_nothing(tmp_path: Path) -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).send("READY=1")


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_interval_is_half_of_what_is_allowed(environ: dict[str, str], interval: float | None) -> None:
    assert Notifier(environ).watchdog_interval == interval


def test_sockets_meant_for_another_process_are_left_alone() -> None:
    assert activated_sockets({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) == []
    assert activated_sockets({}) == []


def test_an_activated_socket_is_found_at_descriptor_three() -> None:
    program = (
        "import os, sys; from gproxy.runtime.notify import activated_sockets; "
        "os.environ['LISTEN_PID'] = str(os.getpid()); "
        "found = activated_sockets(os.environ); print(found[0].getsockname()[1])"
    )
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]

        def at_three() -> None:
            os.dup2(listening.fileno(), 3)

        out = subprocess.run(
            [sys.executable, "-c", program],
            preexec_fn=at_three,
            pass_fds=(3,),
            env={**os.environ, "LISTEN_FDS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert int(out.stdout) == port
