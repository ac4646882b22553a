from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.errors import Failure, Kind, Refused
from gproxy.server.exchange import ClientGone, Request, Responder
from tests.server.rig import echo, get, post, post_chunked, serving

_BODIES = {"get": "", "post": "x" * 700, "empty": "", "chunked": "abcdefghij"}
_KINDS = list(_BODIES)


def _request(kind: str, n: int) -> bytes:
    if kind == "get":
        return get(f"/{n}")
    if kind == "chunked":
        return post_chunked(b"3;a=b\r\nabc\r\n7\r\ndefghij\r\n0\r\nX: y\r\n\r\n", f"/{n}")
    return post(_BODIES[kind].encode(), f"/{n}")


# Keep-alive and pipelining


async def test_keep_alive_serves_one_request_after_the_other() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        for n in range(5):
            answer = await client.ask(post(b"x" * n, f"/{n}"))
            assert answer.body == f"POST /{n}  ".encode() + b"x" * n
            assert answer.header("connection") is None
            assert answer.header("date") is not None
        assert rig.listener.connections == 1


async def test_a_hundred_pipelined_requests_in_one_segment_are_answered_in_order() -> None:
    go_on = asyncio.Event()

    async def slow_first(request: Request, responder: Responder) -> None:
        if request.path == "/0":
            await go_on.wait()
        await echo(request, responder)

    async with serving(slow_first) as rig:
        client = await rig.connect()
        await client.send(b"".join(post(b"b", f"/{n}") if n % 2 else get(f"/{n}") for n in range(100)))
        await rig.until(lambda: rig.listener.in_flight == 1)
        go_on.set()
        for n in range(100):
            assert (await client.answer()).body == (f"POST /{n}  b" if n % 2 else f"GET /{n}  ").encode()


@given(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
@settings(max_examples=60, deadline=None)
def test_how_the_bytes_are_cut_decides_nothing(kinds: list[str], cuts: list[int]) -> None:
    """The same requests, whatever the segments: the stream is cut at random and must be answered as if whole."""
    raw = b"".join(_request(kind, n) for n, kind in enumerate(kinds))
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})

    async def play() -> list[bytes]:
        async with serving(echo) as rig:
            client = await rig.connect()
            for start, stop in itertools.pairwise(places):
                client.writer.write(raw[start:stop])
                await asyncio.sleep(0)
            return [(await client.answer()).body for _ in kinds]

    expected = [f"{'GET' if kind == 'get' else 'POST'} /{n}  {_BODIES[kind]}".encode() for n, kind in enumerate(kinds)]
    assert asyncio.run(play()) == expected


async def test_only_one_request_of_a_connection_is_served_at_a_time() -> None:
    running = peak = 0

    async def handler(request: Request, responder: Responder) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        responder.send(200, [], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(get() * 20)
        for _ in range(20):
            await client.answer()
        assert peak == 1


async def test_chunked_requests_can_be_pipelined_too() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        await client.send(post_chunked(b"3\r\nabc\r\n0\r\n\r\n", "/1") * 3 + get("/2"))
        for _ in range(3):
            assert (await client.answer()).body == b"POST /1  abc"
        assert (await client.answer()).body == b"GET /2  "


async def test_what_is_pipelined_behind_a_slow_request_is_bounded() -> None:
    release = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await release.wait()
        responder.send(200, [], b"")

    async with serving(handler, read_ahead=10_000) as rig:
        client = await rig.connect(limit=100)
        flood = get("/", "X: " + "y" * 1000)
        sender = asyncio.ensure_future(client.send(flood * 20_000))
        await rig.until(lambda: rig.listener.in_flight == 1)
        (conn,) = rig.hub.connections
        await rig.until(lambda: conn._paused)
        assert len(conn._held) < 10_000 + 300_000, "one read more than the bound at most"
        assert not sender.done()
        release.set()
        for _ in range(20_000):
            assert (await client.answer()).status == 200
        await sender


async def test_connection_close_is_honoured_and_what_follows_is_not_served() -> None:
    seen = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request.path)
        await echo(request, responder)

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(get("/1", "Connection: close") + get("/2"))
        assert answer.header("connection") == "close"
        assert await client.rest() == b""
        assert seen == ["/1"]


