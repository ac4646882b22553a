"""Watching a chat completion stream go by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gproxy.protocols import complaints
from gproxy.protocols.figures import count
from gproxy.protocols.openai_chat.usage import usage_of
from gproxy.protocols.tap import SseTap, spelled, text_fields
from gproxy.wire.json import patch_lenient
from gproxy.wire.sse import MAX_FRAME

if TYPE_CHECKING:
    from gproxy.wire.sse import Event

_USAGE: Final = re.compile(rb'usage"[ \t\r\n]*+:[ \t\r\n]*+\{')
_FINISH: Final = re.compile(rb'finish_reason"[ \t\r\n]*+:[ \t\r\n]*+"')


_NONE: Final[frozenset[int]] = frozenset()


class StreamTap(SseTap):
    """Reads usage, model, end and errors from chat completion chunks, and from legacy completion chunks.

    OpenAI says `"usage":null` in every chunk and the figures in one more chunk without choices. With
    `hide_usage_chunk` exactly that chunk is withheld; vendors that put the figures into the last chunk with
    choices are passed on, since that chunk is part of the answer.
    """

    __slots__ = ("_choices", "_stopped", "several")

    text = text_fields("content")
    more_text = text_fields("arguments", "reasoning", "refusal", "text", "transcript")
    more_text_mark = b'arguments"'

    def __init__(
        self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None, max_frame: int = MAX_FRAME
    ) -> None:
        """See `SseTap`."""
        super().__init__(hide_usage_chunk=hide_usage_chunk, model_override=model_override, max_frame=max_frame)
        self._choices = self._stopped = _NONE
        self.several = False
        """Several answers were asked for, each with an end of its own: no chunk is passed on unread."""

    def marked(self, block: bytes) -> bool:
        """Whether a block may hold figures, the end or an error; `"usage":null` and the like do not count."""
        return (
            _USAGE.search(block) is not None
            or _FINISH.search(block) is not None
            or b"[DONE]" in block
            or b'"error"' in block
            or b"event: error" in block
            or self.several
            or spelled(block)
        )

    def learn(self, event: Event, body: dict[str, Any]) -> bool:
        """Take note of one chunk; False for the chunk that holds nothing but usage."""
        choices = body.get("choices")
        if event.name == "error" or body.get("error"):
            self.error = complaints.of_value(body) or self.error
            return True
        usage = usage_of(body)
        if usage.known:
            self._usage = self._usage.then(usage)
        if isinstance(choices, list) and choices:
            for choice in choices:
                if isinstance(choice, dict):
                    index = {count(choice.get("index")) or 0}
                    self._choices |= index
                    if choice.get("finish_reason"):
                        self._stopped |= index
            return True
        return not isinstance(body.get("usage"), dict)

    def end(self) -> bytes:
        """At the end of the stream the finish reason of every choice is enough: some vendors never send `[DONE]`.

        Their answers are whole, and their bytes are passed on as they are: all known readers take the end of the body
        for the end. Where one choice of several lacks its reason the answer was cut.
        """
        rest = super().end()
        self.finished = self.finished or (bool(self._stopped) and self._stopped >= self._choices)
        return rest

    def done(self, event: Event) -> None:
        """`[DONE]` is the dialect's last word."""
        if event.data.strip() == b"[DONE]":
            self.finished = True


def echo_model(body: bytes, model: str) -> bytes:
    """A whole answer with the model's name replaced by the one the client used; no other byte changes."""
    return patch_lenient(body, {"model": model})
