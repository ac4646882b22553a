"""Identities. UUIDv7 (RFC 9562 section 5.7): time-ordered, so indexes stay local and rows sort by birth."""

from __future__ import annotations

import os
import threading
import time
from typing import Final, NewType

RequestId = NewType("RequestId", str)
AttemptId = NewType("AttemptId", str)
UserId = NewType("UserId", str)
KeyId = NewType("KeyId", str)
ProviderId = NewType("ProviderId", str)
CredentialId = NewType("CredentialId", str)
ModelId = NewType("ModelId", str)

_POOL_SIZE: Final = 4608


class _Source:
    """Hands out UUIDv7 values that never go backwards within this process.

    Random bytes are drawn in blocks: one system call serves hundreds of ids.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Throw away what was drawn; a forked child must not use its parent's block."""
        self._pool = b""
        self._at = _POOL_SIZE
        self._last_ms = 0
        self._sequence = 0

    def next(self) -> str:
        with self._lock:
            ms = time.time_ns() // 1_000_000
            at = self._at
            if at + 9 > len(self._pool):
                self._pool, at = os.urandom(_POOL_SIZE), 0
            self._at = at + 9
            noise = self._pool[at : at + 8]
            # rand_a is a counter within the millisecond (RFC 9562 section 6.2, method 1), seeded low so that
            # it does not overflow; on overflow or a clock that stepped back, the last millisecond is kept.
            if ms > self._last_ms:
                self._last_ms, self._sequence = ms, self._pool[at + 8] << 1
            else:
                self._sequence += 1
                if self._sequence > 0xFFF:
                    self._last_ms, self._sequence = self._last_ms + 1, 0
            head = b"%012x7%03x" % (self._last_ms, self._sequence)
        tail = noise.hex()
        text = head.decode()
        return f"{text[:8]}-{text[8:12]}-{text[12:]}-{_VARIANT[tail[0]]}{tail[1:4]}-{tail[4:]}"


# The two variant bits `10` in front of what the first random digit leaves (RFC 9562 section 4.1).
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_source = _Source()
os.register_at_fork(after_in_child=_source.forget)


def new_id() -> str:
    """A fresh UUIDv7 in its canonical text form (36 characters, lower case)."""
    return _source.next()
