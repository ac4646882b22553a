"""A scripted upstream: answers in memory, in the order they were written down, and remembers what it was asked.

For tests of everything above the network and for demonstrations. It keeps the promises of `pipeline.ports.Upstream`
word for word: a broken body never looks finished, an aborted one stays broken, nothing is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gproxy.errors import Phase, UpstreamFault

if TYPE_CHECKING:
    from gproxy.wire.http import Header, UpstreamRequest

Part: TypeAlias = bytes | UpstreamFault | asyncio.Event
"""A piece of the body, a break at this point, or a wait until somebody sets the event."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: the head at once (or after `before_head`), then the parts in order, each one `next`."""

    parts: Sequence[Part] = ()
    status: int = 200
    headers: Sequence[Header] = ()
    before_head: asyncio.Event | None = None


Step: TypeAlias = Answer | UpstreamFault
"""What one `send` gets: an answer, or a fault instead of one."""


class ScriptedReply:
    """Keeps `pipeline.ports.UpstreamReply`. `aborted` and `finished` tell a test how it ended."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Sequence[Header] = list(answer.headers)
        self.aborted = False
        self.finished = False
        self._parts = list(answer.parts)
        self._fault: UpstreamFault | None = None

    async def next(self) -> bytes:
        """The next non-empty piece; b"" at the end."""
        while self._fault is None and self._parts:
            part = self._parts[0]
            if isinstance(part, asyncio.Event):
                try:
                    await part.wait()
                except asyncio.CancelledError:
                    self.abort()
                    raise
                if self._parts and self._parts[0] is part:
                    del self._parts[0]
            elif isinstance(part, UpstreamFault):
                self._fault = part
            else:
                del self._parts[0]
                if part:
                    return part
        if self._fault is not None:
            raise self._fault
        self.finished = True
        return b""

    async def read(self, limit: int) -> bytes:
        """The rest in one; beyond `limit` bytes a fault."""
        whole = bytearray()
        while piece := await self.next():
            whole += piece
            if len(whole) > limit:
                self.abort()
                self._fault = UpstreamFault(Phase.BODY, "body larger than the limit")
                raise self._fault
        return bytes(whole)

    def abort(self) -> None:
        """Drop it. A reply that had ended stays ended."""
        if not self.finished:
            self.aborted = True
            self._fault = UpstreamFault(Phase.BODY, "answer dropped")
        self._parts.clear()


class Scripted:
    """Keeps `pipeline.ports.Upstream`. `requests` and `replies` are what happened, in order.

    A request beyond the script is a mistake of the test and an `AssertionError`. `fallback` answers instead, if given.
    """

    def __init__(self, *steps: Step, fallback: Callable[[UpstreamRequest], Step] | None = None) -> None:
        self.requests: list[UpstreamRequest] = []
        self.replies: list[ScriptedReply] = []
        self._steps = list(steps)
        self._fallback = fallback

    async def send(self, request: UpstreamRequest) -> ScriptedReply:
        """The next step of the script."""
        self.requests.append(request)
        if self._steps:
            step = self._steps.pop(0)
        elif self._fallback is not None:
            step = self._fallback(request)
        else:
            raise AssertionError(f"the script has ended, but request {len(self.requests)} came")
        if isinstance(step, UpstreamFault):
            raise step
        if step.before_head is not None:
            await step.before_head.wait()
        reply = ScriptedReply(step)
        self.replies.append(reply)
        return reply
