"""A late first attempt and a second one beside it (D16): one row for each attempt, and one rule by which both are charged."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gproxy.routing.pace import ENOUGH
from tests.faults.engines import Row
from tests.faults.lab import Lab, lab
from tests.faults.test_failover import _provider
from tests.process import rig
from tests.vendor import load

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

ROUTE = """
[[routes]]
name = "quick"
strategy = "failover"
hedge_percentile = 95
members = [
  {{ provider_name = "one", model_id = "sim-model", tier = 0 }},
  {{ provider_name = "two", model_id = "sim-model", tier = 1 }},
]
{more}
"""
ASKING = {"one": "*-one-*", "two": "*-two-*"}


@contextlib.asynccontextmanager
async def hedged(
    folder: Path, *, stream: bool, more: str = "", dialect: str = "custom", usual: str = "tokens=3"
) -> AsyncIterator[Lab]:
    """A gateway whose route has learned how its first member answers: at once, unless `usual` says otherwise."""
    async with lab(folder / "lab") as one:
        port = one.vendor.port
        await one.start(extra=_provider("one", port, keys=1) + _provider("two", port, dialect, keys=1)
                        + ROUTE.format(more=more))  # fmt: skip
        await run(one, ENOUGH, usual, stream=stream, concurrency=1)
        yield one


async def run(one: Lab, count: int, script: str = "tokens=3", **options: Any) -> list[load.Call]:
    return await one.run(count, script, prefix="", model="quick", max_output=50, **options)


async def judged(one: Lab, *, tries: list[int]) -> list[list[Row]]:
    """The rows of each request after the first ones, by attempt; what the vendor saw is what the ledger says."""
    await one.stop()
    rows = await one.judge()
    # A second attempt may be outrun before the vendor has read it; the judge has seen that nothing else is missing.
    outrun = sum(row["outcome"] == "cancelled" and not row["output_tokens"] for row in rows)
    assert len(rows) - outrun <= len(one.attempts) <= len(rows)
    by_request: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["at"], row["attempt_no"])):
        by_request.setdefault(row["request_id"], []).append(row)
    late = list(by_request.values())[ENOUGH:]
    assert [len(each) for each in late] == tries
    return late


def outcomes(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row["provider_name"], row["outcome"]) for row in rows]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", ["custom", "anthropic"])
async def test_the_second_answers_and_the_first_is_charged_for_what_was_seen(
    tmp_path: Path, stream: bool, dialect: str
) -> None:
    async with hedged(tmp_path, stream=stream, dialect=dialect) as one:
        one.vendor.script("gate=first", credential="*")
        (call,) = await run(one, 1, stream=stream)
        await one.left(ENOUGH + 2)  # also the first answer has ended at the vendor, before the gateway is told to stop
        ((first, second),) = await judged(one, tries=[2])
    assert (call.status, call.complete, call.problem) == (200, True, None)
    assert (call.headers["x-gproxy-attempts"], call.headers["x-gproxy-provider"]) == ("2", "two")
    assert outcomes([first, second]) == [("one", "cancelled"), ("two", "complete")]
    assert [attempt.how for attempt in one.attempts[-2:]] == ["client_closed", "complete"]
    # The vendor was asked and said nothing yet: what was sent to it is charged, as of any attempt that is cut short.
    assert (first["source"], first["output_tokens"]) == ("estimated", 0)
    assert first["cost_nano_usd"] > 0
    if not stream:
        cost = sum(int(row["cost_nano_usd"]) for row in (first, second))
        assert round(float(call.headers["x-gproxy-cost"]) * 1e9) == cost


async def test_the_first_answers_after_all_and_the_second_is_outrun(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=True) as one:
        one.vendor.script("gate=slow")
        one.vendor.script("gate=never")
        asked = asyncio.ensure_future(run(one, 1, stream=True))
        await one.vendor.gate("never").arrived(1)
        await one.vendor.gate("slow").release()
        (call,) = await asked
        await one.left(ENOUGH + 2)
        (rows,) = await judged(one, tries=[2])
    assert call.complete
    assert (call.headers["x-gproxy-attempts"], call.headers["x-gproxy-provider"]) == ("2", "one")
    assert outcomes(rows) == [("one", "complete"), ("two", "cancelled")]


@pytest.mark.parametrize("fault", ["status=500", "status=400", "fail=error_200", "fail=html", "fail=reset_before"])
async def test_an_error_never_wins(tmp_path: Path, fault: str) -> None:
    async with hedged(tmp_path, stream=False) as one:
        one.vendor.script("gate=slow")
        one.vendor.script(fault)
        asked = asyncio.ensure_future(run(one, 1, stream=False))
        await one.seen(ENOUGH + 2)
        await one.left(ENOUGH + 1)  # the second has failed
        await one.vendor.gate("slow").release()
        (call,) = await asked
        (rows,) = await judged(one, tries=[2])
    assert (call.status, call.complete) == (200, True)
    assert outcomes(rows) == [("one", "complete"), ("two", "failed")]
    assert rows[1]["cost_nano_usd"] == 0


async def test_an_error_event_at_the_head_of_a_stream_never_wins(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=True) as one:
        one.vendor.script("gate=slow")
        one.vendor.script("fail=error_mid,at=0")
        asked = asyncio.ensure_future(run(one, 1, stream=True))
        await one.seen(ENOUGH + 2)
        await one.left(ENOUGH + 1)
        await one.vendor.gate("slow").release()
        (call,) = await asked
        (rows,) = await judged(one, tries=[2])
    assert (call.status, call.complete) == (200, True)
    assert outcomes(rows) == [("one", "complete"), ("two", "failed")]


async def test_where_both_fail_the_request_goes_on_like_any_other(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=False) as one:
        one.vendor.script("gate=slow,status=503")
        one.vendor.script("status=500")
        asked = asyncio.ensure_future(run(one, 1, stream=False))
        await one.seen(ENOUGH + 2)
        await one.left(ENOUGH + 1)
        await one.vendor.gate("slow").release()
        (call,) = await asked
        (rows,) = await judged(one, tries=[2])
    assert call.status == 502, "there is no third place to go to"
    assert outcomes(rows) == [("one", "failed"), ("two", "failed")]
    assert call.headers["x-gproxy-attempts"] == "2"


async def test_nothing_is_hedged_once_a_byte_has_reached_the_client(tmp_path: Path) -> None:
    # Late is what begins after more than a fifth of a second: the first byte of what begins at once comes before.
    async with hedged(tmp_path, stream=True, usual="tokens=3,first=0.2") as one:
        one.vendor.script("tokens=6,gate_mid=halfway")
        begun = asyncio.ensure_future(run(one, 1, stream=True))
        await one.vendor.gate("halfway").arrived(1)
        await _another_is_hedged(one, stream=True)
        await one.vendor.gate("halfway").release()
        await begun
        await judged(one, tries=[1, 2])


QUOTA = '\n[[quotas]]\nuser_name = "alice"\nquota = {quota}\n'
BIG = {"model": "quick", "max_tokens": 300_000, "messages": [{"role": "user", "content": "nonce:big hello"}]}


async def test_without_room_for_both_bounds_there_is_no_second_attempt(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=False, more=QUOTA.format(quota="1.0")) as one:
        one.vendor.script("gate=big")
        big = asyncio.ensure_future(asyncio.to_thread(one.gateway.request, "POST", "/v1/chat/completions", BIG))
        await one.vendor.gate("big").arrived(1)
        await _another_is_hedged(one, stream=False)
        await one.vendor.gate("big").release()
        status, headers, _ = await big
        assert (status, headers["x-gproxy-attempts"]) == (200, "1")
        await judged(one, tries=[1, 2])


async def _another_is_hedged(one: Lab, *, stream: bool) -> load.Call:
    """A request that came later and has its second attempt: for what came earlier the moment has passed too."""
    one.vendor.script("gate=never")
    (call,) = await run(one, 1, stream=stream)
    assert call.headers["x-gproxy-attempts"] == "2"
    return call


async def test_the_receipt_tells_what_both_cost(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=False, more=QUOTA.format(quota="1.0")) as one:
        call = await _another_is_hedged(one, stream=False)
        spent = await _at_rest(one)
        await judged(one, tries=[2])
    assert round(float(call.headers["x-gproxy-quota-remaining"]) * 1e9) == 1_000_000_000 - spent


async def _at_rest(one: Lab) -> int:
    """What the account has spent, once nothing is held any more and all rows are in."""
    await one.landed(len(one.attempts))
    rows = await one.place.query("SELECT cost_used_nano_usd FROM user_quotas")
    return int(rows[0]["cost_used_nano_usd"])


@pytest.mark.parametrize("leaves", ["before anything", "mid-stream"])
async def test_a_client_that_leaves_ends_both(tmp_path: Path, leaves: str) -> None:
    async with hedged(tmp_path, stream=True) as one:
        one.vendor.script("gate=slow")
        one.vendor.script("gate=slow" if leaves == "before anything" else "tokens=6,gate_mid=halfway")
        body = json.dumps(
            {"model": "quick", "stream": True, "messages": [{"role": "user", "content": "nonce:gone hello"}]}
        ).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", one.gateway.port)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {rig.ALICE}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await one.seen(ENOUGH + 2)
        if leaves == "mid-stream":
            await one.vendor.gate("halfway").arrived(1)
            await one.left(ENOUGH + 1)
        writer.close()
        await one.left(ENOUGH + 2)
        (rows,) = await judged(one, tries=[2])
    assert outcomes(rows) == [("one", "cancelled"), ("two", "cancelled")]
    assert [attempt.how for attempt in one.attempts[-2:]] == ["client_closed"] * 2


async def test_a_stop_settles_both(tmp_path: Path) -> None:
    async with lab(tmp_path / "lab") as one:
        one.drain = 0.5
        port = one.vendor.port
        await one.start(extra=_provider("one", port, keys=1) + _provider("two", port, keys=1) + ROUTE.format(more=""))
        await run(one, ENOUGH, stream=False, concurrency=1)
        one.vendor.script("gate=slow", times=2)
        asked = asyncio.ensure_future(run(one, 1, stream=False))
        await one.vendor.gate("slow").arrived(2)
        await one.stop()
        (call,) = await asked
        rows = await one.judge()
    assert (call.status, call.legal) == (503, True)
    late = sorted((row for row in rows if row["outcome"] != "complete"), key=lambda row: int(row["attempt_no"]))
    assert outcomes(late) == [("one", "interrupted"), ("two", "interrupted")]


async def test_under_load_every_attempt_has_its_row_and_few_are_made_twice(tmp_path: Path) -> None:
    async with hedged(tmp_path, stream=False, more=QUOTA.format(quota="100.0")) as one:
        before = len(one.attempts)
        # One in ten is slow at its first place only: the mark is learned from all of them.
        one.vendor.script("first=0.4", times=1_000_000, nonce="*7", credential="*one*")
        calls = await run(one, 600, "first=0.01", stream=False, stream_share=0.5, concurrency=8)
        await one.stop()
        rows = await one.judge()
        attempts = len(one.attempts) - before
    cancelled = [row for row in rows if row["outcome"] == "cancelled"]
    print(f"{len(calls)} calls, {attempts} attempts, {len(cancelled)} outrun")
    assert all(call.complete for call in calls)
    assert cancelled
    # A second attempt may be outrun before the vendor has read it; the judge asks that such a row charges no output.
    assert 0 <= len(rows) - len(one.attempts) <= len(cancelled)
    assert attempts <= 1.1 * len(calls) + 10, "second attempts count inside the retry budget"
