"""Sections B and C: the database server itself dies or is restarted under load, over and over."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.faults import servers
from tests.faults.lab import Lab
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix

pytestmark = [pytest.mark.process, pytest.mark.timeout(1800 if SOAK else 240)]
MATRIX = Matrix()
ROUNDS = 50 if SOAK else 1


@MATRIX.cell("B09 C01")
async def postgres_is_killed_and_restarted_under_load(lab: Lab) -> None:
    await _again_and_again(lab, "postgres")


@MATRIX.cell("B09 C02")
async def mariadb_is_killed_and_restarted_under_load(lab: Lab) -> None:
    await _again_and_again(lab, "mysql")


async def _again_and_again(lab: Lab, engine: str) -> None:
    """Every request is served while the database goes and comes, nobody is taken for a stranger, and every row lands."""
    async with servers.server(engine) as server, servers.database(server) as place:
        lab.place, lab.engine = place, engine
        await lab.start()
        over = asyncio.Event()
        plan = lab.plan(None, "", stream=True, concurrency=8, stream_share=0.5, tokens=(2, 8), delay=0.004)
        async with lab.loading(plan, over):
            for number in (signal.SIGKILL, server.orderly) * ROUNDS:
                await lab.answered(len(lab.calls) + 40)
                await server.end(number)
                # Known keys are served from memory: requests go on without a database, for as long as it takes.
                await lab.answered(len(lab.calls) + 40)
                await server.start()
            await lab.answered(len(lab.calls) + 40)
            over.set()
        assert {call.status for call in lab.calls} == {200}
        assert [call.problem for call in lab.calls if not call.complete] == []
        await lab.landed(len(lab.attempts))
        await lab.stop()
        assert len(await lab.judge()) == len(lab.attempts) >= 200 * ROUNDS
        assert lab.journals() == []


@pytest.mark.parametrize("cell", MATRIX.params())
def test_restarted_server(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
