"""A Redis of a test's own, so that it may be stopped and emptied: the machine's belongs to others too."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest


class RedisServer:
    """`redis-server` on a free port, without a word on disk; started by `start`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self.folder),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                if link.recv(7) == b"+PONG\r\n":
                    return
        raise AssertionError("redis-server does not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def tell(self, *words: str) -> None:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            link.sendall((" ".join(words) + "\r\n").encode())
            link.recv(64)


def redis_needed() -> None:
    """Skip, or fail in CI, where there is no `redis-server` to start."""
    if which("redis-server") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("there is no redis-server; in CI there must be")
        pytest.skip("no redis-server")
