"""SIGTERM and SIGINT to a real process: streams finish, rows land, the exit is clean and in time."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import rig
from tests.process.streams import Call, many, running

pytestmark = pytest.mark.process

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.fixture
def fresh(folder: Path, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "4s") as made:
        yield made


async def _exit(gateway: rig.Gateway) -> int:
    return await asyncio.to_thread(gateway.wait, 60)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_idle_process_is_gone_at_once(folder: Path, vendor: rig.Vendor, number: signal.Signals) -> None:
    # Whoever waited for a deadline of the drain or of the workers would wait longer than `stop` does.
    with rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "600s", "--worker-timeout", "600s") as gateway:
        begin = time.monotonic()
        assert gateway.stop(number) == 0, gateway.text
        # A bound of the product, not a benchmark: the promise is 0.5 s, the rest is for a machine that is busy.
        assert time.monotonic() - begin < 3.0, gateway.text
        assert "gproxy stopped after" in gateway.text


@pytest.mark.parametrize("number", SIGNALS)
async def test_streams_in_flight_all_complete(fresh: rig.Gateway, number: signal.Signals) -> None:
    calls = many(fresh, 100, "sim~tokens=30~delay=0.04")
    async with running(calls) as together:
        fresh.signal(number)
        await together
        code = await _exit(fresh)
    assert [call.error for call in calls if not call.done] == []
    assert code == 0, fresh.text
    rows = fresh.rows()
    assert len(rows) == 100
    assert {row["outcome"] for row in rows} == {"complete"}
    assert {row["model_asked"] for row in rows} == {call.model for call in calls}
    assert {row["request_id"] for row in rows} == {call.headers["x-request-id"] for call in calls}
    (report,) = fresh.query("SELECT * FROM shutdowns")
    told = json.loads(next(value for value in report.values() if isinstance(value, str) and value.startswith("{")))
    assert (told["in_flight_at_start"], told["finished"], told["cut"], told["rows_left"]) == (100, 100, 0, 0)


async def test_buffered_answers_in_flight_all_arrive(fresh: rig.Gateway) -> None:
    calls = many(fresh, 40, "sim~tokens=5~first=1.0", stream=False)
    async with running(calls) as together:
        await asyncio.to_thread(_until_in_flight, fresh, 40)
        fresh.signal(signal.SIGTERM)
        await together
        code = await _exit(fresh)
    assert [(call.status, call.error) for call in calls if not call.done] == []
    assert code == 0
    assert len(fresh.rows()) == 40


async def test_endless_streams_are_cut_at_the_deadline_with_an_error_and_a_row(fresh: rig.Gateway) -> None:
    calls = many(fresh, 50, "sim~fail=endless~delay=0.05")
    async with running(calls) as together:
        begin = time.monotonic()
        fresh.signal(signal.SIGTERM)
        await together
        code = await _exit(fresh)
        took = time.monotonic() - begin
    assert code == 0, fresh.text
    assert took < 4 + 5 + 0.5, fresh.text
    assert all(call.whole for call in calls)
    assert all(b'"code":"draining"' in call.body for call in calls)
    rows = fresh.rows()
    assert len(rows) == 50
    assert {(row["outcome"], row["source"]) for row in rows} == {("interrupted", "estimated")}
    assert all(row["output_tokens"] > 0 for row in rows)


async def test_a_vendor_that_never_answers_is_given_up_at_the_deadline(fresh: rig.Gateway) -> None:
    calls = many(fresh, 10, "sim~fail=hang", stream=False)
    async with running(calls) as together:
        await asyncio.to_thread(_until_in_flight, fresh, 10)
        fresh.signal(signal.SIGTERM)
        await together
        code = await _exit(fresh)
    assert code == 0, fresh.text
    assert [call.status for call in calls] == [503] * 10
    assert {row["outcome"] for row in fresh.rows()} == {"interrupted"}


async def test_the_second_signal_ends_the_drain_but_not_the_flush(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "600s") as gateway:
        calls = many(gateway, 20, "sim~fail=endless~delay=0.05")
        async with running(calls) as together:
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(gateway.told, "shutdown", '"state":"draining"')
            gateway.signal(signal.SIGTERM)
            await together
            code = await _exit(gateway)
        assert code == 0, gateway.text
        assert len(gateway.rows()) == 20


async def test_the_third_signal_exits_now_and_the_next_start_has_every_row(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port), "--drain-timeout", "600s", "--worker-timeout", "600s") as gateway:
        calls = many(gateway, 20, "sim~fail=endless~delay=0.05")
        locker = sqlite3.connect(gateway.data / "gproxy.db", isolation_level=None)
        async with running(calls):
            locker.execute("BEGIN EXCLUSIVE")  # the flush cannot get through: the process waits in it
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(gateway.told, "shutdown", '"state":"draining"')
            gateway.signal(signal.SIGTERM)
            await asyncio.to_thread(gateway.told, "shutdown", '"state":"flushing"')
            gateway.signal(signal.SIGTERM)
            code = await _exit(gateway)
        locker.close()
        assert code == 75, gateway.text
        gateway.start()
        rows = gateway.rows(20)
        assert {row["model_asked"] for row in rows} == {call.model for call in calls}
        assert {row["outcome"] for row in rows} == {"interrupted"}
        assert gateway.stop() == 0


async def test_a_connection_accepted_before_the_signal_is_served_after_it(fresh: rig.Gateway) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", fresh.port) for _ in range(20)]
    # One answered request proves that everything accepted before it was accepted.
    assert fresh.request("GET", "/livez")[0] == 200
    slow = Call("sim~tokens=20~delay=0.05", True, fresh.port)
    async with running([slow]) as together:
        fresh.signal(signal.SIGTERM)
        await asyncio.to_thread(fresh.told, "shutdown", '"state":"draining"')
        heads = []
        for reader, writer in silent:
            writer.write(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n")
            heads.append((await reader.readuntil(b"\r\n\r\n")).lower())
            writer.close()
        await together
    assert all(head.startswith(b"http/1.1 200") and b"connection: close" in head for head in heads)
    assert await _exit(fresh) == 0


def test_readiness_says_no_before_the_listener_closes(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port), "--shutdown-delay", "600s") as gateway:
        gateway.signal(signal.SIGTERM)
        status, headers, content = rig.await_that(
            lambda: found if (found := gateway.request("GET", "/readyz"))[0] == 503 else None,
            gateway,
            "503 from readyz",
        )
        assert json.loads(content)["state"] == "lame_duck"
        status, headers, _ = gateway.request(
            "POST",
            "/v1/chat/completions",
            {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1},
        )
        assert (status, headers["connection"]) == (200, "close")
        assert gateway.stop() == 0


def test_sigterm_while_starting_ends_the_start(folder: Path, vendor: rig.Vendor) -> None:
    made = rig.Gateway(folder, rig.seed(vendor.port), env={"PYTHONUNBUFFERED": "1"})
    made.start(ready=False)
    try:
        made.signal(signal.SIGTERM)
        assert made.wait(30) in {0, -signal.SIGTERM}
        made.start()
        assert made.request("GET", "/readyz")[0] == 200
        assert made.stop() == 0
    finally:
        made.end()


def _until_in_flight(gateway: rig.Gateway, count: int) -> None:
    def probe() -> bool | None:
        _, _, content = gateway.request("GET", "/readyz")
        return True if json.loads(content)["in_flight"] >= count else None

    rig.await_that(probe, gateway, f"{count} requests in flight")
