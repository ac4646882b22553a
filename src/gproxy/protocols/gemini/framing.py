"""The two forms of a stream: server-sent events (`alt=sse`) and one JSON array that arrives over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.protocols.decoder import NoSense
from gproxy.wire import sse
from gproxy.wire.array import Array

if TYPE_CHECKING:
    from collections.abc import Iterator

_BETWEEN: Final = b" \t\r\n,"
_BOM: Final = b"\xef\xbb\xbf"


class Frames:
    """Bytes in, chunks out as frames; the first byte tells the form. Raises `FrameTooLong` and `NoSense`.

    A whole answer or an error that is no stream at all (a lone JSON object) is one chunk, told at the end.
    """

    __slots__ = ("_array", "_head", "_sse", "_whole")

    def __init__(self) -> None:
        self._head = b""
        self._sse: sse.Decoder | None = None
        self._array: Array | None = None
        self._whole: bytearray | None = None

    def feed(self, chunk: bytes) -> Iterator[sse.Event]:
        """The chunks that these bytes complete."""
        if self._sse is None and self._array is None and self._whole is None:
            chunk = self._begin(chunk)
        if self._sse is not None:
            yield from self._sse.feed(chunk)
        elif self._array is not None:
            yield from self._elements(self._array, chunk)
        elif self._whole is not None:
            if len(self._whole) + len(chunk) > sse.MAX_FRAME:
                raise sse.FrameTooLong(sse.MAX_FRAME)
            self._whole += chunk

    def end(self) -> Iterator[sse.Event]:
        """What is left at the end of the stream."""
        if self._sse is not None:
            yield from self._sse.end()
        elif self._array is not None and self._array.take():
            raise NoSense
        elif self._whole is not None:
            whole, self._whole = bytes(self._whole), None
            yield sse.Event(whole)

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

    def _elements(self, array: Array, chunk: bytes) -> Iterator[sse.Event]:
        for piece, whole in array.feed(chunk):
            if whole:
                yield sse.Event(piece)
            elif piece.strip(_BETWEEN + b"[]"):
                raise NoSense
