"""Watching a stream go by: what the four dialects' taps have in common.

    upstream chunk ──► StreamTap.feed ──► the same bytes ──► client
                            └► usage, model, finished, error, text_bytes

The bytes are passed on untouched. A chunk of nothing but content costs a few substring searches; a frame is
parsed only when a cheap mark says that it may hold something worth knowing. Only two things are ever changed,
and only when asked for: the model's name is replaced by the one the client used, and a usage frame that the
client did not ask for is withheld.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.wire.json import JsonProblem, dumps, loads, loads_lenient, patch_lenient
from gproxy.wire.sse import MAX_FRAME, Blocks, FrameTooLong, parse, split

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.wire.sse import Event

_BOM: Final = b"\xef\xbb\xbf"
_MODEL: Final = re.compile(rb'"(?:model|modelVersion)"[ \t]*+:[ \t]*+("(?!")[^"\\\r\n]*+(?:\\.[^"\\\r\n]*+)*+")')
_STRING: Final = rb'"[ \t]*+:[ \t]*+"([^"\\]*+(?:\\.[^"\\]*+)*+)'


_PING: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"ping"\s*\}\s*')
_LETTER: Final = re.compile(rb"\\u00[4-7]")


def spelled(block: bytes) -> bool:
    """Whether a letter is written as an escape: any name, also that of an error, can be hidden so from a search.

    No vendor needs to, and none is known to; those that escape more than they must do it to signs and to what is not
    ASCII, so that next to no frame is parsed for it.
    """
    return rb"\u00" in block and _LETTER.search(block) is not None


def says(frame: bytes) -> bool:
    """Whether a frame holds something for its reader; a comment does not, nor a ping."""
    event = parse(frame.removeprefix(_BOM))
    if event is None or event.name == "ping" or not event.data.strip():
        return False
    return _PING.fullmatch(event.data) is None


def text_fields(*names: str) -> re.Pattern[bytes]:
    """A pattern for the JSON strings of the given fields; group 1 is the text as it is escaped on the wire."""
    prefix = "|".join(names)
    return re.compile((f"(?:{prefix})" if len(names) > 1 else prefix).encode() + _STRING)


def _name(text: bytes) -> str | None:
    """A model's name as a vendor wrote it; none that could not even be read by a lenient reader."""
    try:
        found = loads_lenient(text)
    except JsonProblem:
        return None
    return found if isinstance(found, str) and found else None


def _is_whole(frame: bytes) -> bool:
    event = parse(frame)
    if event is None or event.data.strip() == b"[DONE]":
        return True
    try:
        loads_lenient(event.data)
    except JsonProblem:
        return False
    return True


