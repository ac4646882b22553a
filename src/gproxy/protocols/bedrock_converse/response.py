"""Converse answers (Bedrock API reference, "Converse", Response). They name neither themselves nor their model."""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols.bedrock_converse.content import OWN, blocks
from gproxy.protocols.bedrock_converse.usage import usage_of
from gproxy.protocols.figures import part_of
from gproxy.wire.json import JsonProblem, loads_lenient

_STOPS: Final = {
    "end_turn": StopReason.END,
    "tool_use": StopReason.TOOL_CALLS,
    "max_tokens": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "guardrail_intervened": StopReason.CONTENT_FILTER,
    "content_filtered": StopReason.CONTENT_FILTER,
    "malformed_tool_use": StopReason.MALFORMED_CALL,
    "model_context_window_exceeded": StopReason.CONTEXT,
}


def decode(body: bytes) -> Response:
    """Read a whole answer. Raises `JsonProblem` when it is none."""
    source = loads_lenient(body)
    content = part_of(part_of(part_of(source, "output"), "message"), "content")
    if not isinstance(source, dict) or not isinstance(content, list):
        raise JsonProblem("the vendor's answer has no `output`", "output")
    stop = stop_of(source.get("stopReason"), source.get("additionalModelResponseFields"))
    return Response(
        id="",
        model="",
        choices=(Choice(0, blocks(content), stop),),
        usage=usage_of(source.get("usage")),
        service_tier=tier_of(source),
    )


def stop_of(word: Any, more: Any) -> Stop | None:
    """Why the answer ended; None when it does not say. `more` is what the model itself told beside it."""
    if not isinstance(word, str) or not word:
        return None
    met = part_of(more, "stop_sequence") or part_of(more, "/stop_sequence")
    return Stop(
        _STOPS.get(word, StopReason.OTHER), sequence=met if isinstance(met, str) else None, raw=word, origin=OWN
    )


def tier_of(source: Any) -> str | None:
    """The tier that served the answer."""
    tier = part_of(part_of(source, "serviceTier"), "type")
    return tier if isinstance(tier, str) and tier else None
