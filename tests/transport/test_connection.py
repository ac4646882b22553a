"""What the bytes of an answer are taken for."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.client import UpstreamClient
from gproxy.transport.config import TransportConfig
from gproxy.transport.connection import Connection
from gproxy.wire.http import Deadlines
from tests.transport.peer import Line, Peer, once

HEAD = b"HTTP/1.1 200 OK\r\n"


class Wire(asyncio.Transport):
    """A transport that only remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self.aborted = False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: object) -> None:
        pass

    def writelines(self, list_of_data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.log.append("pause")

    def resume_reading(self) -> None:
        self.log.append("resume")

    def abort(self) -> None:
        self.aborted = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default


class Owner:
    def __init__(self) -> None:
        self.log: list[str] = []

    def released(self, connection: Connection) -> None:
        self.log.append("released")

    def gone(self, connection: Connection) -> None:
        self.log.append("gone")

    def lost(self, connection: Connection) -> None:
        self.log.append("lost")


class Rig:
    """A connection without a network, fed by hand."""

    def __init__(self, config: TransportConfig | None = None, method: bytes = b"POST") -> None:
        self.owner = Owner()
        self.wire = Wire()
        self.connection = Connection(asyncio.get_running_loop(), config or TransportConfig(), self.owner)
        self.connection.connection_made(self.wire)
        self.reply = self.connection.begin(method, b"", b"", deadlines=Deadlines(), total_at=1e12)

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.wire.aborted:
                break
            self.connection.data_received(piece)

    def eof(self) -> None:
        if not self.wire.aborted:
            self.connection.eof_received()
        self.connection.connection_lost(None)


Outcome: TypeAlias = tuple[int, object, bytes, str | None, bool]


async def outcome(rig: Rig) -> Outcome:
    """Everything an answer can be, to compare: status, headers, body, fault, reuse."""
    body, fault = b"", None
    try:
        if not rig.reply.status:
            raise rig.reply.fault or AssertionError
        while piece := await rig.reply.next():
            body += piece
    except UpstreamFault as error:
        fault = str(error)
    return rig.reply.status, rig.reply.headers, body, fault, "released" in rig.owner.log


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(point % (len(data) + 1) for point in points)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


ANSWERS = [
    HEAD + b"Content-Length: 5\r\nX-A: 1\r\nx-a: 2\r\n\r\nhello",
    HEAD + b"transfer-encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\nx-trailer: 1\r\n\r\n",
    HEAD + b"connection: close\r\n\r\nuntil the end",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    + HEAD
    + b"content-length: 0\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
    b"HTTP/1.1 429 \r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}",
    HEAD + b"content-length: 9\r\n\r\nshort",
    HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
    HEAD + b"x: y\r\n",
    b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n",
]


@given(answer=st.sampled_from(ANSWERS), points=st.lists(st.integers(0, 4096), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_how_it_was_cut_never_matters(answer: bytes, points: list[int]) -> None:
    async def run() -> tuple[Outcome, Outcome]:
        whole, parts = Rig(), Rig()
        whole.feed(answer)
        parts.feed(*cut(answer, points))
        whole.eof()
        parts.eof()
        return await outcome(whole), await outcome(parts)

    expected, found = asyncio.run(run())
    assert found == expected


@pytest.mark.parametrize("answer", ANSWERS)
async def test_byte_by_byte(answer: bytes) -> None:
    whole, parts = Rig(), Rig()
    whole.feed(answer)
    parts.feed(*(answer[at : at + 1] for at in range(len(answer))))
    whole.eof()
    parts.eof()
    assert await outcome(parts) == await outcome(whole)


async def test_a_good_answer_is_what_it_says() -> None:
    rig = Rig()
    rig.feed(ANSWERS[0])
    assert await outcome(rig) == (
        200,
        [(b"content-length", b"5"), (b"x-a", b"1"), (b"x-a", b"2")],
        b"hello",
        None,
        True,
    )


async def test_trailers_are_no_headers() -> None:
    rig = Rig()
    rig.feed(ANSWERS[1])
    assert await outcome(rig) == (200, [(b"transfer-encoding", b"chunked")], b"hello!", None, True)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (HEAD + b"content-length: 9\r\n\r\nshort", "body: body truncated"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhel", "body: body truncated"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "body: body truncated"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", "body: body truncated"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello!\r\n", "body: malformed body framing"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", "body: malformed body framing"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "body: malformed body framing"),
    ],
)
async def test_a_broken_body_never_looks_finished(answer: bytes, fault: str) -> None:
    rig = Rig()
    rig.feed(answer)
    rig.eof()
    assert (await outcome(rig))[3:] == (fault, False)
    assert rig.owner.log == ["gone", "lost"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\nx",
        HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\nx",
        HEAD + b"content-length: 1, 1\r\n\r\nx",
        HEAD + b"content-length: -1\r\n\r\nx",
        HEAD + b"content-length: +1\r\n\r\nx",
        HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: identity\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"x: a\r\n folded\r\n\r\n",
        HEAD + b"x: a\rb\r\n\r\n",
        HEAD + b"x: a\0b\r\n\r\n",
        HEAD + b"x : a\r\n\r\n",
        HEAD + b": a\r\n\r\n",
        HEAD + b"no colon\r\n\r\n",
        b"HTTP/1.1 200 OK\nx: a\n\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"<html>hello</html>",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\ncontent-length: 3\r\n\r\nabc",
        HEAD + b"content-encoding: gzip, br\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"content-encoding: gzip\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n",
        HEAD + b"content-encoding: compress\r\ncontent-length: 0\r\n\r\n",
    ],
)
async def test_hostile_heads_are_faults(head: bytes) -> None:
    rig = Rig()
    rig.feed(head)
    assert rig.reply.status == 0
    assert rig.reply.fault is not None
    assert rig.reply.fault.phase is Phase.HEAD
    assert not rig.reply.fault.unprocessed
    assert rig.wire.aborted


