"""kill -9 at random moments under load: after the next start the ledger says exactly what the vendor counted."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.process import rig
from tests.vendor import load
from tests.vendor.ledger import read_sqlite
from tests.vendor.reconcile import per_million, reconcile, table

pytestmark = pytest.mark.process

ROUNDS = int(os.environ.get("GPROXY_SOAK_KILLS", "12"))
SEED = int(os.environ.get("GPROXY_SOAK_SEED", "20261124"))


@pytest.mark.timeout(60 + 5 * ROUNDS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_no_attempt_is_lost_or_doubled(folder: Path, number: signal.Signals) -> None:
    dice = random.Random(SEED)
    calls: list[load.Call] = []
    with rig.vendor(folder) as vendor, rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "3s") as gateway:
        for round_number in range(ROUNDS):
            plan = load.Plan(
                port=gateway.port,
                key=rig.ALICE,
                model="sim-model",
                count=None,
                concurrency=16,
                stream_share=0.6,
                abort_share=0.05,
                tokens=(3, 20),
                delay=0.004,
                unique_input=True,
                seed=SEED * 1000 + round_number,
            )
            over = asyncio.Event()
            work = asyncio.ensure_future(load.run(plan, stop=over, on_call=calls.append))
            # The moment is the point of this test; there is no event to wait for.
            await asyncio.sleep(dice.uniform(0.02, 0.6))
            gateway.signal(number)
            code = await asyncio.to_thread(gateway.wait)
            assert code == (-9 if number is signal.SIGKILL else 0), gateway.text
            over.set()
            await work
            await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(gateway.stop) == 0, gateway.text

        killed = number is signal.SIGKILL
        rows, quotas = read_sqlite(gateway.data / "gproxy.db")
        # A client that came after the listener had closed was refused; nobody promised otherwise without an upgrade.
        served = [call for call in calls if call.sent and not (call.broken and call.request_id is None)]
        found = reconcile(
            vendor.count_file,
            rows,
            quotas,
            price=per_million(prompt=1.0, output=2.0, cache_read=0.5),
            calls=calls if killed else served,
            killed=killed,
        )
        assert not found, table(found)
        assert len(rows) > 3 * ROUNDS
        assert sum(call.complete for call in calls) > ROUNDS


def test_two_processes_on_one_folder_adopt_a_dead_ones_journal_once(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        body = {"model": "sim~tokens=3", "messages": [{"role": "user", "content": "hi"}]}
        status, headers, _ = gateway.request("POST", "/main/v1/chat/completions", body)
        assert status == 200
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        twins = [rig.Gateway(folder, rig.seed(vendor.port)) for _ in range(2)]
        starters = [threading.Thread(target=twin.start) for twin in twins]
        try:
            for starter in starters:
                starter.start()
            for starter in starters:
                starter.join()
            rows = twins[0].rows(1)
            assert [row["request_id"] for row in rows] == [headers["x-request-id"]]
        finally:
            for twin in twins:
                twin.end()
