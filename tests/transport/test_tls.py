from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.client import UpstreamClient
from gproxy.wire.http import Origin, UpstreamRequest
from tests.transport.certificates import Authority
from tests.transport.peer import OK, Line, Peer, answering, elsewhere, emptied, once, pools


async def whole(client: UpstreamClient, request: UpstreamRequest) -> bytes:
    return await (await client.send(request)).read(1 << 26)


async def test_verified_pooled_and_whole(tls_client: UpstreamClient, authority: Authority) -> None:
    body = bytes(range(256)) * 20_000
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with Peer(answering(answer), tls=authority.server(), host="localhost") as peer:
        assert await whole(tls_client, peer.ask(body)) == body
        assert await whole(tls_client, peer.ask()) == body
        assert [seen.body for seen in peer.requests] == [body, b"{}"]
        assert peer.accepted == 1
        assert peer.requests[0].header(b"host") == b"localhost:%d" % peer.port


async def test_an_address_as_host(tls_client: UpstreamClient, authority: Authority) -> None:
    async with Peer(answering(OK), tls=authority.server("127.0.0.1")) as peer:
        assert await whole(tls_client, peer.ask()) == b"ok"


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        ({"hosts": ["localhost"], "expired": True}, "certificate expired"),
        ({"hosts": ["elsewhere.example"]}, "certificate is for another host"),
        ({"hosts": ["127.0.0.2"]}, "certificate is for another host"),
        ({"hosts": ["localhost"], "self_signed": True}, "certificate self-signed"),
    ],
)
async def test_refused_with_the_reason_and_nothing_sent(
    tls_client: UpstreamClient, authority: Authority, certificate: dict[str, Any], reason: str
) -> None:
    hosts = certificate.pop("hosts")
    context = authority.server(*hosts, **certificate)
    certificate["hosts"] = hosts
    async with Peer(answering(OK), tls=context, host="localhost") as peer:
        with pytest.raises(UpstreamFault) as caught:
            await tls_client.send(peer.ask())
        assert (caught.value.phase, caught.value.reason, caught.value.unprocessed) == (Phase.TLS, reason, True)
        assert not peer.requests
        assert not pools(tls_client)[0].all


async def test_the_systems_trust_store_does_not_know_our_authority(authority: Authority) -> None:
    client = UpstreamClient()
    async with Peer(answering(OK), tls=authority.server(), host="localhost") as peer:
        with pytest.raises(UpstreamFault) as caught:
            await client.send(peer.ask())
        assert caught.value.reason in {"certificate chain self-signed", "certificate issuer unknown"}
        await client.close(time.monotonic())


async def test_plain_text_where_tls_was_asked(tls_client: UpstreamClient) -> None:
    async def script(line: Line) -> None:
        await line.reader.read(10)
        await line.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with Peer(script) as peer:
        request = peer.ask()
        request.origin = Origin("https", peer.origin.host, peer.port)
        with pytest.raises(UpstreamFault) as caught:
            await tls_client.send(request)
        assert (caught.value.phase, caught.value.reason) == (Phase.TLS, "tls handshake failed")
        assert not peer.requests


async def test_a_handshake_that_is_broken_off(tls_client: UpstreamClient) -> None:
    async def script(line: Line) -> None:
        await line.reader.read(10)

    async with Peer(script) as peer:
        request = peer.ask()
        request.origin = Origin("https", peer.origin.host, peer.port)
        with pytest.raises(UpstreamFault) as caught:
            await tls_client.send(request)
        assert (caught.value.phase, caught.value.unprocessed) == (Phase.TLS, True)


async def test_a_handshake_that_stalls(tls_client: UpstreamClient) -> None:
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        await line.gone()
        gone.set()

    async with Peer(script) as peer:
        request = peer.ask(connect=0.1)
        request.origin = Origin("https", peer.origin.host, peer.port)
        with pytest.raises(UpstreamFault) as caught:
            await tls_client.send(request)
        assert (caught.value.phase, caught.value.reason) == (Phase.TLS, "tls handshake timeout")
        assert caught.value.timeout
        await gone.wait()


async def test_closed_while_idle_is_noticed(tls_client: UpstreamClient, authority: Authority) -> None:
    async with Peer(once(OK), tls=authority.server(), host="localhost") as peer:
        assert await whole(tls_client, peer.ask()) == b"ok"
        await emptied(tls_client)
        assert await whole(tls_client, peer.ask()) == b"ok"
        assert peer.accepted == 2


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_closed_while_idle_but_not_yet_noticed_is_replaced(
    tls_client: UpstreamClient, authority: Authority, how: str
) -> None:
    leave = asyncio.Event()

    async def script(line: Line) -> None:
        await line.answer(OK)
        if line.number == 1:
            await leave.wait()
            line.close() if how == "close" else line.writer.transport.abort()
        await line.gone()

    async with elsewhere(script, tls=authority.server(), host="localhost") as (peer, trigger):
        assert await whole(tls_client, peer.ask()) == b"ok"
        (connection,) = next(iter(tls_client._pools.values())).idle
        trigger(leave)
        while not connection.peer_gone():
            pass  # this loop stands still on purpose
        assert await whole(tls_client, peer.ask(b"again")) == b"ok"
        assert [seen.body for seen in peer.requests] == [b"{}", b"again"]


async def test_a_peer_that_read_the_request_and_left_gets_no_second_one(
    tls_client: UpstreamClient, authority: Authority
) -> None:
    async def script(line: Line) -> None:
        await line.answer(OK)
        await line.request()

    async with Peer(script, tls=authority.server(), host="localhost") as peer:
        assert await whole(tls_client, peer.ask()) == b"ok"
        with pytest.raises(UpstreamFault) as caught:
            await tls_client.send(peer.ask())
        assert not caught.value.unprocessed
        assert len(peer.requests) == 2


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_truncated(tls_client: UpstreamClient, authority: Authority, how: str) -> None:
    async def script(line: Line) -> None:
        await line.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        line.close() if how == "close" else line.writer.transport.abort()

    async with Peer(script, tls=authority.server(), host="localhost") as peer:
        with pytest.raises(UpstreamFault) as caught:
            await whole(tls_client, peer.ask())
        assert caught.value.phase is Phase.BODY


async def test_close_delimited(tls_client: UpstreamClient, authority: Authority) -> None:
    async with Peer(once(b"HTTP/1.1 200 OK\r\n\r\nabc"), tls=authority.server(), host="localhost") as peer:
        assert await whole(tls_client, peer.ask()) == b"abc"


async def test_close_delimited_needs_the_vendors_goodbye(tls_client: UpstreamClient, authority: Authority) -> None:
    """Anybody on the way can send a FIN; only the vendor can send a close_notify."""

    async def script(line: Line) -> None:
        await line.answer(b"HTTP/1.1 200 OK\r\n\r\nabc")
        line.writer.transport.abort()

    async with Peer(script, tls=authority.server(), host="localhost") as peer:
        with pytest.raises(UpstreamFault, match="body truncated"):
            await whole(tls_client, peer.ask())


async def test_abort_is_seen_by_the_vendor(tls_client: UpstreamClient, authority: Authority) -> None:
    gone = asyncio.Event()

    async def script(line: Line) -> None:
        await line.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
        await line.gone()
        gone.set()

    async with Peer(script, tls=authority.server(), host="localhost") as peer:
        reply = await tls_client.send(peer.ask())
        reply.abort()
        await gone.wait()
