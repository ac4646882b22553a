"""The two forms of a stream: server-sent events (`alt=sse`) and one JSON array that arrives over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.wire import sse
from gproxy.wire.ndjson import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

_BETWEEN: Final = b" \t\r\n,"
_BOM: Final = b"\xef\xbb\xbf"
DONE: Final = b"[DONE]"


class NoSense(Exception):  # noqa: N818 - it names what arrived
    """Bytes that belong to neither form."""


class Frames:
    """Bytes in, the JSON texts of chunks out; the first byte tells the form. Raises `FrameTooLong` and `NoSense`.

    A whole answer or an error that is no stream at all (a lone JSON object) is one chunk, told at the end.
    """

    __slots__ = ("_array", "_head", "_sse", "_whole")

    def __init__(self) -> None:
        self._head = b""
        self._sse: sse.Decoder | None = None
        self._array: Array | None = None
        self._whole: bytearray | None = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The chunks that these bytes complete."""
        if self._sse is None and self._array is None and self._whole is None:
            chunk = self._begin(chunk)
        if self._sse is not None:
            for event in self._sse.feed(chunk):
                yield event.data
        elif self._array is not None:
            yield from self._elements(self._array, chunk)
        elif self._whole is not None:
            if len(self._whole) + len(chunk) > sse.MAX_FRAME:
                raise sse.FrameTooLong(sse.MAX_FRAME)
            self._whole += chunk

    def end(self) -> Iterator[bytes]:
        """What is left at the end of the stream."""
        if self._sse is not None:
            for event in self._sse.end():
                yield event.data
        elif self._array is not None and self._array.take():
            raise NoSense
        elif self._whole is not None:
            whole, self._whole = bytes(self._whole), None
            yield whole

    def _begin(self, chunk: bytes) -> bytes:
        head = self._head + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head  # perhaps a byte order mark, not yet whole
            return b""
        first = head.removeprefix(_BOM).lstrip()[:1]
        self._head = b"" if first else head[-3:]
        if not first:
            return b""
        if first == b"[":
            self._array = Array()
            return head.removeprefix(_BOM)
        if first == b"{":
            self._whole = bytearray()
            return head.removeprefix(_BOM)
        self._sse = sse.Decoder()
        return head

    def _elements(self, array: Array, chunk: bytes) -> Iterator[bytes]:
        for piece, whole in array.feed(chunk):
            if whole:
                yield piece
            elif piece.strip(_BETWEEN + b"[]"):
                raise NoSense


class Writer:
    """Frames chunks in one of the two forms."""

    __slots__ = ("_array", "_begun")

    def __init__(self, *, array: bool) -> None:
        self._array = array
        self._begun = False

    def chunk(self, body: bytes) -> bytes:
        """One chunk."""
        if not self._array:
            return b"data: " + body + b"\r\n\r\n"
        begun, self._begun = self._begun, True
        return (b",\r\n" if begun else b"[") + body

    def end(self) -> bytes:
        """What follows the last chunk."""
        return b"\r\n]\r\n" if self._array else b""

    @property
    def quiet(self) -> bytes | None:
        """Space that means nothing between two elements; None in events, where parsers of SDKs know none."""
        return b"\r\n" if self._array else None
