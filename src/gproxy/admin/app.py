"""The control plane as one ASGI application, built from its parts.

Importing this costs half a second (the framework); `mount` does it when the first request for it arrives.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, Response

from gproxy.admin import (
    dashboard_routes,
    docs_page,
    errors,
    explain_routes,
    health_routes,
    key_routes,
    live_routes,
    own_routes,
    record_routes,
    request_routes,
    resource_routes,
    revision_routes,
    sessions,
    transfer_routes,
    vendor_calls,
)
from gproxy.admin.access import TABLE, Level
from gproxy.admin.errors import ErrorReply
from gproxy.admin.gate import CSRF_HEADER, SESSION_COOKIE, Gate, guarded
from gproxy.admin.people_resources import PEOPLE
from gproxy.admin.ports import Ports
from gproxy.admin.resource import Resource
from gproxy.admin.upstream_resources import UPSTREAM

_Message = MutableMapping[str, Any]
_App = Callable[[_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]]

_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": ErrorReply, "description": "Refused; the error says why and names the field."},
    "5XX": {"model": ErrorReply, "description": "Could not be done."},
}
_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_NOTHING: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_SECURITY: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A session token from `POST /login`, or an API key.",
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": f"For browsers, with `{CSRF_HEADER}` on unsafe methods.",
    },
}


def build_app(ports: Ports) -> _App:
    """The application. A route that `access.TABLE` does not declare makes this fail."""
    gate = Gate(ports)
    app = FastAPI(
        title="gproxy control plane",
        version=ports.version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
    )
    errors.install(app)
    for tag, add in _parts(ports, gate):
        router = APIRouter(route_class=guarded(gate), tags=[tag], responses=_REFUSALS)
        add(router)
        app.include_router(router)
    _add_documents(app, gate)
    return _Armoured(app, ports)


def _parts(ports: Ports, gate: Gate) -> list[tuple[str, Callable[[APIRouter], None]]]:
    parts: list[tuple[str, Callable[[APIRouter], None]]] = [
        ("sessions", lambda router: sessions.add_routes(router, ports, gate)),
        ("own things", lambda router: own_routes.add_routes(router, ports, gate)),
        # Before the resources: their paths would take `/admin/keys/{id}/…` for an id.
        ("keys and credentials", lambda router: key_routes.add_routes(router, ports)),
        ("vendors", lambda router: vendor_calls.add_routes(router, ports)),
        ("records", lambda router: record_routes.add_routes(router, ports)),
        ("dashboard", lambda router: dashboard_routes.add_routes(router, ports)),
        ("health", lambda router: health_routes.add_routes(router, ports)),
        ("living parts", lambda router: live_routes.add_routes(router, ports)),
        ("the whole configuration", lambda router: transfer_routes.add_routes(router, ports)),
        ("requests", lambda router: request_routes.add_routes(router, ports)),
        ("revisions", lambda router: revision_routes.add_routes(router, ports)),
        ("explain", lambda router: explain_routes.add_routes(router, ports)),
    ]
    return parts + [(each.name, _resource(ports, each)) for each in (*UPSTREAM, *PEOPLE)]


def _resource(ports: Ports, resource: Resource) -> Callable[[APIRouter], None]:
    return lambda router: resource_routes.add_routes(router, ports, resource)


def _add_documents(app: FastAPI, gate: Gate) -> None:
    router = APIRouter(route_class=guarded(gate))
    made = _Documents(app)

    async def openapi_json(_: Request) -> Response:
        return Response((await made.all()).openapi, media_type="application/json")

    async def docs(_: Request) -> Response:
        found = await made.all()
        policy = f"default-src 'none'; style-src '{found.style}'; frame-ancestors 'none'"
        return HTMLResponse(found.page, headers={"content-security-policy": policy})

    router.add_api_route("/openapi.json", openapi_json, include_in_schema=False)
    router.add_api_route("/docs", docs, include_in_schema=False)
    app.include_router(router)


@dataclass(frozen=True, slots=True)
class _Written:
    openapi: bytes
    page: str
    style: str


class _Documents:
    """Written once, when somebody first wants to read: it takes half a second, which the loop has no time for."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._written: _Written | None = None
        self._lock = asyncio.Lock()

    async def all(self) -> _Written:
        async with self._lock:
            if self._written is None:
                self._written = await asyncio.to_thread(self._write)
            return self._written

    def _write(self) -> _Written:
        document = openapi(self._app)
        page, style = docs_page.render(document)
        return _Written(json.dumps(document, ensure_ascii=False).encode(), page, style)


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document, with what each operation asks of its caller."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary="Everything an operator and a user can do with gproxy beside calling models.",
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    document.setdefault("components", {})["securitySchemes"] = _SECURITY
    levels = {key.replace("{id:path}", "{id}"): level for key, level in TABLE.items()}
    for path, item in document["paths"].items():
        for method, operation in item.items():
            level = levels[f"{method.upper()} {path}"]
            operation["x-gproxy-level"] = level.value
            operation["security"] = [] if level is Level.NONE else [{"bearer": []}, {"cookie": []}]
    return document


class _Armoured:
    """Puts the security headers on every answer, whoever made it, and says who is really calling."""

    def __init__(self, app: FastAPI, ports: Ports) -> None:
        self.app = app
        self._ports = ports

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        async def armoured(message: _Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                given = {name.lower() for name, _ in headers}
                headers += [pair for pair in (*_HEADERS, _NOTHING) if pair[0] not in given]
                message = {**message, "headers": headers}
            await send(message)

        peer = scope["client"][0] if scope.get("client") else None
        address = self._ports.client_address(peer, scope["headers"])
        await self.app({**scope, "client": None if address is None else (address, 0)}, receive, armoured)
