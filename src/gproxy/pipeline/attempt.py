"""One try after another, until an answer is relayed or the plan says stop.

Each try has its own line in the ledger: its `Opened` record is with the operating system before the first byte
goes upstream, and exactly one `Closed` follows, whatever happens. Nothing is tried again once a byte of an
answer has gone to the client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from gproxy.canonical.failure import VendorError
from gproxy.canonical.operation import Dialect
from gproxy.channels.auth.scheme import Token, TokenNeeded
from gproxy.channels.request import prepare
from gproxy.channels.vendor import Endpoint
from gproxy.channels.verdicts import Evidence, Verdict, judge, judge_fault, named_error, read_error, status_of
from gproxy.clock import Clock
from gproxy.errors import Failure, Kind, Refused, UpstreamFault
from gproxy.ids import new_id
from gproxy.ledger.pricing import UNPRICED
from gproxy.ledger.record import Opened, Outcome
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.framing import unframed
from gproxy.pipeline.head import answer_headers
from gproxy.pipeline.hedge import Hedge
from gproxy.pipeline.ports import JournalPort, Keeper, Upstream, UpstreamReply
from gproxy.pipeline.projection import Tariff
from gproxy.pipeline.recall import note, watch
from gproxy.pipeline.refresh import Tokens
from gproxy.pipeline.relay import Relay
from gproxy.pipeline.reserve import capped
from gproxy.pipeline.roads import adjusted, carried, road_of, translator_of
from gproxy.pipeline.settle import Attempt
from gproxy.pipeline.tariffs import tariff_of
from gproxy.pipeline.warmth import Conversation
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.plan import Plan, Stop
from gproxy.routing.selection import Load
from gproxy.translate.path import Road
from gproxy.translate.tally import Tally
from gproxy.translate.translator import BYTES_PER_TOKEN, FREE, Translator, unreadable
from gproxy.wire.http import Header, UpstreamRequest
from gproxy.wire.json import JsonProblem, loads_lenient
from gproxy.wire.peek import Peek

ERROR_LIMIT: Final = 256 * 1024
"""Largest vendor error that is read, in bytes; beyond it the status alone is judged."""

_GOOD: Final = 300


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that gave no answer: the verdict, and what the vendor said, to be passed on if it is the last word."""

    verdict: Verdict
    status: int = 0
    body: bytes = b""
    content_type: bytes = b"application/json"
    error: VendorError | None = None
    translator: Translator | None = None
    """Of the attempt that failed: it can say the complaint in the client's dialect."""
    token: Token | None = None
    """The access token that was used."""


