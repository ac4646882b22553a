"""Section A, the process itself is ill: blocked loop, held interpreter lock, stuck threads, dead pipes, PID 1, SIGSTOP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.engines import locked
from tests.faults.lab import Lab, until, until_async
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
KILLS = 50 if SOAK else 2

# A disease that breaks out when the other end of a FIFO is opened; the gateway is started with it already in its blood.
_ILL = """
import asyncio, ctypes, os, signal, sys, threading
def wait():
    open(os.environ["OUTBREAK"]).close()  # a FIFO: opened when somebody opens its other end
def hold_the_lock():
    libc = ctypes.PyDLL(None)  # the fault itself: PyDLL keeps the interpreter lock
    wait()
    sys.setswitchinterval(600)
    libc.write(2, b"taken ill\\n", 10)
    libc.sleep(600)
def block_the_loop():
    wait()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
def swell():
    wait()
    bytearray(1 << 30).replace(b"\\0", b"x")
def spin(*_):
    os.write(2, b"taken ill\\n")
    while True:
        pass  # the fault itself
def linger():
    threading.Event().wait()  # the fault itself: a thread that never ends
disease = os.environ["DISEASE"]
if disease == "block_the_loop":
    signal.signal(signal.SIGUSR1, spin)
if disease == "linger":
    threading.Thread(target=linger).start()
    from concurrent.futures import ThreadPoolExecutor
    pool = ThreadPoolExecutor(8)
    for _ in range(8):
        pool.submit(linger)
    import gproxy.runtime.serve as serve
    really = serve._serve
    async def ill(*args, **kwargs):
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(12))
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
    os.mkfifo(outbreak)
    env = {"OUTBREAK": str(outbreak), "DISEASE": disease}
    await lab.start(env=env, program=(sys.executable, "-c", _ILL))
    return outbreak


