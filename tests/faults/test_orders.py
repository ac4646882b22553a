"""Section A: what a stop meets while something else was ordered: a reload, an upgrade, a WebSocket, a service manager."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sqlite3
from contextlib import closing

import pytest

from tests.faults import engines
from tests.faults.lab import Lab, until
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800 if SOAK else 240)]
MATRIX = Matrix()
RELOADS = 100 if SOAK else 3

# Two worlds that differ in two places at once: where the alias leads and what that costs.
_WORLD = """
UPDATE models SET pricing_json = '{{"price": {{"input": {0}, "output": {0}}}}}' WHERE model_id IN ('gpt-4.1-mini', 'sim-model');
UPDATE model_aliases SET model_id = '{1}';
UPDATE revisions SET revision = revision + 1;
"""
_WORLDS = {1: "gpt-4.1-mini", 3: "sim-model"}


@MATRIX.cell("A18")
async def a_stop_during_a_reload_leaves_the_old_or_the_new_world(lab: Lab) -> None:
    """Each answer comes from one world as a whole, and the process ends as if nothing had been ordered."""
    await lab.start()
    lab.gateway.keep_port()
    for turn in range(RELOADS):
        price = tuple(_WORLDS)[turn % 2]
        over = asyncio.Event()
        plan = lab.plan(None, "", stream=False, concurrency=8, model="fast", prefix="", tokens=(2, 4), max_output=8)
        async with lab.loading(plan, over):
            await lab.answered(len(lab.calls) + 10)
            await asyncio.to_thread(_change, lab, price, _WORLDS[price])
            lab.gateway.signal(signal.SIGHUP)
            if turn % 3 == 2:  # the stop comes after the reload, else beside it
                await lab.told('"event":"reloaded"')
            over.set()
            lab.signal()
            assert (await lab.exit()).code == 0
        await lab.restart()
    await lab.stop()
    rows = await lab.place.query("SELECT * FROM usages WHERE outcome = 'complete'")
    assert len(rows) >= 10 * RELOADS
    seen = {(_price(row), row["model_served"]) for row in rows}
    # Input and output cost less than one USD in the world of the seed, which the first change replaces.
    assert set(_WORLDS.items()) <= seen <= {*_WORLDS.items(), (0, "gpt-4.1-mini")}, seen
    served = [call for call in lab.calls if call.request_id]
    assert [call.problem for call in served if call.problem] == []


def _change(lab: Lab, price: int, model: str) -> None:
    with closing(sqlite3.connect(lab.place.path, timeout=30)) as db:
        db.executescript("BEGIN IMMEDIATE;" + _WORLD.format(price, model) + "COMMIT;")


def _price(row: engines.Row) -> int:
    """USD per million tokens: input and output cost the same in these worlds."""
    return int(row["cost_nano_usd"] // ((row["input_tokens"] + row["output_tokens"]) * 1000))


@MATRIX.cell("A18", engines=("postgres",), proxied=True)
async def a_stop_during_a_reload_that_hangs(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.start()
    await lab.run(5)
    await lab.landed(5)
    await lab.proxy.set("blackhole")
    lab.gateway.signal(signal.SIGHUP)
    async with asyncio.timeout(30):
        await lab.proxy.touched.wait()
    lab.signal()
    assert (await lab.exit()).code in {0, 75}
    assert len(await lab.judge()) == 5


@MATRIX.cell("A30")
async def the_service_manager_hears_each_state_once_and_in_order(lab: Lab) -> None:
    """A stop that hangs asks for time when its drain begins, and not again: systemd ends what makes no progress."""
    path = str(lab.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.setblocking(False)
        lab.drain = 1.0
        await lab.start(env={"NOTIFY_SOCKET": path})
        heard = [await _heard(manager)]
        lab.gateway.signal(signal.SIGHUP)
        heard += [await _heard(manager), await _heard(manager)]
        async with lab.loading(lab.plan(1, "fail=hang", stream=False)) as work:
            await lab.seen(1)
            lab.signal()
            heard += [await _heard(manager), await _heard(manager)]
            await work
            assert (await lab.exit()).code == 0
        with pytest.raises(BlockingIOError):
            manager.recv(4096)
    names = [[line.partition("=")[0] for line in told] for told in heard]
    assert names == [
        ["READY", "MAINPID", "STATUS"],
        ["RELOADING", "MONOTONIC_USEC"],
        ["READY"],
        ["STOPPING", "STATUS"],
        ["EXTEND_TIMEOUT_USEC"],
    ]
    assert heard[0][1] == f"MAINPID={lab.gateway.popen.pid}"
    assert heard[4] == [f"EXTEND_TIMEOUT_USEC={int(lab.bound * 1_000_000)}"]


async def _heard(manager: socket.socket) -> list[str]:
    async with asyncio.timeout(30):
        return (await asyncio.get_running_loop().sock_recv(manager, 4096)).decode().split("\n")


@MATRIX.cell("A32", signals=(signal.SIGTERM, signal.SIGINT))
async def upgrades_to_websockets_are_answered_at_once_and_hold_nothing(lab: Lab) -> None:
    """No realtime sessions are served: whoever asks for one is told, costs nothing, and keeps nobody from ending."""
    await lab.start()
    paths = (
        "/v1/realtime?model=sim-model",
        "/v1/responses",
        "/main/v1/realtime",
        "/v1beta/models/x:BidiGenerateContent",
    )
    links = []
    for path in paths * 5:
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.gateway.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {rig.ALICE}\r\nconnection: Upgrade\r\n"
            "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        status = (await reader.readuntil(b"\r\n\r\n"))[:13]
        assert status == b"HTTP/1.1 426 ", (path, status)
        links.append((reader, writer))
    assert (await lab.get("/readyz"))[1]["in_flight"] <= 1  # this very question
    lab.signal()
    assert (await lab.exit()).code == 0
    for reader, writer in links:
        await reader.read()
        writer.close()
    assert await lab.judge() == []
    assert lab.attempts == []
    assert all(row["reserved_nano_usd"] == 0 for row in await lab.place.query("SELECT * FROM user_quotas"))


@MATRIX.cell("A33")
async def a_signal_to_the_group_during_an_upgrade_ends_old_and_new(lab: Lab) -> None:
    await _upgrade_interrupted(lab, group=True)


@MATRIX.cell("A33")
async def a_signal_to_the_old_process_during_an_upgrade_ends_the_new_one_too(lab: Lab) -> None:
    await _upgrade_interrupted(lab, group=False)


async def _upgrade_interrupted(lab: Lab, *, group: bool) -> None:
    """A successor is on its way up (its database is locked) when the stop comes: nobody is left behind."""
    await lab.start(program=("setsid", *rig.PROGRAM))
    await lab.run(20)
    await lab.landed(20)
    old = lab.gateway.popen.pid
    async with engines.locked(lab.place):
        lab.gateway.signal(signal.SIGUSR2)
        await until(lambda: bool(rig.children(old)), lambda: f"a successor:\n{lab.story()}")
        (new,) = rig.children(old)
        assert os.getpgid(new) == os.getpgid(old) == old
        lab.signalled_at = None
        if group:
            lab.signal()  # its clock; the group's signal is a second one to the old process at most
            with contextlib.suppress(ProcessLookupError):
                os.killpg(old, lab.number)
        else:
            lab.signal()
        found = await lab.exit()
        if group:
            await until(lambda: not rig.alive(new), lambda: "the end of the successor")
        assert not rig.alive(new)
    assert found.code in {0, 75}, lab.story()
    assert not rig.listens(("127.0.0.1", lab.gateway.port))
    assert len([line for line in lab.gateway.err if b'"event":"stopped"' in line]) == 1
    await lab.restart()
    await lab.stop()
    rows = await lab.judge()
    assert len(rows) == 20
    reports = await lab.place.query("SELECT * FROM shutdowns")
    assert sum(json.loads(row["report_json"])["rows_flushed"] for row in reports) <= 20


@pytest.mark.parametrize("cell", MATRIX.params())
def test_order(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
