"""Stopping without losing anyone, and many connections at once."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time

import pytest

from gproxy.clock import SystemClock
from gproxy.server.exchange import ClientGone, Request, Responder
from gproxy.server.listener import Listener, ListenerConfig
from tests.server.rig import Client, Rig, echo, get, post, render, serving


def _deadline(seconds: float) -> float:
    return SystemClock().monotonic() + seconds


async def test_nothing_is_needed_before_start() -> None:
    listener = Listener(echo, ListenerConfig(), render_error=render, on_unhandled=print)
    assert (listener.in_flight, listener.connections) == (0, 0)
    assert await listener.wait_idle(_deadline(0))
    await listener.close_idle(0)
    assert listener.cancel_requests("none") == 0
    listener.abort_all()


async def test_announced_close_is_told_with_each_answer() -> None:
    async with serving(echo) as rig:
        old = await rig.connect()
        assert (await old.ask(get())).header("connection") is None
        rig.listener.announce_close()
        new = await rig.connect()
        for client in (old, new):
            answer = await client.ask(get())
            assert (answer.status, answer.header("connection")) == (200, "close")
            assert await client.rest() == b""


async def test_announced_close_comes_with_the_last_of_the_pipelined() -> None:
    gate = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await gate.wait()
        responder.send(200, [], request.path.encode())

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get("/1") + get("/2") + get("/3"))
        await rig.until(lambda: rig.listener.in_flight == 1)
        rig.listener.announce_close()
        gate.set()
        answers = [await client.answer() for _ in range(3)]
        assert [(a.body, a.header("connection")) for a in answers] == [(b"/1", None), (b"/2", None), (b"/3", "close")]


@pytest.mark.parametrize("exclusive", [False, True])
async def test_the_accept_queue_is_emptied_before_the_socket_closes(exclusive: bool) -> None:
    """The clients connect while the loop is kept from accepting: only the kernel knows them at the stop."""
    count = 100
    async with serving(echo) as rig:
        waiting = [socket.create_connection(("127.0.0.1", rig.port)) for _ in range(count)]
        rig.listener.announce_close()
        await rig.listener.stop_accepting(exclusive=exclusive)
        with pytest.raises(ConnectionRefusedError):
            await rig.connect()
        served = 0
        for sock in waiting:
            sock.setblocking(False)
            reader, writer = await asyncio.open_connection(sock=sock)
            client = Client(reader, writer)
            rig.clients.append(client)
            answer = await client.ask(get())
            assert answer.header("connection") == "close"
            served += answer.status == 200
        assert served == count


async def test_clients_arriving_during_an_exclusive_stop_are_served_or_refused_but_never_reset() -> None:
    stop = asyncio.Event()
    outcomes: list[str] = []

    async def hammer(port: int) -> None:
        while not stop.is_set():
            try:
                # A SYN that is held off is repeated after a second; by then the socket is closed: refused.
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                outcomes.append("refused")
                return
            client = Client(reader, writer)
            try:
                outcomes.append(str((await client.ask(get())).status))
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                outcomes.append(type(error).__name__)
            await client.close()

    async with serving(echo) as rig:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(hammer(rig.port))
            await rig.until(lambda: len(outcomes) > 100)
            await rig.listener.stop_accepting(exclusive=True)
        assert set(outcomes) == {"200", "refused"}


async def test_a_silent_client_is_served_within_the_linger() -> None:
    async with serving(echo) as rig:
        silent = [await rig.connect() for _ in range(20)]
        await rig.until(lambda: rig.listener.connections == 20)
        rig.listener.announce_close()
        await rig.listener.stop_accepting()
        async with asyncio.TaskGroup() as group:
            group.create_task(rig.listener.close_idle(5.0))
            await asyncio.sleep(0.05)  # several of its looks, and none of them may end a silent client
            for client in silent:
                answer = await client.ask(get())
                assert (answer.status, answer.header("connection")) == (200, "close")


async def test_idle_connections_end_by_fin_after_the_linger() -> None:
    async with serving(echo) as rig:
        idle = [await rig.connect() for _ in range(20)]
        for client in idle:
            await client.ask(get())
        rig.listener.announce_close()
        await rig.listener.stop_accepting()
        await rig.listener.close_idle(0.05)
        for client in idle:
            assert await client.rest() == b""
            await client.close()
        await rig.until(lambda: rig.listener.connections == 0)


async def test_a_request_that_waits_in_the_kernel_when_the_linger_ends_is_served() -> None:
    """A loop that is late reads after its timers: the bytes have arrived, nobody has looked."""
    async with serving(echo) as rig:
        clients = [await rig.connect() for _ in range(20)]
        for client in clients:
            await client.ask(get())
        rig.listener.announce_close()
        await rig.listener.stop_accepting()
        closing = asyncio.ensure_future(rig.listener.close_idle(0.0))
        for client in clients:
            client.writer.write(get("/waiting"))  # straight into the kernel, before the loop turns
        await closing
        for client in clients:
            answer = await client.answer()
            assert (answer.body, answer.header("connection")) == (b"GET /waiting  ", "close")


async def test_half_a_head_gets_the_linger_too_and_is_told() -> None:
    async with serving(echo) as rig:
        late, never = await rig.connect(), await rig.connect()
        await late.send(get("/late")[:-2])
        await never.send(get("/never")[:-2])
        await rig.until(lambda: sum(conn._state == 1 for conn in rig.hub.connections) == 2)
        rig.listener.announce_close()
        await rig.listener.stop_accepting()
        lingering = asyncio.ensure_future(rig.listener.close_idle(60.0))
        await rig.until(lambda: rig.hub.idle_limit == 60.0)
        answer = await late.ask(b"\r\n")
        assert (answer.body, answer.header("connection")) == (b"GET /late  ", "close")
        assert not lingering.done()
        lingering.cancel()
        await rig.listener.close_idle(0.0)
        assert (await never.answer()).status == 408
        assert await never.rest() == b""


async def test_the_listening_sockets_can_be_handed_on() -> None:
    async with serving(echo) as rig:
        (sock,) = rig.sockets
        successor = Listener(echo, ListenerConfig(), render_error=render, on_unhandled=print)
        await successor.start([sock.dup()])
        await rig.listener.stop_accepting()
        client = await rig.connect()
        assert (await client.ask(get("/new"))).body == b"GET /new  "
        await client.close()
        successor.abort_all()
        await rig.until(lambda: successor.connections == 0)


async def test_closing_idle_ones_returns_at_once_when_there_are_none() -> None:
    async with serving(echo) as rig:
        await asyncio.wait_for(rig.listener.close_idle(60.0), 5)


async def test_who_falls_idle_after_the_linger_is_closed_too() -> None:
    gate = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        await gate.wait()
        responder.end()

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get())  # its answer began before anything was announced
        await rig.until(lambda: rig.listener.in_flight == 1)
        await asyncio.sleep(0)
        rig.listener.announce_close()
        await rig.listener.stop_accepting()
        await rig.listener.close_idle(0.05)
        gate.set()
        assert (await client.answer()).complete
        assert await client.rest() == b""


async def test_tight_keep_alive_clients_lose_nothing_across_a_stop() -> None:
    sent = answered = 0

    async def client_loop(rig: Rig) -> None:
        nonlocal sent, answered
        client = await rig.connect()
        while True:
            sent += 1
            answer = await client.ask(get())
            answered += answer.status == 200
            if answer.header("connection") == "close":
                return

    async with serving(echo) as rig:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(client_loop(rig))
            await rig.until(lambda: answered > 500)
            rig.listener.announce_close()
            await rig.listener.stop_accepting()
            await rig.listener.close_idle(0.5)
            assert await rig.listener.wait_idle(_deadline(5))
        assert sent == answered


async def test_waiting_for_the_requests_in_flight() -> None:
    gate = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await gate.wait()
        responder.send(200, [], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get("/slow"))
        await rig.until(lambda: rig.listener.in_flight == 1)
        assert [request.path for request in rig.requests] == ["/slow"]
        assert not await rig.listener.wait_idle(_deadline(0.02))
        gate.set()
        assert await rig.listener.wait_idle(_deadline(5))
        assert (await client.answer()).status == 200


async def test_waiting_includes_bytes_that_have_not_left_yet() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [], b"x" * 20_000_000)

    async with serving(handler) as rig:
        client = await rig.connect(limit=1000)
        await client.send(get())
        await rig.until(lambda: rig.listener.connections == 1)
        (conn,) = rig.hub.connections
        await rig.until(lambda: conn.stuffed and rig.listener.in_flight == 0)
        assert not await rig.listener.wait_idle(_deadline(0.02))
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(rig.listener.wait_idle(_deadline(10)))
            assert (await client.answer()).complete
        assert waiting.result()


async def test_cancelled_requests_get_a_503_or_are_cut() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        if request.path == "/stream":
            responder.start(200, [])
            responder.write(b"x")
        await asyncio.Event().wait()

    async with serving(handler) as rig:
        silent, stream, fresh = await rig.connect(), await rig.connect(), await rig.connect()
        await silent.send(get())
        await stream.send(get("/stream"))
        await stream.reader.readuntil(b"x")
        await rig.until(lambda: rig.listener.in_flight == 2)
        await fresh.send(get())
        assert rig.listener.cancel_requests("drain deadline") == rig.listener.in_flight >= 2
        answer = await silent.answer()
        assert (answer.status, answer.body) == (503, b"draining: the server is shutting down")
        assert await stream.is_reset()
        rig.listener.cancel_requests("again")
        assert (await fresh.answer()).status == 503
        assert await rig.listener.wait_idle(_deadline(5))


async def test_a_handler_cancelled_before_its_first_step_leaves_nothing_behind() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await asyncio.Event().wait()

    async with serving(handler) as rig:
        client = await rig.connect()
        await rig.until(lambda: rig.listener.connections == 1)
        (conn,) = rig.hub.connections
        conn.data_received(get())
        assert rig.listener.cancel_requests("now") == 1
        assert (await client.answer()).status == 503
        assert await rig.listener.wait_idle(_deadline(5))


async def test_abort_all_drops_everything() -> None:
    gone = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_gone(gone.set)
        with contextlib.suppress(ClientGone):
            await request.body(10)

    async with serving(handler) as rig:
        busy, idle = await rig.connect(), await rig.connect()
        await busy.send(post(b"abc")[:-1])
        await rig.until(lambda: rig.listener.in_flight == 1)
        rig.listener.abort_all()
        assert await busy.is_reset()
        assert await idle.rest() == b""
        assert gone.is_set()


async def test_ten_thousand_idle_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Both ends of each connection live in this process.
    count = min(10_000, (hard - 500) // 2 if hard != resource.RLIM_INFINITY else 10_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * count + 500), hard))
    if count < 10_000:
        print(f"only {count} connections: the hard limit of open files is {hard}")
    try:
        async with serving(echo, tick=0.25, max_connections=count + 10) as rig:
            loop = asyncio.get_running_loop()
            idle = []
            for _ in range(count):
                sock = socket.socket()
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", rig.port))
                idle.append(sock)
            await rig.until(lambda: rig.listener.connections == count)
            hub = rig.hub
            before = time.process_time()
            assert hub._timer
            hub._timer.cancel()
            hub._sweep()
            assert time.process_time() - before < 0.1, "a sweep over all of them costs next to nothing"
            client = await rig.connect()
            for sock in (idle[0], idle[-1]):
                await loop.sock_sendall(sock, get())
                assert (await loop.sock_recv(sock, 1000)).startswith(b"HTTP/1.1 200")
            assert (await client.ask(get())).status == 200
            rig.listener.announce_close()
            await rig.listener.stop_accepting()
            await rig.listener.close_idle(0.01)
            for sock in idle:
                assert await loop.sock_recv(sock, 1000) == b""
                sock.close()
            await client.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
