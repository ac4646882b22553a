"""Logs of requests: what clients and vendors said, kept when somebody switches it on.

Nothing here may delay or fail a request. What is to be kept goes into a bounded queue; what does not fit is dropped
and counted; a worker writes. Secrets go before anything is queued. While all four toggles are off, a request pays one
look at a flag on its way in, one at every call upstream, and one on its way out.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from gproxy.clock import Clock
from gproxy.errors import UpstreamFault
from gproxy.ids import new_id
from gproxy.pipeline.exchange import Client, Exchange
from gproxy.pipeline.hedge import BRANCH
from gproxy.pipeline.ports import Upstream, UpstreamReply
from gproxy.runtime.backlog import Backlog
from gproxy.storage import request_log
from gproxy.storage.request_log import Logged
from gproxy.wire.http import Header, UpstreamRequest

MOST_WAITING: Final = 2_000
MOST_BYTES: Final = 32 * 1024 * 1024
"""Rows and bytes of bodies that wait to be written; beyond either, new ones are dropped and counted."""
BODY_LIMIT: Final = 256 * 1024
"""Bytes of a body that are kept."""
FLUSH_EVERY: Final = 0.5
_SECRET_NAME: Final = re.compile(rb"auth|key|token|secret|cookie|password|signature|credential", re.IGNORECASE)
_SECRET_FIELD: Final = re.compile(
    r'("[^"\\]*(?:api_?key|password|secret|authorization|access_?token|refresh_?token)[^"\\]*"\s*:\s*)"(?:[^"\\]|\\.)*"?',
    re.IGNORECASE,
)
_QUERY: Final = re.compile(
    r"((?:^|[?&])[^=&]*(?:key|token|secret|signature|credential|password)[^=&]*=)[^&]*", re.IGNORECASE
)
_HIDDEN: Final = "…"
_YES: Final = "true"


def safe_headers(headers: Iterable[Header]) -> list[list[str]]:
    """A head without its secrets."""
    return [
        [name.decode("latin-1"), _HIDDEN if _SECRET_NAME.search(name) else value.decode("latin-1").replace("\0", "")]
        for name, value in headers
    ]


def safe_query(target: str) -> str:
    """A request target or query without its secrets."""
    return _QUERY.sub(rf"\g<1>{_HIDDEN}", target).replace("\0", "")


def safe_body(content: bytes) -> str:
    """A body as text without its secrets; what is not text is told by its size."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(content) - 3:
            return f"({len(content)} bytes that are no text)"
        text = content[: error.start].decode("utf-8")  # cut in the middle of a character
    return _SECRET_FIELD.sub(rf'\g<1>"{_HIDDEN}"', text).replace("\0", "")


class _Kept:
    """The beginning of a body."""

    __slots__ = ("pieces", "size", "whole")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.whole = True

    def add(self, piece: bytes) -> None:
        room = BODY_LIMIT - self.size
        if len(piece) > room:
            self.whole = False
            piece = piece[:room]
        if piece:
            self.pieces.append(bytes(piece))
            self.size += len(piece)

    def text(self) -> str:
        return safe_body(b"".join(self.pieces))


