"""Caps of credentials as pure arithmetic: how much one credential may be asked for, and what counts against it now.

A vendor limits each key by requests and tokens a minute; whoever stays below never sees its 429. The counters live
beside the snapshot and survive its swaps, so that a change of a cap finds what was counted before it.

A request counts with the most tokens it can take until it is over, then with those it took: in no minute is more let
through than the cap. The exception is a request that alone may exceed the cap: it passes when nothing else counts.
No clock here: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gproxy.ids import CredentialId
from gproxy.window import MINUTE, Window

BUSY_WAIT: Final = 1.0
"""Seconds told to a caller when a credential has all the requests in flight it may have: nobody knows when one ends."""


@dataclass(frozen=True, slots=True)
class Caps:
    """How much one credential may be asked for: requests and tokens a minute, requests at the same time. None: any."""

    rpm: int | None = None
    tpm: int | None = None
    max_in_flight: int | None = None


def caps_of(rpm: int | None, tpm: int | None, max_in_flight: int | None) -> Caps | None:
    """The caps of a credential; None when there are none, so that asking for them is one test."""
    if rpm is None and tpm is None and max_in_flight is None:
        return None
    return Caps(rpm, tpm, max_in_flight)


@dataclass(frozen=True, slots=True)
class Standing:
    """What counts against a credential's caps now."""

    requests: int = 0
    tokens: int = 0
    in_flight: int = 0


class Meter:
    """What one credential is asked for."""

    __slots__ = ("in_flight", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = Window(MINUTE)
        self.tokens = Window(MINUTE)
        self.in_flight = 0


class Taken:
    """One attempt's place under the caps of a credential, from the moment it was picked until it is over."""

    __slots__ = ("meter", "over", "request_slot", "token_slot", "tokens", "used")

    def __init__(self, meter: Meter, tokens: int, now: float) -> None:
        meter.in_flight += 1
        self.meter = meter
        self.tokens = tokens
        self.request_slot = meter.requests.add(1, now)
        self.token_slot = meter.tokens.add(tokens, now)
        self.used: int | None = None
        """Tokens that the attempt took; None while it was not sent."""
        self.over = False

    def settle(self) -> None:
        """The attempt is over: its tokens become what it used; one that was never sent consumed nothing.

        Safe to call twice.
        """
        if self.over:
            return
        self.over = True
        self.meter.in_flight -= 1
        if self.used is None:
            self.meter.requests.correct(self.request_slot, -1)
        self.meter.tokens.correct(self.token_slot, (self.used or 0) - self.tokens)

    def forgive(self) -> None:
        """The vendor turned it away at the door, and it goes again with a new token: it was no request."""
        self.settle()
        if self.used is not None:
            self.used = None
            self.meter.requests.correct(self.request_slot, -1)


def _whole(cap: int) -> int:
    return cap


class CapBoard:
    """What counts against every capped credential, in this process."""

    def __init__(self, share: Callable[[int], int] = _whole) -> None:
        self.share = share
        """This process's part of a cap: where several serve one database, the parts of all add up to it."""
        self._meters: dict[CredentialId, Meter] = {}

    def wait_for(self, credential: CredentialId, caps: Caps, tokens: int, now: float) -> float:
        """Seconds until a request of at most `tokens` fits under the caps, if nothing else comes; 0.0: it fits now."""
        meter = self._meters.get(credential)
        waits = [0.0]
        if caps.max_in_flight is not None:
            busy = 0 if meter is None else meter.in_flight
            waits.append(BUSY_WAIT if busy >= self.share(caps.max_in_flight) else 0.0)
        for cap, needed, window in (
            (caps.rpm, 1, None if meter is None else meter.requests),
            (caps.tpm, tokens, None if meter is None else meter.tokens),
        ):
            if cap is not None:
                share = self.share(cap)
                if share == 0:
                    waits.append(MINUTE)  # the others have it all; how many there are can have changed by then
                elif window is not None:
                    waits.append(window.wait_for(min(needed, share), share, now))
        return max(waits)

    def take(self, credential: CredentialId, tokens: int, now: float) -> Taken:
        """Count a request that is about to be sent. Whether it fits is the caller's question (`wait_for`)."""
        meter = self._meters.get(credential)
        if meter is None:
            meter = self._meters[credential] = Meter()
        return Taken(meter, tokens, now)

    def standing(self, credential: CredentialId, now: float) -> Standing:
        """What counts against a credential's caps."""
        meter = self._meters.get(credential)
        if meter is None:
            return Standing()
        return Standing(meter.requests.used(now), meter.tokens.used(now), meter.in_flight)

    def keep(self, credentials: set[CredentialId]) -> None:
        """After a snapshot swap: forget credentials that are no more."""
        for gone in [each for each in self._meters if each not in credentials]:
            del self._meters[gone]
