"""A blunt client for the self-tests: it sends bytes, reads until the end and reports how the connection ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gproxy.vendor.server import VendorServer
from tests.vendor.count import Count, fold


@dataclass
class Heard:
    raw: bytes
    ended: str  # "fin", "rst" or "open" (still open when the answer was complete or patience ended)

    @property
    def head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[0]

    @property
    def after_head(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.split(b"\r\n")[1:]
        return [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]

    def chunks(self) -> tuple[list[bytes], bool]:
        """The chunks that arrived whole, and whether the last (empty) one did."""
        rest = self.after_head
        found: list[bytes] = []
        while True:
            size, sep, rest = rest.partition(b"\r\n")
            if not sep:
                return found, False
            with contextlib.suppress(ValueError):
                number = int(size, 16)
                if number == 0:
                    return found, True
                if len(rest) >= number + 2:
                    found.append(rest[:number])
                    rest = rest[number + 2 :]
                    continue
            return found, False

    @property
    def body(self) -> bytes:
        if (b"transfer-encoding", b"chunked") in self.headers:
            return b"".join(self.chunks()[0])
        return self.after_head

    def json(self) -> Any:
        return json.loads(self.body)


PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "anthropic_messages": "/v1/messages",
}


def post(path: str, body: Any, *, key: str = "k-test", headers: dict[str, str] | None = None) -> bytes:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: v", f"authorization: Bearer {key}", f"content-length: {len(payload)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + payload


def request(dialect: str, model: str, *, stream: bool = False, text: str = "Say something", **more: Any) -> bytes:
    match dialect:
        case "openai_chat":
            body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
        case "openai_responses":
            body = {"model": model, "input": text, "stream": stream}
        case "anthropic_messages":
            body = {
                "model": model,
                "max_tokens": 1000,
                "messages": [{"role": "user", "content": text}],
                "stream": stream,
            }
        case _:
            name = model.replace("/", "%2F")
            verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
            return post(f"/v1beta/models/{name}:{verb}", {"contents": [{"parts": [{"text": text}]}], **more})
    return post(PATHS[dialect], {**body, **more})


async def talk(server: VendorServer, data: bytes, *, wait_close: bool = True, limit: int | None = None) -> Heard:
    """Send, then read to the end of the connection (or `limit` bytes)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    raw = b""
    ended = "open"
    try:
        if wait_close and b"connection: close" not in data[:300].lower():
            # Answered on keep-alive: a second request that asks for the end makes the first one's end visible.
            # In one write: sent by itself it could meet a connection that a fault has closed already, and be answered
            # with a reset that nobody asked for.
            data += b"GET /_vendor/health HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n"
        writer.write(data)
        while limit is None or len(raw) < limit:
            piece = await reader.read(1 << 16)
            if not piece:
                ended = "fin"
                break
            raw += piece
    except ConnectionResetError:
        ended = "rst"
        raw += bytes(reader._buffer)  # type: ignore[attr-defined]  # what came before the reset, which read() withholds
    finally:
        writer.transport.abort()
    return Heard(_first(raw) if wait_close else raw, ended)


def _first(raw: bytes) -> bytes:
    """Without the control answer that was only asked for to see the end."""
    at = raw.rfind(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ")
    tail = raw[at:] if at > 0 else b""
    return raw[:at] if b'"connections":' in tail else raw


async def ask(server: VendorServer, dialect: str, model: str, **more: Any) -> Heard:
    return await talk(server, request(dialect, model, **more))


def count_of(server: VendorServer) -> Count:
    return fold(server.tally.lines().split(b"\n"))


def cases(folder: Path, protocol: str = "*") -> list[str]:
    """Every `<protocol>/<case>` in a folder of recordings, sorted."""
    return sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob(f"{protocol}/*/meta.json"))
