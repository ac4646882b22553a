"""Trails of requests: kept for every failure and for a share of the others.

A request that went well at once costs a look at its outcome here. Whatever a trail says is worked out when the request
is over (`pipeline/trail.py`) and written in the background. It is no ledger: what waits when the process is killed is
lost, and so is what comes faster than it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gproxy.ledger.record import Outcome
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.trail import clean, trail_of, written
from gproxy.runtime.backlog import Backlog
from gproxy.storage.engine import Database
from gproxy.storage.trails import StoredTrail, put_trails

MOST_WAITING: Final = 1_000
MOST_BYTES: Final = 4 * 1024 * 1024
"""Trails and their bytes that wait to be written; beyond either, new ones are dropped and counted."""
MOST_PER_FLUSH: Final = 100
"""Trails per turn of the writer (half a second): when everything fails at once, the ledger's rows go first."""
MOST_STRANGERS: Final = 10
"""Trails of callers nobody knows that may wait: they cost a stranger nothing to make, so they get little room."""
_COMPLETE: Final = Outcome.COMPLETE.value


class Trails:
    """One per process. `dice` gives numbers in [0, 1)."""

    def __init__(self, dice: Callable[[], float], say: Callable[[str, Mapping[str, Any]], None]) -> None:
        self._dice = dice
        self._say = say
        self.backlog = Backlog("trails", put_trails, say, most_rows=MOST_WAITING, most_bytes=MOST_BYTES)
        """What waits to be written."""
        self.share = 0.0
        """The share of the requests that went well at once whose trail is kept, too."""

    def set(self, settings: Mapping[str, str]) -> None:
        """Take the stored settings."""
        self.share = share_of(settings.get("trail_share", ""))

    def done(self, x: Exchange) -> None:
        """A request is over."""
        if x.outcome == _COMPLETE and x.attempts <= 1 and (not self.share or self._dice() >= self.share):
            return
        if self.backlog.full or (x.principal is None and len(self.backlog) >= MOST_STRANGERS):
            self.backlog.dropped += 1
            return
        try:
            text = written(trail_of(x))
        except Exception as error:
            # The answer has left; a fault in telling how it came about must not cost the client its connection.
            self._say("a trail could not be told", {"request_id": x.request_id, "error": repr(error)})
            return
        name = None if x.principal is None else clean(x.principal.user_name)[:200]
        self.backlog.add(StoredTrail(x.request_id, x.started_us, name, x.answered_status, text), len(text))

    async def flush(self, db: Database) -> None:
        """Write some of what waits. Raises `StoreUnavailable`."""
        await self.backlog.flush(db, MOST_PER_FLUSH)


def share_of(text: str) -> float:
    """The stored share as a number from 0 to 1; what is none of these is 0."""
    try:
        share = float(text)
    except ValueError:
        return 0.0
    return share if 0.0 <= share <= 1.0 else 0.0
