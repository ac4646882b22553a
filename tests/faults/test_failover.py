"""A vendor that dies under load, one that fails half of everything, and conversations that stay where their cache is."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path

import pytest

from gproxy.vendor.behaviour import Behaviour
from gproxy.vendor.server import VendorServer
from gproxy.vendor.tally import Tally
from tests.faults.engines import Row
from tests.faults.lab import Lab, lab
from tests.faults.lanes import SOAK
from tests.process import rig
from tests.vendor.load import Call

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def _provider(name: str, port: int, channel: str = "custom", *, keys: int = 2, rotation: str = "round_robin") -> str:
    credentials = ", ".join(f'{{ api_key = "{rig.VENDOR_KEY}-{name}-{number}" }}' for number in range(keys))
    return f"""
[[providers]]
name = "{name}"
channel = "{channel}"
settings = {{ base_url = "http://127.0.0.1:{port}", rotation = "{rotation}" }}
credentials = [ {credentials} ]

[[models]]
provider_name = "{name}"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0, cache_read = 0.5 }}
"""


async def test_a_vendor_dies_under_load_behind_a_route_of_two_dialects(tmp_path: Path) -> None:
    async with lab(tmp_path / "lab") as one:
        doomed = VendorServer(control=True)
        doomed.tally.close()
        doomed.tally = one.vendor.tally  # one count, as if it were one network
        port = await doomed.start()
        route = """
