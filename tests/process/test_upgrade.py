"""SIGUSR2 under load: no connection refused, no stream cut; a successor that cannot start changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process import rig
from tests.process.streams import many, running
from tests.vendor import load
from tests.vendor.ledger import read_sqlite
from tests.vendor.reconcile import reconcile, table

pytestmark = pytest.mark.process


@pytest.fixture
def family(folder: Path) -> Iterator[list[int]]:
    """Process ids that are nobody's child any more; ended at teardown."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def successor_of(gateway: rig.Gateway) -> int:
    gateway.told('"successor":')
    return gateway.successors()[0]


async def test_nothing_is_refused_and_no_stream_is_cut(folder: Path, family: list[int]) -> None:
    calls: list[load.Call] = []
    with rig.vendor(folder) as vendor, rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "1s") as gateway:
        over = asyncio.Event()
        counted: list[Callable[[load.Call], None]] = [calls.append]
        plan = load.Plan(
            port=gateway.port,
            key=rig.ALICE,
            model="sim-model",
            count=None,
            concurrency=16,
            tokens=(3, 20),
            delay=0.005,
            seed=7,
        )
        # Longer than the drain time: an upgrade does not cut what it need not cut.
        long = many(gateway, 10, "sim~tokens=60~delay=0.05")

        def on_call(call: load.Call) -> None:
            counted[0](call)  # looked up anew for each call

        work = asyncio.ensure_future(load.run(plan, stop=over, on_call=on_call))
        async with running(long) as together:
            gateway.signal(signal.SIGUSR2)
            family.append(await asyncio.to_thread(successor_of, gateway))
            await together
            code = await asyncio.to_thread(gateway.wait)
        mark, alone = len(calls), asyncio.Event()

        def count(call: load.Call) -> None:
            calls.append(call)
            if len(calls) >= mark + 50:  # answered by the successor alone
                alone.set()

        counted[0] = count
        await alone.wait()
        over.set()
        await work
        assert code == 0, gateway.text
        assert [call.error for call in long if not call.done] == []
        assert [call.problem for call in calls if call.problem is not None] == []
        os.kill(family[0], signal.SIGTERM)
        await asyncio.to_thread(_gone, gateway, family[0])
        rows, quotas = read_sqlite(gateway.data / "gproxy.db")
        found = reconcile(vendor.count_file, rows, quotas, calls=calls)
        assert not [one for one in found if one.kind != "COST"], table(found)
        assert len(rows) == len(calls) + len(long)


def _gone(gateway: rig.Gateway, pid: int) -> None:
    def probe() -> bool | None:
        return True if not rig.listens(("127.0.0.1", gateway.port)) and not rig.alive(pid) else None

    rig.await_that(probe, rig.Anyone(), "the successor's end")


def test_a_successor_that_cannot_start_leaves_the_old_one_serving(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        # The successor reads the same settings; a database of a newer version stops it.
        newer = folder / "data" / "gproxy.db"
        gateway.execute("UPDATE alembic_version SET version_num = '9999'")
        gateway.signal(signal.SIGUSR2)
        gateway.told("upgrade failed")
        assert newer.exists()
        body = {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
        assert gateway.request("POST", "/v1/chat/completions", body)[0] == 200
        assert gateway.request("GET", "/readyz")[0] == 200
        assert gateway.stop() == 0
