"""The order of a request, readable on one screen.

    peek → permit → resolve → recall → reserve → plan → attempt (translate, sign, journal, send, judge) → relay → settle

Who is calling was settled before the body was read (`admit.identify`). A denial earlier in the order always
wins over a later one, and a refused request consumes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gproxy.access.counters import Counters
from gproxy.access.permissions import Allowed
from gproxy.canonical.operation import Dialect, Operation
from gproxy.clock import Clock
from gproxy.errors import Failure, Kind, Refused
from gproxy.pipeline.admit import permit
from gproxy.pipeline.attempt import Attempts
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.hedge import Hedge
from gproxy.pipeline.here import answer_here
from gproxy.pipeline.ports import Keeper
from gproxy.pipeline.projection import FREE, project
from gproxy.pipeline.recall import look_up, may_refer, pinned, recall
from gproxy.pipeline.reserve import Granted, reserve
from gproxy.pipeline.roads import form_peek, reachable, take_note, takes_form
from gproxy.pipeline.tariffs import tariff_of
from gproxy.pipeline.warmth import Conversation, Warmth
from gproxy.routing.plan import Board, Plan
from gproxy.routing.route import Candidate, Resolution, Unresolved, resolve
from gproxy.snapshot import remember
from gproxy.wire.json import JsonProblem
from gproxy.wire.peek import Peek, peek

LONGEST_NAME: Final = 200
"""Characters of a model name: what the ledger's columns hold."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""What no name has: vendors cut it off or choke on it, a log line breaks, and PostgreSQL stores no NUL."""


_HEDGED: Final = frozenset({Operation.GENERATE, Operation.STREAM, Operation.EMBED})


class Gateway:
    """Takes a request whose body is read to its answer."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        board: Board,
        counters: Counters,
        max_attempts: int,
        warmth: Warmth,
        keeper: Keeper,
        clock: Clock,
    ) -> None:
        self._attempts = attempts
        self._board = board
        self._counters = counters
        self._max_attempts = max_attempts
        self._warmth = warmth
        self._keeper = keeper
        self._clock = clock

    async def run(self, x: Exchange) -> None:
        """Serve one request. Raises `Refused` for what the caller must be told, `Interrupted` when cut from outside."""
        principal = x.principal
        assert principal is not None
        asked = _peeked(x)
        allowed = permit(principal, x.model_asked, x.call.scoped_provider)
        resolution, here = _places(x, allowed)
        if x.call.dialect is Dialect.OPENAI_RESPONSES:
            if may_refer(x, resolution):
                asked = await look_up(x, self._keeper)
            if asked.previous_response_id is not None:
                asked = await recall(x, asked, self._keeper)
                if x.pin is not None:
                    resolution = pinned(resolution, x.pin)
        if here:
            answer_here(x)
            return
        x.decide_disconnect(principal.on_disconnect or resolution.candidates[0].provider.on_disconnect)
        talk = self._warmth.conversation(x, resolution, self._clock.monotonic)
        favourites = None if talk is None else talk.favourites
        tokens = _tokens(x, asked) if resolution.capped and x.call.operation not in FREE else None
        plan = Plan(resolution, self._board, max_attempts=self._max_attempts, favourites=favourites, tokens=tokens)
        admission = x.admission = await reserve(x, self._counters, resolution, asked)
        try:
            hedge = None if resolution.hedge_percentile is None else self._hedge(x, plan, resolution, admission, talk)
            await self._attempts.run(x, plan, asked, resolution.route, talk, hedge)
        except Refused as refusal:
            if admission is None:
                raise
            admission.finish(x.tokens_in + x.tokens_out)
            told = refusal.failure
            standing = admission.headers(x.tokens_in + x.tokens_out if admission.sent else 0)
            raise Refused(replace(told, headers=(*told.headers, *standing))) from refusal
        finally:
            x.notes = plan.notes
            if admission is not None:
                admission.finish(x.tokens_in + x.tokens_out)

    def _hedge(
        self, x: Exchange, plan: Plan, resolution: Resolution, granted: Granted | None, talk: Conversation | None
    ) -> Hedge | None:
        """What may start a second attempt; None for what is no answer of a model, and must not be made twice."""
        if granted is None or resolution.hedge_percentile is None or x.operation not in _HEDGED:
            return None
        return Hedge(
            x,
            plan,
            granted,
            pace=self._board.pace,
            percentile=resolution.hedge_percentile,
            talk=talk,
            clock=self._clock,
            dice=self._attempts.dice,
        )


def _peeked(x: Exchange) -> Peek:
    """The few fields decisions rest on. Raises `Refused` (400) naming the field that is wrong."""
    try:
        asked = form_peek(x) if takes_form(x) else peek(x.body)
    except JsonProblem as problem:
        raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
    name = x.call.path_model or asked.model
    if name is None:
        raise Refused(Failure(Kind.INVALID_REQUEST, "`model` is missing: name the model to call", param="model"))
    if len(name) > LONGEST_NAME:
        text = f"`model` is longer than {LONGEST_NAME} characters"
        raise Refused(Failure(Kind.INVALID_REQUEST, text, param="model"))
    if not name.isprintable() and (found := _CONTROL.search(name)):
        text = f"`model` holds the control character U+{ord(found.group()):04X}: write the name without it"
        raise Refused(Failure(Kind.INVALID_REQUEST, text, param="model"))
    x.model_asked = name
    take_note(x, asked)
    return asked


def _tokens(x: Exchange, asked: Peek) -> Callable[[Candidate], int]:
    """The most tokens that the request can take at a candidate, worked out when a credential's cap asks for it."""
    known: dict[int, int] = {}

    def tokens(candidate: Candidate) -> int:
        longest = tariff_of(x.snapshot, candidate).longest
        if longest not in known:
            try:
                projection = project(x.call.operation, x.call.dialect, asked, x.body, longest)
            except JsonProblem as problem:
                raise Refused(Failure(Kind.INVALID_REQUEST, problem.text, param=problem.field)) from None
            known[longest] = projection.tokens(projection.output)
        return known[longest]

    return tokens


def _places(x: Exchange, allowed: Allowed) -> tuple[Resolution, bool]:
    """Where this call can go, see `reachable`; worked out once per snapshot unless it depends on who is calling."""
    if allowed.providers is not None:
        return reachable(x, _resolved(x, allowed))
    key = ("places", x.model_asked, x.call.scoped_provider, x.operation, x.call.dialect)
    found: tuple[Resolution, bool] | None = x.snapshot.remembered.get(key)
    return found or remember(x.snapshot, key, reachable(x, _resolved(x, allowed)))


def _resolved(x: Exchange, allowed: Allowed) -> Resolution:
    """Where the name leads, narrowed to the providers the caller may use."""
    provider = x.call.scoped_provider
    if provider is not None and provider not in x.snapshot.providers:
        raise Refused(Failure(Kind.NOT_FOUND, f"there is no provider named {provider!r}"))
    found = resolve(x.snapshot, x.model_asked, provider)
    if isinstance(found, Unresolved):
        raise Refused(found.failure)
    if allowed.providers is None:
        return found
    candidates = tuple(one for one in found.candidates if one.provider.name in allowed.providers)
    if not candidates:
        raise Refused(Failure(Kind.FORBIDDEN, "forbidden: provider", param="model"))
    return replace(found, candidates=candidates)
