"""Section A, the process itself is ill: blocked loop, held interpreter lock, stuck threads, dead pipes, PID 1, SIGSTOP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.faults.lab import Lab
from tests.faults.lanes import Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()

# A disease that breaks out when a file appears; the gateway is started with it already in its blood.
_ILL = """
import asyncio, ctypes, os, sys, threading, time
def wait():
    while not os.path.exists(os.environ["OUTBREAK"]):
        time.sleep(0.005)
def hold_the_lock():
    wait()
    ctypes.PyDLL(None).sleep(600)  # PyDLL keeps the interpreter lock
def block_the_loop():
    wait()
    import signal
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
def linger():
    time.sleep(600)
disease = os.environ["DISEASE"]
if disease == "block_the_loop":
    import signal
    signal.signal(signal.SIGUSR1, lambda *_: [None for _ in iter(int, 1)])
if disease == "linger":
    threading.Thread(target=linger).start()
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(8)
    for _ in range(8):
        pool.submit(linger)
    import gproxy.runtime.serve as serve
    really = serve._serve
    async def ill(*args, **kwargs):
        asyncio.get_running_loop().set_default_executor(pool if False else ThreadPoolExecutor(12))
        for _ in range(6):
            asyncio.get_running_loop().run_in_executor(None, linger)
        return await really(*args, **kwargs)
    serve._serve = ill
else:
    threading.Thread(target=globals()[disease], daemon=True).start()
from gproxy.cli.main import main
sys.exit(main())
"""


async def _ill(lab: Lab, disease: str) -> Path:
    outbreak = lab.folder / "outbreak"
    gateway = lab.make(env={"OUTBREAK": str(outbreak), "DISEASE": disease})
    gateway.command = [sys.executable, "-c", _ILL, *gateway.command[5:]]
    lab.gateway = gateway
    await gateway.up()
    return outbreak


async def _watchdog(lab: Lab, disease: str) -> None:
    outbreak = await _ill(lab, disease)
    async with lab.loading(lab.plan(20, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(20)
        lab.signal()
        await lab.state("draining")
        outbreak.touch()
        assert (await lab.exit()).code == 70, lab.gateway.text
        await work
    assert "most recent call first" in lab.gateway.text  # every stack was dumped
    await lab.start()
    lab.signalled_at = None
    await lab.stop()
    rows = await lab.judge(killed=True)
    assert {row["outcome"] for row in rows} == {"interrupted"}
    assert len(rows) == 20


@MATRIX.cell("A27")
async def the_watchdog_ends_a_process_whose_interpreter_lock_is_held(lab: Lab) -> None:
    await _watchdog(lab, "hold_the_lock")


@MATRIX.cell("A27")
async def the_watchdog_ends_a_process_whose_loop_is_blocked(lab: Lab) -> None:
    await _watchdog(lab, "block_the_loop")


@MATRIX.cell("A28")
async def threads_that_never_end_do_not_keep_the_process(lab: Lab) -> None:
    await _ill(lab, "linger")
    await lab.run(10)
    await lab.stop()
    assert len(await lab.judge()) == 10


@MATRIX.cell("A31")
async def a_process_that_was_stopped_inside_its_drain_keeps_its_promises(lab: Lab) -> None:
    lab.drain = 2.0
    await lab.start()
    async with lab.loading(lab.plan(20, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(20)
        lab.gateway.signal(lab.number)
        await lab.state("draining")
        lab.gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(3.0)  # the drain's end passes while it cannot run: that is the point
        lab.gateway.signal(signal.SIGCONT)
        await work
        assert await lab.gateway.ended(30) == 0, lab.gateway.text
    rows = await lab.judge()
    assert {row["outcome"] for row in rows} == {"interrupted"}
    assert len(rows) == 20


@MATRIX.cell("A31")
async def a_process_that_was_stopped_beyond_every_deadline_is_ended_at_once_and_loses_nothing(lab: Lab) -> None:
    """Its watchdog is due when it goes on: what it cannot say goodbye to any more, the journal tells the next start."""
    lab.drain, lab.worker = 0.5, 0.5
    await lab.start()
    async with lab.loading(lab.plan(20, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(20)
        lab.gateway.signal(lab.number)
        await lab.state("draining")
        lab.gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(3.0)  # every deadline passes
        lab.gateway.signal(signal.SIGCONT)
        assert await lab.gateway.ended(10) in {0, 70, 75}, lab.gateway.text
        await work
    await lab.restart()
    await lab.stop()
    rows = await lab.judge(killed=True)
    assert {row["outcome"] for row in rows} == {"interrupted"}
    assert len(rows) == 20


@MATRIX.cell("A34")
async def nobody_listens_to_stdout_and_stderr_any_more(lab: Lab) -> None:
    await _unheard(lab, close=True)


@MATRIX.cell("A34")
async def stdout_and_stderr_are_full(lab: Lab) -> None:
    await _unheard(lab, close=False)


async def _unheard(lab: Lab, *, close: bool) -> None:
    """A gateway whose output pipe breaks or fills up while it serves, and that is then stopped."""
    await lab.start()
    await lab.stop()
    lab.signalled_at = None
    gateway = lab.gateway
    gateway.command = [*gateway.command]
    gateway.command[gateway.command.index("--port") + 1] = str(gateway.port)
    reading, writing = os.pipe()
    gateway.popen = subprocess.Popen(  # noqa: ASYNC220 - a fork and an exec, no wait
        gateway.command, env=dict(gateway.env), cwd=gateway.cwd, stdout=writing, stderr=writing
    )
    gateway._readers = [threading.Thread() for _ in range(2)]  # nothing of its output comes to the test
    for reader in gateway._readers:
        reader.start()
    try:
        await _answers(lab)
        if close:
            os.close(reading)
        else:
            os.set_blocking(writing, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writing, b"x" * 1024)
            os.set_blocking(writing, True)
        assert all(call.complete for call in await lab.run(200))
        lab.signal()
        found = await lab.exit()
    finally:
        os.close(writing)
        if not close:
            os.close(reading)
    assert found.code == 0
    assert len(await lab.judge()) == 200


async def _answers(lab: Lab) -> None:
    for _ in range(600):
        try:
            if (await lab.get("/readyz"))[0] == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.05)
    raise AssertionError("it did not become ready")


@MATRIX.cell("A17")
async def as_process_number_one_of_its_namespace(lab: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("a PID namespace needs root")
    gateway = lab.make()
    gateway.command = ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", *gateway.command]
    lab.gateway = gateway
    await gateway.up()
    await lab.run(10)
    inner = int(_children(gateway.popen.pid).split()[0])
    os.kill(inner, lab.number)
    assert await gateway.ended(lab.bound + 30) == 0, gateway.text
    assert len(await lab.judge()) == 10


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")


@pytest.mark.parametrize("cell", MATRIX.params())
def test_broken_process(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)


def test_the_rig_starts_the_gateway_the_way_these_tests_rewrite_it(tmp_path: Path) -> None:
    made = rig.Gateway(tmp_path, "")
    assert made.command[:4] == [sys.executable, "-W", "error", "-c"]
    assert made.command[5] == "serve"
