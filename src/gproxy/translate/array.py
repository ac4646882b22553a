"""The other framing of Gemini's streams: one JSON array whose elements arrive over time."""

from __future__ import annotations

from gproxy.wire.sse import Decoder


class ArrayFrames:
    """Server-sent events in, the same objects as the elements of an array out."""

    __slots__ = ("_begun", "_ended", "_events")

    def __init__(self) -> None:
        self._events = Decoder()
        self._begun = False
        self._ended = False

    def feed(self, out: bytes) -> bytes:
        """Whole events as elements."""
        pieces: list[bytes] = []
        for event in self._events.feed(out):
            pieces.append(b",\n" if self._begun else b"[")
            pieces.append(event.data)
            self._begun = True
        return b"".join(pieces)

    def end(self) -> bytes:
        """The closing bracket, once."""
        if self._ended:
            return b""
        self._ended = True
        return b"\n]" if self._begun else b"[]"