async def test_http10_closes_unless_asked_to_keep() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        answer = await client.ask(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert answer.header("connection") == "keep-alive"
        answer = await client.ask(b"GET / HTTP/1.0\r\n\r\n")
        assert answer.header("connection") == "close"
        assert await client.rest() == b""


# Bodies


@pytest.mark.parametrize("pause", [False, True])
async def test_a_body_in_many_segments(pause: bool) -> None:
    body = bytes(range(256)) * 4000
    async with serving(echo) as rig:
        client = await rig.connect()
        raw = post(body)
        head = len(raw) - len(body)
        for at in range(0, len(raw), 100_000):
            await client.send(raw[at : at + 100_000])
            if pause and at + 100_000 < len(raw):
                await rig.received(at + 100_000 - head)
        assert (await client.answer()).body == b"POST /  " + body


async def test_a_head_in_many_segments() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        for byte in post(b"xyz", "/a?b"):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.answer()).body == b"POST /a b xyz"


async def test_the_next_request_may_come_with_the_end_of_a_body() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        first, second = post(b"0123456789"), post(b"ab")
        await client.send(first[:-5])
        await rig.received(5)
        await client.send(first[-5:] + second)
        assert (await client.answer()).body == b"POST /  0123456789"
        assert (await client.answer()).body == b"POST /  ab"


async def test_a_small_unread_body_is_read_to_its_end_and_the_connection_kept() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [], request.path.encode())

    async with serving(handler, discard_bytes=1000) as rig:
        client = await rig.connect()
        raw = post(b"x" * 900, "/1")
        await client.send(raw[:-500])
        assert (await client.answer()).header("connection") is None
        await client.send(raw[-500:] + get("/2"))
        assert (await client.answer()).body == b"/2"


async def test_a_large_unread_body_closes_but_its_sender_still_reads_the_answer() -> None:
    """The lingering close: a client that writes all before it reads must not lose the 413 to a reset."""

    async def handler(request: Request, responder: Responder) -> None:
        await request.body(1000)

    async with serving(handler) as rig:
        client = await rig.connect()
        raw = post(b"x" * 20_000_000)
        client.writer.write(raw)
        await client.writer.drain()
        answer = await client.answer()
        assert (answer.status, answer.header("connection")) == (413, "close")
        assert answer.body == b"payload_too_large: the request body is larger than 1000 bytes"
        assert await client.rest() == b""


async def test_413_before_the_body_when_its_length_is_declared() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await request.body(10)

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(post(b"x" * 11)[:-11])
        assert answer.status == 413


async def test_413_as_soon_as_a_chunked_body_exceeds_the_limit() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await request.body(10)

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(post_chunked(b"6\r\nabcdef\r\n"))
        assert (await client.ask(b"6\r\nabcdef\r\n")).status == 413


async def test_a_body_of_exactly_the_limit_passes() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        responder.send(200, [], await request.body(10))

    async with serving(handler) as rig:
        client = await rig.connect()
        assert (await client.ask(post(b"0123456789"))).body == b"0123456789"
        assert (await client.ask(post_chunked(b"a\r\n0123456789\r\n0\r\n\r\n"))).body == b"0123456789"


async def test_an_endless_unread_body_pauses_the_client_and_memory_stays_bounded() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await gate.wait()
        total = 0
        async for piece in request.chunks():
            total += len(piece)
        responder.send(200, [], b"%d" % total)

    gate = asyncio.Event()
    async with serving(handler, read_high_water=50_000) as rig:
        client = await rig.connect()
        raw = post(b"x" * 30_000_000)
        sender = asyncio.ensure_future(client.send(raw))
        await rig.until(lambda: rig.listener.in_flight == 1)
        (request,) = rig.requests
        (conn,) = rig.hub.connections
        await rig.until(lambda: conn._paused)
        assert request.unread < 50_000 + 300_000
        assert not sender.done()
        gate.set()
        assert (await client.answer()).body == b"30000000"
        await sender


