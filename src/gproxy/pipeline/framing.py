"""Streams that arrive framed otherwise than as server-sent events, turned into those before anyone reads them.

Amazon Bedrock wraps each event of a model's own stream, in base64, into a binary message with a checksum
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html). Converse is
made of such messages itself, so its own dialect reads them.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.errors import Phase, UpstreamFault
from gproxy.pipeline.ports import UpstreamReply
from gproxy.wire import sse
from gproxy.wire.eventstream import BadMessage, Decoder, Message
from gproxy.wire.http import Header
from gproxy.wire.json import JsonProblem, dumps, fields

_FRAMED: Final = b"application/vnd.amazon.eventstream"
_SSE: Final = b"text/event-stream"


def unframed(reply: UpstreamReply, dialect: Dialect) -> UpstreamReply:
    """The reply as `dialect` reads it: server-sent events taken out of a binary event stream; most replies as they are."""
    framed = any(name == b"content-type" and value.startswith(_FRAMED) for name, value in reply.headers)
    return _Unframed(reply) if framed and dialect is not Dialect.BEDROCK_CONVERSE else reply


class _Unframed:
    """An `UpstreamReply` whose body is taken out of its frames."""

    __slots__ = ("_broken", "_decoder", "_reply", "headers")

    def __init__(self, reply: UpstreamReply) -> None:
        self._reply = reply
        self._decoder = Decoder()
        self._broken: BadMessage | None = None
        self.headers: Sequence[Header] = [
            (name, _SSE if name == b"content-type" else value) for name, value in reply.headers
        ]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self._reply.status

    async def next(self) -> bytes:
        """The next events; b"" once, at the proper end. Raises `UpstreamFault`, after what came before the fault."""
        while self._broken is None:
            chunk = await self._reply.next()
            out: list[bytes] = []
            try:
                if not chunk:
                    self._decoder.end()
                    return b""
                for message in self._decoder.messages(chunk):
                    out.append(_event(message))  # noqa: PERF401 - what was read before a fault must be kept
            except BadMessage as problem:
                self._broken = problem
            if events := b"".join(out):
                return events
        raise UpstreamFault(Phase.BODY, f"broken event stream: {self._broken}")

    async def read(self, limit: int) -> bytes:
        """All events. Raises `UpstreamFault`."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.next():
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise UpstreamFault(Phase.BODY, f"the answer is larger than {limit} bytes")
        return b"".join(pieces)

    def abort(self) -> None:
        """Drop the answer now."""
        self._reply.abort()


def _event(message: Message) -> bytes:
    kind = message.text(":exception-type") or message.text(":error-code")
    if kind or message.text(":message-type") in {"exception", "error"}:
        return _error(kind or "error", message)
    try:
        held = fields(message.payload, "bytes").get("bytes")
        data = binascii.a2b_base64(held) if isinstance(held, str) else b""
        name = fields(data, "type").get("type") if data else None
    except (JsonProblem, binascii.Error):
        raise BadMessage("a message that holds no event") from None
    return sse.encode(data, name if isinstance(name, str) else "") if data else b""


def _error(kind: str, message: Message) -> bytes:
    """An exception in the stream, as the messages dialect says it (the only one that comes framed)."""
    try:
        text = fields(message.payload, "message").get("message")
    except JsonProblem:
        text = None
    told = text if isinstance(text, str) and text else message.text(":error-message") or kind
    return sse.encode(dumps({"type": "error", "error": {"type": kind, "message": told}}), "error")
