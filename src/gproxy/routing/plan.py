"""The order of attempts of one request: `next(last verdict)` → the next `Attempt`, or the reason to stop.

Members by tier and strategy; for each, the provider's credentials by rotation; a resting or disabled credential
is passed over, and so is one whose caps leave no room. The plan decides, the pipeline acts.

The pipeline's duties: after a byte has gone to the client it must not ask for another attempt (it calls
`finished` instead); it counts the attempt in `Load` while it runs; with `refresh` it fetches a new token first. Where
two attempts run at once (`hedge`), it tells the verdict on the first that fails with `finished`, and asks with the
other's once it has made that the current one (`go_on_from`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Final

import msgspec

from gproxy.channels.auth.tokens import refreshable
from gproxy.channels.verdicts import Scope, Verdict, VerdictKind
from gproxy.errors import Failure, Kind
from gproxy.ids import CredentialId
from gproxy.routing.budget import RetryBudgets
from gproxy.routing.caps import CapBoard, Taken
from gproxy.routing.health import HealthBoard
from gproxy.routing.pace import Pace
from gproxy.routing.provider import Credential, Provider
from gproxy.routing.route import Candidate, Resolution
from gproxy.routing.selection import Load, order_credentials, order_members

DEFAULT_MAX_ATTEMPTS: Final = 6
UNKNOWN_WAIT: Final = 60.0
"""Seconds told to a caller when only a person can make a credential usable again."""


class Attempt(msgspec.Struct, frozen=True):
    """One try. `number` counts from 1 over the whole request; `refresh`: fetch a new token before sending."""

    number: int
    candidate: Candidate
    credential: Credential
    refresh: bool = False
    taken: Taken | None = None
    """Its place under the credential's caps; None when it has none."""

    @property
    def provider(self) -> Provider:
        """Where it goes."""
        return self.candidate.provider

    @property
    def model_id(self) -> str:
        """The model's name there."""
        return self.candidate.model_id


class Note(msgspec.Struct, frozen=True):
    """What went wrong on the way: a credential was passed over (`attempt` 0), or an attempt got this verdict.

    Once there is a note, an attempt that answered gets one too.
    """

    attempt: int
    candidate: Candidate
    credential: Credential
    verdict: str
    reason: str


LATE: Final = "late"
"""The verdict in the note on an attempt beside which another was started."""
_MOST_NOTES: Final = 50
"""Notes of one request: a pool of a thousand resting credentials is told by the first few."""


class StopCause(StrEnum):
    """Why there is no further attempt."""

    ANSWER = "answer"
    """The vendor's last answer is the answer; it is passed on."""
    NO_CREDENTIAL = "no_credential"
    EXHAUSTED = "exhausted"
    """Everything usable has been tried."""
    ATTEMPTS_SPENT = "attempts_spent"
    BUDGET_SPENT = "budget_spent"


@dataclass(frozen=True, slots=True)
class Stop:
    """The end of a plan. `failure` is what to tell the caller; None with `ANSWER`."""

    cause: StopCause
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """What outlives a request and a plan asks: one per process."""

    health: HealthBoard
    load: Load
    budgets: RetryBudgets
    caps: CapBoard = field(default_factory=CapBoard)
    pace: Pace = field(default_factory=Pace)