class TestBounds:
    config = TransportConfig(max_head_bytes=1000, max_headers=10, max_interim=4)

    @pytest.mark.parametrize(
        "pieces",
        [
            [HEAD + b"x: " + b"a" * 2000],
            [HEAD + b"x: " + b"a" * 2000 + b"\r\ncontent-length: 0\r\n\r\n"],
            [HEAD, *([b"x: a\r\n"] * 12)],
            [HEAD + b"x: a\r\n" * 11 + b"\r\n"],
            [HEAD, *([b"a" * 100] * 20)],
        ],
        ids=["open", "complete", "many-open", "many", "long-name"],
    )
    async def test_heads(self, pieces: list[bytes]) -> None:
        rig = Rig(self.config)
        rig.feed(*pieces)
        assert rig.reply.fault is not None
        assert rig.reply.fault.reason in {"response head too large", "malformed response head"}
        assert rig.wire.aborted

    async def test_a_large_body_behind_a_small_head_is_no_large_head(self) -> None:
        rig = Rig(self.config)
        rig.feed(HEAD + b"content-length: 5000\r\n\r\n" + b"a" * 5000)
        assert await rig.reply.read(5000) == b"a" * 5000

    async def test_interim_storm(self) -> None:
        rig = Rig(self.config)
        rig.feed(*([b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 10))
        assert rig.reply.fault is not None
        assert rig.reply.fault.reason == "unexpected interim response"

    async def test_trailer_storm(self) -> None:
        rig = Rig(self.config)
        rig.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", *([b"x: aaaaaaaaaaaaaaaaaaaa\r\n"] * 100))
        assert (await outcome(rig))[3] == "body: trailers too large"

    async def test_tiny_chunks_count_for_more_than_their_bytes(self) -> None:
        rig = Rig(TransportConfig(read_high_water=10_000))
        rig.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n" * 500)
        assert rig.wire.log == ["pause"]
        assert await rig.reply.next() == b"a" * 500
        assert rig.wire.log == ["pause", "resume"]


class TestHead:
    async def test_announced_length_is_no_body_and_the_connection_goes_on(self) -> None:
        rig = Rig(method=b"HEAD")
        rig.feed(HEAD + b"content-length: 500\r\ncontent-encoding: gzip\r\n\r\n")
        assert await outcome(rig) == (
            200,
            [(b"content-length", b"500"), (b"content-encoding", b"gzip")],
            b"",
            None,
            True,
        )
        rig.reply = rig.connection.begin(b"POST", b"", b"", deadlines=Deadlines(), total_at=1e12)
        rig.feed(HEAD + b"content-length: 2\r\n\r\nok")
        assert (await outcome(rig))[2] == b"ok"

    async def test_a_body_all_the_same_ends_the_connection(self) -> None:
        rig = Rig(method=b"HEAD")
        rig.feed(HEAD + b"content-length: 2\r\n\r\nok")
        assert (await outcome(rig))[2:] == (b"", None, False)
        assert rig.wire.aborted


class TestBackpressure:
    async def test_pause_at_high_water_resume_when_taken_and_every_byte_arrives(self) -> None:
        rig = Rig(TransportConfig(read_high_water=1000))
        rig.feed(HEAD + b"content-length: 5000\r\n\r\n", b"a" * 900)
        assert rig.wire.log == []
        rig.feed(b"b" * 900)
        assert rig.wire.log == ["pause"]
        assert await rig.reply.next() == b"a" * 900 + b"b" * 900
        assert rig.wire.log == ["pause", "resume"]
        rig.feed(b"c" * 3200)
        assert await rig.reply.next() == b"c" * 3200
        assert await rig.reply.next() == b""
        assert rig.owner.log == ["released"]

    async def test_a_paused_connection_reads_again_when_its_answer_ended(self) -> None:
        rig = Rig(TransportConfig(read_high_water=10))
        rig.feed(HEAD + b"content-length: 200\r\n\r\n", b"a" * 100)
        assert rig.wire.log == ["pause"]
        rig.feed(b"a" * 100)
        assert rig.owner.log == ["released"]
        assert rig.wire.log == ["pause", "resume"]
        assert await rig.reply.next() == b"a" * 200

    async def test_a_slow_reader_stops_a_fast_vendor(self, client: UpstreamClient) -> None:
        """The kernel's buffers fill and the vendor's own writes stop, though nothing is lost."""
        stuck = asyncio.Event()
        size = 64 * 1024 * 1024
        sent = 0

        async def script(line: Line) -> None:
            nonlocal sent
            await line.request()
            line.writer.transport.set_write_buffer_limits(high=0)
            line.writer.write(HEAD + b"content-length: %d\r\n\r\n" % size)
            piece = b"z" * 1024 * 1024
            while sent < size:
                line.writer.write(piece)
                sent += len(piece)
                drain = asyncio.get_running_loop().create_task(line.writer.drain())
                done, _ = await asyncio.wait({drain}, timeout=0.2)
                if not done:
                    stuck.set()
                await drain

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            await stuck.wait()
            assert sent < size
            assert reply.size < 2 * 1024 * 1024
            got = 0
            while piece := await reply.next():
                got += len(piece)
            assert got == size


class TestPeerLeaves:
    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            (b"", "connection reset"),
            (b"HTTP/1.1 200", "response head truncated"),
        ],
    )
    async def test_reset_before_the_head(self, client: UpstreamClient, sent: bytes, reason: str) -> None:
        async def script(line: Line) -> None:
            await line.answer(sent)
            line.reset()

        async with Peer(script) as peer:
            with pytest.raises(UpstreamFault) as caught:
                await client.send(peer.ask())
        assert (caught.value.phase, caught.value.unprocessed) == (Phase.HEAD, False)
        assert caught.value.reason in {reason, "connection reset"}

    async def test_reset_in_the_body(self, client: UpstreamClient) -> None:
        go = asyncio.Event()

        async def script(line: Line) -> None:
            await line.answer(HEAD + b"content-length: 9\r\n\r\nabc")
            await go.wait()
            line.reset()

        async with Peer(script) as peer:
            reply = await client.send(peer.ask())
            assert await reply.next() == b"abc"
            go.set()
            with pytest.raises(UpstreamFault, match="body: connection reset"):
                await reply.next()

    async def test_reset_is_no_end_of_a_close_delimited_body(self) -> None:
        rig = Rig()
        rig.feed(HEAD + b"\r\nabc")
        rig.connection.connection_lost(ConnectionResetError())
        assert (await outcome(rig))[2:4] == (b"abc", "body: connection reset")

    async def test_redirects_are_answers(self, client: UpstreamClient) -> None:
        async with Peer(
            once(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
        ) as peer:
            reply = await client.send(peer.ask())
            assert reply.status == 302
            assert dict(reply.headers)[b"location"] == b"http://127.0.0.1:9/"
            assert len(peer.requests) == 1
