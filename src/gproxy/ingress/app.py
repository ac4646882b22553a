"""The gateway's front: a request line becomes an `Exchange`, goes through the pipeline, and is answered.

Whatever a phase refuses arrives here as one `Refused` and leaves through `reply.render`, in the caller's
dialect. Health pages and mounted applications (admin, console, docs) are found by path before anything else
and are outside the in-flight limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gproxy.access.permissions import Allowed, may_call
from gproxy.canonical.operation import Operation
from gproxy.clock import Clock
from gproxy.errors import ClientGone, Failure, Kind, Refused
from gproxy.ids import new_id
from gproxy.ingress import body as bodies
from gproxy.ingress import kept, reply
from gproxy.ingress import models as model_lists
from gproxy.ingress.peer import Network, client_address
from gproxy.ingress.routes import Match, WrongMethod, match
from gproxy.pipeline.admit import identify
from gproxy.pipeline.elsewhere import Elsewhere
from gproxy.pipeline.exchange import Call, Cause, Exchange, Interrupted
from gproxy.pipeline.head import attempts_header, request_ids
from gproxy.pipeline.in_flight import InFlight
from gproxy.pipeline.ports import Keeper
from gproxy.pipeline.run import Gateway
from gproxy.protocols.models import render_list, render_one
from gproxy.server.exchange import Request, Responder
from gproxy.snapshot import Snapshot
from gproxy.wire.http import Header

Page = Callable[[Request, Responder], Awaitable[None]]


class Watcher(Protocol):
    """Keeps requests for the request log while somebody wants that."""

    on: bool

    def begin(self, x: Exchange) -> None:
        """A request has come."""
        ...


CUT: Final = Failure(
    Kind.DRAINING,
    "the gateway is shutting down and this request could not finish in time; send it again",
    retry_after=1.0,
)
# Clients that would rather have a WebSocket fall back at once on 426; a 404 makes them try again for seconds.
_NO_UPGRADE: Final = Failure(
    Kind.UPGRADE_REQUIRED,
    "protocol upgrades are not served here: send a plain HTTP request",
    headers=((b"upgrade", b"HTTP/1.1"),),
)
_LONGEST_ID: Final = 200
_OF_MODELS: Final = frozenset({Operation.LIST_MODELS, Operation.GET_MODEL})
_JSON: Final[Header] = (b"content-type", b"application/json")


class Ingress:
    """The listener's handler."""

    def __init__(
        self,
        *,
        snapshot: Callable[[], Snapshot],
        gateway: Gateway,
        keeper: Keeper,
        elsewhere: Elsewhere,
        in_flight: InFlight,
        clock: Clock,
        max_body: int,
        pages: Mapping[str, Page],
        mounts: Sequence[tuple[str, Page]],
        on_done: Callable[[Exchange], None],
        trusted_proxies: Sequence[Network] = (),
        watcher: Watcher | None = None,
    ) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watcher = watcher
        self._snapshot = snapshot
        self._gateway = gateway
        self._keeper = keeper
        self._elsewhere = elsewhere
        self._in_flight = in_flight
        self._clock = clock
        self._max_body = max_body
        self._pages = pages
        self._mounts = mounts
        self._on_done = on_done
        self._trusted = trusted_proxies

    async def __call__(self, request: Request, responder: Responder) -> None:
        """Serve one request."""
        path = request.path
        page = self._pages.get(path)
        if page is None:
            for prefix, mounted in self._mounts:
                if path == prefix or path.startswith(prefix + "/"):
                    page = mounted
                    break
        if page is not None:
            await page(request, responder)
            return
        await self._serve(request, responder)

    async def _serve(self, request: Request, responder: Responder) -> None:
        if self._loop is None:  # asked for once: each time it is asked for costs a system call
            self._loop = asyncio.get_running_loop()
        found = match(request.method, request.path)
        headers, query = request.headers, request.query
        if isinstance(found, Match):
            route = found.route
            dialect = model_lists.dialect_of(headers, query, route.dialect)
            call = Call(route.operation, dialect, found.provider, found.model, query, headers, route.batch)
        else:
            call = Call(Operation.GENERATE, reply.dialect_of_path(request.path), None, None, query, headers)
        x = Exchange(
            request_id=new_id(),
            call=call,
            client=responder,
            snapshot=self._snapshot(),
            started_at=self._clock.monotonic(),
            started_us=self._clock.now_us(),
            method=request.method,
            path=request.path,
            owner=asyncio.current_task(self._loop),
            peer=client_address(request.peer, headers, self._trusted) if self._trusted else request.peer,
        )
        if self._watcher is not None and self._watcher.on:
            self._watcher.begin(x)
        theirs = request.header(b"x-request-id")
        if theirs is not None:
            x.client_request_id = theirs[:_LONGEST_ID].decode("latin-1")
        try:
            if request.header(b"upgrade") is not None:
                raise Refused(_NO_UPGRADE)
            if not isinstance(found, Match):
                raise Refused(_not_routed(request, found))
            await self._admitted(x, request, responder)
        except Refused as refusal:
            self._refuse(x, refusal.failure)
        except Interrupted:
            if x.cause is Cause.CUT and not responder.started:
                self._refuse(x, CUT)
            elif x.cause is Cause.CLIENT_GONE:
                _client_left(x)
        except ClientGone:
            _client_left(x)
        finally:
            self._in_flight.leave(x)
            self._on_done(x)

    async def _admitted(self, x: Exchange, request: Request, responder: Responder) -> None:
        x.principal = identify(x.snapshot, request.headers, request.query, x.started_us)
        if x.call.operation in _OF_MODELS:
            self._models(x)
            return
        self._in_flight.enter(x)
        responder.on_gone(x.client_left)
        if x.call.operation in kept.OPERATIONS:
            await kept.serve(x, self._keeper, self._elsewhere)
            return
        with x.interruptible():
            raw = await request.body(self._max_body)
        x.body = bodies.decode(raw, request.header(b"content-encoding"), self._max_body)
        await self._gateway.run(x)

    def _models(self, x: Exchange) -> None:
        principal = x.principal
        assert principal is not None
        provider = x.call.scoped_provider
        if provider is not None and provider not in x.snapshot.providers:
            raise Refused(Failure(Kind.NOT_FOUND, f"there is no provider named {provider!r}"))
        entries = model_lists.visible(x.snapshot, principal, provider)
        if x.call.operation is Operation.LIST_MODELS:
            content = render_list(entries, x.call.dialect)
        else:
            asked = x.call.path_model or ""
            x.model_asked = asked
            entry = next((entry for entry in entries if entry.id == asked), None)
            if entry is None:
                if not isinstance(may_call(principal, asked, provider=provider), Allowed):
                    raise Refused(Failure(Kind.FORBIDDEN, "forbidden: model", param="model"))
                raise Refused(Failure(Kind.MODEL_NOT_FOUND, f"there is no model named {asked!r}", param="model"))
            content = render_one(entry, x.call.dialect)
        x.outcome = "complete"
        x.answered_status = 200
        x.client.send(200, [_JSON, *request_ids(x)], msgspec.json.encode(content))

    def _refuse(self, x: Exchange, failure: Failure) -> None:
        """Answer with an error; a head that is already out leaves only the connection to drop."""
        if x.client.started:
            x.client.abort()
            return
        status, headers, content = reply.render(failure, x.call.dialect, x.request_id)
        x.answered_status = status
        x.failure = failure
        x.client.send(status, [*headers, *request_ids(x), *attempts_header(x)], content)


def _client_left(x: Exchange) -> None:
    x.answered_status = x.answered_status or 499  # nginx's number for it; only logs see it
    x.outcome = "cancelled"


def _not_routed(request: Request, found: WrongMethod | None) -> Failure:
    if found is not None:
        return Failure(
            Kind.METHOD_NOT_ALLOWED,
            f"{request.method} is not allowed on {request.path}: use {found.allow}",
            headers=((b"allow", found.allow.encode("ascii")),),
        )
    return Failure(Kind.NOT_FOUND, f"there is nothing at {request.method} {request.path}")
