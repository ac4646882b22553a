"""A real gateway and a real (simulated) vendor as processes, for tests that signal, kill and restart them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALICE = "sk-alice-0123456789abcdef"
MUTE = "sk-mute-0123456789abcdef"
DISABLED = "sk-disabled-0123456789abcdef"
VENDOR_KEY = "sk-vendor-canary-0123456789"
START_WAIT = 30.0
PROGRAM: Final = (
    sys.executable, "-W", "error", "-c", "import sys; from gproxy.cli.main import main; sys.exit(main())",
)  # fmt: skip

SEED = """
[[providers]]
name = "main"
channel = "openai"
settings = {{ base_url = "http://127.0.0.1:{vendor}" }}
credentials = [ {{ api_key = "{key}-1" }}, {{ api_key = "{key}-2" }} ]

[[providers]]
name = "other"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{vendor}/v1", dialect = "openai_chat" }}
credentials = [ {{ api_key = "{key}-3" }} ]

[[models]]
provider_name = "main"
model_id = "gpt-4.1-mini"
price = {{ input = 0.4, output = 1.6, cache_read = 0.1 }}

[[models]]
provider_name = "main"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0, cache_read = 0.5 }}

[[model_aliases]]
alias = "fast"
provider_name = "main"
model_id = "gpt-4.1-mini"

[[users]]
name = "alice"
password = "correct horse battery staple"
[[users.keys]]
api_key = "{alice}"
[[users.keys]]
api_key = "{disabled}"
enabled = false

[[users]]
name = "mute"
password = "correct horse battery staple"
[[users.keys]]
api_key = "{mute}"

[[permissions]]
user_name = "alice"
model_pattern = "*"
"""


@dataclass
class Process:
    """A child that says it is ready with one line on stdout; stderr is collected."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    popen: subprocess.Popen[bytes] = field(init=False)
    out: list[bytes] = field(default_factory=list)
    err: list[bytes] = field(default_factory=list)
    output: int = subprocess.PIPE
    """Where stdout and stderr go; what does not come to us is not collected."""

    def start(self, *, pass_fds: tuple[int, ...] = ()) -> None:
        self.popen = subprocess.Popen(
            self.command,
            env=dict(self.env),
            cwd=self.cwd,
            stdout=self.output,
            stderr=self.output,
            pass_fds=pass_fds,
        )
        self._readers = [
            threading.Thread(target=self._collect, args=(pipe, lines), daemon=True)
            for pipe, lines in ((self.popen.stdout, self.out), (self.popen.stderr, self.err))
            if pipe is not None
        ]
        for reader in self._readers:
            reader.start()

    def _collect(self, pipe: Any, lines: list[bytes]) -> None:
        lines += iter(pipe.readline, b"")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.popen.pid, number)

    def wait(self, timeout: float = 60.0) -> int:
        code = self.popen.wait(timeout)
        pipes = [pipe for pipe in (self.popen.stdout, self.popen.stderr) if pipe is not None]
        for reader, pipe in zip(self._readers, pipes, strict=True):
            reader.join(2)
            # A successor may hold the pipes too; then the reader goes on, and closing them under it would block.
            if not reader.is_alive():
                pipe.close()
        return code

    def stacks(self) -> str:
        """For a process that hangs: end it in a way that prints every thread's stack (PYTHONFAULTHANDLER is set)."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGABRT)
            self.wait()
        return self.text

    def end(self) -> None:
        """For teardown: whatever state it is in, it is gone afterwards."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.wait()

    def lines(self, *marks: str) -> list[bytes]:
        """The log lines so far that have all these marks."""
        wanted = [mark.encode() for mark in marks]
        return [line for line in tuple(self.err) if all(mark in line for mark in wanted)]

    def told(self, *marks: str) -> bytes:
        """The first log line with all these marks, waited for."""
        line: bytes = await_that(lambda: next(iter(self.lines(*marks)), None), self, f"a log line with {marks}")
        return line

    @property
    def text(self) -> str:
        return (b"".join(self.out) + b"\n--- stderr\n" + b"".join(self.err)).decode("utf-8", "replace")


class Vendor(Process):
    """`python -m tests.vendor` with its own append-only count."""

    def __init__(self, folder: Path, fixtures: Path | None = None, *flags: str) -> None:
        self.count_file = folder / "count.jsonl"
        command = [sys.executable, "-m", "tests.vendor", "--port", "0", "--count-file", str(self.count_file), *flags]
        if fixtures is not None:
            command += ["--fixtures", str(fixtures)]
        super().__init__(command, {**os.environ, "PYTHONPATH": str(ROOT / "src")}, ROOT)
        self.port = 0

    def start(self, *, pass_fds: tuple[int, ...] = ()) -> None:
        super().start(pass_fds=pass_fds)
        first = await_that(lambda: self.out[0] if self.out else None, self, "the vendor's first line")
        self.port = int(json.loads(first)["port"])


