"""Section B: several processes on one data folder and one database, killed singly and together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal

import pytest

from tests.faults.lab import Lab, until
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800 if SOAK else 240)]
MATRIX = Matrix()
ROUNDS = 60 if SOAK else 3


@MATRIX.cell("B03", engines=("sqlite",), soak_engines=("postgres", "mysql"))
async def two_gateways_killed_singly_and_together(lab: Lab) -> None:
    """Whoever is left, or comes next, takes over what the dead one held, once."""
    both = [lab.make(name="gateway") for _ in range(2)]
    dice = random.Random(lab.engine)
    async with contextlib.AsyncExitStack() as stack:
        for one in both:
            stack.push_async_callback(asyncio.to_thread, one.end)
            await one.up()
            one.keep_port()
        lab.gateway = both[0]
        over = asyncio.Event()
        for seed, one in enumerate(both):
            plan = lab.plan(None, "", stream=True, port=one.port, concurrency=6, tokens=(3, 20), delay=0.004, seed=seed)
            await stack.enter_async_context(lab.loading(plan, over))
        for turn in range(ROUNDS):
            await lab.answered(len(lab.calls) + 30)
            killed = (both[:1], both[1:], both)[turn % 3]
            await asyncio.sleep(dice.uniform(0.0, 0.1))  # the moment is the point
            for one in killed:
                one.signal(signal.SIGKILL)
            for one in killed:
                assert await one.ended(30) == -signal.SIGKILL
            await asyncio.gather(*(one.up() for one in killed))
        await lab.answered(len(lab.calls) + 30)
        both[1].signal(signal.SIGKILL)
        assert await both[1].ended(30) == -signal.SIGKILL
        over.set()
        # Nobody comes after it: the one that is left adopts its journal by itself, now and then and before it ends.
        if SOAK:
            await until(lambda: len(lab.journals()) == 1, lambda: f"the adoption:\n{lab.story()}")
        await lab.stop()
        rows = await lab.judge(killed=True)
    assert len(rows) > 30 * ROUNDS
    assert lab.journals() == []
    adopted = [journal for one in both for line in one.lines('"event":"journal replayed"') for journal in _ids(line)]
    assert len(adopted) == len(set(adopted)) >= 1


def _ids(line: bytes) -> list[str]:
    return list(json.loads(line)["journals"])


@MATRIX.cell("B03", engines=("sqlite",), soak_engines=("postgres", "mysql"))
async def a_worker_and_its_master_killed_together(lab: Lab) -> None:
    for turn in range(ROUNDS // 3):
        await (lab.start("--workers=2") if turn == 0 else lab.restart())
        await lab.told("all workers serve")
        workers = rig.children(lab.gateway.popen.pid)
        over = asyncio.Event()
        plan = lab.plan(None, "", stream=True, concurrency=12, tokens=(3, 20), delay=0.004)
        async with lab.loading(plan, over):
            await lab.answered(len(lab.calls) + 60)
            os.kill(workers[0], signal.SIGKILL)
            await lab.kill()
            over.set()
        # The other one sees that its master is gone and drains.
        await until(lambda pids=workers: not any(map(rig.alive, pids)), lambda: "the end of the workers")  # type: ignore[misc]
    await lab.restart()
    await lab.told("all workers serve")
    await lab.stop()
    rows = await lab.judge(killed=True)
    assert len(rows) >= 60
    assert lab.journals() == []


@MATRIX.cell("A33")
async def a_worker_that_is_stopped_is_replaced_and_flushes_once(lab: Lab) -> None:
    await lab.start("--workers=2")
    await lab.told("all workers serve")
    workers = rig.children(lab.gateway.popen.pid)
    async with lab.loading(lab.plan(60, "tokens=6,gate_mid=hold,at=3", stream=True)) as work:
        await lab.vendor.gate("hold").arrived(60)
        os.kill(workers[0], signal.SIGTERM)
        await lab.state("draining")
        await lab.vendor.gate("hold").release()
        await work
    await lab.told("worker serves")
    await lab.run(20)
    await lab.stop()
    assert [call.problem for call in lab.calls if not call.complete] == []
    assert len(await lab.judge()) == 80
    assert not any(map(rig.alive, workers))
    reports = [json.loads(row["report_json"]) for row in await lab.place.query("SELECT * FROM shutdowns")]
    assert len(reports) == 3
    assert sum(report["rows_flushed"] for report in reports) <= 80


@pytest.mark.parametrize("cell", MATRIX.params())
def test_siblings(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
