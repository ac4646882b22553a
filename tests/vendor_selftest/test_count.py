from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gproxy.vendor.server import VendorServer
from gproxy.vendor.tally import End, Figures, Seen, Tally
from tests.vendor.count import credential_digest, fold, read_count
from tests.vendor.load import Plan, run
from tests.vendor_selftest.wire import ask, count_of, post, request, talk

Started = tuple["subprocess.Popen[bytes]", int]


def start(count_file: Path, *more: str) -> Started:
    command = [sys.executable, "-m", "tests.vendor", "--count-file", str(count_file), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    return process, int(json.loads(process.stdout.readline())["port"])


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Started]]:
    running: list[Started] = []
    yield running
    for process, _ in running:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_fold_joins_the_two_lines() -> None:
    tally = Tally(None)
    assert tally.next_number() == 1
    tally.seen(Seen(1, "r", 5, "POST", "/x", "m", nonce="a", operation="stream"))
    tally.seen(Seen(2, "r", 6, "POST", "/x", "m"))
    tally.end(End(1, "r", 9, "cut", 200, Figures(1, 2), tokens_sent=1))
    count = fold(tally.lines().split(b"\n"))
    assert (count.torn, count.problems) == (0, [])
    first, second = count.attempts
    assert (first.how, first.declared, first.tokens_sent, first.nonce) == ("cut", Figures(1, 2), 1, "a")
    assert second.how is None
    assert count.open == [second]
    assert count.of_nonce("a") == [first]


def test_a_broken_count_says_so() -> None:
    one = b'{"ev":"seen","n":1,"run":"r","at":1,"method":"POST","path":"/","model":"m"}'
    three = one.replace(b'"n":1', b'"n":3')
    end = b'{"ev":"end","n":1,"run":"r","at":1,"how":"complete"}'
    assert fold([one, three]).problems == ["1 attempt numbers are missing, only 0 lines are torn"]
    assert fold([one, b'{"ev":"seen","n":2,"ru', three]).problems == []  # a crash tore the second one
    assert fold([one, b'{"ev":"seen","n":2,"ru', three]).torn == 1
    assert "counted twice" in fold([one, one]).problems[0]
    assert "ended twice" in fold([one, end, end]).problems[0]
    assert "never seen" in fold([end]).problems[0]


def test_numbers_go_on_and_a_torn_tail_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "count"
    first = Tally(path)
    for _ in range(3):
        number = first.next_number()
        first.seen(Seen(number, first.run, 1, "POST", "/", "m"))
    first.close()
    with path.open("ab") as file:
        file.write(b'{"ev":"end","n":3,"r')
    second = Tally(path)
    assert second.next_number() == 4
    second.seen(Seen(4, second.run, 1, "POST", "/", "m"))
    second.close()
    count = read_count(path)
    assert [attempt.n for attempt in count.attempts] == [1, 2, 3, 4]
    assert (count.torn, count.problems) == (1, [])
    assert read_count(tmp_path / "absent").attempts == []


async def test_the_key_is_never_written(vendor: VendorServer) -> None:
    secret = "sk-very-secret-1234"
    for name in ("authorization: Bearer ", "x-api-key: ", "x-goog-api-key: ", "api-key: "):
        data = f"GET /v1/models HTTP/1.1\r\nhost: v\r\n{name}{secret}\r\n\r\n".encode()
        assert (await talk(vendor, data)).status == 200
    assert (await talk(vendor, f"GET /v1/models?key={secret} HTTP/1.1\r\nhost: v\r\n\r\n".encode())).status == 200
    lines = vendor.tally.lines()
    assert secret[-4:].encode() not in lines
    assert {one.credential for one in count_of(vendor).attempts} == {credential_digest(secret)}


async def test_it_notes_what_may_correlate(vendor: VendorServer) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi nonce:n-1"}]}
    headers = {"x-client-request-id": "c-1", "traceparent": "00-aa-bb-01", "cookie": "secret=1"}
    await talk(vendor, post("/v1/chat/completions", body, headers=headers))
    (counted,) = count_of(vendor).attempts
    assert counted.nonce == "n-1"
    assert counted.correlation == {"x-client-request-id": "c-1", "traceparent": "00-aa-bb-01"}
    assert b"secret=1" not in vendor.tally.lines()


async def test_sent_counts_stop_where_the_client_left(vendor: VendorServer) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(request("openai_chat", "sim/tokens=50,at=11,gate_mid=g", stream=True))
    await vendor.gate("g").arrived(1)
    writer.transport.abort()
    await vendor.wait_ended(1)
    (counted,) = count_of(vendor).attempts
    assert (counted.how, counted.tokens_sent, counted.usage_sent) == ("client_closed", 10, False)
    assert counted.declared == Figures(input=2, output=50)


