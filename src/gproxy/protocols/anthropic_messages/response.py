"""Messages answers, both ways (Anthropic API reference, "Create a Message")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Refusal, Text, ToolCall
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols import complaints
from gproxy.protocols.anthropic_messages.blocks import Writer
from gproxy.protocols.anthropic_messages.content import OWN, blocks
from gproxy.protocols.anthropic_messages.usage import usage_of, written
from gproxy.protocols.figures import part_of
from gproxy.protocols.reading import at, of_own, text
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.part import Extras, Part
    from gproxy.protocols.base import ReplyFacts

_READ: Final = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "error"}
)
_STOPS: Final = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_CALLS,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "model_context_window_exceeded": StopReason.CONTEXT,
}
_WORDS: Final = {
    **{reason: word for word, reason in _STOPS.items()},
    StopReason.CONTENT_FILTER: "refusal",
    StopReason.MALFORMED_CALL: "end_turn",
    StopReason.FAILED: "end_turn",
    StopReason.OTHER: "end_turn",
}
_INEXACT: Final = frozenset({StopReason.MALFORMED_CALL, StopReason.FAILED, StopReason.OTHER})
# The SDKs accept no other word.
_TIERS: Final = {
    **{word: word for word in ("standard", "priority", "batch")},
    **dict.fromkeys(("auto", "default", "on_demand"), "standard"),
}


# --- reading ---


def decode(body: bytes) -> Response:
    """Read a whole answer. Raises `JsonProblem` when it is no message."""
    source = loads_lenient(body)
    if not isinstance(source, dict):
        raise JsonProblem("the vendor's answer must be a JSON object")
    error = complaints.of_value(source) if source.get("error") else None
    if error is None and not isinstance(source.get("content"), list | str):
        raise JsonProblem("the vendor's answer has no `content`", "content")
    own_id = text(source, "id") or ""
    parts = blocks(source.get("content"), "content", spare_id=f"toolu_{own_id}_")
    details = source.get("stop_details")
    choice = Choice(
        0,
        said(parts),
        stop_of(source.get("stop_reason"), source.get("stop_sequence"), details),
        extras=stop_extras(details),
    )
    return Response(
        id=own_id,
        model=text(source, "model") or "",
        choices=() if error is not None and not parts else (choice,),
        usage=usage_of(source.get("usage")),
        service_tier=tier_of(source.get("usage")),
        error=error,
        extras=kept(source, _READ),
    )


def said(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Without texts that hold nothing: servers send them, and would refuse to be sent them back."""
    return tuple(part for part in parts if not (isinstance(part, Text) and not part.text and not part.citations))


def kept(source: Mapping[str, Any], known: frozenset[str]) -> Extras:
    """What nobody read and says something."""
    left = {key: value for key, value in source.items() if key not in known and value is not None}
    return {OWN: left} if left else {}


def stop_of(word: Any, sequence: Any, details: Any) -> Stop | None:
    """Why the answer ended; None when it does not say."""
    if not isinstance(word, str) or not word:
        return None
    explanation = part_of(details, "explanation")
    return Stop(
        _STOPS.get(word, StopReason.OTHER),
        sequence=sequence if isinstance(sequence, str) else None,
        details=explanation if isinstance(explanation, str) else None,
        raw=word,
        origin=OWN,
    )


def stop_extras(details: Any) -> Extras:
    """The vendor's own form of its explanation."""
    return {OWN: {"stop_details": details}} if isinstance(details, dict) else {}


def tier_of(usage: Any) -> str | None:
    """The tier that served the answer; it stands among the figures."""
    tier = part_of(usage, "service_tier")
    return tier if isinstance(tier, str) and tier else None


# --- writing ---


def encode(response: Response, facts: ReplyFacts, losses: Losses) -> bytes:
    """Write a whole answer for a client. The dialect knows one choice; the others are lost."""
    choice = response.choices[0] if response.choices else Choice(0, (), None)
    if len(response.choices) > 1:
        losses.add(Feature.N, "choices")
    if choice.logprobs is not None:
        losses.add(Feature.LOGPROBS, "logprobs")
    own = dict(of_own(response.extras, OWN))
    usage = written(response.usage, own.pop("usage", None), written_tier(response.service_tier, losses))
    body = {
        "id": response.id or facts.id,
        "type": "message",
        "role": "assistant",
        "model": facts.model,
        "content": Writer(losses, own=False).blocks(choice.parts, at("choices", choice.index)),
        **ending(choice.stop, choice.extras, losses, kinds={type(part) for part in choice.parts}),
        "usage": usage,
    }
    body.update({key: value for key, value in own.items() if key not in body})
    return dumps(body)


def ending(stop: Stop | None, extras: Extras, losses: Losses, *, kinds: set[type[Part]]) -> dict[str, Any]:
    """`stop_reason`, `stop_sequence` and, where there is one, the explanation. `kinds` are those of the parts.

    A client runs tools when the reason says so: calls that are there must not be overlooked, and a refusal that
    stands in the text only must be told from an answer.
    """
    word, sequence = "end_turn", None
    if stop is not None:
        if stop.reason in _INEXACT and stop.origin is not OWN:
            losses.add(Feature.STOP_DETAILS, "stop_reason")
        own = stop.raw if stop.origin is OWN else None
        word, sequence = own or _WORDS[stop.reason], stop.sequence
    if word == "end_turn" and Refusal in kinds:
        word = "refusal"
    if (stop is None or stop.origin is not OWN) and word in ("end_turn", "tool_use"):
        word = "tool_use" if ToolCall in kinds else "end_turn"
    out: dict[str, Any] = {"stop_reason": word, "stop_sequence": sequence}
    details = of_own(extras, OWN).get("stop_details")
    if details is None and stop is not None and stop.details is not None:
        if word == "refusal":
            details = {"type": "refusal", "category": None, "explanation": stop.details}
        else:
            losses.add(Feature.STOP_DETAILS, "stop_details")
    if details is not None:
        out["stop_details"] = details
    return out


def written_tier(tier: str | None, losses: Losses) -> str | None:
    """`service_tier`, in a word that the SDKs know."""
    if tier is None:
        return None
    if tier not in _TIERS:
        losses.add(Feature.SERVICE_TIER, "service_tier")
    return _TIERS.get(tier)
