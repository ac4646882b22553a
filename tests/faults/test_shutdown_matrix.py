"""Section A: a stop signal in every situation. What is asserted is the outcome: every promise kept, every row there,
the exit code, and the product's own bound (delay + drain + worker + 0.5 s), never a shorter time of this machine's."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults import engines
from tests.faults.engines import ENGINES, SERVERS
from tests.faults.lab import Lab, until, until_async
from tests.faults.lanes import SOAK, Cell, Lanes, Matrix
from tests.process import rig

pytestmark = [pytest.mark.process, pytest.mark.timeout(1200 if SOAK else 240)]
MATRIX = Matrix()
BOTH = (signal.SIGTERM, signal.SIGINT)
GATED = "gate_mid=hold,at=3"


@MATRIX.cell("A01", signals=BOTH, soak_engines=SERVERS)
async def idle(lab: Lab) -> None:
    await lab.start()
    await lab.stop()
    assert lab.journals() == []
    assert (await lab.report())["cut"] == 0
    with closing(socket.socket()) as probe:  # the port is free
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", lab.gateway.port))


@MATRIX.cell("A02", signals=BOTH)
async def idle_keep_alive_connections_are_closed_not_reset(lab: Lab) -> None:
    await lab.start()
    links = [await asyncio.open_connection("127.0.0.1", lab.gateway.port) for _ in range(300)]
    for _, writer in links:
        writer.write(b"GET /livez HTTP/1.1\r\nhost: test\r\n\r\n")
    for reader, _ in links:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
    lab.signal()
    ends = await asyncio.gather(*(reader.read() for reader, _ in links), return_exceptions=True)
    for _, writer in links:
        writer.close()
    assert ends == [b""] * len(links)
    assert (await lab.exit()).code == 0


@MATRIX.cell("A03", engines=("sqlite",), soak_engines=SERVERS, signals=BOTH)
async def buffered_answers_in_flight_all_arrive(lab: Lab) -> None:
    await lab.start()
    async with lab.loading(lab.plan(100, "gate=hold", stream=False)) as work:
        await lab.vendor.gate("hold").arrived(100)
        lab.signal()
        await lab.state("draining")
        await lab.vendor.gate("hold").release()
        await work
        assert (await lab.exit()).code == 0
    assert [call.nonce for call in lab.calls if not call.complete] == []
    assert all(call.told_close for call in lab.calls)
    rows = await lab.judge()
    assert len(rows) == 100
    assert lab.journals() == []


@MATRIX.cell("A04", engines=("sqlite", "mysql"), soak_engines=("postgres",), signals=BOTH)
async def streams_in_flight_reach_their_end(lab: Lab) -> None:
    await lab.start()
    async with lab.loading(lab.plan(200, f"tokens=12,{GATED}", stream=True)) as work:
        await lab.vendor.gate("hold").arrived(200)
        lab.signal()
        await lab.state("draining")
        await lab.vendor.gate("hold").release()
        await work
        assert (await lab.exit()).code == 0
    assert [call.nonce for call in lab.calls if not call.complete] == []
    rows = await lab.judge()
    assert {(row["outcome"], row["source"]) for row in rows} == {("complete", "reported")}
    report = await lab.report()
    assert (report["in_flight_at_start"], report["finished"], report["cut"], report["rows_left"]) == (200, 200, 0, 0)


@MATRIX.cell("A05", engines=("sqlite", "postgres"), soak_engines=("mysql",), signals=BOTH)
async def endless_streams_are_cut_with_an_error_event_and_a_row(lab: Lab) -> None:
    await lab.start()
    async with lab.loading(lab.plan(200, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(200)
        lab.signal()
        await work
        assert (await lab.exit()).code == 0
    assert [call.problem for call in lab.calls if call.error is None or call.problem] == []
    rows = await lab.judge(checkpoint_tokens=0)
    assert {row["outcome"] for row in rows} == {"interrupted"}
    assert all(row["output_tokens"] and row["cost_nano_usd"] for row in rows)
    await lab.left(200)
    assert {attempt.how for attempt in lab.attempts} == {"client_closed"}
    assert (await lab.report())["cut"] == 200


@MATRIX.cell("A06")
async def a_long_drain_ends_with_the_last_stream(lab: Lab) -> None:
    lab.drain = 600.0
    await lab.start()
    async with lab.loading(lab.plan(40, f"tokens=12,{GATED}", stream=True)) as work:
        await lab.vendor.gate("hold").arrived(40)
        lab.signal()
        await lab.state("draining")
        await lab.vendor.gate("hold").release()
        await work
        lab.drain, lab.signalled_at = 0.0, time.monotonic()  # nothing is left to wait for
        assert (await lab.exit()).code == 0
    assert [call.nonce for call in lab.calls if not call.complete] == []
    assert len(await lab.judge()) == 40


@MATRIX.cell("A06", soak=True)
async def streams_of_ten_minutes_reach_their_end(lab: Lab) -> None:
    lab.drain = 660.0
    await lab.start("--total-timeout=900s")
    async with lab.loading(lab.plan(200, "tokens=600,delay=1.0", stream=True, timeout=900.0)) as work:
        await lab.seen(200)
        lab.signal()
        await work
        lab.drain, lab.signalled_at = 0.0, time.monotonic()
        assert (await lab.exit()).code == 0
    assert [call.nonce for call in lab.calls if not call.complete] == []
    assert {row["source"] for row in await lab.judge()} == {"reported"}


@MATRIX.cell("A07", signals=BOTH, engines=("sqlite",), soak_engines=SERVERS)
async def a_vendor_that_never_answers_is_given_up(lab: Lab) -> None:
    await lab.start()
    async with lab.loading(lab.plan(20, "fail=hang", stream=False)) as work:
        await lab.seen(20)
        lab.signal()
        await work
        assert (await lab.exit()).code == 0
    assert {call.status for call in lab.calls} == {503}
    assert [call.problem for call in lab.calls if call.problem] == []
    assert {row["outcome"] for row in await lab.judge()} == {"interrupted"}


@MATRIX.cell("A08", signals=BOTH)
async def clients_that_stop_reading_are_dropped_and_billed_what_came(lab: Lab) -> None:
    await lab.start()
    links = []
    for number in range(50):
        body = json.dumps({
            "model": "sim-model", "stream": True,
            "messages": [{"role": "user", "content": f"nonce:deaf-{number} [[sim fail=endless]]"}],
        }).encode()  # fmt: skip
        reader, writer = await asyncio.open_connection("127.0.0.1", lab.gateway.port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket transport has it
        writer.write(
            b"POST /main/v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer " + rig.ALICE.encode()
            + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )  # fmt: skip
        links.append((reader, writer))
    await lab.seen(50)
    lab.signal()
    assert (await lab.exit()).code == 0
    for _, writer in links:
        writer.transport.abort()
    rows = await lab.judge()
    assert len(rows) == 50
    assert all(row["output_tokens"] and row["outcome"] == "interrupted" for row in rows)


@MATRIX.cell("A09", signals=BOTH)
async def a_request_whose_body_never_comes_leaves_no_row(lab: Lab) -> None:
    await lab.start()
    links = [await asyncio.open_connection("127.0.0.1", lab.gateway.port) for _ in range(20)]
    for _, writer in links:
        writer.write(
            b"POST /main/v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer " + rig.ALICE.encode()
            + b"\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
        )  # fmt: skip

    async def all_in_flight() -> bool:
        return int((await lab.get("/readyz"))[1]["in_flight"]) >= 20

    await until_async(all_in_flight, lambda: "20 half requests in flight")
    lab.signal()
    answers = await asyncio.gather(*(reader.read() for reader, _ in links))
    for _, writer in links:
        writer.close()
    assert (await lab.exit()).code == 0
    assert {answer[:13] for answer in answers} <= {b"HTTP/1.1 503 ", b"HTTP/1.1 408 "}
    assert await lab.judge() == []


@MATRIX.cell("A10", engines=("sqlite",), soak_engines=SERVERS, signals=BOTH)
async def connections_accepted_before_the_signal_are_served_after_it(lab: Lab) -> None:
    await lab.start()
    silent = [await asyncio.open_connection("127.0.0.1", lab.gateway.port) for _ in range(200)]
    await lab.get("/livez")  # an answer proves that everything before it was accepted
    async with lab.loading(lab.plan(1, f"tokens=12,{GATED}", stream=True)) as work:
        await lab.vendor.gate("hold").arrived(1)
        lab.signal()
        await lab.state("draining")
        for number, (_, writer) in enumerate(silent):
            body = json.dumps(
                {"model": "sim-model", "messages": [{"role": "user", "content": f"nonce:late-{number} hello"}]}
            ).encode()
            writer.write(
                b"POST /main/v1/chat/completions HTTP/1.1\r\nhost: t\r\nauthorization: Bearer " + rig.ALICE.encode()
                + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body
            )  # fmt: skip
        answers = await asyncio.gather(*(reader.read() for reader, _ in silent))
        await lab.vendor.gate("hold").release()
        await work
        assert (await lab.exit()).code == 0
    for _, writer in silent:
        writer.close()
    assert (
        sum(answer.startswith(b"HTTP/1.1 200") and b"connection: close" in answer.lower() for answer in answers) == 200
    )
    assert len(await lab.judge()) == 201


@MATRIX.cell("A11", engines=("sqlite",), soak_engines=SERVERS, signals=BOTH)
async def tight_keep_alive_clients_are_told_before_they_are_closed(lab: Lab) -> None:
    lab.delay = 0.5
    await lab.start()
    over = asyncio.Event()
    plan = lab.plan(None, "", stream=False, concurrency=40, tokens=(2, 2))
    async with lab.loading(plan, over):
        await lab.answered(500)
        lab.signal()
        found = await lab.exit()
        over.set()
    assert found.code == 0
    lost = [call for call in lab.calls if call.reused and call.sent and not call.complete]
    assert [(call.broken, call.status) for call in lost] == []
    # What came after the listener had closed was refused; without an upgrade in place nobody promised otherwise.
    served = [call for call in lab.calls if call.sent and not (call.broken and not call.request_id)]
    await lab.judge(calls=served)


@MATRIX.cell("A11", signals=BOTH)
async def the_next_request_on_a_connection_whose_stream_outlived_the_signal_is_served(lab: Lab) -> None:
    """The stream's head left before the signal and could not say that the connection will be closed."""
    await lab.start()
    # Each client streams once, then asks once more on the same connection, at once.
    async with lab.loading(lab.plan(80, f"tokens=12,{GATED}", stream=True, concurrency=40, timeout=30.0)) as work:
        await lab.vendor.gate("hold").arrived(40)
        lab.signal()
        await lab.state("draining")
        await lab.vendor.gate("hold").release()
        await work
        assert (await lab.exit()).code == 0
    assert [(call.reused, call.broken) for call in lab.calls if not call.complete] == []
    assert sum(call.reused for call in lab.calls) == 40
    assert len(await lab.judge()) == 80


