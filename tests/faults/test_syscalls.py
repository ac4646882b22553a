"""Section B: the process dies, or the disk says no, at each step of a record's way: every write, sync, rename, unlink.

strace stands between the process and the kernel: the n-th call of a kind is its last, or fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.faults.lab import Gateway, Lab, until
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(7200 if SOAK else 240)]
MATRIX = Matrix()
DISK: Final = ("pwrite64", "fdatasync", "fsync", "rename", "unlink", "unlinkat", "ftruncate")
NETWORK: Final = ("write", "writev", "sendto", "sendmsg")
POINTS: Final = {"kill": 300, "fail": 60} if SOAK else {"kill": 3, "fail": 2}


@asynccontextmanager
async def _traced(gateway: Gateway, calls: Sequence[str], inject: str = "") -> AsyncIterator[list[str]]:
    """The gateway under strace from here on; the lines that it wrote, complete at the end."""
    command = ["strace", "-f", "-qq", "-p", str(gateway.popen.pid), "-e", f"trace={','.join(calls)}"]
    if inject:
        command += ["-e", f"inject={','.join(calls)}:{inject}"]
    tracer = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert tracer.stderr is not None
    lines: list[str] = []
    try:
        await until(lambda: _is_traced(gateway.popen.pid), lambda: "strace to take hold")
        yield lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            tracer.send_signal(signal.SIGINT)
        lines += (await tracer.stderr.read()).decode("utf-8", "replace").splitlines()
        await tracer.wait()


def _is_traced(pid: int) -> bool:
    """Every thread of it."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    statuses = [(each / "status").read_text(encoding="ascii") for each in threads]
    return all("TracerPid:\t0\n" not in status for status in statuses)


async def _work(lab: Lab) -> None:
    """What happens under the tracer: answers, streams, a stop with its flush. It may end early."""
    with contextlib.suppress(ProcessLookupError):
        async with lab.loading(lab.plan(14, "tokens=4", stream=True, stream_share=0.5, concurrency=4, timeout=20.0)):
            pass
        lab.gateway.signal(lab.number)


async def _counted(lab: Lab, calls: Sequence[str]) -> int:
    """How many of these calls the busiest thread makes meanwhile: strace counts for each thread by itself."""
    async with _traced(lab.gateway, calls) as lines:
        await _work(lab)
        assert await lab.gateway.ended(60) == 0, lab.gateway.text
    threads: dict[str, int] = {}
    for line in lines:
        found = re.match(r"\[pid +(\d+)\] (\w+)\(", line) or re.match(r"()(\w+)\(", line)
        if found and found[2] in calls:
            threads[found[1]] = threads.get(found[1], 0) + 1
    assert threads, lines[-5:]
    return max(threads.values())


async def _each(lab: Lab, calls: Sequence[str], what: str, inject: str) -> None:
    """Inject at points spread over the whole work, one gateway life each; every life is followed by a healthy one."""
    rig.needed("strace", there=shutil.which("strace") is not None)
    await lab.start("--durability=power")
    last = await _counted(lab, calls)
    count = min(POINTS[what], last)
    struck = 0
    for number in range(count):
        nth = 1 + number * (last - 1) // max(1, count - 1)
        await lab.restart()
        async with _traced(lab.gateway, calls, f"{inject}:when={nth}") as lines:
            await _work(lab)
            code = await lab.gateway.ended(60)
        # Each thread has a count of its own: the busiest one was hit at its n-th call, if it got that far this time.
        struck += code != 0 if what == "kill" else any("(INJECTED)" in line for line in lines)
        assert code in ({0, -signal.SIGKILL} if what == "kill" else {0, 75}), (nth, code, lab.gateway.text)
        assert "Traceback" not in lab.gateway.text
    assert struck, "nothing was hit"
    await lab.restart()
    lab.signalled_at = None
    await lab.stop()
    # A request refused because its promise could not be kept on disk has a row of its own, which costs nothing.
    assert len(await lab.judge(killed=True, unreachable=what == "fail")) >= 14
    assert lab.journals() == []


@MATRIX.cell("B06")
async def it_dies_at_a_call_to_the_disk(lab: Lab) -> None:
    await _each(lab, DISK, "kill", "signal=KILL")


@MATRIX.cell("B06")
async def it_dies_at_a_call_to_the_network(lab: Lab) -> None:
    await _each(lab, NETWORK, "kill", "signal=KILL")


@MATRIX.cell("B06")
async def a_write_to_the_disk_fails(lab: Lab) -> None:
    await _each(lab, ("pwrite64",), "fail", "error=ENOSPC")


@MATRIX.cell("B06")
async def a_sync_of_the_disk_fails(lab: Lab) -> None:
    await _each(lab, ("fdatasync", "fsync"), "fail", "error=EIO")


@MATRIX.cell("B06", soak=True)
async def a_removal_or_a_shortening_fails(lab: Lab) -> None:
    await _each(lab, ("unlink", "unlinkat", "rename", "ftruncate", "rmdir"), "fail", "error=EIO")


@MATRIX.cell("C11")
async def a_disk_that_takes_half_a_second_for_each_sync(lab: Lab) -> None:
    """Whoever waits while a sync runs shares the next one: requests wait for the disk, and not for each other."""
    rig.needed("strace", there=shutil.which("strace") is not None)
    await lab.start("--durability=power")
    async with _traced(lab.gateway, ("fdatasync",), "delay_enter=500000") as lines:
        calls = await lab.run(60, stream=False)
    assert all(call.complete for call in calls)
    syncs = sum("fdatasync(" in line for line in lines)
    assert 0 < syncs <= 20, syncs
    await lab.stop()
    assert len(await lab.judge()) == 60


@pytest.mark.parametrize("cell", MATRIX.params())
def test_syscalls(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
