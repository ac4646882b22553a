from __future__ import annotations

import asyncio

import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.replay import Answer, Scripted
from gproxy.wire.http import Deadlines, Origin, UpstreamRequest


def ask(body: bytes = b"") -> UpstreamRequest:
    return UpstreamRequest(b"POST", Origin("https", "vendor.example", 443), b"/v1", [], body, Deadlines())


async def test_answers_in_order_and_remembers() -> None:
    fault = UpstreamFault(Phase.CONNECT, "connection refused", unprocessed=True)
    scripted = Scripted(fault, Answer([b"a", b"", b"b"], status=201, headers=[(b"x", b"y")]))
    with pytest.raises(UpstreamFault) as caught:
        await scripted.send(ask(b"1"))
    assert caught.value is fault
    reply = await scripted.send(ask(b"2"))
    assert (reply.status, reply.headers) == (201, [(b"x", b"y")])
    assert [await reply.next() for _ in range(4)] == [b"a", b"b", b"", b""]
    assert reply.finished
    assert not reply.aborted
    assert [request.body for request in scripted.requests] == [b"1", b"2"]
    with pytest.raises(AssertionError, match="the script has ended"):
        await scripted.send(ask())


async def test_a_break_comes_after_the_good_bytes_and_stays() -> None:
    scripted = Scripted(Answer([b"a", UpstreamFault(Phase.BODY, "body truncated"), b"never"]))
    reply = await scripted.send(ask())
    assert await reply.next() == b"a"
    for _ in range(2):
        with pytest.raises(UpstreamFault, match="body truncated"):
            await reply.next()
    assert not reply.finished


async def test_gates() -> None:
    head, body = asyncio.Event(), asyncio.Event()
    scripted = Scripted(Answer([b"a", body, b"b"], before_head=head))
    sending = asyncio.get_running_loop().create_task(scripted.send(ask()))
    await asyncio.sleep(0)
    assert not sending.done()
    head.set()
    reply = await sending
    assert await reply.next() == b"a"
    reading = asyncio.get_running_loop().create_task(reply.next())
    await asyncio.sleep(0)
    assert not reading.done()
    body.set()
    assert await reading == b"b"


async def test_cancelled_next_aborts() -> None:
    scripted = Scripted(Answer([asyncio.Event()]))
    reply = await scripted.send(ask())
    reading = asyncio.get_running_loop().create_task(reply.next())
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert reply.aborted


async def test_abort_and_limit() -> None:
    scripted = Scripted(fallback=lambda request: Answer([request.body, b"more"]))
    reply = await scripted.send(ask(b"abc"))
    reply.abort()
    with pytest.raises(UpstreamFault, match="answer dropped"):
        await reply.next()
    assert await (await scripted.send(ask(b"abc"))).read(7) == b"abcmore"
    with pytest.raises(UpstreamFault, match="body larger than the limit"):
        await (await scripted.send(ask(b"abc"))).read(6)
