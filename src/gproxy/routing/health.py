"""Credential health: a pure state machine, and the board that holds every state beside the snapshot.

    healthy ──429, 5xx, break──► cooldown(until) ──time──► on probation ──ok──► healthy
       └──────────401/403──────► disabled(reason) ──an admin, or a probe that succeeds──► healthy

A state is kept per credential and per (credential, model). No clock and no dice here: `now` is monotonic
seconds, `dice` a number in [0, 1). Only what is persisted carries wall time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gproxy.channels.verdicts import Scope, Verdict, VerdictKind
from gproxy.ids import CredentialId

FIRST_REST: Final = 1.0
LONGEST_REST: Final = 60.0
LONGEST_TOLD: Final = 3600.0
PROBATION: Final = 1.0
"""Seconds. After a rest one request goes first; the others wait for its verdict, but no longer than this, so
that a slow answer does not hold everyone up and a recovered vendor is not met by all at once."""
MAX_STATES: Final = 20_000
"""States kept per board. Model names come from callers, so the number of pairs must have a bound."""


class Status(StrEnum):
    """What a credential is, seen by people."""

    HEALTHY = "healthy"
    COOLDOWN = "cooldown"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class State:
    """One credential, or one credential with one model.

    `until` is when its rest ends and `hold` when a probation's head start ends, both monotonic. `streak` counts
    the rests in a row that the vendor gave no length for.
    """

    status: Status = Status.HEALTHY
    until: float = 0.0
    streak: int = 0
    reason: str = ""
    hold: float = 0.0

    def usable(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return now >= self.until and now >= self.hold

    @property
    def free_at(self) -> float:
        """When it may be used again; infinite when only a person or a probe can say so."""
        return max(self.until, self.hold)


HEALTHY: Final = State()


def observe(state: State, verdict: Verdict, now: float, dice: float) -> State:
    """The state after a verdict.

    Answers to requests that were already under way when a rest began change little: their failures do not
    lengthen the back-off (one storm is one failure; only a vendor's own, longer demand moves the end), and their
    successes do not end the rest.
    """
    if state.status is Status.DISABLED or verdict.kind is VerdictKind.CLIENT_ERROR:
        return state
    resting = now < state.until
    if verdict.kind is VerdictKind.OK:
        return state if resting else HEALTHY
    if verdict.kind is VerdictKind.BAD_KEY and verdict.scope is Scope.CREDENTIAL:
        return State(Status.DISABLED, math.inf, 0, verdict.reason)
    told = verdict.retry_after
    if told is not None:
        until = max(state.until, now + min(told, LONGEST_TOLD))
        return State(Status.COOLDOWN, until, state.streak, verdict.reason)
    if resting:
        return state
    return State(Status.COOLDOWN, now + rest_after(state.streak, dice), state.streak + 1, verdict.reason)


def rest_after(streak: int, dice: float) -> float:
    """Seconds to rest after `streak` earlier ones in a row: 1, 2, 4 … 60, shortened by the dice by up to a quarter."""
    full = min(FIRST_REST * 2.0 ** min(streak, 16), LONGEST_REST)
    return full * (1.0 - 0.25 * dice)


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """A state as it is stored and shown. `until_us` is microseconds since the epoch, None without an end."""

    credential_id: CredentialId
    model: str | None
    status: Status
    until_us: int | None
    streak: int
    reason: str


class HealthBoard:
    """Every credential's state, beside the snapshot and surviving its swaps. Healthy ones take no room."""

    def __init__(self) -> None:
        self._states: dict[tuple[CredentialId, str | None], State] = {}
        self._dirty: set[tuple[CredentialId, str | None]] = set()

    def usable(self, credential: CredentialId, model: str, now: float) -> bool:
        """Whether this credential may serve this model now."""
        return not self._states or self.free_at(credential, model, now) is None

    def free_at(self, credential: CredentialId, model: str, now: float) -> float | None:
        """When it may next be used (monotonic; infinite when disabled), or None when it may be used now."""
        states = (self._states.get((credential, None)), self._states.get((credential, model)))
        ends = [state.free_at for state in states if state is not None and not state.usable(now)]
        return max(ends, default=None)

    def reason(self, credential: CredentialId, model: str) -> str:
        """Why it is not healthy, for people; empty when it is."""
        found = self._states.get((credential, None)) or self._states.get((credential, model))
        return "" if found is None else found.reason

    def claim(self, credential: CredentialId, model: str, now: float) -> None:
        """Say that a request is about to be sent. After a rest this is the probe: others wait for its verdict."""
        for key in ((credential, None), (credential, model)) if self._states else ():
            state = self._states.get(key)
            if state is not None and state.status is Status.COOLDOWN:
                self._states[key] = replace(state, hold=now + PROBATION)

    def observe(self, credential: CredentialId, model: str, verdict: Verdict, now: float, dice: float) -> bool:
        """Take in a verdict; true when a state changed."""
        if verdict.kind is VerdictKind.OK:
            if not self._states:
                return False
            keys: tuple[str | None, ...] = (None, model)
        else:
            keys = (None if verdict.scope is Scope.CREDENTIAL else model,)
        changed = [self._put((credential, key), verdict, now, dice) for key in keys]
        return any(changed)

    def _put(self, key: tuple[CredentialId, str | None], verdict: Verdict, now: float, dice: float) -> bool:
        before = self._states.get(key, HEALTHY)
        after = observe(before, verdict, now, dice)
        if after == before:
            return False
        if after == HEALTHY:
            self._states.pop(key, None)
        else:
            if key not in self._states and len(self._states) >= MAX_STATES:
                self._make_room(now)
            self._states[key] = after
        self._dirty.add(key)
        return True

    def _make_room(self, now: float) -> None:
        """Forget pairs whose rest is over; if all are resting, the one that is free first."""
        over = [key for key, state in self._states.items() if key[1] is not None and state.usable(now)]
        if not over:
            pairs = (key for key in self._states if key[1] is not None)
            over = [min(pairs, key=lambda key: self._states[key].free_at, default=next(iter(self._states)))]
        for key in over:
            del self._states[key]
            self._dirty.add(key)

    def disable(self, credential: CredentialId, reason: str) -> None:
        """An admin's word, or a token that cannot be refreshed."""
        self._states[credential, None] = State(Status.DISABLED, math.inf, 0, reason)
        self._dirty.add((credential, None))

    def enable(self, credential: CredentialId) -> None:
        """An admin's word, or a probe that succeeded: everything held against it is forgotten."""
        for key in [key for key in self._states if key[0] == credential]:
            del self._states[key]
            self._dirty.add(key)

    def keep(self, credentials: Iterable[CredentialId]) -> None:
        """After a snapshot swap: forget credentials that are no more."""
        known = set(credentials)
        for key in [key for key in self._states if key[0] not in known]:
            del self._states[key]
            self._dirty.discard(key)

    @property
    def dirty(self) -> bool:
        """Whether something changed since `take_dirty`."""
        return bool(self._dirty)

    def take_dirty(self, now: float, now_us: int) -> list[HealthRecord]:
        """What changed since the last call; a state that is no more is a `healthy` record."""
        taken, self._dirty = self._dirty, set()
        return [self._record(key, self._states.get(key, HEALTHY), now, now_us) for key in taken]

    def restore(self, records: Iterable[HealthRecord], now: float, now_us: int) -> None:
        """Take in what was stored, at start. Rests that have ended meanwhile keep their streak and probation."""
        for record in records:
            if record.status is Status.HEALTHY:
                continue
            disabled = record.status is Status.DISABLED
            left = 0.0 if record.until_us is None else (record.until_us - now_us) / 1_000_000
            # A clock that was set back must not turn an hour into a week.
            until = math.inf if disabled else now + min(max(left, 0.0), LONGEST_TOLD)
            key = (record.credential_id, record.model)
            self._states[key] = State(record.status, until, record.streak, record.reason)

    def listing(self, now: float, now_us: int) -> list[HealthRecord]:
        """Every state that is not plainly healthy, for people and for storing whole."""
        return [self._record(key, state, now, now_us) for key, state in self._states.items()]

    @staticmethod
    def _record(key: tuple[CredentialId, str | None], state: State, now: float, now_us: int) -> HealthRecord:
        until_us = None
        if state.status is Status.COOLDOWN:
            until_us = now_us + round((state.until - now) * 1_000_000)
        return HealthRecord(key[0], key[1], state.status, until_us, state.streak, state.reason)
