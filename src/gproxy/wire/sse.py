"""Server-sent events (WHATWG HTML, section 9.2): cut a byte stream into frames, read frames, write frames.

    chunk ──► Blocks.feed ──► whole frames, bytes as they came ──► split ──► parse ──► Event

A frame is everything up to and including a blank line. `Blocks` never alters a byte, so a relay can look at
frames and pass the very same bytes on; `Decoder` is the same machine for those who want the events. Lines may
end in LF, CR LF or CR. What an event means is for the protocols to say.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_FRAME: Final = 32 * 1024 * 1024
"""The largest frame kept in memory, in bytes. Vendors send images inside one event; nobody sends more."""

_ENDS: Final = (b"\n\n", b"\r\n\r\n")
# A blank line in any mix of terminators. A CR that ends one is only certain once the byte behind it is known:
# it may be the first half of CR LF.
_END: Final = re.compile(rb"\n\n|[\n\r]\r(?:\n|(?=[^\n]))")
_LINE: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class FrameTooLong(Exception):  # noqa: N818 - it names what arrived
    """A frame grew beyond the limit; the stream cannot be read on."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of more than {limit} bytes")
        self.limit = limit


class Event(NamedTuple):
    """One dispatched event. `data` is its lines joined by LF; `name` is empty when no `event` field was sent."""

    data: bytes
    name: str = ""
    id: str | None = None
    retry: int | None = None


class Blocks:
    """Cuts a stream at frame ends. Linear in the bytes fed, whatever the chunks; holds at most one frame."""

    __slots__ = ("_held", "_limit")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._held = bytearray()
        self._limit = max_frame

    def feed(self, chunk: bytes) -> bytes:
        """The frames that are complete now, joined; the chunk itself when it ends exactly at a frame's end.

        Raises `FrameTooLong` before the chunk is taken in, when what is held has outgrown the limit; `take`
        still returns that.
        """
        held = self._held
        if not held:
            if chunk.endswith(_ENDS):
                return chunk
            cut = _last_end(chunk)
            held += chunk[cut:]
            return chunk[:cut]
        if len(held) > self._limit:
            raise FrameTooLong(self._limit)
        # A blank line may straddle the boundary, so the last three bytes are looked at again. No frame ends
        # inside them (it would have been cut off before), except just at their end, once the next byte is known.
        seam = bytes(held[-3:])
        cut = _last_end(seam + chunk)
        if not cut:
            held += chunk
            return b""
        cut -= len(seam)
        block = bytes(held) + chunk[:cut]
        held.clear()
        held += chunk[cut:]
        return block

    def take(self) -> bytes:
        """What is held: the rest at the end of the stream, or a frame that grew too long. Nothing is held then."""
        rest = bytes(self._held)
        self._held.clear()
        return rest


def _last_end(piece: bytes) -> int:
    """The position behind the last frame that is certainly complete; 0 when there is none."""
    if b"\r" not in piece:
        return piece.rfind(b"\n\n") + 2 if b"\n\n" in piece else 0
    end = 0
    for found in _END.finditer(piece):
        end = found.end()
    return end


def split(block: bytes) -> list[bytes]:
    """The frames of a block, each with its blank line; joined they are the block again."""
    if b"\r" not in block:
        frames = [frame + b"\n\n" for frame in block.split(b"\n\n")]
        rest = frames.pop()[:-2]
    else:
        frames, start = [], 0
        for found in _END.finditer(block):
            frames.append(block[start : found.end()])
            start = found.end()
        rest = block[start:]
    if rest:
        frames.append(rest)
    return frames


def parse(frame: bytes) -> Event | None:
    """The event a frame dispatches; None when it has no data (comments, a lone `event` field, blank lines)."""
    if frame.startswith(b"data:") and frame.find(b"\n") == len(frame) - 2 and b"\r" not in frame:
        return Event(frame[6:-2] if frame.startswith(b" ", 5) else frame[5:-2])
    data: list[bytes] = []
    name, event_id, retry = "", None, None
    for line in _LINE.split(frame) if b"\r" in frame else frame.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            # `data` alone, without a colon, is a line too; an empty line is none.
            data.append(value)
        elif field == b"event":
            name = value.decode(errors="replace")
        elif field == b"id" and b"\0" not in value:
            event_id = value.decode(errors="replace")
        elif field == b"retry" and value.isdigit() and len(value) < 10:
            retry = int(value)
    if not data:
        return None
    return Event(b"\n".join(data), name, event_id, retry)


class Decoder:
    """Bytes in, events out. Raises `FrameTooLong` when one event outgrows the limit."""

    __slots__ = ("_blocks", "_fresh")

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._blocks = Blocks(max_frame)
        self._fresh = True

    def feed(self, chunk: bytes) -> list[Event]:
        """The events this chunk completes."""
        block = self._blocks.feed(chunk)
        return self._events(block) if block else []

    def end(self) -> list[Event]:
        """At the end of the stream: the event that was not followed by a blank line, if there is one.

        The standard drops it; vendors do end streams that way, and what they sent was meant.
        """
        rest = self._blocks.take()
        return self._events(rest) if rest else []

    def _events(self, block: bytes) -> list[Event]:
        if self._fresh:
            self._fresh = False
            block = block.removeprefix(_BOM)
        return [event for frame in split(block) if (event := parse(frame)) is not None]


def encode(data: bytes, name: str = "") -> bytes:
    """One event as bytes. Line breaks in the data become further `data` lines."""
    head = f"event: {name}\n".encode() if name else b""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE.split(data))
    return b"".join((head, b"data: ", data, b"\n\n"))


def comment(text: str = "") -> bytes:
    """A comment: keeps a silent connection open and means nothing."""
    return f": {text}\n\n".encode()
