"""Many clients at once, on raw connections: what a drain and a kill are tested with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.process import rig


@dataclass
class Call:
    """One request under way."""

    model: str
    stream: bool
    port: int
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the first byte of the body has come."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    """The body ended as its framing said."""
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether the dialect's own end was seen."""
        return self.whole and self.status == 200 and (not self.stream or self.body.endswith(b"data: [DONE]\n\n"))

    async def run(self) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
        except OSError as error:
            self.error = f"connect: {error}"
            self.begun.set()
            return
        try:
            body: dict[str, Any] = {
                "model": self.model,
                "messages": [{"role": "user", "content": "one two three"}],
                "stream": self.stream,
            }
            content = json.dumps(body).encode()
            writer.write(
                b"POST /main/v1/chat/completions HTTP/1.1\r\nhost: test\r\nauthorization: Bearer "
                + rig.ALICE.encode()
                + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(content)
                + content
            )
            await self._answer(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.error = self.error or type(error).__name__
        finally:
            self.begun.set()
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        if "content-length" in self.headers:
            self.body = await reader.readexactly(int(self.headers["content-length"]))
            self.whole = True
            return
        while True:
            size = int(await reader.readuntil(b"\n"), 16)
            piece = await reader.readexactly(size + 2)
            if not size:
                self.whole = True
                return
            self.body += piece[:-2]
            self.begun.set()


@asynccontextmanager
async def running(calls: list[Call], *, begun: bool = True) -> AsyncIterator[asyncio.Future[list[None]]]:
    """The calls under way; with `begun` every stream has had its first bytes."""
    together = asyncio.gather(*(call.run() for call in calls))
    try:
        if begun:
            await asyncio.gather(*(call.begun.wait() for call in calls if call.stream))
        yield together
    finally:
        if not together.done():
            together.cancel()


def many(gateway: rig.Gateway, count: int, model: str, *, stream: bool = True) -> list[Call]:
    """Calls whose model names differ, so that each can be found in the vendor's count and in the ledger."""
    return [Call(f"{model}~n={number}", stream, gateway.port) for number in range(count)]