class Attempts:
    """Runs the attempts of requests. One instance serves all; it holds no request's state."""

    def __init__(
        self,
        *,
        upstream: Upstream,
        journal: JournalPort,
        relay: Relay,
        load: Load,
        clock: Clock,
        dice: Callable[[], float],
        health_changed: Callable[[], None],
        keeper: Keeper,
        proxy: str | None = None,
    ) -> None:
        self.guards = Tally()
        """How often a stream had to be put right or ended on its way out."""
        self._upstream = upstream
        self._journal = journal
        self._relay = relay
        self._load = load
        self._clock = clock
        self.dice = dice
        self._health_changed = health_changed
        self._keeper = keeper
        self._proxy = proxy
        self.tokens = Tokens(upstream, clock, proxy)

    async def run(
        self,
        x: Exchange,
        plan: Plan,
        peek: Peek,
        route: str | None,
        talk: Conversation | None = None,
        hedge: Hedge | None = None,
    ) -> None:
        """Answer the client from the first attempt that succeeds; `talk` learns which credential that was.

        With `hedge` a second attempt may run beside the first one.

        Raises `Refused` when none does, `Interrupted` when the request was ended from outside.
        """
        failed: Failed | None = None
        while True:
            step = plan.next(None if failed is None else failed.verdict, self._clock.monotonic(), self.dice())
            self._health_changed()
            if isinstance(step, Stop):
                self._give_up(step, failed)
                return
            if step.refresh and failed is not None:
                self.tokens.refused(step.credential, failed.token)
            try:
                if hedge is None:
                    failed = await self._one(x, plan, step, peek, route, talk)
                else:
                    race, hedge = hedge, None
                    failed = await race.run(step, lambda one, its: self._one(one, plan, its, peek, route, talk))
                    step = race.last
            finally:
                if step.taken is not None:
                    step.taken.settle()
            if failed is None:
                return
            if talk is not None:
                talk.failed(step, failed.verdict)

    async def _one(
        self, x: Exchange, plan: Plan, step: Step, peek: Peek, route: str | None, talk: Conversation | None
    ) -> Failed | None:
        """One attempt; None when it answered the client."""
        road = road_of(x, step.provider, step.model_id)
        translator = translator_of(x, step.candidate, road, peek, self.guards, self._keeper, self._clock.now_us())
        token = self.tokens.held(step.credential)
        try:
            request = self._prepared(x, step, road, translator, token)
        except TokenNeeded as needed:
            with x.interruptible():
                granted = await self.tokens.fetch(step.provider, step.credential, needed.exchange)
            if isinstance(granted, Verdict):
                return Failed(granted)
            token = granted
            translator = translator_of(x, step.candidate, road, peek, self.guards, self._keeper, self._clock.now_us())
            request = self._prepared(x, step, road, translator, token)
        tariff = tariff_of(x.snapshot, step.candidate)
        reserved = 0 if x.admission is None else await x.admission.cover(tariff)
        attempt = self._opened(x, step, peek, route, translator, tariff, reserved)
        attempt.token = token
        held = (step.candidate.load_key, step.credential.id)
        for key in held:
            self._load.enter(key)
        try:
            with x.interruptible():
                await self._journal.durable()
                reply = await self._upstream.send(request)
            x.upstream_status = reply.status
            if reply.status >= _GOOD:
                with x.interruptible():
                    body = await _error_body(reply)
                return self._failed(x, step, attempt, reply, body, translator.decode_error(body), translator)
            return await self._answer(x, plan, step, attempt, unframed(reply, translator.dialect_out), translator, talk)
        except Refused:
            # The journal cannot promise what it was asked to: nothing was sent.
            self._relay.settle(x, attempt, Outcome.FAILED, 503, None)
            raise
        except UpstreamFault as fault:
            # A body that broke off was produced and will be billed; before its first byte nothing is known of that.
            reading = translator if attempt.first_byte_at is not None else None
            self._relay.settle(x, attempt, Outcome.FAILED, 504 if fault.timeout else 502, reading)
            return Failed(judge_fault(fault))
        finally:
            # An interrupt, a cancellation, a bug: whatever left this block without settling, the ledger has its end.
            self._relay.abandoned(x, attempt, None if request.unsent else translator)
            if step.taken is not None:
                step.taken.used = attempt.tokens
            for key in held:
                self._load.leave(key)

    async def _answer(
        self,
        x: Exchange,
        plan: Plan,
        step: Step,
        attempt: Attempt,
        reply: UpstreamReply,
        translator: Translator,
        talk: Conversation | None,
    ) -> Failed | None:
        """Relay an answer whose status is good. What turns out to be no answer is one more failure."""
        if translator.begins(_content_type(reply)):
            if x.call.dialect is Dialect.OPENAI_RESPONSES:
                watch(x, step, translator, self._keeper)

            def head() -> Sequence[Header]:
                self._well(plan, step)
                return answer_headers(x, step.model_id, reply, translator)

            if not await self._relay.stream(x, attempt, reply, translator, head):
                return self._failed(x, step, attempt, reply, b"", translator.error or unreadable(), translator)
            self._learn(talk, step, translator)
            return None
        body = await self._relay.whole(x, attempt, reply)
        complaint = translator.complaint(body)
        if complaint is not None:
            return self._failed(x, step, attempt, reply, body, complaint, translator)
        await self._relay.won(x, attempt, reply)
        headers = answer_headers(x, step.model_id, reply, translator)
        self._well(plan, step)
        self._relay.deliver(x, attempt, reply, translator, body, headers)
        self._learn(talk, step, translator)
        if x.call.dialect is Dialect.OPENAI_RESPONSES:
            note(x, step, translator, body, self._keeper)
        return None

    def _learn(self, talk: Conversation | None, step: Step, translator: Translator) -> None:
        if talk is not None:
            talk.served(step, translator.usage, self._clock.monotonic())

    def _well(self, plan: Plan, step: Step) -> None:
        now = self._clock.monotonic()
        plan.finished(step, judge(step.provider.vendor, 200, (), None, 0), now, self.dice())
        self._health_changed()

    def _failed(
        self,
        x: Exchange,
        step: Step,
        attempt: Attempt,
        reply: UpstreamReply,
        body: bytes,
        error: VendorError,
        translator: Translator,
    ) -> Failed:
        name = named_error(step.provider.vendor, reply.headers)
        if name is not None:
            error = replace(error, code=name)
        judged = evidence_of(reply.status, body, error)
        verdict = judge(step.provider.vendor, reply.status, reply.headers, judged, self._clock.now_us())
        self._relay.settle(x, attempt, Outcome.FAILED, reply.status, None)
        content_type = _content_type(reply) or b"text/plain"
        return Failed(verdict, reply.status, body, content_type, error, translator, attempt.token)

    def _prepared(
        self, x: Exchange, step: Step, road: Road[Endpoint], translator: Translator, token: Token | None
    ) -> UpstreamRequest:
        what = carried(x, road)
        try:
            request = prepare(
                step.provider,
                step.credential,
                what.endpoint,
                model=step.model_id,
                body=adjusted(translator.request(capped(x)), what, step.provider.vendor),
                caller_headers=what.headers,
                query=what.query,
                now_us=self._clock.now_us(),
                token=token,
                content_type=what.content_type,
                batch=what.batch,
            )
        except JsonProblem as problem:
            raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
        except ValueError as problem:  # `Unsendable`, or a credential that holds nothing to sign with
            raise Refused(Failure(Kind.NO_CREDENTIAL, str(problem))) from None
        request.proxy = request.proxy or self._proxy
        return request

    def _opened(
        self,
        x: Exchange,
        step: Step,
        peek: Peek,
        route: str | None,
        translator: Translator,
        tariff: Tariff,
        reserved: int,
    ) -> Attempt:
        """The attempt's line in the journal. Raises `Refused` when the journal cannot promise to keep it."""
        principal = x.principal
        assert principal is not None
        card = None if x.call.operation in FREE else tariff.card
        x.attempts += 1  # not the step's number: a step that got no token was never sent and has no row
        x.provider_name, x.credential_id = step.provider.name, step.credential.id
        opened = Opened(
            attempt_id=new_id(),
            request_id=x.request_id,
            at=self._clock.now_us(),
            user_id=principal.user_id,
            user_name=principal.user_name,
            key_id=principal.key_id,
            provider_name=step.provider.name,
            credential_id=step.credential.id,
            channel=step.provider.vendor.name,
            dialect_in=x.call.dialect.value,
            dialect_out=translator.dialect_out.value,
            operation=x.operation.value,
            model_asked=x.model_asked,
            model_upstream=step.model_id,
            route_name=route,
            attempt_no=x.attempts,
            streamed=x.stream,
            price_version=UNPRICED if card is None else card.version,
            rates=b"" if card is None else card.packed(),
            service_tier=peek.service_tier,
            reserved_nano_usd=reserved,
            estimated_input=0 if x.call.operation in FREE else -(-len(x.body) // BYTES_PER_TOKEN),
        )
        self._journal.open(opened)
        if x.admission is not None:
            x.admission.sent = True
        return Attempt(opened, card, self._clock.monotonic())

    @staticmethod
    def _give_up(stop: Stop, failed: Failed | None) -> None:
        """No further attempt. The vendor's own last answer is passed on: as it is where both sides speak its dialect."""
        if stop.failure is not None:
            raise Refused(stop.failure)
        assert failed is not None
        raise Refused(_passed_on(failed))


def _passed_on(failed: Failed) -> Failure:
    """A vendor's complaint about the request: its status and its text, in the client's dialect."""
    if failed.error is not None and failed.translator is not None:
        status = failed.status if failed.status >= _GOOD else failed.verdict.status or 502
        told = Failure(Kind.UPSTREAM_ERROR, failed.error.message, upstream_status=status)
        body = failed.translator.encode_error(told, failed.error)
        if body is not None:
            return replace(told, verbatim=(b"application/json", body))
        if not failed.body:  # it was an event of a stream that never began for the client
            return told
    return Failure(
        Kind.UPSTREAM_ERROR,
        failed.body.decode("utf-8", "replace"),
        upstream_status=failed.status,
        verbatim=(failed.content_type, failed.body),
    )


def evidence_of(status: int, body: bytes, error: VendorError) -> Evidence:
    """A vendor's error with all that verdict rules look at; what the dialect's own reader found fills the gaps."""
    try:
        parsed = loads_lenient(body) if body else None
    except JsonProblem:
        parsed = None
    found = read_error(status, parsed)
    if status < _GOOD:
        status = error.status or (found.status if found.status >= _GOOD else status_of(error.code, error.type))
    return replace(
        found,
        status=status,
        code=found.code or error.code,
        reasons=found.reasons or error.reasons,
        type=found.type or error.type,
        message=found.message or error.message,
        param=found.param or error.param,
        retry_after=found.retry_after if found.retry_after is not None else error.retry_after,
    )


def _content_type(reply: UpstreamReply) -> bytes:
    return next((value for name, value in reply.headers if name == b"content-type"), b"")


async def _error_body(reply: UpstreamReply) -> bytes:
    """A vendor's error, as much of it as may be read; one that breaks off or is too long is judged by its status."""
    try:
        return await reply.read(ERROR_LIMIT)
    except UpstreamFault:
        reply.abort()
        return b""
