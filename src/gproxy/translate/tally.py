"""How often the guards of outgoing streams had to act; kept for the whole process, read by operators."""

from __future__ import annotations

from dataclasses import dataclass, field

from gproxy.canonical.operation import Dialect


@dataclass(slots=True)
class Tally:
    """How often guards had to act, by dialect of the client and rule."""

    repaired: dict[tuple[Dialect, str], int] = field(default_factory=dict)
    ended: dict[tuple[Dialect, str], int] = field(default_factory=dict)

    def repair(self, dialect: Dialect, rule: str) -> None:
        """A stream was put right."""
        self.repaired[dialect, rule] = self.repaired.get((dialect, rule), 0) + 1

    def end(self, dialect: Dialect, rule: str) -> None:
        """A stream was ended with an error."""
        self.ended[dialect, rule] = self.ended.get((dialect, rule), 0) + 1

    def __bool__(self) -> bool:
        return bool(self.repaired or self.ended)