class Recorder:
    """One per process."""

    def __init__(self, clock: Clock, say: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._clock = clock
        self.backlog = Backlog("request logs", request_log.put, say, most_rows=MOST_WAITING, most_bytes=MOST_BYTES)
        """What waits to be written."""
        self._exchanges: dict[asyncio.Task[Any], Exchange] = {}
        self.upstream = self.upstream_body = self.downstream = self.downstream_body = False
        self.on = False

    def set(self, settings: Mapping[str, str]) -> None:
        """Take the stored toggles. A body is kept only beside its envelope."""
        self.upstream = settings.get("enable_upstream_log") == _YES
        self.downstream = settings.get("enable_downstream_log") == _YES
        self.upstream_body = self.upstream and settings.get("enable_upstream_log_body") == _YES
        self.downstream_body = self.downstream and settings.get("enable_downstream_log_body") == _YES
        self.on = self.upstream or self.downstream

    def begin(self, x: Exchange) -> None:
        """A request has come. Called only while `on`."""
        if x.owner is not None:
            self._exchanges[x.owner] = x
        if self.downstream_body:
            x.client = cast("Client", _WatchedClient(x.client))

    def done(self, x: Exchange) -> None:
        """A request is over."""
        if not self._exchanges or x.owner is None or self._exchanges.pop(x.owner, None) is None or not self.downstream:
            return
        answer = x.client.kept if isinstance(x.client, _WatchedClient) else None
        asked = _Kept()
        if answer is not None:
            asked.add(x.body)
        principal, failure = x.principal, x.failure
        row = Logged(
            id=new_id(),
            request_id=x.request_id,
            side="downstream",
            at=x.started_us,
            user_name=None if principal is None else principal.user_name,
            provider_name=x.provider_name,
            model_asked=x.model_asked[:200] or None,
            status=x.answered_status,
            outcome=x.outcome,
            total_ms=int((self._clock.monotonic() - x.started_at) * 1000),
            envelope={
                "method": x.method,
                "path": x.path.replace("\0", ""),
                "query": safe_query(x.call.query),
                "headers": safe_headers(x.call.headers),
                "peer": x.peer,
                "key_id": None if principal is None else principal.key_id,
                "client_request_id": None if x.client_request_id is None else x.client_request_id.replace("\0", ""),
                "operation": x.call.operation.value,
                "dialect": x.call.dialect.value,
                "model_served": x.model_served,
                "attempts": x.attempts,
                "streamed": x.stream,
                "tokens_in": x.tokens_in,
                "tokens_out": x.tokens_out,
                "cost_nano_usd": x.cost_nano_usd,
                "error": None if failure is None else failure.kind.value,
                "error_text": None if failure is None else safe_body(failure.text.encode("utf-8", "replace")),
            },
            request_body=None if answer is None else asked.text(),
            response_body=None if answer is None else answer.text(),
            truncated=answer is not None and not (answer.whole and asked.whole),
        )
        self._put(row)

    def exchange(self) -> Exchange | None:
        """Whose call upstream this is."""
        task = asyncio.current_task()
        found = None if task is None else self._exchanges.get(task)
        return found or BRANCH.get()

    def sent(
        self,
        x: Exchange,
        attempt_no: int,
        request: UpstreamRequest,
        began: float,
        status: int,
        headers: Sequence[Header],
        body: _Kept | None,
        outcome: str,
    ) -> None:
        """A call upstream is over."""
        asked = _Kept()
        if body is not None:
            asked.add(request.body)
        row = Logged(
            id=new_id(),
            request_id=x.request_id,
            side="upstream",
            at=self._clock.now_us(),
            user_name=None if x.principal is None else x.principal.user_name,
            provider_name=x.provider_name,
            model_asked=x.model_asked[:200] or None,
            status=status,
            outcome=outcome,
            total_ms=int((self._clock.monotonic() - began) * 1000),
            envelope={
                "method": request.method.decode("latin-1"),
                "host": str(request.origin),
                "target": safe_query(request.target.decode("latin-1")),
                "headers": safe_headers(request.headers),
                "response_headers": safe_headers(headers),
                "attempt_no": attempt_no,
                "credential_id": x.credential_id,
            },
            request_body=None if body is None else asked.text(),
            response_body=None if body is None else body.text(),
            truncated=body is not None and not (body.whole and asked.whole),
        )
        self._put(row)

    def _put(self, row: Logged) -> None:
        self.backlog.add(row, len(row.request_body or "") + len(row.response_body or ""))


class _WatchedClient:
    """A client whose answer is kept while it is sent."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.kept = _Kept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def send(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """A whole answer."""
        self.kept.add(body)
        self._client.send(status, headers, body)

    def write(self, data: bytes) -> None:
        """A piece of one."""
        self.kept.add(data)
        self._client.write(data)


class WatchedUpstream:
    """The upstream network, watched while that is wanted."""

    def __init__(self, upstream: Upstream, recorder: Recorder, clock: Clock) -> None:
        self._upstream = upstream
        self._recorder = recorder
        self._clock = clock

    def send(self, request: UpstreamRequest) -> Coroutine[Any, Any, UpstreamReply]:
        """Send and wait for the head. Raises `UpstreamFault`."""
        if not self._recorder.upstream:
            return self._upstream.send(request)
        return self._watched(request)

    async def _watched(self, request: UpstreamRequest) -> UpstreamReply:
        x = self._recorder.exchange()
        if x is None:
            return await self._upstream.send(request)
        began, attempt_no = self._clock.monotonic(), x.attempts
        kept = _Kept() if self._recorder.upstream_body else None
        try:
            reply = await self._upstream.send(request)
        except UpstreamFault as fault:
            self._recorder.sent(x, attempt_no, request, began, 0, (), kept, "timeout" if fault.timeout else "failed")
            raise
        return _WatchedReply(reply, kept, lambda outcome: self._recorder.sent(
            x, attempt_no, request, began, reply.status, reply.headers, kept, outcome))  # fmt: skip


class _WatchedReply:
    """A vendor's answer that is kept while it is read."""

    def __init__(self, reply: UpstreamReply, kept: _Kept | None, over: Callable[[str], None]) -> None:
        self._reply = reply
        self._kept = kept
        self._tell = over
        self._over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reply, name)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._reply.status

    @property
    def headers(self) -> Sequence[Header]:
        """The head."""
        return self._reply.headers

    async def next(self) -> bytes:
        """The next piece."""
        try:
            piece = await self._reply.next()
        except UpstreamFault:
            self._end("broken")
            raise
        self._add(piece)
        if not piece:
            self._end("complete")
        return piece

    async def read(self, limit: int) -> bytes:
        """The rest."""
        try:
            rest = await self._reply.read(limit)
        except UpstreamFault:
            self._end("broken")
            raise
        self._add(rest)
        self._end("complete")
        return rest

    def abort(self) -> None:
        """Drop it."""
        self._end("aborted")
        self._reply.abort()

    def _add(self, piece: bytes) -> None:
        if self._kept is not None:
            self._kept.add(piece)

    def _end(self, outcome: str) -> None:
        if not self._over:
            self._over = True
            self._tell(outcome)