class Plan:
    """The attempts of one request, decided one at a time.

    `favourites` gives, for a candidate, the credentials that hold the conversation's prompt cache, best first;
    `tokens` the most that the request can take there. None where there are no caps, or none that concern the request.
    `notes` is what went wrong, in order; None while nothing has: a request that is well at once leaves no note.
    """

    def __init__(
        self,
        resolution: Resolution,
        board: Board,
        *,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        favourites: Callable[[Candidate], Sequence[CredentialId]] | None = None,
        tokens: Callable[[Candidate], int] | None = None,
    ) -> None:
        self._resolution = resolution
        self._board = board
        self._max = max_attempts
        self._favourites = favourites
        self._tokens = tokens
        self._made = 0
        self._current: Attempt | None = None
        self._beside: Attempt | None = None
        self._heard = False
        """Whether the verdict on the current attempt has been told already."""
        self._entered: set[str] = set()
        self._refreshed: set[CredentialId] = set()
        self._pairs: Iterator[tuple[Candidate, Credential]] | None = None
        self._over_budget = False
        self.notes: list[Note] | None = None

    @property
    def attempts(self) -> int:
        """How many were made."""
        return self._made

    def next(self, last: Verdict | None, now: float, dice: float) -> Attempt | Stop:
        """The next attempt. `last` is the verdict on the previous one, None at first; it goes to the health board.

        `now` is monotonic seconds, `dice` a number in [0, 1).
        """
        previous = self._current
        if last is not None and previous is not None:
            if self._may_refresh(last, previous):
                self._note(previous.number, previous.candidate, previous.credential, last.kind.value, last.reason)
                return self._refresh(previous, now)
            self.finished(previous, last, now, dice)
            if not last.retryable:
                return self._final(last)
        if self._made >= self._max:
            return self._stop(StopCause.ATTEMPTS_SPENT, last, now)
        for candidate, credential in self._remaining(dice):
            if not self._board.health.usable(credential.id, candidate.model_id, now):
                reason = self._board.health.reason(credential.id, candidate.model_id)
                self._note(0, candidate, credential, "", reason or "another request tries it first")
                continue
            if self._tokens is not None and self._cap_wait(candidate, credential, now) > 0:
                self._note(0, candidate, credential, "", "its own cap has no room now")
                continue
            if not self._affordable(candidate, last, now):
                self._over_budget = True
                self._note(0, candidate, credential, "", "the provider's retry budget is spent")
                continue
            return self._go(candidate, credential, now)
        return self._stop(StopCause.BUDGET_SPENT if self._over_budget else StopCause.EXHAUSTED, last, now)

    def hedge(self, now: float, dice: float) -> Attempt | None:
        """A second attempt beside the current one; None when it would be one too many.

        It goes where the next attempt would go, and where there is no other place, to the same once more: a slow
        answer is mostly the fault of the one machine that works on it. It counts like a retry.
        """
        current = self._current
        if current is None or self._made >= self._max:
            return None
        for candidate, credential in chain(self._remaining(dice), ((current.candidate, current.credential),)):
            if not self._board.health.usable(credential.id, candidate.model_id, now):
                continue
            if self._tokens is not None and self._cap_wait(candidate, credential, now) > 0:
                continue
            if not self._board.budgets.of(candidate.provider.name).spend(now):
                if credential is not current.credential:  # it has not been tried: a failure may still go there
                    self._pairs = chain(((candidate, credential),), self._remaining(dice))
                return None
            self._entered.add(candidate.provider.name)
            self._beside = self._go(candidate, credential, now)
            self._current = current
            late = "a second attempt was started beside it"
            self._note(current.number, current.candidate, current.credential, LATE, late)
            return self._beside
        return None

    def call_off(self, second: Attempt) -> None:
        """The second attempt is not made after all; what it would have cost of the retry budget is not given back."""
        if second.taken is not None:
            second.taken.settle()
        self._made -= 1
        self._beside = None
        if self.notes and self.notes[-1].verdict == LATE:
            self.notes.pop()
        current = self._current
        if current is not None and second.credential is not current.credential:
            self._pairs = chain(((second.candidate, second.credential),), self._remaining(0.0))

    def go_on_from(self, attempt: Attempt) -> None:
        """Of two attempts that ran at once this one decides what comes next."""
        self._heard = attempt is not self._current and attempt is not self._beside
        self._current = attempt

    def finished(self, attempt: Attempt, verdict: Verdict, now: float, dice: float) -> None:
        """Take in the verdict on an attempt without asking for another; once."""
        if attempt is self._current:
            self._current = None
            if self._heard:
                self._heard = False
                return
        elif attempt is self._beside:
            self._beside = None
        else:
            return
        if verdict.kind is not VerdictKind.OK or self.notes is not None:
            self._note(attempt.number, attempt.candidate, attempt.credential, verdict.kind.value, verdict.reason)
        self._board.health.observe(attempt.credential.id, attempt.model_id, verdict, now, dice)

    def _go(self, candidate: Candidate, credential: Credential, now: float) -> Attempt:
        self._board.health.claim(credential.id, candidate.model_id, now)
        self._made += 1
        taken = None if self._tokens is None else self._take(candidate, credential, now)
        self._current = Attempt(self._made, candidate, credential, taken=taken)
        return self._current

    def _cap_wait(self, candidate: Candidate, credential: Credential, now: float) -> float:
        """Seconds until the credential's caps have room for this request; 0.0 when they have, or there are none."""
        if credential.caps is None or self._tokens is None:
            return 0.0
        tokens = 0 if credential.caps.tpm is None else self._tokens(candidate)
        return self._board.caps.wait_for(credential.id, credential.caps, tokens, now)

    def _take(self, candidate: Candidate, credential: Credential, now: float) -> Taken | None:
        if credential.caps is None or self._tokens is None:
            return None
        tokens = 0 if credential.caps.tpm is None else self._tokens(candidate)
        return self._board.caps.take(credential.id, tokens, now)

    def _note(self, attempt: int, candidate: Candidate, credential: Credential, verdict: str, reason: str) -> None:
        if self.notes is None:
            self.notes = []
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(Note(attempt, candidate, credential, verdict, reason))

    def _may_refresh(self, last: Verdict, previous: Attempt) -> bool:
        return (
            last.kind is VerdictKind.BAD_KEY
            and last.curable
            and previous.credential.id not in self._refreshed
            and self._made < self._max
            and refreshable(previous.provider.vendor.auth, previous.credential.fields)
        )

    def _refresh(self, previous: Attempt, now: float) -> Attempt:
        self._refreshed.add(previous.credential.id)
        self._made += 1
        if previous.taken is not None:
            previous.taken.forgive()
        taken = self._take(previous.candidate, previous.credential, now)
        self._current = Attempt(self._made, previous.candidate, previous.credential, refresh=True, taken=taken)
        return self._current

    def _remaining(self, dice: float) -> Iterator[tuple[Candidate, Credential]]:
        if self._pairs is None:
            self._pairs = self._walk(dice)
        return self._pairs

    def _walk(self, dice: float) -> Iterator[tuple[Candidate, Credential]]:
        """Every (member, credential) once, lazily: a request that succeeds at once orders nothing it does not use."""
        resolution, load = self._resolution, self._board.load
        for candidate in order_members(resolution.name, resolution.strategy, resolution.candidates, load, dice):
            provider = candidate.provider
            favourites = self._favourites(candidate) if self._favourites else ()
            for credential in order_credentials(
                provider.name, provider.rotation, provider.credentials, load, favourites
            ):
                yield candidate, credential

    def _affordable(self, candidate: Candidate, last: Verdict | None, now: float) -> bool:
        budget = self._board.budgets.of(candidate.provider.name)
        if candidate.provider.name not in self._entered:
            self._entered.add(candidate.provider.name)
            budget.request(now)
            return True
        return (last is not None and not last.spends_budget) or budget.spend(now)

    def _final(self, last: Verdict) -> Stop:
        if last.kind is VerdictKind.BROKEN:  # the network broke an answer that must not be asked for twice
            return Stop(StopCause.EXHAUSTED, _told(last, None))
        return Stop(StopCause.ANSWER)

    def _stop(self, cause: StopCause, last: Verdict | None, now: float) -> Stop:
        wait, text = self._outlook(now)
        if last is not None and last.kind is VerdictKind.BAD_KEY and last.scope is Scope.CREDENTIAL_MODEL:
            return Stop(StopCause.ANSWER)  # the vendor says what the matter is, and it is not our key
        if last is None or last.kind is VerdictKind.BAD_KEY:
            return Stop(StopCause.NO_CREDENTIAL, Failure(Kind.NO_CREDENTIAL, text, retry_after=wait or UNKNOWN_WAIT))
        return Stop(cause, _told(last, wait))

    def _outlook(self, now: float) -> tuple[float | None, str]:
        """How long until some credential is free again (None: one is, or nobody knows), and a word on it."""
        pairs = [(one, key) for one in self._resolution.candidates for key in one.provider.credentials if key.enabled]
        if not pairs:
            return None, "the provider has no enabled credential"
        waits = [self._rest(one, key, now) for one, key in pairs]
        capped = [self._cap_wait(one, key, now) for one, key in pairs]
        soonest = min(map(max, waits, capped))
        if soonest <= 0:
            return None, "no further credential could be tried"
        if math.isinf(soonest):
            return None, "every credential of the provider is disabled"
        held = any(wait > 0 for wait in capped)
        return max(soonest, 0.001), f"every credential of the provider is resting{' or at its caps' if held else ''}"

    def _rest(self, candidate: Candidate, credential: Credential, now: float) -> float:
        free_at = self._board.health.free_at(credential.id, candidate.model_id, now)
        return 0.0 if free_at is None else free_at - now


def _told(last: Verdict, wait: float | None) -> Failure:
    """What a caller is told when the last attempt failed and there is no other."""
    wait = wait if wait is not None else last.retry_after
    if last.kind is VerdictKind.RATE_LIMITED:
        return Failure(Kind.UPSTREAM_RATE_LIMITED, "the upstream is rate limited", retry_after=wait)
    if last.timeout:
        return Failure(Kind.UPSTREAM_TIMEOUT, "the upstream did not answer in time")
    return Failure(Kind.UPSTREAM_ERROR, "the upstream failed", retry_after=wait)
