from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gproxy.errors import Failure, Kind, Refused
from gproxy.server.exchange import Request, Responder
from tests.server.rig import Answer, Client, Rig, get, post, serving


async def test_what_a_request_shows() -> None:
    seen: list[Request] = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request)
        responder.send(204, [], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.ask(get("/a%2fb?c=d", "X-Y: 1", "x-y: 2"))
    (request,) = seen
    assert (request.method, request.path, request.query) == ("GET", "/a%2fb", "c=d")
    assert (request.peer, request.scheme) == ("127.0.0.1", "http")
    assert request.header(b"x-y") == b"1"
    assert request.header(b"z") is None
    assert request.headers == [(b"host", b"a"), (b"x-y", b"1"), (b"x-y", b"2")]


async def test_send_is_one_segment() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [(b"content-type", b"text/plain")], b"x" * 10_000)

    async with serving(handler) as rig:
        client = await rig.connect()
        (calls, answer) = await _count_writes(rig, client, get())
        assert answer.body == b"x" * 10_000
        assert calls == 1


async def test_start_leaves_with_the_first_write() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        responder.write(b"one")
        await asyncio.sleep(0)
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        (calls, answer) = await _count_writes(rig, client, get())
        assert answer.body == b"one"
        assert calls == 2


async def test_start_alone_does_not_wait_for_a_write() -> None:
    go_on = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [], 2)
        await go_on.wait()
        responder.write(b"ab")
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get())
        assert (await client.reader.readline()).startswith(b"HTTP/1.1 200")
        go_on.set()


async def _count_writes(rig: Rig, client: Client, data: bytes) -> tuple[int, Answer]:
    await rig.until(lambda: rig.listener.connections == 1)
    (conn,) = rig.hub.connections
    calls = 0
    write = conn.write

    def counted(data: Any) -> None:
        nonlocal calls
        calls += 1
        write(data)

    conn.write = counted
    return_value = await client.ask(data)
    return calls, return_value


