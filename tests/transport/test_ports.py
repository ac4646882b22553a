"""The transport may not import the pipeline, so its promise is checked here: mypy reads these assignments."""

from __future__ import annotations

from gproxy.pipeline.ports import Upstream, UpstreamReply
from gproxy.transport.client import UpstreamClient
from gproxy.transport.replay import Answer, Scripted
from gproxy.wire.http import UpstreamRequest
from tests.transport.peer import OK, Peer, answering


async def both_upstreams_answer(upstream: Upstream, request: UpstreamRequest) -> tuple[int, bytes]:
    reply: UpstreamReply = await upstream.send(request)
    return reply.status, await reply.read(100)


async def test_the_client_is_an_upstream(client: UpstreamClient) -> None:
    async with Peer(answering(OK)) as peer:
        assert await both_upstreams_answer(client, peer.ask()) == (200, b"ok")


async def test_the_script_is_an_upstream() -> None:
    scripted = Scripted(Answer([b"o", b"k"]))
    assert await both_upstreams_answer(scripted, Peer(answering(OK)).ask()) == (200, b"ok")
