"""Reading a stream: what the dialects' decoders have in common.

    chunk ──► frames ──► one JSON object each ──► _take ──► events

A stream ends once, in `Finished` or in `Failed`. It fails when a frame is too long, is no JSON object or makes no
sense; what was told before that stays told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from gproxy.canonical.events import Event, Failed, Started
from gproxy.canonical.failure import VendorError
from gproxy.canonical.usage import UNKNOWN
from gproxy.wire import sse
from gproxy.wire.json import JsonProblem, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Iterable


class NoSense(Exception):  # noqa: N818 - it names what arrived
    """Bytes that are no JSON object where one is due."""


class Frames(Protocol):
    """Bytes in, frames out. Raises `FrameTooLong` and `NoSense`."""

    def feed(self, chunk: bytes, /) -> Iterable[sse.Event]: ...  # noqa: D102 - see wire.sse.Decoder
    def end(self) -> Iterable[sse.Event]: ...  # noqa: D102


class FrameDecoder:
    """Reads one upstream stream. See `protocols.base.StreamDecoder`. A dialect says what a frame and an end mean."""

    __slots__ = ("_ended", "_frames", "_id", "_started", "_usage")

    unit = "an event"
    """What the dialect calls a frame."""

    def __init__(self, frames: Frames | None = None) -> None:
        self._frames: Frames = sse.Decoder() if frames is None else frames
        self._id = ""
        self._started = False
        self._ended = False
        self._usage = UNKNOWN

    def feed(self, chunk: bytes) -> list[Event]:
        """The events these bytes make."""
        return [] if self._ended else self._read(chunk)

    def end(self) -> list[Event]:
        """The upstream is at its end: what was said decides whether the answer is whole or broke off."""
        return [] if self._ended else self._read(None)

    def _read(self, chunk: bytes | None) -> list[Event]:
        """The events of these bytes; None at the end."""
        events: list[Event] = []
        try:
            for frame in self._frames.end() if chunk is None else self._frames.feed(chunk):
                if frame.data.strip() == b"[DONE]":
                    events += self._at_done()
                else:
                    self._take(_loaded(frame.data), frame.name, events)
                if self._ended:
                    break
        except sse.FrameTooLong as problem:
            events += self._fail(VendorError(f"the vendor sent {problem}"))
        except NoSense:
            events += self._fail(VendorError(f"the vendor's stream holds {self.unit} that is no JSON object"))
        except JsonProblem as problem:
            events += self._fail(VendorError(f"the vendor's stream makes no sense: {problem.text}"))
        if chunk is None and not self._ended:
            events += self._rest()
        return events

    def _take(self, body: dict[str, Any], name: str, events: list[Event]) -> None:
        """Add the events of one frame. A frame that makes no sense raises `JsonProblem`, after those that did."""
        raise NotImplementedError

    def _at_done(self) -> list[Event]:
        """`[DONE]` came by: the last word of chat completions, elsewhere a habit of relays."""
        return []

    def _rest(self) -> list[Event]:
        """The frames are over, and none said that the answer is."""
        raise NotImplementedError

    def _close(self) -> list[Event]:
        """Close the parts of a stream that failed."""
        raise NotImplementedError

    def _opening(self) -> list[Event]:
        """The start of an answer that ends before it began."""
        return [] if self._started else [Started(self._id, "")]

    def _fail(self, error: VendorError | None) -> list[Event]:
        """The end of a stream that failed, in the vendor's words where it has some."""
        self._ended = True
        return [*self._opening(), *self._close(), Failed(error or VendorError("the vendor reported an error"))]

    def _broke_off(self) -> list[Event]:
        return self._fail(VendorError("the vendor's stream broke off before its end"))


def _loaded(data: bytes) -> dict[str, Any]:
    try:
        value = loads_lenient(data)
    except JsonProblem:
        raise NoSense from None
    if not isinstance(value, dict):
        raise NoSense
    return value