@pytest.mark.parametrize("size", [1, 100, 16_383, 16_384, 1_000_000])
@pytest.mark.parametrize("how", ["send", "length", "chunked"])
async def test_every_size_and_framing(size: int, how: str) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]

    async def handler(request: Request, responder: Responder) -> None:
        if how == "send":
            responder.send(200, [], body)
            return
        responder.start(200, [], size if how == "length" else None)
        responder.write(b"")
        responder.write(body[: size // 2])
        await responder.drain()
        responder.write(body[size // 2 :])
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        for _ in range(2):
            answer = await client.ask(get())
            assert answer.body == body
            assert answer.header("content-length") == (None if how == "chunked" else str(size))
            assert answer.header("transfer-encoding") == ("chunked" if how == "chunked" else None)


async def test_http10_streams_are_ended_by_closing() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        responder.write(b"one")
        responder.write(b"two")
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert (answer.body, answer.header("connection"), answer.header("transfer-encoding")) == (
            b"onetwo",
            "close",
            None,
        )


@pytest.mark.parametrize("how", ["send", "length", "chunked"])
async def test_head_has_the_headers_and_no_body(how: str) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if how == "send":
            responder.send(200, [], b"hello")
        else:
            responder.start(200, [], 5 if how == "length" else None)
            responder.write(b"hello")
            responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        for _ in range(2):
            answer = await client.ask(get().replace(b"GET", b"HEAD"), "HEAD")
            assert answer.header("content-length") == (None if how == "chunked" else "5")


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_body(status: int) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/send":
            responder.send(status, [], b"ignored")
        else:
            responder.start(status, [])
            responder.write(b"ignored")
            responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        for path in ("/send", "/start", "/send"):
            answer = await client.ask(get(path))
            assert answer.status == status
            assert answer.header("content-length") is None
            assert answer.header("transfer-encoding") is None


# Answers that must not look complete


@pytest.mark.parametrize("version", ["1.1", "1.0"])
async def test_abort_ends_by_a_reset(version: str) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        responder.write(b"half")
        await request.body(100)
        responder.abort()

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(post(b"abc").replace(b"HTTP/1.1", b"HTTP/" + version.encode())[:-1])
        assert b"half" in await client.reader.readuntil(b"half")
        await client.send(b"c")
        assert await client.is_reset()


async def test_fewer_bytes_than_declared_are_cut() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [], 10)
        responder.write(b"half")
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        assert not (await client.ask(get())).complete


async def test_more_bytes_than_declared_are_a_bug_and_cut() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [], 3)
        responder.write(b"four")

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get())
        assert await client.is_reset()
        assert "declared length" in str(rig.unhandled.pop())


# Handlers that fail


async def test_an_exception_becomes_a_500_and_the_connection_lives() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/bad":
            raise KeyError("secret detail")
        responder.send(200, [], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(get("/bad"))
        assert (answer.status, answer.body) == (500, b"internal_error: internal error")
        assert answer.header("x-path") == "/bad"
        assert isinstance(rig.unhandled.pop(), KeyError)
        assert (await client.ask(get())).status == 200


async def test_an_exception_after_the_start_cuts() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        responder.write(b"x")
        raise KeyError

    async with serving(handler) as rig:
        client = await rig.connect()
        assert not (await client.ask(get())).complete
        rig.unhandled.pop()


async def test_a_refusal_is_rendered() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        raise Refused(Failure(Kind.MODEL_NOT_FOUND, "which?"))

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(get("/p"))
        assert (answer.status, answer.body, answer.header("x-path")) == (404, b"model_not_found: which?", "/p")
        assert answer.header("connection") is None


async def test_no_answer_is_a_bug() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/half":
            responder.start(200, [])

    async with serving(handler) as rig:
        client = await rig.connect()
        assert (await client.ask(get())).status == 500
        assert "without completing" in str(rig.unhandled.pop())
        await client.send(get("/half"))
        assert await client.is_reset()
        rig.unhandled.pop()


async def test_header_injection_is_refused_before_anything_is_sent() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [(b"x", b"a\r\nset-cookie: b")], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(get())
        assert answer.status == 500
        assert answer.header("set-cookie") is None
        assert isinstance(rig.unhandled.pop(), ValueError)


async def test_answering_twice_is_a_bug_that_harms_nobody() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [], b"one")
        responder.send(200, [], b"two")

    async with serving(handler) as rig:
        client = await rig.connect()
        assert (await client.ask(get())).body == b"one"
        assert (await client.ask(get())).body == b"one"
        assert "already begun" in str(rig.unhandled.pop())
        assert "already begun" in str(rig.unhandled.pop())


async def test_the_next_request_does_not_wait_for_the_handlers_last_chores() -> None:
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [], request.path.encode())
        if request.path == "/1":
            await release.wait()

    async with serving(handler) as rig:
        client = await rig.connect()
        assert (await client.ask(get("/1"))).body == b"/1"
        assert (await client.ask(get("/2"))).body == b"/2"
        assert rig.listener.in_flight == 1
        release.set()
        await rig.until(lambda: rig.listener.in_flight == 0)


# Backpressure


async def test_a_slow_client_pauses_the_producer() -> None:
    written = 0
    done = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal written
        responder.start(200, [])
        for _ in range(400):
            responder.write(b"x" * 20_000)
            written += 20_000
            await responder.drain()
        responder.end()
        done.set()

    async with serving(handler, write_high_water=100_000) as rig:
        client = await rig.connect(limit=10_000)
        sock = client.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 200_000)
        await client.send(get())
        await rig.until(lambda: rig.listener.connections == 1)
        (conn,) = rig.hub.connections
        await rig.until(lambda: conn.stuffed)
        paused_at = written
        assert conn._transport.get_write_buffer_size() < 100_000 + 30_000
        for _ in range(20):
            await asyncio.sleep(0)
        assert written == paused_at, "the producer waits"
        assert not done.is_set()
        answer = await client.answer()
        assert len(answer.body) == 400 * 20_000
        assert answer.complete


async def test_drain_does_not_suspend_below_the_mark() -> None:
    turns: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        asyncio.get_running_loop().call_soon(turns.append, "another turn")
        responder.start(200, [])
        responder.write(b"x")
        await responder.drain()
        turns.append("drained")
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.ask(get())
    assert turns == ["drained", "another turn"]
