"""A real listener on a loopback port, and a client that says exactly the bytes it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gproxy.server import hub
from gproxy.server.listener import Listener, ListenerConfig, bind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gproxy.errors import Failure
    from gproxy.server.exchange import Handler, Request, Responder
    from gproxy.wire.http import Header

TICK = 0.02
WAIT = 10.0  # an upper bound for anything that is expected to happen


def render(failure: Failure, path: str | None) -> tuple[Sequence[Header], bytes]:
    return [
        (b"content-type", b"text/plain"),
        (b"x-path", (path or "-").encode()),
    ], f"{failure.kind}: {failure.text}".encode()


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    complete: bool = True

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name]
        assert len(found) < 2, f"{name} is repeated"
        return found[0] if found else None


class Client:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data: bytes, method: str = "GET") -> Answer:
        await self.send(data)
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> Answer:
        async with asyncio.timeout(WAIT):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head[:-4].split("\r\n")
            assert first.startswith("HTTP/1.1 "), first
            status = int(first[9:12])
            headers = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
            answer = Answer(status, headers, b"")
            if method == "HEAD" or status < 200 or status in (204, 304):
                return answer
            length = answer.header("content-length")
            try:
                if length is not None:
                    answer.body = await self.reader.readexactly(int(length))
                elif answer.header("transfer-encoding") == "chunked":
                    while size := int((await self.reader.readuntil(b"\r\n"))[:-2], 16):
                        answer.body += await self.reader.readexactly(size)
                        assert await self.reader.readexactly(2) == b"\r\n"
                    assert await self.reader.readexactly(2) == b"\r\n"
                else:
                    answer.body = await self.reader.read()
            except (asyncio.IncompleteReadError, ConnectionError):
                answer.complete = False
            return answer

    async def rest(self) -> bytes:
        """Everything up to the server's FIN; fails when it ends by a reset instead."""
        async with asyncio.timeout(WAIT):
            return await self.reader.read()

    async def is_reset(self) -> bool:
        async with asyncio.timeout(WAIT):
            try:
                while await self.reader.read(65_536):
                    pass
            except ConnectionResetError:
                return True
            return False

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Rig:
    listener: Listener
    port: int
    sockets: list[socket.socket]
    tls: ssl.SSLContext | None = None
    unhandled: list[BaseException] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    async def connect(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, **options))
        self.clients.append(client)
        return client

    @property
    def hub(self) -> hub.Hub:
        assert self.listener._hub
        return self.listener._hub

    @property
    def requests(self) -> list[Request]:
        """What is in flight, oldest first."""
        return [responder._request for responder in self.hub.exchanges]

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition)

    async def received(self, size: int) -> None:
        """Wait until so much of the one body in flight was read."""
        await until(lambda: [request.received for request in self.requests] == [size])


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that happens on its own and has no event a test could wait for."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    tick: float = TICK,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
    **config: Any,
) -> AsyncIterator[Rig]:
    """A running listener; afterwards no connection and no task of it may be left."""
    before = asyncio.all_tasks()
    unhandled: list[BaseException] = []
    listener = Listener(handler, ListenerConfig(**config), render_error=render, on_unhandled=unhandled.append)
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    real_tick, hub.TICK = hub.TICK, tick  # type: ignore[misc]
    rig = Rig(listener, port, sockets, client_tls, unhandled)
    try:
        await listener.start(sockets, server_tls)
        yield rig
    finally:
        for client in rig.clients:
            await client.close()
        hub.TICK = real_tick  # type: ignore[misc]
        listener.abort_all()
        await until(lambda: not (listener.connections or listener.in_flight or asyncio.all_tasks() - before))
    assert rig.unhandled == []


async def echo(request: Request, responder: Responder) -> None:
    """Tells what arrived."""
    body = await request.body(10_000_000)
    text = f"{request.method} {request.path} {request.query} ".encode() + body
    responder.send(200, [(b"content-type", b"text/plain")], text)


def get(path: str = "/", *lines: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1")


def post(body: bytes, path: str = "/", *lines: str) -> bytes:
    head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *lines, "", ""])
    return head.encode("latin-1") + body


def post_chunked(raw: bytes, path: str = "/") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + raw
