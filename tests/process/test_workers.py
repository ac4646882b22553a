"""Several processes on one socket: whoever is signalled, nobody is orphaned and no row is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import rig
from tests.process.streams import many, running

pytestmark = pytest.mark.process


@pytest.fixture
def pair(folder: Path, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(folder, rig.seed(vendor.port), "--workers", "2", "--drain-timeout", "5s") as made:
        rig.await_that(lambda: serving(made, 1), made, "both workers")
        yield made


def serving(gateway: rig.Gateway, times: int) -> bool | None:
    """Whether the master has said so often that a worker (or all of them) serves."""
    return (
        True if sum(b"serves" in line or b"all workers serve" in line for line in tuple(gateway.err)) >= times else None
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_of_the_master_drains_both(pair: rig.Gateway, number: signal.Signals) -> None:
    workers = rig.children(pair.popen.pid)
    calls = many(pair, 40, "sim~tokens=20~delay=0.04")
    async with running(calls) as together:
        pair.signal(number)
        await together
        code = await asyncio.to_thread(pair.wait)
    assert code == 0, pair.text
    assert [call.error for call in calls if not call.done] == []
    assert len(pair.rows()) == 40
    assert not [pid for pid in workers if rig.alive(pid)]
    assert len(pair.query("SELECT id FROM shutdowns")) == 2


def test_a_worker_that_is_killed_is_replaced_and_its_rows_land(pair: rig.Gateway) -> None:
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    for _ in range(20):
        assert pair.request("POST", "/v1/chat/completions", body)[0] == 200
    before = rig.children(pair.popen.pid)
    os.kill(before[1], signal.SIGKILL)
    rig.await_that(lambda: serving(pair, 2), pair, "a new worker")
    for _ in range(20):
        assert pair.request("POST", "/v1/chat/completions", body)[0] == 200
    assert pair.stop() == 0
    # What the killed one still held lies in its journal; the worker that came after it adopted it.
    assert len(pair.rows()) == 40


def test_a_master_that_is_killed_takes_its_workers_along(pair: rig.Gateway) -> None:
    workers = rig.children(pair.popen.pid)
    pair.signal(signal.SIGKILL)
    pair.wait()
    rig.await_that(
        lambda: True if not any(rig.alive(pid) for pid in workers) else None, rig.Anyone(), "the workers' end"
    )


def test_a_start_that_is_refused_ends_the_master_with_the_workers_code(folder: Path, vendor: rig.Vendor) -> None:
    made = rig.Gateway(folder, "nonsense", "--workers", "2")
    made.start(ready=False)
    assert made.wait() == 1
    assert "not valid TOML" in made.text


HELD = """
import os, signal, sys
place = [{place!r}]
def heard(event, told):
    if place and f"{{event}} {{told[0] if told else ''}}".startswith(place[0]):
        place.clear()
        os.kill(os.getpid(), signal.SIGSTOP)
if os.environ.get("GPROXY_NTH_PROCESS") == "2" and not os.path.exists("unheld"):
    sys.addaudithook(heard)
from gproxy.cli.main import main
sys.exit(main())
"""
"""The gateway, its second worker held (by SIGSTOP) at one place of its start: an audit event and its first word.
Not while there is a file of the name `unheld`."""
BEFORE_IT_HEARS = "import gproxy.cli.main"


def holding(place: str) -> tuple[str, ...]:
    return sys.executable, "-W", "error", "-c", HELD.format(place=place)


def held(master: int) -> int | None:
    """The second worker, once it is held."""
    workers = rig.children(master)
    return workers[1] if len(workers) == 2 and rig.state(workers[1]) == "T" else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("place", [BEFORE_IT_HEARS, "import gproxy.runtime.serve", "sqlite3.connect"])
async def test_a_stop_while_a_worker_starts_is_clean_and_drains_the_others(
    folder: Path, vendor: rig.Vendor, number: signal.Signals, place: str
) -> None:
    flags = ("--workers", "2", "--drain-timeout", "5s")
    made = rig.Gateway(folder, rig.seed(vendor.port), *flags, program=holding(place))
    try:
        await asyncio.to_thread(made.start)
        second: int = await asyncio.to_thread(rig.await_that, lambda: held(made.popen.pid), made, "the held worker")
        first = rig.children(made.popen.pid)[0]
        calls = many(made, 8, "sim~tokens=20~delay=0.04")
        async with running(calls) as together:
            made.signal(number)
            await together
            await asyncio.to_thread(rig.await_that, lambda: None if rig.alive(first) else True, made, "the first's end")
            os.kill(second, signal.SIGCONT)
            code = await asyncio.to_thread(made.wait)
        assert code == 0, made.text
        assert [call.error for call in calls if not call.done] == []
        assert len(made.rows()) == len(calls)
        assert not rig.alive(second)
        assert "all workers serve" not in made.text
    finally:
        made.end()


async def test_a_reload_while_a_worker_starts_reaches_it_when_it_serves(folder: Path, vendor: rig.Vendor) -> None:
    """Before it hears signals, SIGHUP would end it; and what it had read by then would stay."""
    made = rig.Gateway(folder, rig.seed(vendor.port), "--workers", "2", program=holding(BEFORE_IT_HEARS))
    try:
        await asyncio.to_thread(made.start)
        second: int = await asyncio.to_thread(rig.await_that, lambda: held(made.popen.pid), made, "the held worker")
        made.signal(signal.SIGHUP)
        made.told("reloaded")
        os.kill(second, signal.SIGCONT)
        rig.await_that(lambda: True if len(made.lines("reloaded")) >= 2 else None, made, "both reloads")
        assert await asyncio.to_thread(made.stop) == 0, made.text
    finally:
        made.end()


async def test_a_worker_that_starts_while_a_successor_takes_over_does_not_come_up(
    folder: Path, vendor: rig.Vendor
) -> None:
    """SIGUSR2, which tells those that serve to drain, is ignored by one that starts."""
    unheld = folder / "unheld"
    unheld.touch()
    made = rig.Gateway(folder, rig.seed(vendor.port), "--workers", "2", program=holding("import gproxy.runtime.serve"))
    try:
        await asyncio.to_thread(made.start)
        made.told("all workers serve")
        unheld.unlink()
        os.kill(rig.children(made.popen.pid)[1], signal.SIGKILL)
        second: int = await asyncio.to_thread(rig.await_that, lambda: held(made.popen.pid), made, "the held worker")
        unheld.touch()
        made.signal(signal.SIGUSR2)
        made.told("the new process serves")
        os.kill(second, signal.SIGCONT)
        assert await asyncio.to_thread(made.wait) == 0, made.text
        assert not rig.alive(second)
    finally:
        for pid in made.successors():
            os.kill(pid, signal.SIGTERM)
            rig.await_that(lambda pid=pid: None if rig.alive(pid) else True, rig.Anyone(), "the successor's end")
        made.end()
