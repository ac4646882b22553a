"""A TCP relay between the code under test and a database server, which can be cut, stalled or refused at will."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit


class Relay:
    """`on_client` sees each piece the client sends and says what becomes of it."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._target = (parts.hostname or "", parts.port or 0)
        self._parts = parts
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.on_client: Callable[[bytes], Literal["pass", "cut", "pass then cut", "stall"]] = lambda _: "pass"
        self.refuse = False
        self._silent: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    @property
    def dsn(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        login = self._parts.netloc.rpartition("@")[0]
        return urlunsplit(self._parts._replace(netloc=f"{login}@127.0.0.1:{port}"))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if self.refuse:
            writer.close()
            return
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        self._writers.add(up_writer)
        back = asyncio.create_task(self._pump(up_reader, writer))
        self._tasks.add(back)
        try:
            while data := await reader.read(65536):
                verdict = self.on_client(data)
                if verdict == "stall":
                    continue  # the client waits for an answer that will never come
                if verdict == "cut":
                    break
                if verdict == "pass then cut":
                    self._silent.add(writer)  # the server's answer is swallowed
                    up_writer.write(data)
                    await up_writer.drain()
                    # The server has answered, so it has done the thing, before the client loses the line.
                    await self._answered.wait()
                    break
                up_writer.write(data)
                await up_writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
            up_writer.close()

    @property
    def _answered(self) -> asyncio.Event:
        if not hasattr(self, "_event"):
            self._event = asyncio.Event()
        return self._event

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if writer in self._silent:
                    self._answered.set()
                    continue
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            self._answered.set()
            writer.close()

    def cut_all(self) -> None:
        for writer in self._writers:
            writer.close()

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