@MATRIX.cell("A12", signals=BOTH)
async def the_accept_queue_is_emptied_before_the_listener_closes(lab: Lab) -> None:
    await lab.start()
    lab.gateway.signal(signal.SIGSTOP)
    try:
        # The kernel completes these handshakes for a process that does not run.
        plan = lab.plan(100, "", stream=False, fresh=True)
        async with lab.loading(plan) as work:
            await until(lambda: _queued(lab.gateway.port) >= 100, lambda: "100 connections in the accept queue")
            lab.signal()
            lab.gateway.signal(signal.SIGCONT)
            await work
            assert (await lab.exit()).code == 0
    finally:
        if lab.gateway.popen.poll() is None:
            lab.gateway.signal(signal.SIGCONT)
    assert [call.broken for call in lab.calls if not call.complete] == []
    assert len(await lab.judge()) == 100


def _queued(port: int) -> int:
    """Connections the kernel has accepted and the process has not: the receive queue of the listening socket."""
    with Path("/proc/net/tcp").open(encoding="ascii") as table:
        for line in table:
            fields = line.split()
            if fields[3] == "0A" and fields[1].endswith(f":{port:04X}"):
                return int(fields[4].split(":")[1], 16)
    return 0


@MATRIX.cell("A13", signals=BOTH, soak_engines=SERVERS)
async def the_second_signal_ends_the_drain_not_the_flush(lab: Lab) -> None:
    lab.drain = 600.0
    await lab.start()
    async with lab.loading(lab.plan(30, "fail=endless,delay=0.1", stream=True)) as work:
        await lab.seen(30)
        lab.signal()
        await lab.state("draining")
        lab.drain, lab.signalled_at = 0.0, None  # from the second signal on the drain is over
        lab.signal()
        await work
        assert (await lab.exit()).code == 0
    assert len(await lab.judge()) == 30


