"""A JSON array that arrives over time, without events (Gemini's `streamGenerateContent` without `alt=sse`)."""

from __future__ import annotations

import re
from typing import Final

from gproxy.wire.sse import MAX_FRAME, FrameTooLong

_BRACKET: Final = re.compile(rb'["\[\]{}]')
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Array:
    """The objects and arrays inside one JSON array, as they become complete.

    Joined, the pieces are the bytes that were fed, so that a relay can pass on what lies between the elements
    untouched. What is no element (the brackets, commas, space, and scalars) comes out at once. Decodes nothing;
    linear in the bytes fed; holds at most one element.
    """

    __slots__ = ("_depth", "_escaped", "_held", "_limit", "_quoted")

    def __init__(self, max_element: int = MAX_FRAME) -> None:
        self._held = bytearray()
        self._limit = max_element
        self._depth = 0
        self._quoted = False
        self._escaped = False

    @property
    def depth(self) -> int:
        """How many brackets are open: 1 between the elements of the array."""
        return self._depth

    @property
    def inside(self) -> bool:
        """Whether the array has begun and has not ended."""
        return self._depth > 0

    def feed(self, chunk: bytes) -> list[tuple[bytes, bool]]:
        """Pieces in order, each with whether it is a whole element. Raises `FrameTooLong`."""
        out: list[tuple[bytes, bool]] = []
        start = at = 0
        end = len(chunk)
        while at < end:
            if self._quoted:
                at = self._string(chunk, at)
                continue
            found = _BRACKET.search(chunk, at)
            if found is None:
                break
            at = found.end()
            match chunk[found.start()]:
                case 0x22:
                    self._quoted = True
                case 0x5B | 0x7B:
                    if self._depth == 1:
                        if found.start() > start:
                            out.append((chunk[start : found.start()], False))
                        start = found.start()
                    self._depth += 1
                case _:
                    self._depth -= 1
                    if self._depth == 1:
                        out.append((bytes(self._held) + chunk[start:at], True))
                        self._held.clear()
                        start = at
        rest = chunk[start:]
        if self._depth > 1:
            if len(self._held) + len(rest) > self._limit:
                raise FrameTooLong(self._limit)
            self._held += rest
        elif rest:
            out.append((rest, False))
        return out

    def take(self) -> bytes:
        """The rest of an element that never ended."""
        rest = bytes(self._held)
        self._held.clear()
        return rest

    def _string(self, chunk: bytes, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        at = _IN_STRING.match(chunk, at).end()  # type: ignore[union-attr] # it matches the empty string
        if at == len(chunk):
            return at
        if chunk[at] == 0x22:
            self._quoted = False
        else:
            self._escaped = True  # a backslash at the very end: its partner comes with the next chunk
        return at + 1
