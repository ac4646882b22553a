"""Responses API answers, both ways: the object around the output, and why it ended.

What a whole answer holds is what a stream of it would have left behind: `encode` plays the answer to the writer of
streams and takes the object that closes the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Part, ToolCall
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.protocols import complaints
from gproxy.protocols.figures import count
from gproxy.protocols.openai_responses.content import OWN, chances_of
from gproxy.protocols.openai_responses.items import parts_of
from gproxy.protocols.openai_responses.usage import usage_of
from gproxy.protocols.reading import at, rest, tables, text
from gproxy.wire.json import JsonProblem, loads_lenient

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.protocols.base import ReplyFacts

_READ: Final = frozenset(
    {"id", "object", "created_at", "model", "output", "usage", "service_tier", "error", "status", "incomplete_details"}
)
_CUT: Final = {
    "max_output_tokens": StopReason.LENGTH,
    "max_tokens": StopReason.LENGTH,
    "content_filter": StopReason.CONTENT_FILTER,
    "max_messages": StopReason.PAUSE,
}
_REASONS: Final = {
    StopReason.LENGTH: "max_output_tokens",
    StopReason.CONTEXT: "max_output_tokens",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
}
_EXACT: Final = frozenset({StopReason.END, StopReason.LENGTH, StopReason.TOOL_CALLS, StopReason.CONTENT_FILTER})
_STATES: Final = {
    "completed": StopReason.END,
    "failed": StopReason.FAILED,
    # An answer that is made in the background, and is not there yet or never will be.
    "in_progress": StopReason.OTHER,
    "queued": StopReason.OTHER,
    "cancelled": StopReason.OTHER,
}
# The SDKs accept no other word.
_TIERS: Final = {
    **{word: word for word in ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")},
    "standard": "default",
    "on_demand": "default",
}
_ECHOES: Final[Mapping[str, tuple[type, ...]]] = {
    "metadata": (dict,),
    "parallel_tool_calls": (bool,),
    "reasoning": (dict,),
    "text": (dict,),
    "tool_choice": (str, dict),
    "tools": (list,),
}
"""What of the request an answer repeats, and the types that the SDKs accept; some servers put other things there."""


# --- reading ---


def decode(body: bytes) -> Response:
    """Read a whole answer. Raises `JsonProblem` when it is none of this dialect's."""
    source = loads_lenient(body)
    if not isinstance(source, dict):
        raise JsonProblem("the vendor's answer must be a JSON object")
    error = error_of(source)
    if error is None and not isinstance(source.get("output"), list):
        raise JsonProblem("the vendor's answer has no `output`", "output")
    return response_of(source, error)


def response_of(source: Mapping[str, Any], error: VendorError | None) -> Response:
    """A decoded answer. Raises `JsonProblem`."""
    response_id = text(source, "id") or ""
    output = tables(source, "output") or ()
    parts: list[Part] = []
    chances: list[TokenChance] = []
    for i, item in enumerate(output):
        parts += [part for _, part in parts_of(item, at("output", i), f"call_{response_id}_{i}")]
        chances += chances_of_item(item)
    stop = stop_of(source, called=any(isinstance(part, ToolCall) for part in parts))
    return Response(
        id=response_id,
        model=text(source, "model") or "",
        created=count(source.get("created_at")),
        choices=(Choice(0, tuple(parts), stop, Logprobs(tuple(chances)) if chances else None),),
        usage=usage_of(source.get("usage")),
        service_tier=text(source, "service_tier") or None,
        error=error,
        extras=extras_of(source),
    )


def extras_of(source: Mapping[str, Any]) -> dict[Any, Any]:
    """What the object says besides the answer: the settings it echoes, and whatever nobody knows."""
    return dict(rest(source, _READ, OWN))


def error_of(source: Mapping[str, Any]) -> VendorError | None:
    """The complaint of an answer that failed."""
    return complaints.of_value({"error": source["error"]}) if source.get("error") else None


def chances_of_item(item: Mapping[str, Any]) -> list[TokenChance]:
    """The chances of all texts of a message."""
    content = item.get("content") if item.get("type") == "message" else None
    found: list[TokenChance] = []
    for part in content if isinstance(content, list) else ():
        found += chances_of(part.get("logprobs") if isinstance(part, dict) else None)
    return found


def stop_of(source: Mapping[str, Any], *, called: bool) -> Stop | None:
    """Why it ended. That calls ended it is not said, but seen."""
    status, details = source.get("status"), source.get("incomplete_details")
    if status == "incomplete" or (status is None and isinstance(details, dict)):
        raw = details.get("reason") if isinstance(details, dict) else None
        raw = raw if isinstance(raw, str) else "incomplete"
        return Stop(_CUT.get(raw, StopReason.OTHER), raw=raw, origin=OWN)
    if not isinstance(status, str) or not status:
        return None
    reason = _STATES.get(status, StopReason.OTHER)
    return Stop(StopReason.TOOL_CALLS if called and reason is StopReason.END else reason, raw=status, origin=OWN)


# --- writing ---


def ending(stop: Stop | None, losses: Losses, *, refused: bool) -> tuple[str, str | None]:
    """The status, and the reason of an incomplete answer. `refused`: the refusal stands in the output."""
    if stop is None:
        return "completed", None
    if stop.origin is OWN and stop.raw is not None:
        if stop.raw in _STATES:
            return stop.raw, None
        return "incomplete", None if stop.raw == "incomplete" else stop.raw
    if stop.reason not in _EXACT:
        losses.add(Feature.STOP_DETAILS, "status")
    if stop.reason is StopReason.REFUSAL and refused:
        return "completed", None
    reason = _REASONS.get(stop.reason)
    return ("completed", None) if reason is None and stop.reason is not StopReason.FAILED else ("incomplete", reason)


def written_tier(tier: str | None, losses: Losses) -> str | None:
    """`service_tier`, in a word that the SDKs know."""
    if tier is None:
        return None
    if tier not in _TIERS:
        losses.add(Feature.SERVICE_TIER, "service_tier")
    return _TIERS.get(tier)


def shell(response_id: str, created: int | None, facts: ReplyFacts, own: Mapping[str, Any]) -> dict[str, Any]:
    """The object around an output, before there is any. What the request said is not known here and has defaults."""
    return {
        "id": facts.id if facts.kept else response_id or facts.id,
        "object": "response",
        "created_at": facts.created if created is None else created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": facts.model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": facts.previous_id,
        "reasoning": {"effort": None, "summary": None},
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
        **({"store": True} if facts.kept else {}),
        **echoed(own),
    }


def echoed(own: Mapping[str, Any]) -> dict[str, Any]:
    """What the vendor's own object said besides the answer, as far as the SDKs accept it."""
    return {key: value for key, value in own.items() if isinstance(value, _ECHOES.get(key, object))}
