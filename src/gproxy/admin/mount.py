"""Where the control plane hangs on the listener, and how it comes into being: with the first request for it.

The framework takes half a second to import, which a start must not pay and most processes of a fleet never need.
It is done on a thread; requests for it wait meanwhile, all others do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gproxy.server.asgi import AsgiApp, AsgiHandler
from gproxy.server.exchange import Request, Responder

PREFIXES: Final = ("/admin", "/user", "/login", "/logout", "/openapi.json", "/docs")
MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes; an import of a large configuration fits."""


class ControlPlane:
    """The listener's handler for everything under `PREFIXES`."""

    def __init__(self, build: Callable[[], AsgiApp]) -> None:
        self._build = build
        self._handler: AsgiHandler | None = None
        self._building: asyncio.Future[AsgiApp] | None = None

    def mounts(self) -> tuple[tuple[str, Callable[[Request, Responder], Awaitable[None]]], ...]:
        """Prefix → handler."""
        return tuple((prefix, self) for prefix in PREFIXES)

    async def __call__(self, request: Request, responder: Responder) -> None:
        """Serve one request; the first ones wait until there is something to serve them."""
        handler = self._handler or await self._made()
        await handler(request, responder)

    async def _made(self) -> AsgiHandler:
        if self._building is None or (self._building.done() and self._building.exception() is not None):
            self._building = asyncio.get_running_loop().run_in_executor(None, self._build)
        # Shielded: a client that leaves must not take the others' application with it.
        app = await asyncio.shield(self._building)
        if self._handler is None:
            self._handler = AsgiHandler(app, max_body=MAX_BODY)
        return self._handler
