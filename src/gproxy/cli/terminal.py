"""How commands speak to people: one clear line for an error, colour only on a terminal that wants it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Complaint(Exception):  # noqa: N818 - it ends a command that did what it should: refuse
    """Ends a command. Each line is printed for people; `code` is the exit code (1 refused or invalid, 2 usage)."""

    def __init__(self, *lines: str, code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.code = code


def complain(line: str) -> None:
    """One line to standard error, marked as ours."""
    print(f"gproxy: {line}", file=sys.stderr)


def wants_colour(stream: TextIO, env: Mapping[str, str] = os.environ) -> bool:
    """A terminal, unless NO_COLOR (no-color.org) or TERM=dumb says no; FORCE_COLOR says yes to a pipe too."""
    if env.get("NO_COLOR"):
        return False
    if env.get("FORCE_COLOR"):
        return True
    return stream.isatty() and env.get("TERM") != "dumb"


def bold(text: str, *, colour: bool) -> str:
    """Bold where colour is wanted."""
    return f"\x1b[1m{text}\x1b[0m" if colour else text


def painted(text: str, number: int, *, colour: bool) -> str:
    """One of the terminal's own colours (31 red, 32 green, 33 yellow) where colour is wanted."""
    return f"\x1b[{number}m{text}\x1b[0m" if colour else text


def printed_columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines with each column as wide as its widest cell; the last one is left ragged."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
