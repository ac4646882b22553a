from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.client import TransportConfig, UpstreamClient
from gproxy.wire.http import Deadlines, Origin, UpstreamRequest
from tests.transport.peer import OK, Line, Peer, answering, elsewhere, emptied, once, pools

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


async def whole(client: UpstreamClient, request: UpstreamRequest) -> bytes:
    reply = await client.send(request)
    return await reply.read(1 << 20)


async def fault_of(awaitable: Awaitable[object]) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await awaitable
    return caught.value


class TestRequestOnTheWire:
    async def test_head_and_body_as_asked_plus_host_length_and_coding(self, client: UpstreamClient) -> None:
        async with Peer(answering(OK)) as peer:
            await whole(client, peer.ask(b"abc", target=b"/v1/x?key=1", headers=[(b"x-a", b"1"), (b"x-a", b"2")]))
            (seen,) = peer.requests
        assert seen.line == b"POST /v1/x?key=1 HTTP/1.1"
        assert seen.headers == [
            (b"host", b"127.0.0.1:%d" % peer.port),
            (b"x-a", b"1"),
            (b"x-a", b"2"),
            (b"accept-encoding", b"identity"),
            (b"content-length", b"3"),
        ]
        assert seen.body == b"abc"

    async def test_large_body_passes_a_reader_that_is_slower_than_the_writer(self, client: UpstreamClient) -> None:
        body = bytes(range(256)) * 40_000  # 10 MB, far beyond socket buffers

        async with Peer(answering(OK)) as peer:
            assert await whole(client, peer.ask(body)) == b"ok"
            assert peer.requests[0].body == body
            assert await whole(client, peer.ask(body)) == b"ok"
            assert peer.accepted == 1

    async def test_send_deadline_counts_progress_not_the_whole(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.head()
            line.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.Event().wait()

        async with Peer(script) as peer:
            fault = await fault_of(client.send(peer.ask(b"x" * 30_000_000, idle=0.1, first_byte=60)))
        assert (fault.phase, fault.reason, fault.timeout, fault.unprocessed) == (
            Phase.SEND,
            "send timeout",
            True,
            False,
        )

    async def test_early_refusal_while_sending_is_read_and_the_connection_not_reused(
        self, client: UpstreamClient
    ) -> None:
        async def script(line: Line) -> None:
            await line.head()
            await line.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask(b"x" * 30_000_000))
            assert (reply.status, await reply.read(100)) == (413, b"big")
            assert not pools(client)[0].idle

    async def test_answer_that_begins_while_the_request_is_still_going_out(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            head = await line.head()
            await line.write(CHUNKED + b"1\r\na\r\n")
            await line.reader.readexactly(int(head.header(b"content-length") or 0))
            await line.write(b"1\r\nb\r\n0\r\n\r\n")
            await line.answer(OK)

        async with Peer(script) as peer:
            assert await whole(client, peer.ask(b"x" * 20_000_000)) == b"ab"
            assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 1


class TestReuse:
    async def test_one_connection_serves_many(self, client: UpstreamClient) -> None:
        async with Peer(answering(OK)) as peer:
            for _ in range(5):
                assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 1
            (pool,) = pools(client)
            assert (len(pool.all), len(pool.idle), pool.origin) == (1, 1, peer.origin)

    async def test_last_in_first_out(self, client: UpstreamClient) -> None:
        gate = asyncio.Event()

        async def script(line: Line) -> None:
            while True:
                await line.request()
                await gate.wait()
                await line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d" % line.number)

        async with Peer(script) as peer:
            both = asyncio.gather(whole(client, peer.ask()), whole(client, peer.ask()))
            await peer.seen(2)
            (pool,) = pools(client)
            assert (len(pool.all), len(pool.idle)) == (2, 0)
            gate.set()
            await both
            answers = {await whole(client, peer.ask()) for _ in range(4)}
            assert len(answers) == 1
            assert peer.accepted == 2

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nconnection: keep-alive, Close\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokgarbage",
            CHUNKED + b"2\r\nok\r\n0\r\n\r\nHTTP",
        ],
        ids=["close", "close-in-list", "http10", "second-answer", "garbage", "begun-answer"],
    )
    async def test_never_reused(self, client: UpstreamClient, answer: bytes) -> None:
        async def script(line: Line) -> None:
            await line.answer(answer)
            await line.gone()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 2

    async def test_close_delimited_is_never_reused(self, client: UpstreamClient) -> None:
        async with Peer(once(b"HTTP/1.1 200 OK\r\n\r\nok")) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 2

    async def test_unasked_bytes_on_an_idle_connection_drop_it(self, client: UpstreamClient) -> None:
        dropped = asyncio.Event()
        more = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(OK)
            if line.number == 1:
                await more.wait()
                await line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
                await line.gone()
                dropped.set()
            await line.gone()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            more.set()
            await dropped.wait()
            assert not pools(client)[0].all
            assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 2

    async def test_eof_on_an_idle_connection_removes_it(self, client: UpstreamClient) -> None:
        async with Peer(once(OK)) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            await emptied(client)
            assert await whole(client, peer.ask()) == b"ok"
            assert [seen.line for seen in peer.requests] == [b"POST /v1/x HTTP/1.1"] * 2

    async def test_idle_connections_end_at_their_keepalive(self) -> None:
        client = UpstreamClient(TransportConfig(idle_keepalive=0.05))
        closed = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(OK)
            await line.gone()
            closed.set()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            await closed.wait()
            assert not pools(client)[0].all

    async def test_the_peers_announced_keepalive_is_kept(self, client: UpstreamClient) -> None:
        closed = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=1, max=9\r\ncontent-length: 2\r\n\r\nok")
            await line.gone()
            closed.set()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            await closed.wait()

    async def test_an_old_connection_ends_with_its_answer(self) -> None:
        client = UpstreamClient(TransportConfig(max_age=0.0))
        async with Peer(answering(OK)) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            assert await whole(client, peer.ask()) == b"ok"
            assert peer.accepted == 2
            await client.close(time.monotonic())

    async def test_at_most_so_many_idle(self) -> None:
        client = UpstreamClient(TransportConfig(max_idle_per_origin=1))
        gate = asyncio.Event()

        async def script(line: Line) -> None:
            while True:
                await line.request()
                await gate.wait()
                await line.write(OK)

        async with Peer(script) as peer:
            three = asyncio.gather(*(whole(client, peer.ask()) for _ in range(3)))
            await peer.seen(3)
            gate.set()
            await three
            (pool,) = pools(client)
            assert (len(pool.all), len(pool.idle)) == (1, 1)
            await client.close(time.monotonic())


