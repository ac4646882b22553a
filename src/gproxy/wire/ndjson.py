"""JSON that arrives over time without events: one value per line, or the elements of one array.

`Lines` cuts JSON lines. `Array` finds the objects of a JSON array while it is still being sent (Gemini's
`streamGenerateContent` without `alt=sse`) and returns every byte it was fed, in order, so that a relay can pass
on what lies between them untouched. Neither decodes anything.
"""

from __future__ import annotations

import re
from typing import Final

from gproxy.wire.sse import MAX_FRAME, FrameTooLong

_LINE_END: Final = re.compile(rb"\r?\n")
_BRACKET: Final = re.compile(rb'["\[\]{}]')
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Lines:
    """JSON lines: bytes in, non-empty lines out. Raises `FrameTooLong` when one line outgrows the limit."""

    __slots__ = ("_held", "_limit")

    def __init__(self, max_line: int = MAX_FRAME) -> None:
        self._held = bytearray()
        self._limit = max_line

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines this chunk completes, without their ends."""
        cut = chunk.rfind(b"\n") + 1
        if not cut:
            self._hold(chunk)
            return []
        whole = bytes(self._held) + chunk[:cut]
        self._held.clear()
        self._hold(chunk[cut:])
        return [line for line in _LINE_END.split(whole) if line.strip()]

    def end(self) -> list[bytes]:
        """At the end of the stream: the last line, if no line end followed it."""
        rest = bytes(self._held).removesuffix(b"\r")
        self._held.clear()
        return [rest] if rest.strip() else []

    def _hold(self, piece: bytes) -> None:
        if len(self._held) + len(piece) > self._limit:
            raise FrameTooLong(self._limit)
        self._held += piece


class Array:
    """The objects and arrays inside one JSON array, as they become complete.

    Joined, the pieces are the bytes that were fed. What is no element (the brackets, commas, space, and scalars)
    comes out at once. Linear in the bytes fed; holds at most one element.
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
