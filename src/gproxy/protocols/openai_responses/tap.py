"""Watching a Responses stream go by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from gproxy.protocols import complaints
from gproxy.protocols.openai_responses.usage import usage_of
from gproxy.protocols.tap import SseTap, text_fields
from gproxy.wire.json import patch_lenient

if TYPE_CHECKING:
    from gproxy.wire.sse import Event

# As the name of something, or as a type.
_ERROR: Final = re.compile(rb'"error"[ \t\r\n]*+(?::[ \t\r\n]*+(?!null)|[,}])')
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_GOOD: Final = frozenset({"response.completed", "response.incomplete"})


class StreamTap(SseTap):
    """Reads usage from the closing `response.*` event, which carries the whole response.

    Usage is always part of this dialect's streams: `hide_usage_chunk` finds nothing to hide.
    """

    __slots__ = ("response",)

    text = text_fields("delta")
    marks = (
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
        b"response.cancelled",
        b"event: error",
    )
    model_path = ("response", "model")

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.response: dict[str, Any] | None = None
        """The response object of an answer that is there, as the vendor said it."""

    def marked(self, block: bytes) -> bool:
        """Whether a block may hold an end or an error; `"error":null`, as in every start, does not count."""
        return super().marked(block) or (b'"error"' in block and _ERROR.search(block) is not None)

    def learn(self, event: Event, body: dict[str, Any]) -> bool:
        """Take note of one event."""
        kind = body.get("type") or event.name
        response = body.get("response")
        if isinstance(response, dict):
            self._usage = self._usage.then(usage_of(response.get("usage")))
            model = response.get("model")
            self.model = model if isinstance(model, str) and model else self.model
            if response.get("error"):
                self.error = complaints.of_value(response) or self.error
        elif kind == "error" or body.get("error"):
            self.error = complaints.of_value(body) or self.error
        if isinstance(kind, str) and kind in _LAST:
            self.finished = True
            if kind in _GOOD and isinstance(response, dict):
                self.response = response
        return True


def echo_model(body: bytes, model: str) -> bytes:
    """A whole answer with the model's name replaced by the one the client used; no other byte changes."""
    return patch_lenient(body, {"model": model})
