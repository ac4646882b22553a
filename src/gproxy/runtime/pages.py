"""The few pages that are neither the API nor an application: health, and what clients probe before they begin."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from gproxy.runtime.health import Health
from gproxy.server.exchange import Request, Responder
from gproxy.wire.http import Header

Page = Callable[[Request, Responder], Awaitable[None]]

_JSON: Final[Header] = (b"content-type", b"application/json")
_HELLO: Final = b'{"service":"gproxy","docs":"/docs","health":"/healthz"}'


def pages(health: Health) -> Mapping[str, Page]:
    """Path → page. Anything but GET and HEAD is 405."""

    async def check(request: Request, responder: Responder) -> None:
        if _refused(request, responder):
            return
        status, headers, body = health.answer(request.path)
        responder.send(status, headers, body)

    async def hello(request: Request, responder: Responder) -> None:
        if not _refused(request, responder):
            responder.send(200, (_JSON,), _HELLO)

    async def front(request: Request, responder: Responder) -> None:
        # A person with a browser is led to the console; programs get the greeting, whatever they accept.
        if request.method == "GET" and b"text/html" in (request.header(b"accept") or b"").lower():
            responder.send(302, ((b"location", b"/console/"), (b"vary", b"accept")), b"")
            return
        await hello(request, responder)

    return {"/livez": check, "/readyz": check, "/healthz": check, "/": front, "/api/hello": hello}


def _refused(request: Request, responder: Responder) -> bool:
    if request.method in {"GET", "HEAD"}:
        return False
    responder.send(
        405, ((b"allow", b"GET, HEAD"), _JSON), b'{"error":{"code":"method_not_allowed","message":"use GET"}}'
    )
    return True
