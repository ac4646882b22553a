"""The retry budget: retries are a share of the requests, so that they can never become the storm.

Per provider, over the last minute: 10 % of its requests, at least 10. What counts is a further attempt at a
provider a request has already tried; a first attempt at the next member of a route is that provider's own
request. Without this an upstream that fails half of everything gets a multiple of its load (faults.md D10's
metastable state).
"""

from __future__ import annotations

from typing import Final

WINDOW: Final = 60.0
SLOTS: Final = 12
SHARE: Final = 0.1
MINIMUM: Final = 10


class RetryBudget:
    """One provider's budget. `now` is monotonic seconds."""

    __slots__ = ("_at", "_requests", "_retries")

    def __init__(self) -> None:
        self._requests = [0] * SLOTS
        self._retries = [0] * SLOTS
        self._at = 0

    def request(self, now: float) -> None:
        """A request makes its first attempt here."""
        self._turn(now)
        self._requests[self._at % SLOTS] += 1

    def spend(self, now: float) -> bool:
        """Whether a retry may be made; if so it is counted."""
        self._turn(now)
        if sum(self._retries) >= max(MINIMUM, int(SHARE * sum(self._requests))):
            return False
        self._retries[self._at % SLOTS] += 1
        return True

    def _turn(self, now: float) -> None:
        at = int(now / (WINDOW / SLOTS))
        if at == self._at:
            return
        for slot in range(max(self._at + 1, at - SLOTS + 1), at + 1):
            self._requests[slot % SLOTS] = self._retries[slot % SLOTS] = 0
        self._at = max(self._at, at)


class RetryBudgets:
    """Every provider's budget, by name."""

    def __init__(self) -> None:
        self._budgets: dict[str, RetryBudget] = {}

    def of(self, provider: str) -> RetryBudget:
        """That provider's; made when first asked for."""
        found = self._budgets.get(provider)
        if found is None:
            found = self._budgets[provider] = RetryBudget()
        return found