class Gateway(Process):
    """`gproxy serve` on a free port, with its own data folder; `program` is what runs it."""

    def __init__(
        self,
        folder: Path,
        seed: str,
        *flags: str,
        env: Mapping[str, str] | None = None,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        seed_file = folder / "gproxy.toml"
        seed_file.write_text(seed, encoding="utf-8")
        command = [
            *program, "serve", "--port", "0", "--data-dir", str(self.data), "--config", str(seed_file), *flags,
        ]  # fmt: skip
        base = {name: value for name, value in os.environ.items() if not name.startswith("GPROXY_")}
        super().__init__(
            command, {**base, "PYTHONPATH": str(ROOT / "src"), "PYTHONFAULTHANDLER": "1", **(env or {})}, folder
        )
        self.port = 0
        self.ready_after = 0.0

    def start(self, *, pass_fds: tuple[int, ...] = (), ready: bool = True) -> None:
        self.out.clear()
        self.err.clear()
        self._begun = time.monotonic()
        super().start(pass_fds=pass_fds)
        if ready:
            self.ready()

    def ready(self) -> None:
        """Wait until it says that it is."""
        self.port = await_that(self._port, self, "the gateway's ready line")
        self.ready_after = time.monotonic() - self._begun

    def keep_port(self) -> None:
        """Further starts are on the port that the first one was given."""
        self.command = [*self.command]
        self.command[self.command.index("--port") + 1] = str(self.port)

    def successors(self) -> list[int]:
        """The processes that took over from this one and from each other, as far as the log names them."""
        return [int(json.loads(line)["successor"]) for line in self.lines('"successor":')]

    def _port(self) -> int | None:
        for line in tuple(self.out):
            if b"listening on http://127.0.0.1:" in line:
                return int(line.split(b"http://127.0.0.1:")[1].split(b"/")[0].split()[0])
        return None

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60.0) -> int:
        self.signal(number)
        return self.wait(timeout)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = ALICE,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = {**({"authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            if content is not None:
                given.setdefault("content-type", "application/json")
            connection.request(method, path, body=content, headers=given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def query(self, sql: str) -> list[dict[str, Any]]:
        database = sqlite3.connect(self.data / "gproxy.db", timeout=30)
        database.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in database.execute(sql)]
        finally:
            database.close()

    def execute(self, *statements: str) -> None:
        """Change the database behind the gateway's back."""
        database = sqlite3.connect(self.data / "gproxy.db", timeout=30)
        try:
            with database:
                for statement in statements:
                    database.execute(statement)
        finally:
            database.close()

    def rows(self, count: int | None = None) -> list[dict[str, Any]]:
        """The usage rows, in order; waits until there are `count` of them when that is given."""

        def enough() -> list[dict[str, Any]] | None:
            found = self.query("SELECT * FROM usages ORDER BY at, attempt_no")
            return found if count is None or len(found) >= count else None

        found: list[dict[str, Any]] = await_that(enough, self, f"{count} usage rows")
        return found


class Anyone:
    """Stands for a process that is not ours to wait for."""

    @staticmethod
    def stacks() -> str:
        """Nothing is known of it."""
        return ""

    text = ""

    def __init__(self) -> None:
        self.popen = self

    @staticmethod
    def poll() -> None:
        """It is never known to be over."""


def await_that(probe: Any, process: Process | Anyone, what: str) -> Any:
    """Ask until there is an answer: the only honest way to wait for another process that has no channel to us."""
    deadline = time.monotonic() + START_WAIT
    pause = threading.Event()
    while time.monotonic() < deadline:
        found = probe()
        if found is not None:
            return found
        if process.popen.poll() is not None:
            found = probe()
            if found is not None:
                return found
            raise AssertionError(f"the process ended before {what}:\n{process.text}")
        pause.wait(0.01)
    stacks = process.stacks()
    raise AssertionError(f"{what} did not come within {START_WAIT:g} s:\n{stacks}")


def needed(what: str, *, there: bool) -> None:
    """For a test that needs something of the machine: without it a failure in CI, a visible skip elsewhere."""
    if not there:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{what} is missing; in CI it must be there")
        pytest.skip(f"{what} is missing")


def listens(address: tuple[str, int]) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True


def alive(pid: int) -> bool:
    """Whether this process runs: one that has ended and waits for its parent does not."""
    return state(pid) not in {"", "Z"}


def state(pid: int) -> str:
    """What the kernel says of a process in one letter (proc(5)), nothing when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> list[int]:
    """The processes that this one has started."""
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except FileNotFoundError:
        return []


def seed(vendor_port: int, extra: str = "") -> str:
    return SEED.format(vendor=vendor_port, key=VENDOR_KEY, alice=ALICE, mute=MUTE, disabled=DISABLED) + extra


@contextmanager
def vendor(folder: Path, fixtures: Path | None = None, *flags: str) -> Iterator[Vendor]:
    made = Vendor(folder, fixtures, *flags)
    made.start()
    try:
        yield made
    finally:
        made.end()


@contextmanager
def gateway(folder: Path, seed_text: str, *flags: str, env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    made = Gateway(folder, seed_text, *flags, env=env)
    made.start()
    try:
        yield made
    finally:
        made.end()
