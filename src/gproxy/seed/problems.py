"""What is wrong with a seed document: every problem, not the first one. No text ever holds a secret."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `row` counts from 1 within the table; None where there are no rows."""

    table: str
    row: int | None
    key: str | None
    text: str

    def __str__(self) -> str:
        where = self.table and (f"[{self.table}]" if self.row is None else f"[[{self.table}]] number {self.row}")
        parts = [part for part in (where, self.key) if part]
        return f"{', '.join(parts)}: {self.text}" if parts else self.text


class SeedProblems(Exception):  # noqa: N818 - it carries what was found
    """The document cannot be used; `problems` lists everything found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
