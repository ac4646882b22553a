"""A TCP proxy between the gateway and a server, with every fault a network has, switched while it runs.

    pass       bytes go through (after `delay` seconds each way, if set)
    refuse     nobody listens: connection refused, and what is open is reset
    blackhole  connections are accepted, nothing is ever forwarded, in neither direction
    half_close the server's side says it is done (FIN), the client's bytes still go nowhere

`on_client` looks at each piece from the client and may `cut` the connection (RST) before the server sees it, or
`cut after` it: the server has done what it was told and has answered, and the client never learns it.
`cut_at` resets each connection after that many bytes from the server.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final, Literal, Self

Mode = Literal["pass", "refuse", "blackhole", "half_close"]
Verdict = Literal["pass", "cut", "cut after", "stall"]
_RST: Final = struct.pack("ii", 1, 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    plain = writer.get_extra_info("socket")
    if plain is not None and plain.fileno() >= 0:
        twin = socket.socket(fileno=socket.dup(plain.fileno()))
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        twin.close()
    writer.transport.abort()


class FaultProxy:
    """One listening port in front of one server."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._answered: dict[asyncio.StreamWriter, asyncio.Event] = {}
        self._opened = asyncio.Event()
        self.port = 0
        self.mode: Mode = "pass"
        self.delay = 0.0
        self.cut_at: int | None = None
        self.on_client: Callable[[bytes], Verdict] = lambda _: "pass"
        self.connections = 0
        self.stalled = asyncio.Event()
        """Set when a piece was held back by `stall`."""
        self.touched = asyncio.Event()
        """Set when somebody connected while the mode was not `pass`."""

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, reuse_address=True, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def set(self, mode: Mode) -> None:
        """Change how the network behaves, for connections that are open too."""
        before, self.mode = self.mode, mode
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        if mode in {"refuse", "half_close"} or before in {"blackhole", "half_close"}:
            # What came through a hole is out of step; the client must begin anew.
            await self.reset_all()
        if mode != "refuse" and self._server is None:
            await self._listen()

    async def reset_all(self) -> None:
        """RST for every open connection."""
        for writer in tuple(self._writers):
            reset(writer)
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.mode != "pass":
            self.touched.set()
        self._spawn(self._serve(reader, writer))

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]  # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self.mode == "half_close":
                writer.write_eof()
                await reader.read()
                return
            up_reader, upstream = await asyncio.open_connection(*self._target)
            self._writers.add(upstream)
            self._answered[writer] = asyncio.Event()
            self._spawn(self._back(up_reader, writer, upstream))
            while data := await reader.read(65536):
                if self.delay:
                    await asyncio.sleep(self.delay)  # this is the latency
                match self.on_client(data):
                    case "cut":
                        reset(writer)
                        return
                    case "cut after":
                        self._deaf.add(writer)
                        self._answered[writer].clear()
                        upstream.write(data)
                        await self._answered[writer].wait()
                        reset(writer)
                        return
                    case "stall":
                        self.stalled.set()
                        continue
                    case _:
                        pass
                if self.mode == "blackhole":
                    self.touched.set()
                    continue
                upstream.write(data)
                await upstream.drain()
        except OSError:
            pass
        finally:
            self._forget(writer)
            if upstream is not None:
                self._forget(upstream)

    async def _back(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        passed = 0
        try:
            while data := await reader.read(65536):
                if writer in self._deaf:
                    self._answered[writer].set()
                    continue
                if self.mode == "blackhole":
                    continue
                if self.delay:
                    await asyncio.sleep(self.delay)
                passed += len(data)
                if self.cut_at is not None and passed > self.cut_at:
                    reset(writer)
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._answered[writer].set()
            self._forget(writer)
            self._forget(upstream)

    def _forget(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        await self.reset_all()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
