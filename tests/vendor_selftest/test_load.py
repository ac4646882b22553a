from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from gproxy.vendor.server import VendorServer
from gproxy.vendor.tally import Figures
from tests.vendor.count import Count
from tests.vendor.load import DIALECTS, Call, Plan, read_log, run, summary, write_log
from tests.vendor.reconcile import per_million, reconcile
from tests.vendor_selftest.wire import count_of

PRICE = per_million(prompt=1, output=2)


def rows_of(count: Count, calls: list[Call]) -> list[dict[str, Any]]:
    """What an honest gateway would have written."""
    by_nonce = {call.nonce: call for call in calls}
    rows = []
    for attempt in count.attempts:
        call = by_nonce[attempt.nonce or ""]
        whole = attempt.how == "complete" and attempt.declared is not None
        output = attempt.declared.output if whole and attempt.declared else attempt.tokens_sent
        prompt = attempt.declared.input if attempt.declared else 0
        rows.append(
            {
                "attempt_id": f"a-{attempt.n}",
                "request_id": call.request_id or f"unknown-{attempt.n}",
                "at": attempt.at,
                "user_id": "u",
                "credential_id": "c",
                "operation": attempt.operation,
                "model_asked": f"main/{attempt.model}",
                "model_served": attempt.model,
                "input_tokens": prompt,
                "output_tokens": output,
                "cache_read_tokens": 0,
                "cache_write_5m_tokens": 0,
                "cache_write_1h_tokens": 0,
                "cost_nano_usd": PRICE({}, Figures(prompt, output)),
                "source": "reported" if whole else "partial",
                "outcome": "complete" if whole else "cancelled",
                "status": attempt.status,
                "attempt_no": 1,
                "excess_nano_usd": 0,
            }
        )
    return rows


async def test_a_mixed_load_reconciles_with_an_honest_ledger(vendor: VendorServer) -> None:
    plan = Plan(
        port=vendor.port,
        dialects=DIALECTS,
        count=160,
        concurrency=8,
        abort_share=0.2,
        tools_share=0.2,
        delay=0.001,
        unique_input=True,
        seed=11,
    )
    calls = await run(plan)
    assert len(calls) == 160
    assert [call.problem for call in calls if call.problem] == []
    reached = {attempt.nonce for attempt in count_of(vendor).attempts}
    await vendor.wait_ended(len(reached))
    count = count_of(vendor)
    rows = rows_of(count, calls)
    assert reconcile(count, rows, price=PRICE, calls=calls) == []
    assert {call.dialect for call in calls} == set(DIALECTS)
    assert 0 < sum(call.aborted is not None for call in calls) < 80
    for call in calls:
        if call.complete:
            (attempt,) = count.of_nonce(call.nonce)
            assert attempt.how == "complete"
    lost = rows.pop(50)
    assert [v.kind for v in reconcile(count, rows, price=PRICE, calls=calls)] == ["LOST"]
    rows.append(lost)


async def test_the_same_seed_sends_the_same_calls(vendor: VendorServer) -> None:
    plan = Plan(port=vendor.port, dialects=DIALECTS, count=30, seed=3, concurrency=3)
    first, second = await run(plan), await run(plan)

    def facts(calls: list[Call]) -> set[tuple[object, ...]]:
        return {(call.nonce, call.dialect, call.stream, call.script, call.tokens) for call in calls}

    assert facts(first) == facts(second)
    other = await run(Plan(port=vendor.port, dialects=DIALECTS, count=30, seed=4, concurrency=3))
    assert facts(first) != facts(other)


async def test_what_breaks_is_told_apart(vendor: VendorServer) -> None:
    def plan(script: str) -> Plan:
        return Plan(port=vendor.port, count=8, concurrency=2, stream_share=1, script=script, dialects=DIALECTS)

    for script, told in (
        ("fail=truncate", "closed inside"),
        ("fail=reset_before", "Reset"),
        ("fail=garbage", "not HTTP"),
    ):
        calls = await run(plan(script))
        assert all(told in (call.broken or "") for call in calls), script
        assert all(call.problem for call in calls)
    calls = await run(plan("fail=error_mid"))
    assert all(call.error and call.legal and not call.complete and call.problem is None for call in calls)
    calls = await run(plan("status=503"))
    assert all(call.status == 503 and call.legal and call.problem is None for call in calls)
    calls = await run(plan("fail=no_end"))
    assert all(call.problem for call in calls)
    calls = await run(plan("status=502,body=html"))
    assert all(call.problem for call in calls)


async def test_it_stops_when_told_and_survives_that_nobody_listens(vendor: VendorServer, tmp_path: Path) -> None:
    stop = asyncio.Event()
    calls = await run(Plan(port=vendor.port, count=None, concurrency=2), stop=stop, on_call=lambda _: stop.set())
    assert 0 < len(calls) <= 4
    write_log(tmp_path / "log", calls)
    assert read_log(tmp_path / "log") == calls
    await vendor.close()
    calls = await run(Plan(port=vendor.port, count=3, concurrency=1))
    assert all((call.broken or "").startswith("not connected") and not call.sent for call in calls)
    assert summary(calls)["broken"] == 3


def test_the_vendor_shares_no_code_with_what_it_judges() -> None:
    probe = (
        "import sys, gproxy.vendor.server; print('\\n'.join(sorted(m for m in sys.modules if m.startswith('gproxy'))))"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    allowed = ("gproxy.vendor", "gproxy.canonical", "gproxy.clock")
    assert [name for name in loaded if name != "gproxy" and not name.startswith(allowed)] == []
