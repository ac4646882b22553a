from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.config import TransportConfig
from gproxy.transport.connection import Connection
from gproxy.transport.dial import Dial
from gproxy.wire.http import Origin
from tests.transport.peer import OK, Peer, answering
from tests.transport.test_connection import Owner


class Names:
    """The running loop with a phone book of its own."""

    def __init__(self, *addresses: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._addresses = addresses

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in self._addresses
        ]


def dial(names: Names, port: int, **config: Any) -> Dial:
    made = TransportConfig(**config)
    return Dial(
        names,  # type: ignore[arg-type]
        made,
        Origin("http", "vendor.example", port),
        None,
        lambda: Connection(asyncio.get_running_loop(), made, Owner()),
    )


async def test_families_take_turns() -> None:
    names = Names("::1", "::2", "::3", "127.0.0.1", "127.0.0.2")
    turns = [address[0] for _, address in await dial(names, 1)._resolve("vendor.example", 1)]
    assert turns == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]


async def test_an_address_that_refuses_is_no_reason_to_give_up() -> None:
    async with Peer(answering(OK)) as peer:
        connection = await dial(Names("127.0.0.2", "127.0.0.3", "127.0.0.1"), peer.port).run()
        assert peer.accepted <= 1
        connection.close()


async def test_an_address_that_swallows_everything_costs_one_stagger() -> None:
    """A listener with a full queue neither accepts nor refuses."""
    with socket.socket() as listener, socket.socket() as deaf, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        deaf.bind(("127.0.0.2", port))
        deaf.listen(0)
        filler.connect(("127.0.0.2", port))
        connection = await dial(Names("127.0.0.2", "127.0.0.1"), port).run()
        assert connection.transport is not None
        assert connection.transport.get_extra_info("peername")[0] == "127.0.0.1"
        connection.close()


async def test_all_refuse() -> None:
    # A bound socket that does not listen refuses, and nobody else can take its port meanwhile.
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        two.bind(("127.0.0.2", port))
        with pytest.raises(UpstreamFault) as caught:
            await dial(Names("127.0.0.1", "127.0.0.2"), port).run()
    assert (caught.value.phase, caught.value.reason) == (Phase.CONNECT, "connection refused")
    assert caught.value.unprocessed


@pytest.mark.parametrize("bad", ["169.254.169.254", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1"])
async def test_a_name_that_leads_to_a_metadata_service_leads_nowhere(bad: str) -> None:
    """Not to its other addresses either: such a name is an attack, not a choice."""
    async with Peer(answering(OK)) as peer:
        with pytest.raises(UpstreamFault, match="cloud metadata"):
            await dial(Names("127.0.0.1", bad), peer.port).run()
        assert peer.accepted == 0


async def test_the_guard_is_a_setting() -> None:
    turns = await dial(Names("169.254.169.254"), 1, forbid_metadata_addresses=False)._resolve("vendor.example", 1)
    assert turns == [(socket.AF_INET, ("169.254.169.254", 1))]


class Unlisted(Names):
    async def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("names", [Names, Unlisted])
async def test_no_address(names: type[Names]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        await dial(names(), 1).run()
    assert (caught.value.phase, caught.value.reason) == (Phase.CONNECT, "host name not resolved")
    assert caught.value.unprocessed