class TestStaleConnection:
    @pytest.mark.parametrize("size", [10, 200_000, 3_000_000])
    async def test_closed_while_idle_but_not_yet_noticed_is_replaced_once(
        self, client: UpstreamClient, size: int
    ) -> None:
        """The peer's FIN is in our socket, the loop has not read it: nothing of the request can have been taken."""
        leave = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(OK)
            if line.number == 1:
                await leave.wait()
            else:
                await line.gone()

        async with elsewhere(script) as (peer, trigger):
            assert await whole(client, peer.ask()) == b"ok"
            (connection,) = next(iter(client._pools.values())).idle
            connection._written = 0
            trigger(leave)
            while not connection.peer_gone():
                pass  # this loop stands still on purpose
            assert await whole(client, peer.ask(b"x" * size)) == b"ok"
            assert [len(seen.body) for seen in peer.requests] == [2, size]
            assert peer.accepted == 2
            # a small one was tried there first, a large one is not
            assert (connection._written > 0) == (size < 256 * 1024)

    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_a_peer_that_read_the_request_and_left_gets_no_second_one(
        self, client: UpstreamClient, how: str
    ) -> None:
        async def script(line: Line) -> None:
            await line.answer(OK)
            await line.request()
            line.close() if how == "close" else line.reset()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask()) == b"ok"
            fault = await fault_of(client.send(peer.ask(b"paid")))
            assert (fault.phase, fault.timeout, fault.unprocessed) == (Phase.HEAD, False, False)
            assert [seen.body for seen in peer.requests] == [b"{}", b"paid"]

    @pytest.mark.parametrize("how", ["close", "reset"])
    async def test_an_idempotent_request_is_repeated_exactly_once(self, client: UpstreamClient, how: str) -> None:
        async def script(line: Line) -> None:
            if line.number == 1:
                await line.answer(OK)
            await line.request()
            line.close() if how == "close" else line.reset()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask(b"", method=b"GET")) == b"ok"
            fault = await fault_of(client.send(peer.ask(b"", method=b"GET")))
            assert fault.phase is Phase.HEAD
            assert len(peer.requests) == 3
            assert peer.accepted == 2

    async def test_a_fresh_connection_is_never_retried(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.request()

        async with Peer(script) as peer:
            fault = await fault_of(client.send(peer.ask(b"", method=b"GET")))
            assert fault.reason == "connection closed without an answer"
            assert peer.accepted == 1

    async def test_one_byte_of_an_answer_forbids_the_retry(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.answer(OK)
            await line.answer(b"H")

        async with Peer(script) as peer:
            assert await whole(client, peer.ask(b"", method=b"GET")) == b"ok"
            fault = await fault_of(client.send(peer.ask(b"", method=b"GET")))
            assert (fault.phase, fault.reason) == (Phase.HEAD, "response head truncated")
            assert peer.accepted == 1


class TestDeadlines:
    async def silent(self, line: Line) -> None:
        await line.request()
        await line.gone()

    async def test_first_byte(self, client: UpstreamClient) -> None:
        async with Peer(self.silent) as peer:
            fault = await fault_of(client.send(peer.ask(first_byte=0.05)))
        assert (fault.phase, fault.reason, fault.timeout, fault.unprocessed) == (
            Phase.HEAD,
            "first byte timeout",
            True,
            False,
        )

    async def test_a_dripping_head_does_not_move_the_deadline(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.request()
            await line.write(b"HTTP/1.1 200 OK\r\n")
            await line.gone()

        async with Peer(script) as peer:
            assert (await fault_of(client.send(peer.ask(first_byte=0.05)))).reason == "first byte timeout"

    async def test_idle_between_body_bytes(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.answer(CHUNKED + b"3\r\nabc\r\n")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask(idle=0.05))
            assert await reply.next() == b"abc"
            fault = await fault_of(reply.next())
            assert (fault.phase, fault.reason, fault.timeout) == (Phase.BODY, "idle timeout", True)
            assert await fault_of(reply.next()) is fault

    async def test_idle_counts_anew_with_each_wait(self, client: UpstreamClient) -> None:
        step = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(CHUNKED)
            for _ in range(4):
                await asyncio.sleep(0.06)  # four of them are beyond the deadline, each alone is not
                await line.write(b"1\r\na\r\n")
            await line.write(b"0\r\n\r\n")
            await step.wait()

        async with Peer(script) as peer:
            assert await whole(client, peer.ask(idle=0.15)) == b"aaaa"
            step.set()

    async def test_total_ends_a_stream_that_never_does(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.answer(CHUNKED)
            while True:
                await line.write(b"1\r\na\r\n")
                await asyncio.sleep(0.01)  # never idle, never done

        async with Peer(script) as peer:
            reply = await client.send(peer.ask(total=0.15, idle=60))
            fault = await fault_of(reply.read(1 << 20))
            assert (fault.phase, fault.reason, fault.timeout) == (Phase.BODY, "total timeout", True)

    async def test_total_ends_a_reply_that_nobody_reads(self, client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(CHUNKED + b"3\r\nabc\r\n")
            await line.gone()
            gone.set()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask(total=0.1))
            await gone.wait()
            assert await reply.next() == b"abc"
            assert (await fault_of(reply.next())).reason == "total timeout"

    async def test_waiting_for_a_free_connection_is_connecting(self) -> None:
        client = UpstreamClient(TransportConfig(max_connections_per_origin=1))
        async with Peer(self.silent) as peer:
            first = asyncio.gather(client.send(peer.ask()), return_exceptions=True)
            await peer.seen(1)
            fault = await fault_of(client.send(peer.ask(connect=0.05)))
            assert (fault.phase, fault.timeout, fault.unprocessed) == (Phase.CONNECT, True, True)
            await client.close(time.monotonic())
            await first


class TestCap:
    async def test_requests_beyond_it_take_turns(self) -> None:
        client = UpstreamClient(TransportConfig(max_connections_per_origin=2))
        async with Peer(answering(OK)) as peer:
            assert await asyncio.gather(*(whole(client, peer.ask()) for _ in range(20))) == [b"ok"] * 20
            assert peer.accepted == 2
            await client.close(time.monotonic())

    async def test_a_cancelled_turn_is_passed_on(self) -> None:
        client = UpstreamClient(TransportConfig(max_connections_per_origin=1))
        gate = asyncio.Event()

        async def script(line: Line) -> None:
            while True:
                await line.request()
                await gate.wait()
                await line.write(OK)

        async with Peer(script) as peer:
            first = asyncio.get_running_loop().create_task(whole(client, peer.ask()))
            await peer.seen(1)
            second = asyncio.get_running_loop().create_task(whole(client, peer.ask()))
            third = asyncio.get_running_loop().create_task(whole(client, peer.ask()))
            await asyncio.sleep(0)
            gate.set()
            await first
            second.cancel()
            assert await third == b"ok"
            await asyncio.gather(second, return_exceptions=True)
            await client.close(time.monotonic())


class TestCancellation:
    async def test_cancelled_send_closes_the_connection(self, client: UpstreamClient) -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def script(line: Line) -> None:
            await line.request()
            asked.set()
            await line.gone()
            gone.set()

        async with Peer(script) as peer:
            task = asyncio.get_running_loop().create_task(client.send(peer.ask()))
            await asked.wait()
            task.cancel()
            await gone.wait()
            assert task.cancelled()
            assert not pools(client)[0].all

    async def test_cancelled_connect_leaves_nothing(self, client: UpstreamClient) -> None:
        origin = Origin("http", "127.0.0.1", 9)
        request = UpstreamRequest(b"GET", origin, b"/", [], b"", Deadlines())
        task = asyncio.get_running_loop().create_task(client.send(request))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert all(pool.empty for pool in pools(client))


class TestClose:
    async def test_idle_at_once_in_use_when_they_end(self, client: UpstreamClient) -> None:
        gate = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(CHUNKED + b"1\r\na\r\n")
            await gate.wait()
            await line.write(b"1\r\nb\r\n0\r\n\r\n")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            closing = asyncio.get_running_loop().create_task(client.close(time.monotonic() + 30))
            await asyncio.sleep(0)
            assert (await fault_of(client.send(peer.ask()))).unprocessed
            gate.set()
            assert await reply.read(10) == b"ab"
            await closing
            assert not pools(client)[0].all

    async def test_what_is_left_at_the_deadline_is_cut_and_told(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.answer(CHUNKED + b"1\r\na\r\n")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            await client.close(time.monotonic())
            assert await reply.next() == b"a"
            assert (await fault_of(reply.next())).reason == "the gateway is closing"

    async def test_twice(self, client: UpstreamClient) -> None:
        await client.close(time.monotonic())
        await client.close(time.monotonic())


class TestConnectFaults:
    async def test_refused(self, client: UpstreamClient) -> None:
        async with Peer(answering(OK)) as peer:
            request = peer.ask()
        fault = await fault_of(client.send(request))
        assert (fault.phase, fault.reason, fault.timeout, fault.unprocessed) == (
            Phase.CONNECT,
            "connection refused",
            False,
            True,
        )

    @pytest.mark.parametrize("host", ["a b", "a/b", "bücher.example", "a\r\nb", ""])
    async def test_names_that_lead_nowhere(self, client: UpstreamClient, host: str) -> None:
        request = UpstreamRequest(b"GET", Origin("http", host, 80), b"/", [], b"", Deadlines())
        fault = await fault_of(client.send(request))
        assert fault.phase in {Phase.CONNECT, Phase.SEND}
        assert fault.unprocessed

    @pytest.mark.parametrize(
        "host",
        [
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "100.100.100.200",
        ],
    )
    async def test_metadata_addresses_however_written(self, client: UpstreamClient, host: str) -> None:
        request = UpstreamRequest(b"GET", Origin("http", host, 80), b"/", [], b"", Deadlines(connect=2))
        fault = await fault_of(client.send(request))
        assert (fault.reason, fault.unprocessed) == ("address is a cloud metadata service", True)

    async def test_no_secret_in_what_is_told(self, client: UpstreamClient) -> None:
        async with Peer(once(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n")) as peer:
            request = peer.ask(target=b"/x?key=sk-canary", headers=[(b"authorization", b"Bearer sk-canary")])
            fault = await fault_of(client.send(request))
        assert "canary" not in repr(fault) + str(fault) + repr(client)


async def test_what_was_cancelled_before_there_was_a_connection_was_not_sent() -> None:
    arrived = asyncio.Event()
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        arrived.set()
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = UpstreamClient()
    try:
        for scheme, unsent in (("https", True), ("http", False)):  # a handshake that is never answered, and a request
            arrived.clear()
            request = UpstreamRequest(b"POST", Origin(scheme, "127.0.0.1", port), b"/", [], b"{}", Deadlines())
            sending = asyncio.ensure_future(client.send(request))
            async with asyncio.timeout(10):
                await arrived.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert request.unsent is unsent
    finally:
        gone.set()
        await client.close(asyncio.get_running_loop().time() + 1)
        server.close()
        await server.wait_closed()
