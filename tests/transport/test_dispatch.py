"""The one promise the ledger stands on, under a vendor that misbehaves at random: no request is ever seen twice."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from gproxy.errors import UpstreamFault
from gproxy.transport.client import TransportConfig, UpstreamClient
from tests.transport.peer import OK, Line, Peer, pools

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"


@pytest.mark.parametrize("seed", range(3))
async def test_seen_at_most_once_and_unprocessed_means_unseen(seed: int) -> None:
    dice = random.Random(seed)
    good, unprocessed = set(), set()

    async def script(line: Line) -> None:
        while True:
            await line.request()
            match dice.choice(["reset", "leave", "cut", "last", "endless", "chunked", *(["answer"] * 12)]):
                case "reset":
                    return line.reset()
                case "leave":
                    return None
                case "cut":
                    return await line.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok")
                case "last":
                    return await line.write(OK)
                case "endless":
                    return await line.write(b"HTTP/1.1 200 OK\r\n\r\nok")
                case "chunked":
                    await line.write(CHUNKED, b"0\r\n\r\n")
                case _:
                    await line.write(OK)

    client = UpstreamClient(TransportConfig(max_connections_per_origin=10, max_idle_per_origin=5))
    async with Peer(script) as peer:

        async def ask(number: int) -> None:
            body = b"%d " % number + b" " * dice.choice([0, 100, 400_000])
            try:
                async with asyncio.timeout(dice.choice([None, None, None, 0.005])):
                    reply = await client.send(peer.ask(body))
                    assert await reply.read(100) == b"ok"
                good.add(number)
            except UpstreamFault as fault:
                if fault.unprocessed:
                    unprocessed.add(number)
            except TimeoutError:
                pass

        for round_ in range(6):
            await asyncio.gather(*(ask(round_ * 50 + number) for number in range(50)))
        seen = [int(request.body.split()[0]) for request in peer.requests]
        assert len(seen) == len(set(seen))
        assert good <= set(seen)
        assert not unprocessed & set(seen)
        assert len(good) > 100
        await client.close(time.monotonic() + 1)
        assert not pools(client)[0].all
