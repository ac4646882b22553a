"""Watching an Anthropic message stream go by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.protocols import complaints
from gproxy.protocols.anthropic_messages.usage import merged, usage_of
from gproxy.protocols.tap import SseTap, spelled, text_fields
from gproxy.wire.json import patch_lenient
from gproxy.wire.sse import MAX_FRAME

if TYPE_CHECKING:
    from gproxy.wire.sse import Event


class StreamTap(SseTap):
    """Reads usage from `message_start` and `message_delta`; `message_stop` is the end.

    Usage is always part of this dialect's streams: `hide_usage_chunk` finds nothing to hide.
    """

    __slots__ = ("_raw",)

    text = text_fields("text")
    more_text = text_fields("partial_json", "thinking")
    more_text_mark = b'"partial_json"'
    model_path = ("message", "model")

    def __init__(
        self, *, hide_usage_chunk: bool = False, model_override: bytes | None = None, max_frame: int = MAX_FRAME
    ) -> None:
        """See `SseTap`."""
        super().__init__(hide_usage_chunk=hide_usage_chunk, model_override=model_override, max_frame=max_frame)
        self._raw: dict[str, Any] = {}

    def marked(self, block: bytes) -> bool:
        """Whether a block may hold a `message_*` event or an error."""
        return b"message_" in block or b'"error"' in block or spelled(block)

    def learn(self, event: Event, body: dict[str, Any]) -> bool:
        """Take note of one event."""
        match body.get("type"):
            case "message_start":
                message = body.get("message")
                if isinstance(message, dict):
                    self._take(message.get("usage"))
                    model = message.get("model")
                    self.model = model if isinstance(model, str) and model else self.model
            case "message_delta":
                self._take(body.get("usage"))
            case "message_stop":
                self.finished = True
            case "error":
                self.error = complaints.of_value(body) or self.error
            case None if event.name == "error" or body.get("error"):
                self.error = complaints.of_value(body) or self.error
            case _:
                pass
        return True

    def _take(self, usage: Any) -> None:
        self._raw = merged(self._raw, usage)
        self._usage = self._usage.then(usage_of(self._raw))


def echo_model(body: bytes, model: str) -> bytes:
    """A whole answer with the model's name replaced by the one the client used; no other byte changes."""
    return patch_lenient(body, {"model": model})