# Expect: 100-continue


async def test_100_continue_comes_when_the_body_is_asked_for() -> None:
    asked = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await asked.wait()
        responder.send(200, [], await request.body(100))

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(post(b"abc", "/", "Expect: 100-continue")[:-3])
        await rig.until(lambda: rig.listener.in_flight == 1)
        assert not client.reader._buffer  # type: ignore[attr-defined]
        asked.set()
        assert (await client.answer()).status == 100
        answer = await client.ask(b"abc")
        assert (answer.status, answer.body, answer.header("connection")) == (200, b"abc", None)


async def test_no_100_when_the_handler_answers_without_the_body() -> None:
    async def handler(request: Request, responder: Responder) -> None:
        raise Refused(Failure(Kind.INVALID_API_KEY, "no"))

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(post(b"abc", "/", "Expect: 100-continue")[:-3])
        assert (answer.status, answer.header("connection")) == (401, "close")
        assert await client.rest() == b""


async def test_no_100_when_the_body_is_already_there() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        assert (await client.ask(post(b"abc", "/", "Expect: 100-continue"))).status == 200


# Limits of heads


async def test_a_head_that_never_ends_is_431() -> None:
    async with serving(echo, max_header_bytes=5000) as rig:
        client = await rig.connect()
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000)
        assert answer.status == 431
        assert await client.rest() == b""


async def test_a_whole_head_that_is_too_large_is_431() -> None:
    async with serving(echo, max_header_bytes=5000) as rig:
        client = await rig.connect()
        assert (await client.ask(get("/", "X: " + "y" * 5000))).status == 431
        client = await rig.connect()
        assert (await client.ask(get("/", "X: " + "y" * 4900))).status == 200


async def test_an_endless_request_line_is_414() -> None:
    async with serving(echo, max_header_bytes=5000) as rig:
        client = await rig.connect()
        assert (await client.ask(b"GET /" + b"x" * 6000)).status == 414


async def test_ten_thousand_headers_are_431() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        assert (await client.ask(get("/", *["a: b"] * 10_000))).status == 431


# Deadlines (scaled down; the sweep ticks every 20 ms here)


async def test_a_head_that_does_not_complete_is_408() -> None:
    async with serving(echo, header_timeout=0.1) as rig:
        client = await rig.connect()
        answer = await client.ask(b"GET / HTTP/1.1\r\nHost:")
        assert (answer.status, answer.header("connection")) == (408, "close")
        assert await client.rest() == b""


async def test_a_head_that_drips_is_408_all_the_same() -> None:
    async with serving(echo, header_timeout=0.15) as rig:
        client = await rig.connect()
        for byte in get("/" + "x" * 1000):
            await client.send(bytes([byte]))
            await asyncio.sleep(0.01)  # the drip: fast enough never to be silent, too slow to end in time
            if client.reader._buffer:  # type: ignore[attr-defined]
                break
        assert (await client.answer()).status == 408
        assert await client.rest() == b""


async def test_a_body_that_never_comes_is_408() -> None:
    async with serving(echo, body_timeout=0.1) as rig:
        client = await rig.connect()
        answer = await client.ask(post(b"abc")[:-1])
        assert (answer.status, answer.header("connection")) == (408, "close")
        assert answer.body.startswith(b"request_timeout")


async def test_a_body_that_drips_is_408_although_it_is_never_silent() -> None:
    async with serving(echo, body_timeout=0.2, min_body_rate=1000.0) as rig:
        client = await rig.connect()
        await client.send(post(b"x" * 1000)[:-1000])
        for _ in range(500):
            await client.send(b"x")
            await asyncio.sleep(0.01)  # the drip: 100 bytes a second
            if client.reader._buffer:  # type: ignore[attr-defined]
                break
        assert (await client.answer()).status == 408