@MATRIX.cell("A13", signals=BOTH)
async def the_second_signal_ends_the_lame_duck_time_too(lab: Lab) -> None:
    lab.delay = 600.0
    await lab.start()
    await lab.run(5)
    lab.signal()
    await lab.state("lame_duck")
    lab.delay, lab.signalled_at = 0.0, None
    lab.signal()
    assert (await lab.exit()).code == 0
    assert len(await lab.judge()) == 5


@MATRIX.cell("A13", engines=ENGINES)
async def the_second_signal_during_the_flush_changes_nothing(lab: Lab) -> None:
    await lab.start()
    async with engines.locked(lab.place):
        await lab.run(20)
        lab.signal()
        await lab.state("flushing")
        lab.signal()
    assert (await lab.exit()).code == 0
    assert len(await lab.judge()) == 20


@MATRIX.cell("A14", engines=ENGINES)
async def the_third_signal_exits_now_and_the_journal_has_it_all(lab: Lab) -> None:
    await lab.start()
    async with engines.locked(lab.place):
        await lab.run(20)
        lab.signal()
        await lab.state("flushing")
        lab.signal()
        lab.signal()
        assert (await lab.exit()).code == 75
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge()) == 20


@MATRIX.cell("A15", engines=SERVERS, proxied=True)
async def sigterm_while_the_database_hangs_at_start(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.proxy.set("blackhole")
    await _stopped_while_starting(lab, lab.proxy.touched.wait())


@MATRIX.cell("A15", engines=SERVERS, proxied=True)
async def sigterm_while_the_database_is_away_at_start(lab: Lab) -> None:
    assert lab.proxy is not None
    await lab.proxy.set("refuse")
    lab.gateway = lab.make()
    await _stopped_while_starting(lab, lab.told("waiting for the database"))


@MATRIX.cell("A19", engines=SERVERS, proxied=True, signals=BOTH)
async def sigterm_during_a_migration_leaves_none_or_all_of_it(lab: Lab) -> None:
    assert lab.proxy is not None
    lab.proxy.on_client = lambda data: "stall" if b"CREATE TABLE user_quotas" in data else "pass"
    await _stopped_while_starting(lab, lab.proxy.stalled.wait())


@MATRIX.cell("A19", signals=BOTH)
async def sigterm_while_another_process_migrates(lab: Lab) -> None:
    await lab.start()
    await lab.stop()
    lab.signalled_at = None
    async with engines.locked(lab.place):
        lab.gateway.start(ready=False)
        # The lock lets nobody in: who has the file open waits for it, or is about to.
        await until(lambda: _has_open(lab.gateway.popen.pid, lab.place.path), lambda: "the database being opened")
        lab.signal()
        assert (await lab.exit()).code in {0, 1}
    await lab.restart()
    await lab.stop()


def _has_open(pid: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):  # it opens and closes files meanwhile
        return any(each.readlink() == path for each in Path(f"/proc/{pid}/fd").iterdir())
    return False


async def _stopped_while_starting(lab: Lab, blocked: object) -> None:
    if not hasattr(lab, "gateway"):
        lab.gateway = lab.make()
    lab.gateway.start(ready=False)
    async with asyncio.timeout(30):
        await blocked  # type: ignore[misc]  # a coroutine
    lab.drain, lab.worker, lab.delay = 0.0, 1.5, 0.0  # the promise for a start is two seconds
    lab.signal()
    assert (await lab.exit()).code == 0, lab.gateway.text
    assert lab.proxy is not None
    lab.proxy.on_client = lambda _: "pass"
    await lab.proxy.set("pass")
    lab.drain, lab.worker = 4.0, 5.0
    await lab.restart()
    await lab.run(3)
    await lab.stop()
    assert len(await lab.judge()) == 3


@MATRIX.cell("A20", engines=ENGINES, signals=BOTH)
async def a_locked_database_leaves_the_rows_in_the_journal(lab: Lab) -> None:
    await lab.start()
    await lab.run(10)
    await lab.landed(10)
    async with engines.locked(lab.place):
        await lab.run(40)
        await lab.stop(expect=75)
        assert len(lab.journals()) == 1
    await lab.restart()
    await lab.landed(50)
    await lab.stop()
    assert len(await lab.judge()) == 50
    assert lab.journals() == []


@MATRIX.cell("A21", engines=SERVERS, proxied=True, signals=BOTH)
async def a_database_that_went_away_leaves_the_rows_in_the_journal(lab: Lab) -> None:
    await _without_database(lab, "refuse")


@MATRIX.cell("A22", engines=SERVERS, proxied=True, signals=BOTH)
async def a_database_that_hangs_leaves_the_rows_in_the_journal(lab: Lab) -> None:
    await _without_database(lab, "blackhole")


@MATRIX.cell("A22", engines=SERVERS, proxied=True, signals=BOTH)
async def a_database_that_closed_its_side_leaves_the_rows_in_the_journal(lab: Lab) -> None:
    await _without_database(lab, "half_close")


async def _without_database(lab: Lab, mode: str) -> None:
    assert lab.proxy is not None
    await lab.start()
    await lab.run(10)
    await lab.landed(10)
    await lab.proxy.set(mode)  # type: ignore[arg-type]  # one of its modes
    assert {call.complete for call in await lab.run(40)} == {True}
    await lab.stop(expect=75)
    await lab.proxy.set("pass")
    await lab.restart()
    await lab.landed(50)
    await lab.stop()
    assert len(await lab.judge()) == 50
    assert lab.journals() == []


@MATRIX.cell("A21", engines=SERVERS, proxied=True)
async def rows_of_a_dead_process_are_told_by_the_exit_code_of_the_next(lab: Lab) -> None:
    """0 says that everything is in the database: what an earlier process left behind counts too."""
    assert lab.proxy is not None
    await lab.start()
    lab.proxy.on_client = lambda data: "cut" if b"INTO usages" in data else "pass"
    assert all(call.complete for call in await lab.run(20))
    await lab.kill()
    await lab.restart()
    assert len(lab.journals()) == 2
    await lab.stop(expect=75)
    assert len(lab.journals()) == 1
    assert json.loads(lab.gateway.lines('"event":"stopped"')[0])["rows_left"] == 20
    await lab.proxy.set("refuse")
    lab.signalled_at = None
    lab.gateway.start(ready=False)
    await lab.told("waiting for the database")
    await lab.stop(expect=75)
    lab.proxy.on_client = lambda _: "pass"
    await lab.proxy.set("pass")
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge(killed=True)) == 20
    assert lab.journals() == []


