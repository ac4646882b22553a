"""What goes into the next batch, and how a row that will never land is found. Pure decisions; nobody waits here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_ROWS: Final = 100
MAX_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Window:
    """A batch goes when so many rows wait, or when the first has waited so long (seconds)."""

    max_rows: int = MAX_ROWS
    max_seconds: float = MAX_SECONDS

    def wait(self, waiting: int, oldest: float | None, now: float, *, closing: bool) -> float | None:
        """Seconds until the next batch is due; 0 = now, None = nothing is waiting. `closing` never waits."""
        if not waiting or oldest is None:
            return None
        if closing or waiting >= self.max_rows:
            return 0.0
        return max(0.0, oldest + self.max_seconds - now)


class Bisection:
    """Finds the rows of a batch that are refused, landing all others, in order from the left.

    Try `part`, then say `landed()` or `refused()`, until `part` is None. One poison row among n costs about 2 log2(n)
    tries. A part that is refused and has one row is the poison; `refused` then returns its index.
    """

    def __init__(self, size: int) -> None:
        self._todo = [(0, size)] if size else []

    @property
    def part(self) -> tuple[int, int] | None:
        """The rows to try next, [from, to)."""
        return self._todo[-1] if self._todo else None

    def landed(self) -> None:
        """The part is in the database."""
        self._todo.pop()

    def refused(self) -> int | None:
        """The part was refused for what is in it: the index of the poison row when it is down to one."""
        low, high = self._todo.pop()
        if high - low == 1:
            return low
        middle = (low + high) // 2
        self._todo += [(middle, high), (low, middle)]
        return None


def backoff(failures: int, dice: float, *, first: float = 0.1, most: float = 5.0) -> float:
    """Seconds to wait after so many failures in a row: doubling, with half of it left to the dice (0 to 1)."""
    full = min(most, first * 2.0 ** min(failures - 1, 30))
    return full * (0.5 + dice / 2)
