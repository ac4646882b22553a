"""The bridge to ASGI 3 applications (admin, console, docs) on the same listener. HTTP only; lifespan is the caller's.

Control plane only: it costs several times what the listener itself does, which is why the hot path does not use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from gproxy.errors import ClientGone, Failure, Kind, Refused

if TYPE_CHECKING:
    from gproxy.server.exchange import Request, Responder
    from gproxy.wire.http import Header

_Message: TypeAlias = MutableMapping[str, Any]
AsgiApp: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]],
    Awaitable[None],
]
"""`app(scope, receive, send)`; see https://asgi.readthedocs.io/en/latest/specs/www.html."""

_MAX_BODY: Final = 52_428_800


class AsgiHandler:
    """A listener's handler that lets an ASGI application answer. Bodies above `max_body` bytes are refused with 413."""

    def __init__(self, app: AsgiApp, *, max_body: int = _MAX_BODY) -> None:
        self._app = app
        self._max_body = max_body

    async def __call__(self, request: Request, responder: Responder) -> None:
        """Serve one request. Exceptions of the application travel on to the listener."""
        if request.length > self._max_body:
            raise Refused(_too_large(self._max_body))
        exchange = _Exchange(request, responder, self._max_body)
        try:
            await self._app(self._scope(request), exchange.receive, exchange.send)
        except Exception:
            # Frameworks turn a body that ends early into errors of their own; the cause is known here.
            if exchange.refusal is None and not responder.gone:
                raise
        finally:
            await exchange.close()
        if exchange.refusal is not None:
            raise exchange.refusal

    def _scope(self, request: Request) -> dict[str, Any]:
        # The fixed part of the specification says str for `path`; bytes that are no UTF-8 are kept as surrogates.
        path = unquote_to_bytes(request.path).decode("utf-8", "surrogateescape")
        return {
            "type": "http",
            # Up to 2.3 an application is told of a departure by `receive`, also while it has nothing to send.
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1" if request.http11 else "1.0",
            "method": request.method,
            "scheme": request.scheme,
            "path": path,
            "raw_path": request.path.encode("ascii"),
            "query_string": request.query.encode("ascii"),
            "root_path": "",
            "headers": request.headers,
            "client": (request.peer, 0) if request.peer else None,
            "server": _server(request),
            "state": {},
        }


class _Exchange:
    """The two callables of one request. `refusal` is why its body will not be read to the end, if so."""

    def __init__(self, request: Request, responder: Responder, max_body: int) -> None:
        self._request = request
        self._responder = responder
        self._max_body = max_body
        self._chunks = request.chunks()
        self._body_seen = False
        self._received = 0
        self.refusal: Refused | None = None
        self._over = asyncio.Event()  # the client left or the answer is complete
        self._start: tuple[int, list[Header]] | None = None
        responder.on_gone(self._over.set)

    async def close(self) -> None:
        """No more of the body is wanted."""
        await self._chunks.aclose()

    async def receive(self) -> _Message:
        """`http.request` until the body is over, then `http.disconnect` once the exchange is."""
        if not self._body_seen:
            try:
                data = await anext(self._chunks, b"")
            except ClientGone:
                self._body_seen = True
                return {"type": "http.disconnect"}
            except Refused as refusal:
                return self._refuse(refusal)
            self._received += len(data)
            if self._received > self._max_body:
                return self._refuse(Refused(_too_large(self._max_body)))
            self._body_seen = not data
            return {"type": "http.request", "body": data, "more_body": bool(data)}
        await self._over.wait()
        return {"type": "http.disconnect"}

    def _refuse(self, refusal: Refused) -> _Message:
        """The application sees its client leave; the client is told why once the application returned."""
        self.refusal = refusal
        self._body_seen = True
        self._over.set()
        return {"type": "http.disconnect"}

    async def send(self, message: _Message) -> None:
        """`http.response.start` and `http.response.body`; ignored once the client left or the body was refused."""
        if self.refusal is not None:
            return
        kind = message["type"]
        if kind == "http.response.start" and self._start is None and not self._responder.started:
            headers = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
            self._start = (message["status"], headers)
        elif kind == "http.response.body" and (self._start is not None or self._responder.started):
            await self._body(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
        else:
            raise RuntimeError(f"the application sent {kind!r} out of order")

    async def _body(self, data: bytes, *, more: bool) -> None:
        responder = self._responder
        if self._start is not None:
            status, headers = self._start
            self._start = None
            length = next((int(value) for name, value in headers if name == b"content-length"), None)
            if not more and (self._request.method != "HEAD" or length is None):
                responder.send(status, headers, data)
                self._over.set()
                return
            # For HEAD the application's own length counts: its body is empty, the one it speaks of is not.
            responder.start(status, headers, length)
        if responder.ended:
            return
        responder.write(data)
        if more:
            try:
                await responder.drain()
            except ClientGone:
                self._over.set()
        else:
            responder.end()
            self._over.set()


def _server(request: Request) -> tuple[str, int | None] | None:
    host = request.header(b"host")
    if host is None:
        return None
    name, _, port = host.decode("ascii").rpartition(":")
    if not name or not port.isdigit():
        return host.decode("ascii"), 443 if request.scheme == "https" else 80
    return name, int(port)


def _too_large(limit: int) -> Failure:
    return Failure(Kind.PAYLOAD_TOO_LARGE, f"the request body is larger than {limit} bytes")
