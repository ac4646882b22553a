"""Money that is set aside in the database and given out by somebody nearer: what both sides say to each other.

An allowance is a row of `quota_holds` that belongs to no request. While it lasts, whoever keeps it (Redis) lets requests
through against it without asking the database, in the round trip that counts their limits. Whatever happens to the
keeper, no more than was set aside is ever given out, because

* towards the keeper the database moves first (set aside, then `give`), and back from it the keeper does (`take` or
  `give_back`, then freed in the database): what is lost in between is held a little too long, and never twice;
* it is given from for `OPEN_SECONDS`, and its row counts for longer than that by as much as a process needs to write down
  what it drew and still holds. What nobody has claimed when the row ends was lost, or held by the dead, and is free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gproxy.access.limits import Claim, Counted, Exceeded

OPEN_SECONDS: Final = 4
"""For so long an allowance may be given from."""
KEPT_SECONDS: Final = 18
"""For so long its row counts, unless everything in it has been accounted for before."""
OWN_ROW_AFTER: Final = 5.0
"""Seconds after which a request that still holds something drawn gets a row of its own for it."""

_TIMES: Final = 100
_LEAST: Final = 10_000_000
LARGEST: Final = 10**15
"""Nano-USD of the largest allowance: scripts calculate in doubles, which are exact to nine times that."""


class Draw(NamedTuple):
    """What a request wants from its user's allowance, nano-USD; `now` is the asker's own time in microseconds."""

    user_id: str
    amount: int
    quota: int
    now: int


class Taken(NamedTuple):
    """An allowance that is given from no more, and what it had left; an empty id: there was none."""

    id: str
    free: int


NONE: Final = Taken("", 0)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A request was let through: its claims are counted, its cost is drawn."""

    counted: Counted
    allowance_id: str
    left: int
    """What is still free of the budget."""


@dataclass(frozen=True, slots=True)
class NotCovered:
    """The allowance does not cover it, or there is none; nothing was counted, and what it had left was taken."""

    taken: Taken


@dataclass(frozen=True, slots=True)
class Allowance:
    """Money that has been set aside."""

    id: str
    user_id: str
    amount: int
    quota: int
    beyond: int
    """What else of the budget was free at that moment."""
    ends: int
    """Until when it may be given from, microseconds since the epoch."""


class Purse(Protocol):
    """Who gives allowances out. No call raises because it cannot be reached; it then says that it does not know."""

    @property
    def open(self) -> bool:
        """Whether it is worth asking."""
        ...

    async def draw(self, claims: Sequence[Claim], draw: Draw) -> Drawn | NotCovered | Exceeded | None:
        """Draw and count every claim, or neither, in one round trip. None: it did not answer, so nothing is let through.

        Raises `DatabaseUnavailable` where what was let through before is known to nobody but the ledger.
        """
        ...

    async def give(self, allowance: Allowance) -> Taken | None:
        """Hand it an allowance; what it gives from no more instead, which may be this one. None: nobody knows."""
        ...

    async def take(self, user_id: str, allowance_id: str = "") -> Taken | None:
        """Take out this one, or whichever there is. None: nobody knows."""
        ...

    async def give_back(self, user_id: str, allowance_id: str, amount: int) -> bool | None:
        """Put back what was drawn. False: this allowance is not there any more, so put it back in the database."""
        ...


def portion(rest: int, amount: int) -> int:
    """How much of the `rest` of a budget to set aside when a request asked for `amount`; 0: not worth it.

    At most half, so that whoever does not reach the keeper finds something too, and what is lost leaves something.
    """
    share = min(rest // 2, max(_TIMES * amount, _LEAST), LARGEST)
    return share if share >= max(1, amount) else 0