[[routes]]
name = "duo"
strategy = "failover"
members = [
  { provider_name = "doomed", model_id = "sim-model", tier = 0 },
  { provider_name = "spare", model_id = "sim-model", tier = 1 },
]
"""
        extra = _provider("doomed", port, "anthropic") + _provider("spare", one.vendor.port) + route
        await one.start(extra=extra)
        stop = asyncio.Event()
        dialects = ("openai_chat", "anthropic_messages")
        plan = one.plan(
            None, "first=0.02,delay=0.01", stream=True, prefix="", model="duo", dialects=dialects, concurrency=12,
            stream_share=0.5, max_output=100,
        )  # fmt: skip
        async with one.loading(plan, stop):
            await one.seen(60)
            doomed.tally = Tally(None)
            await doomed.close()
            await one.answered(260)
            stop.set()
        rows = await _settled(one)
    assert [call.problem for call in one.calls if call.problem] == []
    failed = [call for call in one.calls if not call.complete]
    # Only a stream that had begun when its vendor died ends with an error; nobody else notices.
    assert all(call.stream and call.status == 200 and call.first_byte for call in failed)
    assert {call.headers["x-gproxy-provider"] for call in failed} <= {"doomed"}
    print(f"{len(one.calls)} calls, {len(failed)} streams broken by the vendor's death, {len(rows)} rows")
    by = {name: [row for row in rows if row["provider_name"] == name] for name in ("doomed", "spare")}
    assert len(by["doomed"]) > 20
    assert len(by["spare"]) > 100
    assert any(row["attempt_no"] > 1 for row in by["spare"]), "nobody was in flight when the vendor died"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=[] if SOAK else [pytest.mark.soak])])
async def test_a_vendor_that_fails_half_of_everything_gets_no_storm_of_retries(tmp_path: Path, seconds: int) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("shaky", one.vendor.port, keys=8))
        one.vendor.script("status=500", times=1_000_000, nonce="*[13579]")
        stop = asyncio.Event()
        plan = one.plan(None, "first=0.005", stream=False, prefix="/shaky", concurrency=8)
        async with one.loading(plan, stop):
            await asyncio.sleep(seconds)  # the storm's length, not a wait for something
            stop.set()
        asked = {attempt.nonce for attempt in one.attempts}
        attempts = len(one.attempts)
        one.vendor.scripts.queued.clear()
        over, good = time.monotonic(), 0
        while good < 20:
            status = await _ask(one, "shaky")
            good = good + 1 if status == 200 else 0
            assert time.monotonic() - over < 10, "no recovery within 10 s"
            if status != 200:
                await asyncio.sleep(0.05)  # an impatient client's pace: its credentials rest for a time of their own
        took = time.monotonic() - over
        await _settled(one)
    assert len(asked) > 50
    # A budget's least is ten a minute; in a storm of a minute its share is the larger by far.
    assert attempts <= 1.1 * len(asked) + (10 if seconds < 60 else 0)
    print(f"{len(one.calls)} calls, {len(asked)} reached the vendor in {attempts} attempts, well after {took:.2f} s")
    assert [call.problem for call in one.calls if call.problem] == []


async def _ask(one: Lab, provider: str) -> int:
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "nonce:after-0 hello"}]}
    status, _, _ = await asyncio.to_thread(one.gateway.request, "POST", f"/{provider}/v1/chat/completions", body)
    return status


async def _settled(one: Lab) -> list[Row]:
    """Every row is in, and they are what the vendors counted."""
    await one.stop()
    return await one.judge(unreachable=True)


async def test_all_credentials_dead_is_said_at_once(tmp_path: Path) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("dead", one.vendor.port, keys=3).replace(rig.VENDOR_KEY, "bad-key"))
        first = await _ask(one, "dead")
        seen = one.vendor.tally.seen_count
        calls = await one.run(20, prefix="/dead", concurrency=1)
    assert (first, seen) == (503, 3)
    assert one.vendor.tally.seen_count == seen
    assert {(call.status, call.legal) for call in calls} == {(503, True)}
    assert all("retry-after" in call.headers for call in calls)
    # The middle one of twenty: a machine that is busy with something else may hold up a few.
    assert sorted(call.total for call in calls)[10] <= 0.05


def turns(conversation: int, turn: int) -> list[dict[str, str]]:
    """A conversation as its client sends it again and again, longer each time."""
    said = [f"conversation {conversation} says {n}: " + "many words to remember " * 12 for n in range(2 * turn + 1)]
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(said)]


async def test_conversations_stay_on_the_credential_that_holds_their_cache(tmp_path: Path) -> None:
    async with lab(tmp_path / "lab") as one:
        one.vendor.default = Behaviour(prefix_cache=True)
        rotations = ("cache_affinity", "round_robin")
        extra = "".join(_provider(name, one.vendor.port, keys=4, rotation=name) for name in rotations)
        gateway = await one.start(extra=extra)
        hits = dict.fromkeys(rotations, 0)
        before: dict[tuple[str, int], int] = {}
        follow_ups = 0
        dice = random.Random(7)
        for turn in range(6):
            for conversation in dice.sample(range(13), 13):
                body = {"model": "sim-model", "messages": turns(conversation, turn)}
                follow_ups += turn > 0
                for rotation in rotations:
                    status, _, answer = await asyncio.to_thread(
                        gateway.request, "POST", f"/{rotation}/v1/chat/completions", body
                    )
                    assert status == 200, answer
                    usage = json.loads(answer)["usage"]
                    # A hit read from the cache what the conversation was before this turn.
                    cached = usage["prompt_tokens_details"]["cached_tokens"]
                    hits[rotation] += turn > 0 and cached >= 0.9 * before[rotation, conversation]
                    before[rotation, conversation] = usage["prompt_tokens"]
        await _settled(one)
    rates = {rotation: count / follow_ups for rotation, count in hits.items()}
    print(f"hit rates over {follow_ups} follow-up turns: {rates}")
    assert rates["cache_affinity"] >= 0.95
    assert rates["round_robin"] <= 0.6


PAIR = """
[[routes]]
name = "pair"
strategy = "failover"
members = [
  { provider_name = "first", model_id = "sim-model", tier = 0 },
  { provider_name = "spare", model_id = "sim-model", tier = 1 },
]
"""
DIALECTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
CHANNELS = ("custom", "openai", "anthropic", "aistudio")
FIRST = "fail=error_mid,at=0"
"""The dialect's own error event, and nothing before it."""


