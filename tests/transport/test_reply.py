from __future__ import annotations

import asyncio
import gzip
import time
import tracemalloc

import brotli
import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.client import TransportConfig, UpstreamClient
from gproxy.transport.coding import PIECE
from tests.transport.peer import OK, Line, Peer, answering, once, pools
from tests.transport.test_connection import HEAD, Rig


class TestNext:
    async def test_everything_that_waits_in_one_piece_without_suspending(self) -> None:
        rig = Rig()
        rig.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"1\r\nb\r\n", b"1\r\nc\r\n0\r\n\r\n")
        step = rig.reply.next()
        with pytest.raises(StopIteration) as stop:  # a coroutine that ends at its first step has not suspended
            step.send(None)
        assert stop.value.value == b"abc"
        assert await rig.reply.next() == b""
        assert await rig.reply.next() == b""

    async def test_pieces_come_as_they_are_written(self, client: UpstreamClient) -> None:
        taken = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(HEAD + b"transfer-encoding: chunked\r\n\r\n")
            for number in range(3):
                taken.clear()
                await line.write(b"2\r\n%d\n\r\n" % number)
                await taken.wait()
            await line.write(b"0\r\n\r\n")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            for number in range(3):
                assert await reply.next() == b"%d\n" % number
                taken.set()
            assert await reply.next() == b""

    async def test_good_bytes_come_before_the_fault(self) -> None:
        rig = Rig()
        rig.feed(HEAD + b"content-length: 9\r\n\r\nabc")
        rig.eof()
        assert await rig.reply.next() == b"abc"
        with pytest.raises(UpstreamFault, match="body truncated"):
            await rig.reply.next()


class TestRead:
    async def test_limit(self, client: UpstreamClient) -> None:
        async with Peer(answering(HEAD + b"content-length: 10\r\n\r\n0123456789")) as peer:
            assert await (await client.send(peer.ask())).read(10) == b"0123456789"
            with pytest.raises(UpstreamFault, match="body larger than the limit") as caught:
                await (await client.send(peer.ask())).read(9)
            assert caught.value.phase is Phase.BODY

    async def test_limit_closes_a_body_that_goes_on(self, client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(HEAD + b"content-length: 1000000\r\n\r\n" + b"x" * 1000)
            await line.gone()
            gone.set()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            with pytest.raises(UpstreamFault, match="body larger than the limit"):
                await reply.read(100)
            await gone.wait()


class TestAbort:
    async def test_closes_and_stays_broken(self, client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(HEAD + b"content-length: 9\r\n\r\nabc")
            await line.gone()
            gone.set()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            reply.abort()
            reply.abort()
            await gone.wait()
            with pytest.raises(UpstreamFault, match="answer dropped"):
                await reply.next()
            assert not pools(client)[0].all

    async def test_wakes_a_reader(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.answer(HEAD + b"content-length: 9\r\n\r\n")
            await line.gone()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            reading = asyncio.get_running_loop().create_task(reply.next())
            await asyncio.sleep(0)
            reply.abort()
            with pytest.raises(UpstreamFault, match="answer dropped"):
                await reading

    async def test_after_the_end_the_connection_lives(self, client: UpstreamClient) -> None:
        async with Peer(answering(OK)) as peer:
            reply = await client.send(peer.ask())
            reply.abort()
            assert len(pools(client)[0].idle) == 1
            assert await (await client.send(peer.ask())).read(9) == b"ok"
            assert peer.accepted == 1

    async def test_cancelled_next_closes(self, client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(HEAD + b"content-length: 9\r\n\r\n")
            await line.gone()
            gone.set()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            reading = asyncio.get_running_loop().create_task(reply.next())
            await asyncio.sleep(0)
            reading.cancel()
            await gone.wait()
            assert reading.cancelled()


class TestCoding:
    async def test_coding_and_its_length_are_gone_from_body_and_headers(self, client: UpstreamClient) -> None:
        coded = gzip.compress(b'{"a": 1}')
        answer = HEAD + b"content-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
        async with Peer(answering(answer % (len(coded), coded))) as peer:
            for _ in range(2):
                reply = await client.send(peer.ask(headers=[(b"accept-encoding", b"gzip")]))
                assert reply.headers == [(b"content-type", b"application/json")]
                assert await reply.read(100) == b'{"a": 1}'
            assert peer.accepted == 1
            assert peer.requests[0].header(b"accept-encoding") == b"gzip"

    async def test_truncated_inside_good_framing(self, client: UpstreamClient) -> None:
        coded = gzip.compress(b"hello" * 100)[:-3]
        answer = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(coded), coded)
        async with Peer(once(answer)) as peer:
            reply = await client.send(peer.ask())
            with pytest.raises(UpstreamFault, match="body: body truncated"):
                await reply.read(10_000)

    async def test_garbled(self, client: UpstreamClient) -> None:
        async with Peer(once(HEAD + b"content-encoding: br\r\ncontent-length: 5\r\n\r\n\xff\xff\xff\xff\xff")) as peer:
            reply = await client.send(peer.ask())
            with pytest.raises(UpstreamFault, match="body does not decompress"):
                await reply.read(10_000)

    @pytest.mark.parametrize("status", [b"200 OK", b"429 Slow"])
    async def test_bomb_memory_stays_flat(self, client: UpstreamClient, status: bytes) -> None:
        bomb = brotli.compress(b"\0" * 300_000_000, quality=1)
        head = b"HTTP/1.1 %b\r\ncontent-encoding: br\r\ncontent-length: %d\r\n\r\n" % (status, len(bomb))
        async with Peer(answering(head + bomb)) as peer:
            reply = await client.send(peer.ask())
            pieces = 0

            async def take_all() -> None:
                nonlocal pieces
                while piece := await reply.next():
                    assert len(piece) <= PIECE
                    pieces += 1

            tracemalloc.start()
            try:
                with pytest.raises(UpstreamFault, match="decompresses beyond the limit"):
                    await take_all()
                assert tracemalloc.get_traced_memory()[1] < 4_000_000
            finally:
                tracemalloc.stop()
            assert pieces * PIECE < 10_000_000

    async def test_read_has_its_own_limit_for_coded_bodies(self) -> None:
        client = UpstreamClient(TransportConfig(max_decoded_bytes=1000))
        coded = gzip.compress(b"x" * 1001)
        answer = HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(coded), coded)
        async with Peer(answering(answer)) as peer:
            reply = await client.send(peer.ask())
            with pytest.raises(UpstreamFault, match="body larger than the limit"):
                await reply.read(1 << 30)
            await client.close(time.monotonic())