async def _watchdog(lab: Lab, disease: str, *, first: str, code: int = 70) -> None:
    """The process falls ill in its drain, or before it is told to stop at all."""
    if first == "illness":
        lab.drain, lab.worker = 1.0, 1.0
    outbreak = await _ill(lab, disease)
    async with lab.loading(lab.plan(20, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(20)
        if first == "signal":
            lab.signal()
            await lab.state("draining")
            outbreak.write_bytes(b"")
        else:
            outbreak.write_bytes(b"")
            await lab.told("taken ill")
            lab.signal()
        assert (await lab.exit()).code == code, lab.gateway.text
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
    await _watchdog(lab, "hold_the_lock", first="signal")


@MATRIX.cell("A27")
async def the_watchdog_ends_a_process_whose_loop_is_blocked(lab: Lab) -> None:
    await _watchdog(lab, "block_the_loop", first="signal")


@MATRIX.cell("A27", signals=(signal.SIGTERM, signal.SIGINT))
async def the_watchdog_ends_a_process_whose_lock_was_held_before_the_signal(lab: Lab) -> None:
    await _watchdog(lab, "hold_the_lock", first="illness", code=-signal.SIGALRM)


@MATRIX.cell("A27", signals=(signal.SIGTERM, signal.SIGINT))
async def the_watchdog_ends_a_process_whose_loop_was_blocked_before_the_signal(lab: Lab) -> None:
    await _watchdog(lab, "block_the_loop", first="illness")


@MATRIX.cell("A28")
async def threads_that_never_end_do_not_keep_the_process(lab: Lab) -> None:
    await _ill(lab, "linger")
    await lab.run(10)
    await lab.stop()
    assert len(await lab.judge()) == 10


# Workers with a disease of their own, which break out when they are told to stop.
_ILL_WORKERS = """
import asyncio, os, sys
from gproxy.workers.health_broadcaster import HealthBroadcaster
from gproxy.workers.periodic import Periodic
from gproxy.workers.usage_sink import UsageSink
async def swallow():
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass  # the fault itself
async def quit():
    asyncio.current_task().cancel()
    await asyncio.sleep(0)
async def fail():
    raise RuntimeError("a worker's own bug")
def infect(worker, name, disease, times):
    really, left = worker.run, [times]
    async def run(self):
        await really(self)
        if self.name == name and left[0]:
            left[0] -= 1
            await disease()
    worker.run = run
for one in os.environ["ILL"].split():
    worker, name, disease, times = one.split(":")
    infect(globals()[worker], name, globals()[disease], int(times))
from gproxy.cli.main import main
sys.exit(main())
"""
_SICK = (sys.executable, "-c", _ILL_WORKERS)
_OTHERS = "HealthBroadcaster:health_broadcaster:fail:9 Periodic:rate_limit_gc:quit:9 Periodic:session_gc:swallow:9"


@MATRIX.cell("A29")
async def workers_that_raise_cancel_themselves_or_swallow_a_cancellation_cost_no_row(lab: Lab) -> None:
    lab.worker = 1.5
    await lab.start(env={"ILL": _OTHERS}, program=_SICK)
    async with locked(lab.place):
        assert all(call.complete for call in await lab.run(50))
        lab.signal()
        await lab.state("draining")
    found = await lab.exit()
    report = json.loads(lab.gateway.lines('"event":"stopped"')[0])
    # It is late or failed, and says so; what the others held is in the database.
    assert (found.code, report["rows_left"]) == (75, 0), lab.story()
    assert set(report["late_workers"]) == {"health_broadcaster", "rate_limit_gc", "session_gc"}
    assert len(await lab.judge()) == 50
    assert lab.journals() == []


@MATRIX.cell("A29")
async def a_sink_that_fails_at_the_end_gets_a_second_chance(lab: Lab) -> None:
    for disease in ("fail", "quit"):
        lab.signalled_at = None
        await lab.start(env={"ILL": f"UsageSink:usage_sink:{disease}:1"}, program=_SICK)
        assert all(call.complete for call in await lab.run(25))
        await lab.stop()
    assert len(await lab.judge()) == 50
    assert lab.journals() == []


def _memory_group() -> Path | None:
    """A memory cgroup of our own below the one this process is in; none where the system gives us none."""
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        root = Path("/sys/fs/cgroup/memory" if controllers == "memory" else "/sys/fs/cgroup")
        if controllers in {"memory", ""}:
            made = root / path.lstrip("/") / f"gproxy-test-{os.getpid()}"
            with contextlib.suppress(OSError):
                made.mkdir()
                if _limit(made).exists():
                    return made
                made.rmdir()
    return None


def _limit(group: Path) -> Path:
    old = group / "memory.limit_in_bytes"
    return old if old.exists() else group / "memory.max"


@MATRIX.cell("B10")
async def killed_for_the_memory_it_takes(lab: Lab) -> None:
    """The kernel's own kill -9, in the middle of everything."""
    group = _memory_group()
    if group is None:
        pytest.skip("there is no memory cgroup to be had here")
    try:
        _limit(group).write_text(str(256 << 20))
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"'
        outbreak = lab.folder / "outbreak"
        os.mkfifo(outbreak)
        env = {"OUTBREAK": str(outbreak), "DISEASE": "swell"}
        await lab.start(env=env, program=("sh", "-c", enter, "sh", sys.executable, "-c", _ILL))
        for _ in range(KILLS):
            over = asyncio.Event()
            plan = lab.plan(None, "", stream=True, concurrency=12, tokens=(3, 20), delay=0.004)
            async with lab.loading(plan, over):
                await lab.answered(len(lab.calls) + 30)
                outbreak.write_bytes(b"")
                assert await lab.gateway.ended(30) == -signal.SIGKILL
                over.set()
            await lab.restart()
        await lab.stop()
    finally:
        await until(lambda: not (group / "cgroup.procs").read_text(), lambda: "an empty group")
        group.rmdir()
    assert len(await lab.judge(killed=True)) >= 30


@MATRIX.cell("A31")
async def a_process_that_was_stopped_inside_its_drain_keeps_its_promises(lab: Lab) -> None:
    lab.drain = 2.0
    await lab.start()
    async with lab.loading(lab.plan(20, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(20)
        lab.gateway.signal(lab.number)
        await lab.state("draining")
        lab.gateway.signal(signal.SIGSTOP)
        await asyncio.sleep(lab.drain + 1.0)  # the fault itself: the drain's end passes while it cannot run
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
        await asyncio.sleep(2 * lab.bound)  # the fault itself: every deadline passes while it cannot run
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
    lab.gateway.keep_port()
    reading, writing = os.pipe()
    lab.gateway.output = writing
    lab.gateway.start(ready=False)
    try:
        await until_async(lambda: _ready(lab), lambda: "readiness")
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


async def _ready(lab: Lab) -> bool:
    with contextlib.suppress(OSError):
        return (await lab.get("/readyz"))[0] == 200
    return False


@MATRIX.cell("A17")
async def as_process_number_one_of_its_namespace(lab: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("a PID namespace needs root")
    gateway = await lab.start(program=("unshare", "--pid", "--fork", "--kill-child=SIGKILL", *rig.PROGRAM))
    await lab.run(10)
    os.kill(rig.children(gateway.popen.pid)[0], lab.number)
    assert await gateway.ended(lab.bound + 30) == 0, gateway.text
    assert len(await lab.judge()) == 10


@pytest.mark.parametrize("cell", MATRIX.params())
def test_broken_process(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
