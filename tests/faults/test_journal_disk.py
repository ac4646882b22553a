"""The journal's own disk is full: refused before anything is sent, told in readiness, well again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.engines import locked
from tests.faults.lab import Lab, until_async
from tests.faults.lanes import Cell, Lanes, Matrix

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]
MATRIX = Matrix()
SMALL = {"GPROXY_JOURNAL_MAX_BYTES": str(4 << 20)}  # segments of 1 MiB


@contextlib.contextmanager
def disk(path: Path, size: int) -> Iterator[Path]:
    """A disk of its own for a folder."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    path.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@MATRIX.cell("A23")
async def a_full_journal_disk_refuses_before_dispatch_and_recovers_by_itself(lab: Lab) -> None:
    journal = lab.folder / "gateway" / "data" / "journal"
    with disk(journal, 3 << 20):
        await lab.start(env=SMALL)
        filler = journal / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        async with locked(lab.place):
            before = len(lab.attempts)
            calls = await lab.run(2500, "", concurrency=24, tokens=(1, 1))
            refused = [call for call in calls if call.status == 503]
            assert refused
            assert len(refused) + sum(call.complete for call in calls) == len(calls)
            assert len(lab.attempts) - before == len(calls) - len(refused)  # the vendor saw none of the refused
            status, headers, content = await lab.chat()
            assert (status, b"ledger_unavailable" in content) == (503, True)
            assert "retry-after" in headers
            status, page = await lab.get("/readyz")
            assert (status, page["checks"]["journal"]["status"]) == (503, "down")
            assert (await lab.get("/livez"))[0] == 200
            filler.unlink()
            # The database is still locked: room on the disk is all that was missing.
            await until_async(lambda: _served(lab), lambda: "requests being served again")
            assert (await lab.get("/readyz"))[0] == 200
        await lab.landed(len(lab.attempts))
        await lab.stop()
        await lab.judge()


async def _served(lab: Lab) -> bool:
    return (await lab.chat())[0] == 200


@MATRIX.cell("A23")
async def streams_under_way_when_the_disk_fills_up_still_get_their_rows(lab: Lab) -> None:
    journal = lab.folder / "gateway" / "data" / "journal"
    with disk(journal, 3 << 20):
        await lab.start(env=SMALL)
        async with lab.loading(lab.plan(50, "tokens=10,gate_mid=hold,at=3", stream=True)) as work:
            await lab.vendor.gate("hold").arrived(50)
            with contextlib.suppress(OSError), (journal / "filler").open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
            await lab.vendor.gate("hold").release()
            await work
        assert all(call.complete for call in lab.calls)
        await lab.stop()
        assert {row["source"] for row in await lab.judge()} == {"reported"}


@MATRIX.cell("A23")
async def a_disk_that_is_full_at_the_start_is_told_and_waited_for(lab: Lab) -> None:
    journal = lab.folder / "gateway" / "data" / "journal"
    with disk(journal, 3 << 20):
        filler = journal / "filler"
        with contextlib.suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(bytes(4096))
                file.flush()
        lab.gateway = lab.make(env=SMALL)
        try:
            await lab.gateway.up()
        except AssertionError:
            assert lab.gateway.popen.returncode == 1, lab.gateway.text
            assert "internal error" not in lab.gateway.text, lab.gateway.text
            await asyncio.to_thread(lab.gateway.end)
            filler.unlink()
            await lab.restart()
        else:
            assert (await lab.chat())[0] == 503
            assert lab.attempts == []
            filler.unlink()
            await until_async(lambda: _served(lab), lambda: "requests being served")
        await lab.run(5)
        await lab.stop()
        await lab.judge()


@pytest.mark.parametrize("cell", MATRIX.params())
def test_journal_disk(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
