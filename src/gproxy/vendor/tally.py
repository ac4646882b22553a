"""The vendor's own count of what reached it: one line when a request was fully read, one when its answer ended.

Each line is one `write` to a file opened with O_APPEND, so the count survives the death of any process, this one
included. Numbers go on where an earlier run stopped; a line torn by a crash is closed and later skipped by readers.
A credential appears only as the first 16 hex digits of its SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections import deque
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import msgspec

from gproxy.canonical.usage import Usage
from gproxy.clock import SystemClock

_KEPT_LINES: Final = 20_000  # without a file, memory holds the most recent ones only
_LAST_NUMBER: Final = re.compile(rb'"n":(\d+)')

How = Literal["complete", "client_closed", "cut", "stopped", "error"]
"""`cut` by a script; `stopped` with the vendor; `error` is a defect of the vendor itself."""


class Figures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens as the ledger counts them (see `canonical.usage.Usage`)."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0


class Seen(msgspec.Struct, frozen=True, omit_defaults=True, tag="seen", tag_field="ev"):
    """A request that was read to its end. `at` is in microseconds since the epoch."""

    n: int
    run: str
    at: int
    method: str
    path: str
    model: str
    credential: str | None = None
    nonce: str | None = None
    dialect: str | None = None
    operation: str | None = None
    stream: bool = False
    max_output: int | None = None
    connection: int = 0
    correlation: dict[str, str] = {}
    script: dict[str, object] = {}


class End(msgspec.Struct, frozen=True, omit_defaults=True, tag="end", tag_field="ev"):
    """How its answer ended.

    `declared` is what the vendor bills for the whole answer, whether or not it could say so; None when it bills
    nothing. `usage_sent` says that the figures left the process, `tokens_sent` how many output tokens did.
    """

    n: int
    run: str
    at: int
    how: How
    status: int = 0
    declared: Figures | None = None
    usage_sent: bool = False
    tokens_sent: int = 0
    bytes_sent: int = 0


_encode: Final = msgspec.json.Encoder().encode


def figures_of(usage: Usage) -> Figures:
    """Usage as plain numbers."""
    return Figures(
        usage.input or 0,
        usage.output or 0,
        usage.cache_read or 0,
        usage.cache_write_5m or 0,
        usage.cache_write_1h or 0,
        usage.reasoning or 0,
    )


@lru_cache(maxsize=1024)
def digest(credential: str) -> str:
    """How a credential is named in the count."""
    return hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()[:16]


class Tally:
    """Writes the count. Without a path it lives in memory."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.run: Final = os.urandom(4).hex()
        self.seen_count = 0
        self.ended_count = 0
        self._recent: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._fd = -1
        self._next = 1
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._continue()

    def _continue(self) -> None:
        size = os.fstat(self._fd).st_size
        if size == 0:
            return
        tail = os.pread(self._fd, min(size, 1 << 20), max(0, size - (1 << 20)))
        if not tail.endswith(b"\n"):
            os.write(self._fd, b"\n")
        self._next = 1 + max((int(number) for number in _LAST_NUMBER.findall(tail)), default=0)

    def next_number(self) -> int:
        """The number of the next attempt."""
        number = self._next
        self._next += 1
        return number

    def seen(self, record: Seen) -> None:
        """A request was read."""
        self.seen_count += 1
        self._append(_encode(record))

    def end(self, record: End) -> None:
        """Its answer ended."""
        self.ended_count += 1
        self._append(_encode(record))

    def _append(self, line: bytes) -> None:
        line += b"\n"
        if self._fd < 0:
            self._recent.append(line)
            return
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            written = -1
            reason = str(error)
        else:
            reason = "short write"
        if written != len(line):
            # A judge with a hole in its memory must say so loudly; the reader will find the gap in the numbers too.
            print(f"vendor: count file not written: {reason}", file=sys.stderr, flush=True)  # noqa: T201 - a judge that cannot write must be heard

    def lines(self) -> bytes:
        """Everything counted so far, as JSON lines."""
        if self.path is None:
            return b"".join(self._recent)
        return self.path.read_bytes()

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


now_us: Final = SystemClock.now_us
