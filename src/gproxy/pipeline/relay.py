"""From the vendor's answer to the client: whole, or piece by piece with backpressure.

The one rule of the money: an attempt is settled before the last bytes of its answer leave for the client.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gproxy.clock import Clock
from gproxy.errors import ClientGone, Failure, Kind, Phase, UpstreamFault
from gproxy.ledger.record import Outcome
from gproxy.pipeline.exchange import Cause, Exchange, Interrupted
from gproxy.pipeline.head import limits, losses, receipt
from gproxy.pipeline.ports import JournalPort, UpstreamReply
from gproxy.pipeline.pulse import Flow, Pulse
from gproxy.pipeline.settle import Attempt, close
from gproxy.translate.translator import Translator
from gproxy.wire.http import Header

ANSWER_LIMIT: Final = 256 * 1024 * 1024
"""Largest buffered answer, in bytes: images and audio come this way; beyond it the vendor is broken."""

_TAIL: Final = 2.0
"""Seconds an upstream may keep the connection open after its stream's own end before it is dropped."""

OPENING_LIMIT: Final = 64 * 1024
"""Bytes of a stream that are held back while nothing in them says anything; then the answer counts as begun."""

_CANCELS: Final = frozenset({Cause.CLIENT_GONE, Cause.OUTRUN})

FINISH_LIMIT: Final = 60.0
"""Seconds for which an answer whose client has left is read on to its usage, under the `finish` policy."""

CUT: Final = Failure(
    Kind.DRAINING, "the gateway is shutting down and this answer could not finish in time; send the request again"
)


