"""kill -9 at random moments under load: after the next start every attempt has exactly one row."""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from pathlib import Path

import pytest

from tests.process import rig
from tests.process.streams import Call, many

pytestmark = pytest.mark.process

ROUNDS = 10


async def test_no_attempt_is_lost_or_doubled(folder: Path, vendor: rig.Vendor) -> None:
    dice = random.Random(20261124)
    asked: set[str] = set()
    answered: dict[str, Call] = {}
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        for round_number in range(ROUNDS):
            calls = many(gateway, 30, f"sim~tokens=12~delay=0.01~text=r{round_number}")
            calls += many(gateway, 10, f"sim~tokens=4~text=b{round_number}", stream=False)
            asked |= {call.model for call in calls}
            work = asyncio.gather(*(call.run() for call in calls))
            # The moment is the point of this test; there is no event to wait for.
            await asyncio.sleep(dice.uniform(0.005, 0.25))
            gateway.signal(signal.SIGKILL)
            await asyncio.to_thread(gateway.wait)
            await work
            answered |= {call.model: call for call in calls if call.done}
            await asyncio.to_thread(gateway.start)
        assert await asyncio.to_thread(gateway.stop) == 0, gateway.text

        rows = gateway.rows()
        models = [row["model_asked"] for row in rows]
        assert len(models) == len(set(models)), "an attempt has two rows"
        seen = _seen_by_vendor(vendor, asked)
        assert seen - set(models) == set(), "the vendor saw attempts that have no row"
        assert set(models) <= asked
        by_model = {row["model_asked"]: row for row in rows}
        for model in set(models) - seen:
            # Killed between its open record and the vendor's reading of it.
            assert (by_model[model]["outcome"], by_model[model]["output_tokens"] or 0) == ("interrupted", 0)
        for model, call in answered.items():
            assert by_model[model]["outcome"] == "complete", model
            assert by_model[model]["request_id"] == call.headers["x-request-id"]
        (quota,) = gateway.query("SELECT COALESCE(SUM(cost_used_nano_usd), 0) AS used FROM user_quotas")
        assert quota["used"] == sum(row["cost_nano_usd"] for row in rows)


def _seen_by_vendor(vendor: rig.Vendor, asked: set[str]) -> set[str]:
    from tests.vendor.count import fold, read

    return {attempt.model for attempt in fold(read(vendor.count_file)) if attempt.model in asked}


def test_two_processes_on_one_folder_adopt_a_dead_ones_journal_once(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port)) as gateway:
        status, headers, _ = gateway.request(
            "POST",
            "/main/v1/chat/completions",
            {"model": "sim~tokens=3", "messages": [{"role": "user", "content": "hi"}]},
        )
        assert status == 200
        gateway.signal(signal.SIGKILL)
        gateway.wait()
        seed = gateway.folder / "gproxy.toml"
        twins = [rig.Gateway(folder, seed.read_text()) for _ in range(2)]
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
