"""Section B: kill -9 on every engine, kills during recovery, and journals that were damaged before the next start."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path

import pytest

from tests.faults.engines import ENGINES, SERVERS, locked
from tests.faults.lab import Lab
from tests.faults.lanes import Cell, Lanes, Matrix
from tests.faults.mayhem import mayhem
from tests.vendor.reconcile import table

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
ROUNDS = 5


@MATRIX.cell("B01", engines=SERVERS)
async def kill_at_random_moments(lab: Lab) -> None:
    await _rounds(lab, signal.SIGKILL)


@MATRIX.cell("A35", engines=SERVERS)
async def stop_at_random_moments(lab: Lab) -> None:
    await _rounds(lab, signal.SIGTERM)


@MATRIX.cell("B01")
async def kill_at_random_moments_with_power_durability(lab: Lab) -> None:
    await _rounds(lab, signal.SIGKILL, durability="power")


async def _rounds(lab: Lab, number: signal.Signals, durability: str = "process") -> None:
    tally = await mayhem(lab.folder / "mayhem", lab.engine, number, ROUNDS, 20261124, durability=durability)
    assert tally.clean, (table(tally.violations), tally.codes, tally.late, tally.cost_difference)
    assert tally.rows > ROUNDS


@MATRIX.cell("B04", engines=ENGINES)
async def killed_again_and_again_while_it_recovers(lab: Lab) -> None:
    await lab.start()
    over = asyncio.Event()
    plan = lab.plan(None, "", stream=True, concurrency=16, delay=0.004, tokens=(5, 30))
    async with lab.loading(plan, over):
        await lab.answered(300)  # something to recover
        await lab.kill()
        over.set()
    dice = random.Random(lab.engine)
    for _ in range(8):
        lab.gateway.start(ready=False)
        # From exec to ready it takes about 0.6 s here; recovery is the last part. The moment is the point.
        await asyncio.sleep(dice.uniform(0.2, 0.8))
        await lab.kill()
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge(killed=True)) >= 250
    assert lab.journals() == []


@MATRIX.cell("B05", engines=("sqlite",), soak_engines=SERVERS)
async def a_torn_tail_costs_nothing_that_was_acknowledged(lab: Lab) -> None:
    await _killed_with_rows(lab)
    (segment,) = _segments(lab)
    end = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:  # half of a record that never was: what a crash leaves of an append
        file.seek(end)
        file.write(bytes(range(1, 60)))
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge(killed=True)) == 30
    _, damaged = _replayed(lab)
    assert damaged == 1


@MATRIX.cell("B05", engines=("sqlite",), soak_engines=SERVERS)
async def a_flipped_byte_costs_one_record_and_is_reported(lab: Lab) -> None:
    await _killed_with_rows(lab)
    (segment,) = _segments(lab)
    data = bytearray(segment.read_bytes())
    data[len(bytes(data).rstrip(b"\0")) // 2] ^= 0x40
    segment.write_bytes(data)
    await lab.restart()
    assert (await lab.get("/readyz"))[0] == 200
    await lab.run(5)
    await lab.stop()
    rows = await lab.place.query("SELECT * FROM usages")
    assert 30 + 5 - 1 <= len(rows) <= 35
    _, damaged = _replayed(lab)
    assert damaged == 1
    assert list((lab.gateway.data / "journal" / "set-aside").iterdir())


@MATRIX.cell("B05", engines=("sqlite",), soak_engines=SERVERS)
async def a_truncated_segment_keeps_what_is_left_of_it(lab: Lab) -> None:
    await _killed_with_rows(lab)
    (segment,) = _segments(lab)
    end = len(segment.read_bytes().rstrip(b"\0"))
    with segment.open("r+b") as file:
        file.truncate(end // 2)
    await lab.restart()
    await lab.run(5)
    await lab.stop()
    rows = await lab.place.query("SELECT * FROM usages")
    assert 5 + 10 <= len(rows) <= 35
    assert _replayed(lab)[0] >= 1


@MATRIX.cell("B05", engines=("sqlite",), soak_engines=SERVERS)
async def foreign_files_and_ruined_journals_do_not_keep_it_from_starting(lab: Lab) -> None:
    await _killed_with_rows(lab)
    root = lab.gateway.data / "journal"
    (root / "notes.txt").write_text("not a journal")
    (root / "01a20000-0000-7000-8000-000000000000").mkdir()
    (root / "01a20000-0000-7000-8000-000000000001").mkdir()
    (root / "01a20000-0000-7000-8000-000000000001" / "00000001.seg").write_bytes(b"\xff" * 5000)
    (root / "01a20000-0000-7000-8000-000000000001" / "LOCK").write_bytes(b"?")
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge(killed=True)) == 30


async def _killed_with_rows(lab: Lab) -> None:
    """30 answered requests whose rows are only in the journal, and a process that is gone."""
    await lab.start()
    async with locked(lab.place):
        assert all(call.complete for call in await lab.run(30))
        await lab.kill()


def _segments(lab: Lab) -> list[Path]:
    return sorted((lab.gateway.data / "journal").glob("*/*.seg"))


def _replayed(lab: Lab) -> tuple[int, int]:
    """Rows (finished and interrupted) and damaged segments that the last start told of."""
    lines = [json.loads(line) for line in lab.gateway.err if b'"event":"journal replayed"' in line]
    return sum(line["rows"] + line["interrupted"] for line in lines), sum(line["damaged"] for line in lines)


@pytest.mark.parametrize("cell", MATRIX.params())
def test_crash(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