def _tries(rows: list[Row]) -> list[tuple[str, str, int]]:
    rows = sorted(rows, key=lambda row: (row["at"], row["attempt_no"]))
    return [(row["provider_name"], row["outcome"], row["attempt_no"]) for row in rows]


async def _in_each_dialect(one: Lab, script: str, times: int = 1) -> list[Call]:
    """One stream after the other; the vendor begins to misbehave anew before each."""
    calls: list[Call] = []
    for dialect in DIALECTS:
        one.vendor.script(script, times=times)
        calls += await one.run(1, stream=True, prefix="/first", dialects=(dialect,))
    return calls


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_stream_that_starts_with_an_error_is_a_failed_attempt(tmp_path: Path, channel: str) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("first", one.vendor.port, channel, keys=8))
        calls = await _in_each_dialect(one, f"{FIRST},status=500")
        rows = await _settled(one)
    assert [(call.status, call.complete, call.problem) for call in calls] == [(200, True, None)] * 4
    assert _tries(rows) == [("first", "failed", 1), ("first", "complete", 2)] * 4
    assert {row["cost_nano_usd"] for row in rows if row["outcome"] == "failed"} == {0}


async def test_a_stream_that_starts_with_an_error_goes_on_to_the_next_member(tmp_path: Path) -> None:
    async with lab(tmp_path / "lab") as one:
        port = one.vendor.port
        await one.start(extra=_provider("first", port, keys=1) + _provider("spare", port, "anthropic") + PAIR)
        one.vendor.script(f"{FIRST},status=429")
        (call,) = await one.run(1, stream=True, prefix="", model="pair")
        rows = await _settled(one)
    assert (call.status, call.complete, call.headers["x-gproxy-attempts"]) == (200, True, "2")
    assert _tries(rows) == [("first", "failed", 1), ("spare", "complete", 2)]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(("status", "told"), [(401, 503), (429, 429), (500, 502)])
async def test_an_error_that_starts_a_stream_means_what_its_status_would_have_meant(
    tmp_path: Path, channel: str, status: int, told: int
) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("first", one.vendor.port, channel, keys=1))
        one.vendor.script(f"{FIRST},status={status}")
        calls = await one.run(1, stream=True, prefix="/first")
        calls += await one.run(1, stream=True, prefix="/first")
        rows = await _settled(one)
    # The second finds the only credential resting, or out of service.
    assert [(call.status, call.legal) for call in calls] == [(told, True), (503, True)]
    assert _tries(rows) == [("first", "failed", 1)]


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_complaint_that_starts_a_stream_is_the_answer_with_its_status(tmp_path: Path, channel: str) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("first", one.vendor.port, channel, keys=2))
        calls = await _in_each_dialect(one, f"{FIRST},status=400,code=context_length_exceeded")
        rows = await _settled(one)
    assert [(call.status, call.legal) for call in calls] == [(400, True)] * 4
    assert _tries(rows) == [("first", "failed", 1)] * 4


@pytest.mark.parametrize("fault", ["fail=html", "fail=empty_200", "fail=empty_events,size=10"])
@pytest.mark.parametrize("channel", CHANNELS)
async def test_what_is_no_stream_never_reaches_a_client(tmp_path: Path, channel: str, fault: str) -> None:
    async with lab(tmp_path / "lab") as one:
        await one.start(extra=_provider("first", one.vendor.port, channel, keys=4))
        calls = await _in_each_dialect(one, fault, times=1000)
        rows = await _settled(one)
    assert {(call.status, call.legal) for call in calls} <= {(502, True), (503, True)}
    assert calls[0].status == 502
    assert int(calls[0].headers["x-gproxy-attempts"]) > 1
    assert {row["outcome"] for row in rows} == {"failed"}
