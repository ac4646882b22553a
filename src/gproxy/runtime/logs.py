"""Structured logs: one line per event, JSON for machines and short text on a terminal.

Lines are collected and handed to one writer thread every few milliseconds, so a request costs an append and a
blocked or closed log pipe can never hold up the loop or the exit. When the pipe does not take lines fast
enough, the oldest are kept, new ones are counted and the count is logged when it moves again.
No value is ever interpreted: what comes from outside is quoted by the JSON encoder in both forms.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from typing import Final

import msgspec

from gproxy.clock import Clock

_QUEUE_LIMIT: Final = 20_000
_fast: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode

Field = str | int | float | bool | None | list[str] | dict[str, int] | dict[str, float]


class Level(IntEnum):
    """How loud a line is."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


_COLOURS: Final = {Level.DEBUG: "\x1b[2m", Level.INFO: "\x1b[32m", Level.WARNING: "\x1b[33m", Level.ERROR: "\x1b[31m"}


class Log:
    """The process's log. Thread-safe; `close` waits a bounded time for the writer."""

    def __init__(self, clock: Clock, *, level: Level, as_json: bool, fd: int = 2, colour: bool = False) -> None:
        self._clock = clock
        self._level = level
        self._as_json = as_json
        self._fd = fd
        self._colour = colour
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._dropped = 0
        self._writer = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._writer.start()

    def info(self, event: str, **fields: Field) -> None:
        """What an operator expects to see."""
        self.line(Level.INFO, event, fields)

    def warning(self, event: str, **fields: Field) -> None:
        """Something an operator should look at."""
        self.line(Level.WARNING, event, fields)

    def error(self, event: str, **fields: Field) -> None:
        """Something is broken."""
        self.line(Level.ERROR, event, fields)

    def writes(self, level: Level) -> bool:
        """Whether a line of this level would be written at all."""
        return level >= self._level

    def line(self, level: Level, event: str, fields: dict[str, Field]) -> None:
        """Write one line if it is loud enough."""
        if level < self._level:
            return
        if len(self._lines) >= _QUEUE_LIMIT:
            self._dropped += 1
            return
        self._lines.append(self._render(level, event, fields))
        self._wake.set()

    def close(self, timeout: float = 0.2) -> None:
        """Let the writer finish what is queued, for at most `timeout` seconds."""
        self._closing = True
        self._wake.set()
        self._writer.join(timeout)

    def _render(self, level: Level, event: str, fields: dict[str, Field]) -> bytes:
        at = self._clock.now_us()
        if self._as_json:
            stamp = datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="milliseconds")
            return _encode({"ts": stamp, "level": level.name.lower(), "event": event, **fields}) + b"\n"
        stamp = datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%H:%M:%S.%f")[:-3]
        name = f"{level.name.lower():<7}"
        if self._colour:
            name = f"{_COLOURS[level]}{name}\x1b[0m"
        rest = " ".join(f"{key}={_shown(value)}" for key, value in fields.items() if value is not None)
        return f"{stamp} {name} {event}{' ' if rest else ''}{rest}\n".encode("utf-8", "replace")

    def _run(self) -> None:
        write: Callable[[int, bytes], int] = os.write
        while True:
            self._wake.wait()
            self._wake.clear()
            pieces: list[bytes] = []
            while self._lines:
                pieces.append(self._lines.popleft())
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                pieces.append(self._render(Level.WARNING, "log lines dropped", {"count": dropped}))
            data = b"".join(pieces)
            at = 0
            try:
                while at < len(data):
                    at += write(self._fd, data[at : at + 65_536])
            except OSError:  # the pipe is closed: there is nobody left to tell
                self._lines.clear()
            if self._closing and not self._lines:
                return


def _encode(value: object) -> bytes:
    """JSON of anything: a lone surrogate, which UTF-8 cannot hold, is written as its escape."""
    try:
        return _fast(value)
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode()


def _shown(value: Field) -> str:
    if isinstance(value, str):
        plain = value.isascii() and value.isprintable() and value and not any(mark in value for mark in ' "=\\')
        return value if plain else _encode(value).decode()
    return _encode(value).decode()


def wants_text(fmt: str | None) -> bool:
    """Text on a terminal, JSON elsewhere, unless the setting says otherwise."""
    return fmt == "text" if fmt in {"text", "json"} else sys.stderr.isatty()
