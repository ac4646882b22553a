"""What the small OpenAI-shaped dialects say was used: images, audio, reranking. They are only ever passed on.

Their streams (partial images, transcripts, speech as events) carry usage in the closing event, in the words of
the Responses API (OpenAI API reference, "Create image", "Create transcription", "Create speech").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols import complaints
from gproxy.protocols.figures import count, first_count, part_of
from gproxy.protocols.openai_responses.usage import usage_of
from gproxy.protocols.tap import SseTap, text_fields
from gproxy.wire.json import JsonProblem, fields

if TYPE_CHECKING:
    from gproxy.wire.sse import Event

_LAST: Final = (".completed", ".done")


def usage_of_body(body: bytes) -> tuple[Usage, str | None]:
    """Usage from a whole answer; nothing when it is sound, a picture or plain text."""
    try:
        found = fields(body, "usage", "model")
    except JsonProblem:
        return UNKNOWN, None
    model = found.get("model")
    return usage_of(found.get("usage")), model if isinstance(model, str) and model else None


def usage_of_rerank(body: bytes) -> tuple[Usage, str | None]:
    """Usage from a reranking: Jina's and vLLM's `usage.total_tokens`, Cohere's `meta.billed_units`."""
    found = fields(body, "usage", "meta", "model")
    raw, billed = found.get("usage"), part_of(found.get("meta"), "billed_units")
    tokens = first_count(part_of(raw, "total_tokens"), part_of(raw, "prompt_tokens"), part_of(billed, "input_tokens"))
    if tokens is None and count(part_of(billed, "search_units")) is not None:
        tokens = 0  # sold by the search, not by the token
    model = found.get("model")
    return Usage(input=tokens), model if isinstance(model, str) and model else None


class StreamTap(SseTap):
    """Watches a stream of image, transcript or speech events."""

    __slots__ = ()

    text = text_fields("delta")
    marks = (b'"usage"', b".completed", b".done", b'"error"')

    def learn(self, event: Event, body: dict[str, Any]) -> bool:
        """Take note of one event."""
        kind = body.get("type") or event.name
        if kind == "error" or body.get("error"):
            self.error = complaints.of_value(body) or self.error
            return True
        self._usage = self._usage.then(usage_of(body.get("usage")))
        self.finished = self.finished or (isinstance(kind, str) and kind.endswith(_LAST))
        return True
