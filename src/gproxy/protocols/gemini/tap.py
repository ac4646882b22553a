"""Watching a Gemini stream go by, as server-sent events or as a JSON array that arrives over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.protocols import complaints
from gproxy.protocols.gemini.usage import usage_of
from gproxy.protocols.tap import SseTap, text_fields
from gproxy.wire.array import Array
from gproxy.wire.json import JsonProblem, dumps, loads_lenient, patch_lenient
from gproxy.wire.sse import MAX_FRAME, Event, FrameTooLong, split

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.canonical.usage import Usage


class _SseTap(SseTap):
    """This dialect reports usage in every chunk. The newest report is kept as it came and read when asked for."""

    __slots__ = ("_newest",)

    text = text_fields("text")
    marks = (b'"finishReason"', b'"functionCall"', b'"error"', b'"promptFeedback"')
    model_path = "modelVersion"
    model_key = b'"modelVersion"'  # the role of every chunk is "model", too

    def __init__(
        self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None, max_frame: int = MAX_FRAME
    ) -> None:
        super().__init__(hide_usage_chunk=hide_usage_chunk, model_override=model_override, max_frame=max_frame)
        self._newest = b""

    @property
    def usage(self) -> Usage:
        """What was reported so far."""
        if self._newest:
            newest, self._newest = self._newest, b""
            for frame in split(newest):
                self._inspect(frame)
        return self._usage

    def marked(self, block: bytes) -> bool:
        """Whether a block holds more than text and a full report of usage, which is only kept."""
        if super().marked(block) or (b"TokenCount" in block and b"promptTokenCount" not in block):
            _ = self.usage  # older figures first
            return True
        if b"promptTokenCount" in block:
            self._newest = block
        return False

    def _renamed_frame(self, frame: bytes) -> bytes:
        if b'"args"' in frame:
            self._learned = b""  # arguments are no text here: what looks like the name may be one of them
        return super()._renamed_frame(frame)

    def learn(self, event: Event, body: dict[str, Any]) -> bool:  # noqa: ARG002 - events have no names here
        """Take note of one chunk."""
        if body.get("error"):
            self.error = complaints.of_value(body) or self.error
            return True
        usage = usage_of(body.get("usageMetadata"))
        if usage.known:
            self._usage = self._usage.then(usage)
        model = body.get("modelVersion")
        self.model = model if isinstance(model, str) and model else self.model
        feedback = body.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self.finished = True
        candidates = body.get("candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            if isinstance(candidate, dict):
                if candidate.get("finishReason"):
                    self.finished = True
                self._count_calls(candidate)
        return True

    def _count_calls(self, candidate: dict[str, Any]) -> None:
        # Arguments are JSON here, not text, so the text pattern does not see them.
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in parts if isinstance(parts, list) else ():
            call = part.get("functionCall") if isinstance(part, dict) else None
            if isinstance(call, dict):
                self.text_bytes += len(dumps(call.get("args") or call.get("partialArgs") or {}))

    def element(self, piece: bytes) -> bytes:
        """One element of an array stream; returns it with the model's name replaced where that is asked for."""
        self._count(piece)
        try:
            body = loads_lenient(piece)
        except JsonProblem:
            return piece
        if not isinstance(body, dict):
            return piece
        self.learn(Event(piece), body)
        self.begun = self.begun or self.error is None
        if self._override is None or not isinstance(body.get("modelVersion"), str):
            return piece
        try:
            return patch_lenient(piece, {"modelVersion": loads_lenient(self._override)})
        except JsonProblem:
            return piece


class StreamTap:
    """Reads usage, model, end and errors; the first byte tells which of the two forms the stream has.

    A third one is no stream: a lone object in place of the array, which is how an error comes from some servers. It is
    passed on when it is whole.

    Usage is always part of this dialect's streams, so `hide_usage_chunk` has nothing to hide.
    """

    __slots__ = ("_alters", "_array", "_elements", "_lone", "_max_frame", "_tap", "_undecided")

    _array: Array | None

    def __init__(
        self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None, max_frame: int = MAX_FRAME
    ) -> None:
        """See `SseTap`."""
        del hide_usage_chunk
        self._tap = _SseTap(model_override=model_override, max_frame=max_frame)
        self._max_frame = max_frame
        self._array = None
        self._lone: bytearray | None = None
        self._elements = 0
        self._undecided = True
        self._alters = model_override is not None

    @property
    def usage(self) -> Usage:
        """What was reported so far."""
        return self._tap.usage

    @property
    def begun(self) -> bool:
        """See `SseTap`."""
        return self._tap.begun

    @property
    def model(self) -> str | None:
        """The vendor's name of the model."""
        return self._tap.model

    @property
    def finished(self) -> bool:
        """Whether a finish reason was seen."""
        return self._tap.finished

    @property
    def error(self) -> VendorError | None:
        """What went wrong, in the vendor's words."""
        return self._tap.error

    @property
    def text_bytes(self) -> int:
        """Bytes of text and arguments produced so far."""
        return self._tap.text_bytes

    @property
    def is_array(self) -> bool:
        """Whether the stream is a JSON array (and has begun)."""
        return self._array is not None

    @property
    def between_frames(self) -> bool:
        """Whether what was fed so far ends at the end of a frame or an element."""
        return self._tap.between_frames if self._array is None else self._array.depth == 1

    @property
    def elements(self) -> int:
        """How many elements of an array went by."""
        return self._elements

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes from upstream; returns what goes to the client now (maybe nothing yet)."""
        if self._undecided:
            first = chunk.lstrip()[:1]
            if not first:
                return chunk
            self._undecided = False
            if first == b"[":
                self._array = Array(self._max_frame)
            elif first == b"{":
                self._lone = bytearray()
        if self._lone is not None:
            self._lone += chunk
            return b"" if len(self._lone) <= self._max_frame else self._alone()
        return self._tap.feed(chunk) if self._array is None else self._feed_array(self._array, chunk)

    def end(self) -> bytes:
        """The upstream is at its end: what was held back and now goes to the client."""
        if self._lone is not None:
            return self._alone()
        if self._array is None:
            return self._tap.end()
        return self._array.take() if self._alters else b""

    def _alone(self) -> bytes:
        assert self._lone is not None
        held, self._lone = bytes(self._lone), None
        return self._tap.element(held)

    def _feed_array(self, array: Array, chunk: bytes) -> bytes:
        try:
            pieces = array.feed(chunk)
        except FrameTooLong:
            # Nothing to learn from such an element, and no way to find the next; the bytes go on as they are.
            held = array.take()
            self._array = None
            self._tap.begun = True
            return held + chunk if self._alters else chunk
        self._elements += sum(whole for _, whole in pieces)
        out = [self._tap.element(piece) if whole else piece for piece, whole in pieces]
        return b"".join(out) if self._alters else chunk


def echo_model(body: bytes, model: str) -> bytes:
    """A whole answer with the model's name replaced by the one the client used; no other byte changes."""
    return patch_lenient(body, {"modelVersion": model})