async def test_the_body_deadline_does_not_run_while_nobody_asks() -> None:
    asked = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        await asked.wait()
        responder.send(200, [], await request.body(10))

    async with serving(handler, body_timeout=0.1) as rig:
        client = await rig.connect()
        await client.send(post(b"abc")[:-1])
        await rig.received(2)
        (request,) = rig.requests
        await asyncio.sleep(0.3)  # beyond the deadline, which must not fire
        asked.set()
        await rig.until(lambda: request._waiter or not rig.requests)
        answer = await client.ask(b"c")
        assert (answer.status, answer.body) == (200, b"abc")


async def test_an_idle_connection_is_closed_by_fin() -> None:
    async with serving(echo, idle_timeout=0.1) as rig:
        fresh, used = await rig.connect(), await rig.connect()
        assert (await used.ask(get())).status == 200
        assert await fresh.rest() == b""
        assert await used.rest() == b""


async def test_a_client_that_never_reads_is_cut_and_the_handler_told() -> None:
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        responder.start(200, [])
        try:
            while True:
                responder.write(b"x" * 50_000)
                await responder.drain()
        except ClientGone:
            result.set_result("gone")
            raise

    async with serving(handler, write_timeout=0.2) as rig:
        client = await rig.connect(limit=1000)
        await client.send(get())
        assert await asyncio.wait_for(result, 10) == "gone"
        await rig.until(lambda: rig.listener.connections == 0)


async def test_a_client_that_does_not_take_its_last_answer_is_cut() -> None:
    async with serving(_big, write_timeout=0.2, linger=0.05) as rig:
        client = await rig.connect(limit=1000)
        await client.send(get("/", "Connection: close"))
        await rig.until(lambda: rig.listener.connections == 1)
        await rig.until(lambda: rig.listener.connections == 0)
        assert not (await client.answer()).complete


async def test_a_slow_client_gets_all_of_its_last_answer_however_short_the_linger() -> None:
    async with serving(_big, write_timeout=5.0, linger=0.02) as rig:
        client = await rig.connect(limit=1000)
        await client.send(get("/", "Connection: close"))
        await asyncio.sleep(0.3)  # beyond the linger, which must not cut it
        answer = await client.answer()
        assert answer.complete
        assert len(answer.body) == 20_000_000


async def _big(request: Request, responder: Responder) -> None:
    responder.send(200, [], b"x" * 20_000_000)


# Clients that close


async def test_a_half_closed_client_is_served() -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        await client.send(post(b"abc") + get("/2"))
        client.writer.write_eof()
        assert (await client.answer()).body == b"POST /  abc"
        last = await client.answer()
        assert (last.body, last.header("connection")) == (b"GET /2  ", "close")
        assert await client.rest() == b""


async def test_an_unfinished_request_of_a_half_closed_client_is_dropped() -> None:
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        try:
            await request.body(100)
        except ClientGone:
            result.set_result("gone")
            raise

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(post(b"abc")[:-1])
        client.writer.write_eof()
        assert await result == "gone"
        await rig.until(lambda: rig.listener.connections == 0)
        head = await rig.connect()
        await head.send(get()[:-2])
        head.writer.write_eof()
        assert await head.rest() == b""


async def test_a_reset_while_the_body_is_read() -> None:
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: Request, responder: Responder) -> None:
        try:
            async for _ in request.chunks():
                pass
        except ClientGone:
            result.set_result("gone")

    async with serving(handler) as rig:
        client = await rig.connect()
        await client.send(post(b"abc")[:-1])
        await rig.until(lambda: rig.listener.in_flight == 1)
        client.reset()
        assert await result == "gone"


# Too many


async def test_one_connection_too_many_is_told_and_closed() -> None:
    async with serving(echo, max_connections=2) as rig:
        first, _ = await rig.connect(), await rig.connect()
        await rig.until(lambda: rig.listener.connections == 2)
        third = await rig.connect()
        answer = await third.answer()
        assert (answer.status, answer.header("connection")) == (503, "close")
        await third.close()
        await rig.until(lambda: rig.listener.connections == 2)
        assert (await first.ask(get())).status == 200
