from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest

from tests.server.rig import Rig, echo, get, serving
from tests.server.smuggling import CHUNKS, HEADS, LEGAL, Attack

if TYPE_CHECKING:
    from gproxy.server.connection import Connection
    from gproxy.server.exchange import Request, Responder

_POISON = get("/poison")


def _ids(cases: list[Attack]) -> list[str]:
    return [case.name for case in cases]


def test_the_corpus_is_large_enough() -> None:
    assert len(HEADS) + len(CHUNKS) >= 100
    assert len({case.name for case in HEADS + CHUNKS}) == len(HEADS) + len(CHUNKS)


@pytest.mark.parametrize("case", HEADS, ids=_ids(HEADS))
async def test_a_head_that_could_be_read_two_ways_is_refused_and_ends_the_connection(case: Attack) -> None:
    seen: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request.path)
        responder.send(200, [], b"")

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(case.data + _POISON)
        assert answer.status == case.status
        assert answer.header("connection") == "close"
        assert await client.rest() == b""
        assert seen == []


@pytest.mark.parametrize("case", HEADS, ids=_ids(HEADS))
async def test_the_same_byte_by_byte(case: Attack) -> None:
    """Nothing may depend on how the bytes are cut into segments."""
    seen: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request.path)
        responder.send(200, [], b"")

    async with serving(handler) as rig:
        (transport, protocol) = _by_hand(rig)
        for at in range(len(case.data)):
            protocol.data_received(case.data[at : at + 1])
        protocol.data_received(_POISON)
        status_line = bytes(transport.written).split(b"\r\n", 1)[0]
        assert status_line.startswith(b"HTTP/1.1 %d " % case.status)
        assert transport.written.count(b"\r\ndate: ") == 1, "one answer"
        assert seen == []
        protocol.connection_lost(None)


@pytest.mark.parametrize("case", CHUNKS, ids=_ids(CHUNKS))
async def test_a_malformed_chunked_body_is_refused_and_ends_the_connection(case: Attack) -> None:
    seen: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request.path)
        await echo(request, responder)

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(case.data + _POISON)
        assert answer.status == 400
        assert answer.header("connection") == "close"
        assert await client.rest() == b""
        assert seen == ["/"]


@pytest.mark.parametrize("case", CHUNKS, ids=_ids(CHUNKS))
async def test_a_malformed_body_ends_the_connection_also_when_nobody_reads_it(case: Attack) -> None:
    seen: list[str] = []

    async def handler(request: Request, responder: Responder) -> None:
        seen.append(request.path)
        responder.send(200, [], b"unread")

    async with serving(handler) as rig:
        client = await rig.connect()
        answer = await client.ask(case.data + _POISON)
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert await client.rest() == b""
        assert seen == ["/"]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in LEGAL], ids=[case[0] for case in LEGAL])
async def test_odd_but_legal_requests_are_served_in_step(data: bytes, expected: bytes) -> None:
    async with serving(echo) as rig:
        client = await rig.connect()
        await client.send(data + get("/next"))
        first, second = await client.answer(), await client.answer()
        assert (first.status, first.body) == (200, expected)
        assert (second.status, second.body) == (200, b"GET /next  ")


class _Transport(asyncio.Transport):
    """Remembers what would have left."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.written += b"".join(list_of_data)

    def get_extra_info(self, name: str, default: object = None) -> None:
        return None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write_eof(self) -> None:
        pass


def _by_hand(rig: Rig) -> tuple[_Transport, Connection]:
    protocol = rig.listener._connection()
    transport = _Transport()
    protocol.connection_made(transport)
    return transport, protocol