class SseTap:
    """A tap on a stream of server-sent events. A dialect says what to look for and what it means.

    After any `feed`: `usage` is what was reported so far, `model` the name the vendor used, `finished` whether
    the dialect's own end was seen, `error` what went wrong in the vendor's words, and `text_bytes` how many
    bytes of text, reasoning and tool arguments were produced (as escaped on the wire, so never too few).
    """

    __slots__ = (
        "_blocks",
        "_fresh",
        "_hide",
        "_learned",
        "_name_key",
        "_override",
        "_torn",
        "_usage",
        "begun",
        "error",
        "finished",
        "model",
        "text_bytes",
    )

    text: re.Pattern[bytes]
    """The field that holds nearly all text of this dialect's streams."""
    more_text: re.Pattern[bytes] | None = None
    """The other fields that hold text; looked for when the first is missing or empty."""
    more_text_mark: bytes = b""
    """A sign of text in those beside text in the first, within one frame."""
    marks: tuple[bytes, ...] = ()
    """Cheap signs of a frame worth parsing."""
    model_path: str | tuple[str, ...] = "model"
    """Where in a frame the model's name stands."""
    model_key: bytes = b'"model"'
    """The name of that field as it stands on the wire."""

    def __init__(
        self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None, max_frame: int = MAX_FRAME
    ) -> None:
        """`model_override` is the name the client used, in UTF-8; None leaves the vendor's."""
        self._blocks = Blocks(max_frame)
        self._hide = hide_usage_chunk
        self._override = None if model_override is None else dumps(model_override.decode())
        self._torn = False
        self._learned = b""
        self._name_key = b""
        self._fresh = True
        self._usage = UNKNOWN
        self.begun = False
        """Whether the first frame that says something has gone by, and was no error; comments and pings say nothing."""
        self.model: str | None = None
        self.finished = False
        self.error: VendorError | None = None
        self.text_bytes = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes from upstream; returns what goes to the client now (maybe nothing yet)."""
        try:
            block = self._blocks.feed(chunk)
        except FrameTooLong:
            # Nothing to learn from such a frame; its bytes go on as they are, and so does the stream.
            rest = self._blocks.take()
            self.begun = True
            block = self._blocks.feed(chunk)
            self._torn = not block
            return rest + self._seen(block) if block else rest
        if not block:
            return block
        self._torn = False
        return self._seen(block)

    def end(self) -> bytes:
        """The upstream is at its end: what was held back and now goes to the client.

        Half an event does not: readers drop it too (WHATWG HTML, server-sent events), and what follows would become a
        part of it. A last event that only lacks its blank line is whole.
        """
        rest = self._blocks.take()
        if not rest:
            return rest
        begun = self.begun
        seen = self._seen(rest)
        if self._torn or _is_whole(rest):
            return seen
        self.begun = begun
        return b""

    @property
    def between_frames(self) -> bool:
        """Whether what went to the client so far ends at a frame's end, so that a frame of ours may stand here.

        A frame goes on only when it is whole, so that a stream that breaks off inside one can still be ended legally;
        one too long to be held is the exception.
        """
        return not self._torn

    @property
    def usage(self) -> Usage:
        """What was reported so far."""
        return self._usage

    # --- what a dialect says ---

    def learn(self, event: Event, body: dict[str, Any]) -> bool:
        """Take note of one parsed frame; False withholds it from a client that did not ask for it."""
        raise NotImplementedError

    def marked(self, block: bytes) -> bool:
        """Whether a block may hold a frame worth parsing; one with `spelled` names always may."""
        return any(mark in block for mark in self.marks) or spelled(block)

    def done(self, event: Event) -> None:
        """A frame that is no JSON object went by (`[DONE]`)."""

    # --- how it is done ---

    def _seen(self, block: bytes) -> bytes:
        withheld = self._look(block)
        if not self.begun:
            self.begun = self._begins(block)
        if withheld is not None:
            block = withheld
        return self._renamed(block) if self._override is not None and block else block

    def _begins(self, block: bytes) -> bool:
        first = next((frame for frame in split(block) if says(frame)), None)
        if first is None or self.error is None:
            return first is not None
        # What came first must not depend on which frames came in one piece, so it is looked at by itself.
        alone = type(self)()
        alone._look(first)  # noqa: SLF001 - one of its own kind
        return alone.error is None

    def _look(self, block: bytes) -> bytes | None:
        """Learn from complete frames; the block without its withheld frames when there are any."""
        self._count(block)
        if self.model is None:
            self.model = next((name for found in _MODEL.finditer(block) if (name := _name(found.group(1)))), None)
        if not self.marked(block):
            return None
        frames = split(block)
        # What is learned must not depend on which frames came in one piece.
        kept = [frame for frame in frames if not self.marked(frame) or self._inspect(frame)]
        return None if len(kept) == len(frames) else b"".join(kept)

    def _inspect(self, frame: bytes) -> bool:
        if self._fresh:
            self._fresh = False
            frame = frame.removeprefix(_BOM)
        event = parse(frame)
        if event is None:
            return True
        try:
            # `[DONE]` ends every stream, and finding out that it is no JSON costs as much as twenty chunks.
            body = None if event.data.startswith(b"[") else loads_lenient(event.data)
        except JsonProblem:
            body = None
        if not isinstance(body, dict):
            self.done(event)
            return True
        return self.learn(event, body) or not self._hide

    def _count(self, block: bytes) -> None:
        total = 0
        search = self.text.search
        found = search(block)
        while found:
            end = found.end()
            total += end - found.start(1)
            found = search(block, end)
        if self.more_text is not None and (
            not total or self.more_text_mark in block or block.find(b"\ndata:", 6) >= 0  # more than one frame
        ):
            for found in self.more_text.finditer(block):
                total += found.end() - found.start(1)
        self.text_bytes += total

    def _renamed(self, block: bytes) -> bytes:
        """The block with the model's name replaced, every other byte as it was."""
        if b'"model' not in block:
            return block
        return b"".join(self._renamed_frame(frame) for frame in split(block))

    def _renamed_frame(self, frame: bytes) -> bytes:
        assert self._override is not None
        # In nearly every frame the name stands once, exactly as in the frame before.
        if self._learned and frame.count(self.model_key) == 1 and self._learned in frame:
            head, _, tail = frame.partition(self._learned)
            return b"".join((head, self._name_key, self._override, tail))
        found = _MODEL.search(frame)
        start = frame.find(b"{")
        end = frame.rfind(b"}") + 1
        if found is None or start < 0 or frame.count(b"\ndata:", start, end) or frame.count(b"\rdata:", start, end):
            return frame
        try:
            body = loads_lenient(frame[start:end])
            for part in self.model_path if isinstance(self.model_path, tuple) else (self.model_path,):
                body = body[part]
            if not isinstance(body, str):
                return frame
            new = patch_lenient(frame[start:end], {self.model_path: loads(self._override)})
        except (JsonProblem, KeyError, TypeError):
            return frame
        if isinstance(self.model_path, str) and frame.count(self.model_key) == 1:
            self._learned = found.group()
            self._name_key = frame[found.start() : found.start(1)]
        return frame[:start] + new + frame[end:]
