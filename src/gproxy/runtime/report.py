"""The drain report: what a shutdown did, as one value, one log line, one row and a few printed lines."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

EXIT_CLEAN: Final = 0
EXIT_LEFT_BEHIND: Final = 75


@dataclass(slots=True)
class DrainReport:
    """Filled in as the shutdown goes on. Durations in milliseconds."""

    id: str
    instance: str
    signal: str
    started_at: int
    in_flight_at_start: int = 0
    finished: int = 0
    cut: int = 0
    rows_flushed: int = 0
    rows_left: int = 0
    health_states_flushed: int = 0
    late_workers: list[str] = field(default_factory=list)
    phases_ms: dict[str, int] = field(default_factory=dict)
    signals: int = 1
    exit_code: int = EXIT_CLEAN

    @property
    def total_ms(self) -> int:
        """The whole shutdown."""
        return sum(self.phases_ms.values())

    def decide(self) -> int:
        """0 when everything that happened is in the database, 75 when a worker was late or rows wait in the journal."""
        self.exit_code = EXIT_LEFT_BEHIND if self.late_workers or self.rows_left else EXIT_CLEAN
        return self.exit_code

    def fields(self) -> dict[str, object]:
        """For the log line and the `shutdowns` row."""
        return asdict(self) | {"total_ms": self.total_ms}

    def summary(self) -> str:
        """The lines an operator sees at the terminal."""
        requests = f"{self.in_flight_at_start} in flight, {self.finished} finished, {self.cut} cut"
        rows = f"{self.rows_flushed} flushed, {self.rows_left} left in the journal"
        lines = [
            f"gproxy stopped after {self.total_ms / 1000:.2f} s ({self.signal}): {requests}",
            f"  usage rows: {rows}; credential states flushed: {self.health_states_flushed}",
        ]
        if self.late_workers:
            lines.append(f"  late workers: {', '.join(self.late_workers)} (the journal holds what they held)")
        return "\n".join(lines)
