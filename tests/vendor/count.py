"""Reads the vendor's count file and folds its two lines per attempt into one.

The file may have been written by several runs, and its writer may have been killed at any byte: a torn line is
reported, never guessed at, and an attempt without an end stays visibly open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gproxy.vendor.tally import End, Figures, Seen

_line = msgspec.json.Decoder(Seen | End)


def credential_digest(secret: str) -> str:
    """How the vendor names a credential: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Counted:
    """One attempt as the vendor saw it. `how` is None while (or because) its end was never written."""

    n: int
    at: int
    method: str
    path: str
    model: str
    credential: str | None
    nonce: str | None
    dialect: str | None
    operation: str | None
    stream: bool
    max_output: int | None
    connection: int
    correlation: dict[str, str]
    how: str | None = None
    status: int = 0
    declared: Figures | None = None
    usage_sent: bool = False
    tokens_sent: int = 0
    bytes_sent: int = 0
    ended_at: int = 0
    fail: str | None = None
    """What the script asked the vendor to do wrong."""


@dataclass(slots=True)
class Count:
    """The folded file."""

    attempts: list[Counted] = field(default_factory=list)
    torn: int = 0
    """Lines that do not parse: cut by a crash."""
    problems: list[str] = field(default_factory=list)
    """What makes the file itself unfit as a judge: gaps, repeated numbers, ends without a beginning."""

    def of_nonce(self, nonce: str) -> list[Counted]:
        """The attempts made for one client request, in the vendor's order."""
        return [attempt for attempt in self.attempts if attempt.nonce == nonce]

    @property
    def open(self) -> list[Counted]:
        """Attempts whose end was never written."""
        return [attempt for attempt in self.attempts if attempt.how is None]


def fold(lines: Iterable[bytes]) -> Count:
    """One record per attempt, in the order they were seen."""
    count = Count()
    seen: dict[int, Seen] = {}
    ends: dict[int, End] = {}
    torn_lines = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            record = _line.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            torn_lines += 1
            continue
        if isinstance(record, Seen):
            if record.n in seen:
                count.problems.append(f"attempt {record.n} was counted twice")
            seen[record.n] = record
        elif record.n in ends:
            count.problems.append(f"attempt {record.n} ended twice")
        else:
            ends[record.n] = record
    count.torn = torn_lines
    numbers = sorted(seen)
    if numbers:
        missing = numbers[-1] - numbers[0] + 1 - len(numbers)
        # One torn line per crash can hide one number; more than that is a hole in the judge's memory.
        if missing > torn_lines:
            count.problems.append(f"{missing} attempt numbers are missing, only {torn_lines} lines are torn")
    count.problems.extend(f"attempt {number} ended but was never seen" for number in ends if number not in seen)
    count.attempts = [_folded(seen[number], ends.get(number)) for number in numbers]
    return count


def _folded(seen: Seen, end: End | None) -> Counted:
    return Counted(
        seen.n,
        seen.at,
        seen.method,
        seen.path,
        seen.model,
        seen.credential,
        seen.nonce,
        seen.dialect,
        seen.operation,
        seen.stream,
        seen.max_output,
        seen.connection,
        seen.correlation,
        end.how if end else None,
        end.status if end else 0,
        end.declared if end else None,
        end.usage_sent if end else False,
        end.tokens_sent if end else 0,
        end.bytes_sent if end else 0,
        end.at if end else 0,
        str(seen.script["fail"]) if "fail" in seen.script else None,
    )


def read_count(path: Path) -> Count:
    """The count in a file; a file that is not there counts nothing."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Count()
    return fold(data.split(b"\n"))