async def test_the_vendor_stopping_is_no_ones_fault(tmp_path: Path) -> None:
    server = VendorServer(count_file=tmp_path / "c")
    await server.start()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request("openai_chat", "sim/gate=never"))
    await server.gate("never").arrived(1)
    await server.close()
    writer.transport.abort()
    assert read_count(tmp_path / "c").attempts[0].how == "stopped"


@pytest.mark.process
async def test_the_count_survives_kill_9_and_goes_on(tmp_path: Path, started: list[Started]) -> None:
    path = tmp_path / "count.jsonl"
    process, port = start(path)
    started.append((process, port))
    arrived = asyncio.Event()
    log: list[str] = []

    def note(call: object) -> None:
        log.append(str(call))
        if len(log) >= 60:
            arrived.set()

    stop = asyncio.Event()
    plan = Plan(port=port, count=None, concurrency=8, delay=0.001, seed=4, timeout=10)
    load = asyncio.get_running_loop().create_task(run(plan, stop=stop, on_call=note), name="load")
    await arrived.wait()
    process.send_signal(signal.SIGKILL)
    process.wait()
    stop.set()
    calls = await load
    before = read_count(path)
    assert before.problems == []
    assert before.torn <= 1
    # Every call that a client saw complete is in the count exactly once, and complete. A line is written when the
    # kernel has taken the answer, by the one thread there is: the kill can come between the two for one call only.
    unfinished = 0
    for call in calls:
        if call.complete:
            (counted,) = before.of_nonce(call.nonce)
            if counted.how is None:
                unfinished += 1
                continue
            assert counted.declared is not None
            assert counted.tokens_sent == counted.declared.output
    assert unfinished <= 1

    process, port = start(path)
    started.append((process, port))
    again = await run(Plan(port=port, count=20, seed=5))
    assert all(call.complete for call in again)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    after = read_count(path)
    assert after.problems == []
    assert len(after.attempts) == len(before.attempts) + 20
    assert after.attempts[-1].n == after.attempts[-20].n + 19


@pytest.mark.process
def test_the_tool_ends_on_sigterm_with_streams_open(tmp_path: Path, started: list[Started]) -> None:
    process, port = start(tmp_path / "count", "--script", "delay=5")
    started.append((process, port))

    async def hold() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("openai_chat", "sim", stream=True))
        await reader.readuntil(b"\r\n\r\n")
        os.kill(process.pid, signal.SIGTERM)
        while await reader.read(4096):
            pass
        writer.close()

    async def guarded() -> None:
        try:
            await hold()
        except ConnectionResetError:
            return

    asyncio.run(guarded())
    assert process.wait(10) == 0
    assert read_count(tmp_path / "count").attempts[0].how == "stopped"


@pytest.mark.process
async def test_the_control_endpoint_drives_another_process(tmp_path: Path, started: list[Started]) -> None:
    process, port = start(tmp_path / "count")
    started.append((process, port))

    class Far(VendorServer):
        """Only the port matters to the blunt client."""

    far = Far()
    far.port = port

    async def control(method: str, path: str, body: object = None) -> tuple[int, bytes]:
        payload = json.dumps(body).encode() if body is not None else b""
        head = f"{method} /_vendor/{path} HTTP/1.1\r\nhost: v\r\nconnection: close\r\n"
        heard = await talk(far, f"{head}content-length: {len(payload)}\r\n\r\n".encode() + payload)
        return heard.status, heard.body

    assert (await control("POST", "scripts", {"script": "status=503,gate=hold", "match": {"model": "m*"}}))[0] == 201
    assert json.loads((await control("GET", "scripts"))[1])[0]["match"] == {"model": "m*"}
    held = asyncio.get_running_loop().create_task(ask(far, "openai_chat", "mine"), name="held")
    status, body = await control("GET", "gates/hold?waiting=1")
    assert (status, json.loads(body)["waiting"]) == (200, 1)
    assert (await control("POST", "gates/hold"))[0] == 200
    assert (await held).status == 503
    status, body = await control("GET", "attempts?ended=1")
    assert fold(body.split(b"\n")).attempts[0].status == 503
    assert (await control("POST", "default", {"script": {"tokens": 2}}))[0] == 200
    assert (await ask(far, "openai_chat", "m")).json()["usage"]["completion_tokens"] == 2
    assert (await control("DELETE", "scripts"))[0] == 200
    bodies: tuple[object, ...] = (
        {"script": "what=1"},
        {"script": 7},
        {"script": "", "match": {"moon": "full"}},
        [],
        {"match": 3},
    )
    for bad in bodies:
        assert (await control("POST", "scripts", bad))[0] == 400, bad
    assert (await control("GET", "gates/hold?waiting=soon"))[0] == 400
    assert (await control("GET", "nothing"))[0] == 404
