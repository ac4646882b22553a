"""Identities. UUIDv7 (RFC 9562 section 5.7): time-ordered, so indexes stay local and rows sort by birth."""

from __future__ import annotations

import os
import threading
import time
from typing import NewType

RequestId = NewType("RequestId", str)
AttemptId = NewType("AttemptId", str)
UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
ProviderId = NewType("ProviderId", str)
CredentialId = NewType("CredentialId", str)
ModelId = NewType("ModelId", str)

_POOL_SIZE = 4096


class _Source:
    """Hands out UUIDv7 values that never go backwards within this process.

    Random bytes are drawn in blocks: one system call serves hundreds of ids. A forked child must not
    reuse its parent's block, so the block is bound to the process id.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool = b""
        self._at = 0
        self._pid = 0
        self._last_ms = 0
        self._sequence = 0

    def next(self) -> str:
        with self._lock:
            ms = time.time_ns() // 1_000_000
            if self._at + 10 > len(self._pool) or self._pid != os.getpid():
                self._pool, self._at, self._pid = os.urandom(_POOL_SIZE), 0, os.getpid()
            noise = self._pool[self._at : self._at + 10]
            self._at += 10
            # rand_a is a counter within the millisecond (RFC 9562 section 6.2, method 1), seeded low so that
            # it does not overflow; on overflow or a clock that stepped back, the last millisecond is kept.
            if ms > self._last_ms:
                self._last_ms, self._sequence = ms, noise[8] << 1
            else:
                self._sequence += 1
                if self._sequence > 0xFFF:
                    self._last_ms, self._sequence = self._last_ms + 1, 0
            high = (self._last_ms << 16) | 0x7000 | self._sequence
            low = (int.from_bytes(noise[:8], "big") & 0x3FFF_FFFF_FFFF_FFFF) | 0x8000_0000_0000_0000
        text = f"{high:016x}{low:016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_source = _Source()


def new_id() -> str:
    """A fresh UUIDv7 in its canonical text form (36 characters, lower case)."""
    return _source.next()