@MATRIX.cell("A25", engines=("sqlite",), soak_engines=SERVERS)
async def credential_states_inside_their_debounce_are_flushed(lab: Lab) -> None:
    keys = ", ".join(f'{{ api_key = "bad-{number:02d}" }}' for number in range(50))
    extra = f"""
[[providers]]
name = "many"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{lab.vendor.port}/v1", dialect = "openai_chat" }}
credentials = [ {keys} ]
"""
    await lab.start("--max-attempts=1", extra=extra)
    for _ in range(50):
        status, _, _ = await asyncio.to_thread(
            lab.gateway.request, "POST", "/many/v1/chat/completions",
            {"model": "sim-model", "messages": [{"role": "user", "content": "hi"}]},
        )  # fmt: skip
        assert status in {401, 502, 503}
    lab.signal()
    assert (await lab.exit()).code == 0
    states = await lab.place.query("SELECT credential_id FROM credential_statuses WHERE state = 'disabled'")
    assert len(states) == 50
    await lab.judge()


@MATRIX.cell("A26", engines=("sqlite",), soak_engines=SERVERS)
async def a_long_queue_is_flushed_or_left_but_never_lost(lab: Lab) -> None:
    await lab.start()
    async with engines.locked(lab.place):
        await lab.run(1000, "", concurrency=24, tokens=(1, 1))
        lab.signal()
        await lab.state("flushing")
    found = await lab.exit()
    assert found.code in {0, 75}
    report = json.loads(next(line for line in lab.gateway.err if b'"event":"stopped"' in line))
    assert found.code == (75 if report["rows_left"] or report["late_workers"] else 0)
    await lab.restart()
    await lab.stop()
    assert len(await lab.judge()) == 1000


@pytest.mark.parametrize("cell", MATRIX.params())
def test_shutdown(cell: Cell, lanes: Lanes) -> None:
    lanes.result(cell)
