"""`gproxy doctor`: what the gateway needs, tested one by one, without starting it and without changing anything."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from gproxy.cli.database import dsn_of, opened
from gproxy.cli.options import environment_settings
from gproxy.cli.terminal import Complaint, painted, wants_colour
from gproxy.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gproxy.config.settings import Settings

PASS, WARN, FAIL = "pass", "warn", "fail"
_COLOURS: Final = {PASS: 32, WARN: 33, FAIL: 31}
_LEAST_FREE: Final = 64 * 1024 * 1024
_RELEASED: Final = 1_764_000_000
"""A clock that shows less than this (late November 2025) was never set."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table."""

    name: str
    verdict: str
    text: str


def doctor(flags: Mapping[str, str], *, as_json: bool) -> int:
    """Run every test and print the table; exit 1 when one failed. A warning is no failure."""
    findings: list[Finding] = []
    try:
        settings = environment_settings(flags)
    except Complaint as complaint:
        findings = [Finding("settings", FAIL, line) for line in complaint.lines]
    else:
        findings.append(Finding("settings", PASS, "all can be used"))
        findings.extend(_tested(name, test, settings) for name, test in _TESTS)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        colour = wants_colour(sys.stdout)
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            verdict = painted(finding.verdict, _COLOURS[finding.verdict], colour=colour)
            print(f"{verdict}  {finding.name.ljust(width)}  {finding.text}")
    return int(any(finding.verdict == FAIL for finding in findings))


def _tested(name: str, test: Callable[[Settings], tuple[str, str]], settings: Settings) -> Finding:
    try:
        verdict, text = test(settings)
    except Complaint as complaint:
        verdict, text = FAIL, "; ".join(complaint.lines)
    except Exception as error:
        # One broken test must not hide what the others find.
        verdict, text = FAIL, f"{type(error).__name__}: {error}"
    return Finding(name, verdict, text)


def _standing(path: Path) -> Path:
    """The path itself, or its nearest parent that is there."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _data_dir(settings: Settings) -> tuple[str, str]:
    folder = settings.data_dir
    home = _standing(folder.absolute())
    if not home.is_dir():
        return FAIL, f"{home} is a file; the data folder is {folder.absolute()}"
    try:
        with tempfile.NamedTemporaryFile(dir=home, prefix=".gproxy-doctor-"):
            pass
    except OSError as error:
        return FAIL, f"{home} cannot be written: {error.strerror}"
    if home != folder.absolute():
        return PASS, f"{folder.absolute()} is not there yet and will be made in {home}"
    if folder.stat().st_mode & 0o077:
        return WARN, f"{folder.absolute()} is open to other users of this machine: chmod 700 it"
    return PASS, f"{folder.absolute()} can be written"


def _disk(settings: Settings) -> tuple[str, str]:
    from gproxy.config.values import show_size

    free = shutil.disk_usage(_standing(settings.data_dir.absolute())).free
    text = f"{free // (1024 * 1024)} MiB free"
    if free < _LEAST_FREE:
        return FAIL, f"{text}: with a full disk requests are refused before anything is sent upstream"
    if free < settings.journal_max_bytes:
        return WARN, f"{text}, less than the journal may grow to ({show_size(settings.journal_max_bytes)})"
    return PASS, text


def _clock(settings: Settings) -> tuple[str, str]:
    now = SystemClock.now_us() // 1_000_000
    if now < _RELEASED:
        return FAIL, "the clock is before this version was made: set it, or usage rows and limits get wrong times"
    files = [path for path in (settings.data_dir, *settings.data_dir.glob("gproxy.db*")) if path.exists()]
    newest = max((path.stat().st_mtime for path in files), default=0)
    if newest > now + 60:
        return WARN, f"files in the data folder are {int(newest - now)} s in the future: the clock was set back"
    return PASS, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))


def _seed(settings: Settings) -> tuple[str, str]:
    from gproxy.cli.check import problems_in

    if not settings.config.exists():
        return PASS, f"{settings.config} is not there; the gateway starts without one"
    problems = problems_in(settings.config, settings.channels)
    if problems:
        return FAIL, f"{settings.config}: {len(problems)} problems, the first: {problems[0]}"
    return PASS, f"{settings.config} is valid"


def _database(settings: Settings) -> tuple[str, str]:
    from gproxy.storage.schema_version import SchemaState, schema_state

    async def work() -> tuple[str, str]:
        begun = time.monotonic()
        async with opened(settings) as database:
            took = f"answers in {(time.monotonic() - begun) * 1000:.0f} ms"
            state = await schema_state(database)
            if state is SchemaState.CURRENT:
                return PASS, f"{database.dsn}: {took}, schema is current"
            return PASS, f"{database.dsn}: {took}, the next start brings the schema up to date ({state.value} now)"

    dsn = dsn_of(settings)
    if dsn.engine == "sqlite" and not dsn.path.exists():
        return PASS, f"{dsn} is not there yet and will be made"
    return asyncio.run(work())


def _journal(settings: Settings) -> tuple[str, str]:
    from gproxy.cli.journal import held, journals
    from gproxy.ledger.reader import inspect

    found = journals(settings.journal_dir)
    reports = [report for path in found for report in inspect(path)]
    damaged = sum(1 for report in reports if report.damage)
    left = sum(1 for path in found if not held(path))
    text = f"{len(found)} journals, {len(reports)} segments"
    # The end of a journal that is being written may look torn while it is read; the next look tells.
    if damaged:
        return WARN, f"{text}, {damaged} of them damaged: `gproxy journal inspect` shows where"
    if left:
        return PASS, f"{text}; {left} left behind, which the next start takes over"
    return PASS, text


def _port(settings: Settings) -> tuple[str, str]:
    if settings.uds is not None:
        home = settings.uds.absolute().parent
        if not os.access(home, os.W_OK):
            return FAIL, f"no socket can be made in {home}"
        return PASS, f"{settings.uds} can be made"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        where = f"{settings.host} port {settings.port}"
        if _alive(settings):
            return PASS, f"{where} is in use by a gateway that is running"
        return FAIL, f"{where}: {error.strerror}; stop what is listening there, or choose --port"
    return PASS, f"{settings.host} port {settings.port or '(any)'} is free"


def _alive(settings: Settings) -> bool:
    """Whether what listens there answers as a gateway does."""
    import http.client

    connection = http.client.HTTPConnection(settings.host, settings.port, timeout=1)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _open_files(settings: Settings) -> tuple[str, str]:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Each request in flight holds a connection on either side.
    needed = 2 * settings.max_in_flight + 256
    if soft != resource.RLIM_INFINITY and soft < needed:
        return (
            WARN,
            f"{soft} allowed, {needed} needed for {settings.max_in_flight} requests in flight (hard limit {hard})",
        )
    return PASS, f"{'unlimited' if soft == resource.RLIM_INFINITY else soft} allowed"


_TESTS: Final[tuple[tuple[str, Callable[[Settings], tuple[str, str]]], ...]] = (
    ("data folder", _data_dir),
    ("disk", _disk),
    ("clock", _clock),
    ("seed file", _seed),
    ("database", _database),
    ("journal", _journal),
    ("port", _port),
    ("open files", _open_files),
)