class Relay:
    """Pumps answers. One instance serves all requests; it holds no request's state."""

    def __init__(self, *, journal: JournalPort, pulse: Pulse, clock: Clock) -> None:
        self._journal = journal
        self._pulse = pulse
        self._clock = clock

    def settle(self, x: Exchange, attempt: Attempt, outcome: Outcome, status: int, reading: Translator | None) -> None:
        """Close the attempt's record; the first settlement of an attempt counts."""
        close(
            x,
            attempt,
            self._journal,
            outcome=outcome,
            status=status,
            reading=reading,
            now=self._clock.monotonic(),
            now_us=self._clock.now_us(),
        )

    def abandoned(self, x: Exchange, attempt: Attempt, reading: Translator | None) -> None:
        """Close the record of an attempt that ended without being settled; one that was settled is left alone.

        `reading` None: nothing of it was sent, so nothing can have been used.
        """
        if not attempt.closed:
            self.settle(x, attempt, _outcome_of(x), x.upstream_status or 0, reading)

    async def whole(self, x: Exchange, attempt: Attempt, reply: UpstreamReply) -> bytes:
        """Read a whole answer. Raises `UpstreamFault` when it does not arrive whole."""
        try:
            with x.interruptible():
                first = await reply.next()
                attempt.first_byte_at = x.first_byte_at = self._clock.monotonic()
                return first + await reply.read(ANSWER_LIMIT) if first else first
        except Interrupted:
            reply.abort()
            raise

    def deliver(
        self,
        x: Exchange,
        attempt: Attempt,
        reply: UpstreamReply,
        translator: Translator,
        body: bytes,
        headers: Sequence[Header],
    ) -> None:
        """Settle a whole answer and send it, with what it cost."""
        out = translator.answer(body)
        self.settle(x, attempt, Outcome.COMPLETE, reply.status, translator)
        x.answered_status = reply.status
        if not x.client.gone:
            x.client.send(reply.status, [*headers, *losses(translator), *receipt(x)], out)

    async def won(self, x: Exchange, attempt: Attempt, reply: UpstreamReply) -> None:
        """This attempt has an answer. Raises `Interrupted` when another had one before, or the request is over."""
        if x.race is None:
            return
        try:
            await x.race.won(x, attempt.first_byte_at or attempt.started_at)
        except BaseException:
            reply.abort()
            raise

    async def stream(
        self,
        x: Exchange,
        attempt: Attempt,
        reply: UpstreamReply,
        translator: Translator,
        head: Callable[[], Sequence[Header]],
    ) -> bool:
        """Pump a stream to its end; False when it turned out to be no answer before a byte of it went to the client.

        It begins with its first frame that says something; `head` is then asked for the headers, once. A vendor that
        fails before fails as if its status had said so, and a stream that breaks raises `UpstreamFault`. From then on,
        whatever happens, the client's stream ends legally and the attempt is settled.
        """
        client = x.client
        flow = Flow(x, attempt, translator, client, self._clock.monotonic())

        def begin() -> None:
            flow.begun = True
            x.answered_status = reply.status
            client.start(reply.status, [*head(), *losses(translator), *limits(x)])

        flow.begin = begin if x.race is None else None
        self._pulse.add(flow)
        try:
            with x.interruptible():
                await self._opening(x, attempt, reply, translator, flow)
            if not flow.begun:
                if not translator.begun and (translator.failed or (translator.ended and not translator.finished)):
                    reply.abort()
                    return False
                await self.won(x, attempt, reply)
                begin()
            if translator.finished:
                self.settle(x, attempt, Outcome.COMPLETE, reply.status, translator)
            client.write(flow.held)
            flow.held = b""
            with x.interruptible():
                await self._pump(x, attempt, reply, translator, flow)
        except UpstreamFault as fault:
            reply.abort()
            if not flow.begun:
                raise
            self.settle(x, attempt, Outcome.INTERRUPTED, reply.status, translator)
            kind = Kind.UPSTREAM_TIMEOUT if fault.timeout else Kind.UPSTREAM_ERROR
            self._say_goodbye(x, translator, Failure(kind, f"the provider's stream broke off: {fault.reason}"))
        except Interrupted:
            reply.abort()
            if flow.begun:
                self.abandoned(x, attempt, translator)
                if x.cause is Cause.CUT:
                    self._say_goodbye(x, translator, CUT)
            raise
        finally:
            self._pulse.discard(flow)
        return True

    async def _opening(
        self, x: Exchange, attempt: Attempt, reply: UpstreamReply, translator: Translator, flow: Flow
    ) -> None:
        """Read a stream up to its first frame that says something, and hold back what comes before.

        Comments and pings are no beginning, only a sign of life: the pulse begins an answer that has nothing else for
        long. Raises `UpstreamFault` when the stream ends before it began.
        """
        while not (flow.begun or _speaks(translator)):
            chunk = await reply.next()
            if not chunk:
                flow.held += translator.end()
                if translator.begun or translator.failed:
                    return
                raise UpstreamFault(Phase.HEAD, "the stream ended before its answer began")
            flow.last_at = self._clock.monotonic()
            if attempt.first_byte_at is None:
                attempt.first_byte_at = x.first_byte_at = flow.last_at
            flow.held += translator.feed(chunk)
            if len(flow.held) > OPENING_LIMIT:
                return

    async def _pump(
        self, x: Exchange, attempt: Attempt, reply: UpstreamReply, translator: Translator, flow: Flow
    ) -> None:
        client, clock = x.client, self._clock
        left_at: float | None = None
        while True:
            if translator.ended:
                # The dialect's own end has been relayed. A vendor that now keeps the connection open must not
                # keep the client: it gets a moment for its framing's end and is dropped otherwise.
                try:
                    async with asyncio.timeout(_TAIL):
                        chunk = await reply.next()
                except (TimeoutError, UpstreamFault):
                    reply.abort()
                    break
            else:
                chunk = await reply.next()
            if not chunk:
                break
            now = clock.monotonic()
            flow.last_at = now
            if attempt.first_byte_at is None:
                attempt.first_byte_at = x.first_byte_at = now
            out = translator.feed(chunk)
            if translator.finished:
                self.settle(x, attempt, Outcome.COMPLETE, reply.status, translator)
            if client.gone:
                left_at = left_at or now
                if x.cause is Cause.CLIENT_GONE or now - left_at > FINISH_LIMIT:
                    x.cause = Cause.CLIENT_GONE
                    raise Interrupted
            elif out:
                client.write(out)
                if client.stuffed:
                    try:
                        await client.drain()
                    except ClientGone:
                        continue
        tail = translator.end()
        if translator.failed:
            self.settle(x, attempt, Outcome.FAILED, reply.status, translator)
        elif translator.finished:
            self.settle(x, attempt, Outcome.COMPLETE, reply.status, translator)
        else:
            # The framing ended, the dialect did not: a client must not take this for the whole answer.
            self.settle(x, attempt, Outcome.INTERRUPTED, reply.status, translator)
            tail += translator.cut(Failure(Kind.UPSTREAM_ERROR, "the provider ended its stream before its answer"))
        if not client.gone:
            if tail:
                client.write(tail)
            client.end()

    @staticmethod
    def _say_goodbye(x: Exchange, translator: Translator, failure: Failure) -> None:
        if x.client.gone:
            return
        x.client.write(translator.cut(failure))
        x.client.end()


def _speaks(translator: Translator) -> bool:
    return translator.begun or translator.failed or translator.ended


def _outcome_of(x: Exchange) -> Outcome:
    return Outcome.CANCELLED if x.cause in _CANCELS else Outcome.INTERRUPTED
