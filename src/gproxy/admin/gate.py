"""Lets a caller in before anything of the request is read: who is it, may they, and does a browser speak for itself.

A session is a bearer token for scripts and a cookie for browsers. A cookie travels by itself, so an unsafe method
with one must also come from our own pages (`Origin`) and carry the session's CSRF token in a header, which a
foreign page can neither read nor set.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute

from gproxy.access.keys import presented_key
from gproxy.admin.access import TABLE, Level
from gproxy.admin.errors import Problem, replied
from gproxy.admin.ports import Actor, Ports
from gproxy.secret import Secret

SESSION_COOKIE: Final = "gproxy_session"
CSRF_COOKIE: Final = "gproxy_csrf"
CSRF_HEADER: Final = "x-csrf-token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WHO: Final = "send a valid key or session as 'Authorization: Bearer …', or log in"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and by what they are known."""

    user_id: str
    name: str
    is_admin: bool
    via: Literal["key", "bearer", "cookie"]
    address: str
    session_id: str | None = None
    key_id: str | None = None

    @property
    def actor(self) -> Actor:
        """For the audit log."""
        return Actor(self.user_id, self.name, self.address)


def address_of(request: Request) -> str:
    """Where a request came from; a Unix socket has no address."""
    return request.client.host[:200] if request.client else "local"


def caller_of(request: Request) -> Caller:
    """The caller whom the gate let in."""
    found = request.state.caller
    assert isinstance(found, Caller)
    return found


class Gate:
    """One per application."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def csrf_token(self, session_id: str) -> str:
        """The token that belongs to a session and to no other."""
        return self._ports.doors.seal("csrf", session_id)

    async def admit(self, request: Request, level: Level) -> Caller | None:
        """The caller; None where nobody in particular is needed. Raises `Problem` (401, 403)."""
        if level is Level.NONE:
            return None
        caller = await self._known(request)
        if caller is None:
            raise Problem(401, _WHO, headers={"www-authenticate": "Bearer"})
        if caller.via == "cookie" and request.method not in SAFE_METHODS:
            self._speaks_for_itself(request, caller)
        if level is Level.ADMIN and not caller.is_admin:
            raise Problem(403, "this is for administrators")
        if level is Level.SESSION and caller.session_id is None:
            raise Problem(403, "this needs a session: log in; an API key is not enough")
        return caller

    async def _known(self, request: Request) -> Caller | None:
        address = address_of(request)
        token = presented_key(request.scope["headers"], "")
        if token is not None:
            return self._by_key(token, address) or await self._by_session(token, "bearer", address)
        cookie = request.cookies.get(SESSION_COOKIE)
        return await self._by_session(Secret(cookie), "cookie", address) if cookie else None

    def _by_key(self, key: Secret, address: str) -> Caller | None:
        found = self._ports.snapshot().holder(key, self._ports.clock.now_us())
        if found is None:
            return None
        self._ports.key_used(found.key_id)
        return Caller(found.user_id, found.user_name, found.is_admin, "key", address, key_id=found.key_id)

    async def _by_session(self, token: Secret, via: Literal["bearer", "cookie"], address: str) -> Caller | None:
        held = await self._ports.doors.holder(self._ports.doors.digest(token))
        if held is None:
            return None
        return Caller(held.user_id, held.user_name, held.is_admin, via, address, session_id=held.session_id)

    def _speaks_for_itself(self, request: Request, caller: Caller) -> None:
        own_page(request, required=True)
        assert caller.session_id is not None
        sent = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(sent.encode(), self.csrf_token(caller.session_id).encode()):
            raise Problem(403, f"send the session's CSRF token in the header {CSRF_HEADER}", code="csrf_failed")


def own_page(request: Request, *, required: bool) -> None:
    """Whether a browser sent this from one of our own pages. Raises `Problem` (403)."""
    origin = request.headers.get("origin")
    if origin is None:
        if required:
            raise Problem(403, "a browser's request must say where it comes from (Origin)", code="csrf_failed")
        return
    try:
        parts = urlsplit(origin)
        theirs = (parts.hostname or "", parts.port)
        ours_parts = urlsplit(f"{parts.scheme}://{request.headers.get('host', '')}")
        ours = (ours_parts.hostname or "", ours_parts.port)
    except ValueError:
        raise Problem(403, "this comes from a page of another site", code="csrf_failed") from None
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    if parts.scheme not in {"http", "https"} or (theirs[0], theirs[1] or standard) != (ours[0], ours[1] or standard):
        raise Problem(403, "this comes from a page of another site", code="csrf_failed")


def guarded(gate: Gate) -> type[APIRoute]:
    """The class of every route: the table decides who may, before a byte of the body is looked at."""

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            levels = {method: TABLE[f"{method} {self.path}"] for method in self.methods or ()}
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    request.state.caller = await gate.admit(request, levels[request.method])
                except Problem as problem:
                    return replied(problem)
                return await inner(request)

            return handle

    return GuardedRoute


def cookies_for(response: Response, request: Request, token: str, csrf: str, seconds: int) -> None:
    """Hand a browser its session, out of reach of scripts, and the CSRF token, within their reach."""
    # Behind a proxy that ends TLS the browser's own word tells; a false one would only keep its cookies from it.
    secure = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
    response.set_cookie(SESSION_COOKIE, token, max_age=seconds, path="/", secure=secure, httponly=True, samesite="lax")
    response.set_cookie(CSRF_COOKIE, csrf, max_age=seconds, path="/", secure=secure, httponly=False, samesite="lax")


def without_cookies(response: Response) -> None:
    """Take both back."""
    for name in (SESSION_COOKIE, CSRF_COOKIE):
        response.delete_cookie(name, path="/")
