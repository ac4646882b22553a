"""Answers, both ways: `GenerateContentResponse`, which is also each chunk of a stream."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import Part, Text, Thinking, ToolCall, ToolResult
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.protocols.figures import count
from gproxy.protocols.gemini import errors
from gproxy.protocols.gemini.content import part_of, written
from gproxy.protocols.gemini.grounding import Grounds, citations_of
from gproxy.protocols.gemini.names import OWN, Calls, named, several
from gproxy.protocols.gemini.usage import usage_of, written_usage
from gproxy.protocols.reading import at, of_own, table, text
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.usage import Usage
    from gproxy.protocols.base import ReplyFacts

_READ: Final = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "error"})
_CANDIDATE_READ: Final = frozenset({"content", "finishReason", "finishMessage", "index", "logprobsResult"})
_KNOWN: Final = frozenset({"candidates", "promptFeedback", "usageMetadata", "modelVersion", "responseId"})

STOPS: Final = {
    "STOP": StopReason.END,
    "MAX_TOKENS": StopReason.LENGTH,
    "SAFETY": StopReason.CONTENT_FILTER,
    "RECITATION": StopReason.CONTENT_FILTER,
    "BLOCKLIST": StopReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": StopReason.CONTENT_FILTER,
    "SPII": StopReason.CONTENT_FILTER,
    "MODEL_ARMOR": StopReason.CONTENT_FILTER,
    "IMAGE_SAFETY": StopReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": StopReason.CONTENT_FILTER,
    "IMAGE_RECITATION": StopReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": StopReason.MALFORMED_CALL,
    "UNEXPECTED_TOOL_CALL": StopReason.MALFORMED_CALL,
    "MISSING_THOUGHT_SIGNATURE": StopReason.FAILED,
    "MALFORMED_RESPONSE": StopReason.FAILED,
}
_UNSPECIFIED: Final = ("", "FINISH_REASON_UNSPECIFIED", "0")
# Servers that write enums as numbers agree on these; beyond them the two APIs number differently.
_BY_NUMBER: Final = ("", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
_WORDS: Final = {
    StopReason.END: "STOP",
    StopReason.LENGTH: "MAX_TOKENS",
    StopReason.CONTEXT: "MAX_TOKENS",
    StopReason.STOP_SEQUENCE: "STOP",
    StopReason.TOOL_CALLS: "STOP",
    StopReason.CONTENT_FILTER: "SAFETY",
    StopReason.REFUSAL: "SAFETY",
    StopReason.PAUSE: "OTHER",
    StopReason.MALFORMED_CALL: "MALFORMED_FUNCTION_CALL",
    StopReason.FAILED: "OTHER",
    StopReason.OTHER: "OTHER",
}
_INEXACT: Final = frozenset(
    {StopReason.CONTEXT, StopReason.STOP_SEQUENCE, StopReason.REFUSAL, StopReason.PAUSE, StopReason.FAILED}
)
_TIERS: Final = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}


# --- reading ---


def decode(body: bytes) -> Response:
    """Read a whole answer. Raises `JsonProblem` when it is none."""
    value = loads_lenient(body)
    if not isinstance(value, dict):
        raise JsonProblem("the vendor's answer must be a JSON object")
    source = named(value)
    error = errors.of_value(source) if source.get("error") else None
    if error is None and not _KNOWN & source.keys():
        raise JsonProblem("the vendor's answer has no `candidates`", "candidates")
    response_id = text(source, "responseId") or ""
    choices = [
        _choice(candidate, i, response_id, at("candidates", i))
        for i, candidate in enumerate(several(source, "candidates") or ())
    ]
    if not choices and error is None:
        choices = [Choice(0, (), blocked(source))]
    return Response(
        id=response_id,
        model=text(source, "modelVersion") or "",
        created=created_of(source),
        choices=tuple(choices),
        usage=usage_of(source.get("usageMetadata")),
        service_tier=tier_of(source),
        error=error,
        extras=extras_of(source),
    )


def created_of(source: Mapping[str, Any]) -> int | None:
    """`createTime`, in seconds since the epoch."""
    stamp = source.get("createTime")
    try:
        return int(datetime.fromisoformat(stamp).timestamp()) if isinstance(stamp, str) else None
    except ValueError:
        return None


def tier_of(source: Mapping[str, Any]) -> str | None:
    """The tier that served, as it is said beside the usage."""
    usage = source.get("usageMetadata")
    tier = named(usage).get("serviceTier") if isinstance(usage, dict) else None
    return tier.lower() if isinstance(tier, str) and tier else None


def extras_of(source: Mapping[str, Any]) -> dict[Any, Any]:
    """What has no neutral home; and the usage as it came, which knows more than its totals."""
    left = {k: v for k, v in source.items() if k not in _READ and v is not None}
    if isinstance(source.get("usageMetadata"), dict):
        left["usageMetadata"] = source["usageMetadata"]
    return {OWN: left} if left else {}


def blocked(source: Mapping[str, Any]) -> Stop | None:
    """Why there is no candidate: the prompt was refused."""
    feedback = source.get("promptFeedback")
    fields = named(feedback) if isinstance(feedback, dict) else {}
    reason, said = fields.get("blockReason"), fields.get("blockReasonMessage")
    if not reason:
        return None
    details = said if isinstance(said, str) and said else f"the prompt was blocked: {reason}"
    return Stop(StopReason.CONTENT_FILTER, details=details, raw=str(reason), origin=OWN)


def _choice(candidate: Mapping[str, Any], i: int, response_id: str, where: str) -> Choice:
    index = count(candidate.get("index"))
    index = i if index is None else index
    parts = parts_of(candidate, where, calls_of(response_id, index))
    for place, citation in citations_of(candidate, parts):
        cited = parts[place]
        assert isinstance(cited, Text)
        parts[place] = replace(cited, citations=(*cited.citations, citation))
    return Choice(
        index=index,
        parts=tuple(parts),
        stop=stop_of(candidate, calls=any(isinstance(part, ToolCall) for part in parts)),
        logprobs=logprobs_of(candidate.get("logprobsResult")),
        extras=candidate_extras(candidate),
    )


def calls_of(response_id: str, index: int) -> Calls:
    """Who names the calls of one candidate."""
    return Calls(f"{response_id}/{index}")


def parts_of(candidate: Mapping[str, Any], where: str, calls: Calls) -> list[Part]:
    """A candidate's parts. Raises `JsonProblem`."""
    content = named(table(candidate, "content", where) or {})
    inside = at(at(where, "content"), "parts")
    parts: list[Part] = []
    for i, item in enumerate(several(content, "parts", inside) or ()):
        part = part_of(item, at(inside, i), calls)
        last = parts[-1] if parts else None
        if part is None or says_nothing(part):
            continue
        if isinstance(part, Text) and isinstance(last, Text) and not part.text and last.signature is None:
            # The signature of a text may follow it in an empty part.
            parts[-1] = replace(last, signature=part.signature)
        elif isinstance(part, Thinking) and isinstance(last, Thinking) and not part.text and last.signature is None:
            parts[-1] = replace(last, signature=part.signature)
        else:
            parts.append(part)
    return parts


def says_nothing(part: Part) -> bool:
    """Whether a part is an empty text that is not even signed; streams are full of them."""
    return isinstance(part, Text | Thinking) and not (part.text or part.signature or part.extras)


def candidate_extras(candidate: Mapping[str, Any]) -> dict[Any, Any]:
    """What a candidate says beside its content."""
    left = {k: v for k, v in candidate.items() if k not in _CANDIDATE_READ and v is not None}
    return {OWN: left} if left else {}


def stop_of(candidate: Mapping[str, Any], *, calls: bool) -> Stop | None:
    """Why a candidate ended. Google says STOP after calls, too: with calls there, it is they that ended it."""
    word, said = candidate.get("finishReason"), candidate.get("finishMessage")
    if isinstance(word, int) and not isinstance(word, bool):
        word = _BY_NUMBER[word] if 0 <= word < len(_BY_NUMBER) else str(word)
    if not isinstance(word, str) or word in _UNSPECIFIED:
        return None
    reason = STOPS.get(word, StopReason.OTHER)
    if calls and reason is StopReason.END:
        reason = StopReason.TOOL_CALLS
    return Stop(reason, details=said if isinstance(said, str) and said else None, raw=word, origin=OWN)


def logprobs_of(value: Any) -> Logprobs | None:
    """`logprobsResult`: chosen tokens and, in step with them, the likeliest ones."""
    if not isinstance(value, dict):
        return None
    fields = named(value)
    chosen, top = fields.get("chosenCandidates"), fields.get("topCandidates")
    if not isinstance(chosen, list):
        return None
    beside = top if isinstance(top, list) else []
    found = [_chance(item) for item in chosen]
    return Logprobs(
        tuple(
            replace(chance, top=_top(beside[i]) if i < len(beside) else ())
            for i, chance in enumerate(found)
            if chance is not None
        )
    )


def _top(value: Any) -> tuple[TokenChance, ...]:
    candidates = value.get("candidates") if isinstance(value, dict) else None
    found = [_chance(item) for item in (candidates if isinstance(candidates, list) else ())]
    return tuple(chance for chance in found if chance is not None)


def _chance(item: Any) -> TokenChance | None:
    fields = named(item) if isinstance(item, dict) else {}
    token, logprob = fields.get("token"), fields.get("logProbability")
    if not isinstance(token, str):
        return None
    return TokenChance(token, float(logprob) if isinstance(logprob, int | float) else 0.0)


# --- writing ---


def encode(response: Response, facts: ReplyFacts, losses: Losses) -> bytes:
    """Write a whole answer for a client."""
    own = of_own(response.extras, OWN)
    body: dict[str, Any] = {}
    if not is_blocked(own, any(choice.parts for choice in response.choices)):
        body["candidates"] = [_written_choice(choice, losses) for choice in response.choices]
    body |= tail(response.usage, response.service_tier, own, losses)
    body |= {"modelVersion": facts.model, "responseId": response.id or facts.id}
    body.update({key: value for key, value in own.items() if key not in body})
    return dumps(body)


def is_blocked(own: Mapping[str, Any], spoke: bool) -> bool:
    """Whether the prompt was refused by this dialect's own vendor, so that there are no candidates."""
    feedback = own.get("promptFeedback")
    return not spoke and isinstance(feedback, dict) and bool(named(feedback).get("blockReason"))


def tail(usage: Usage, tier: str | None, own: Mapping[str, Any], losses: Losses) -> dict[str, Any]:
    """Usage and tier, as they stand in an answer or in the last chunk of a stream."""
    raw = own.get("usageMetadata")
    if isinstance(raw, dict) and usage_of(raw) == usage:
        return {"usageMetadata": raw}
    written_ = written_usage(usage)
    if tier is not None and tier not in _TIERS:
        losses.add(Feature.SERVICE_TIER, "service_tier")
    if written_ is None:
        return {}
    if tier in _TIERS:
        written_["serviceTier"] = _TIERS[tier]
    return {"usageMetadata": written_}


def _written_choice(choice: Choice, losses: Losses) -> dict[str, Any]:
    where = at("candidates", choice.index)
    grounds = Grounds(losses)
    parts: list[dict[str, Any]] = []
    for part in choice.parts:
        item = written_part(part, losses, where)
        if item is None:
            continue
        if isinstance(part, Text):
            grounds.take(part, where, index=len(parts))
        parts.append(item)
    return {
        "content": {"parts": parts, "role": "model"},
        **finish(choice.stop, losses),
        "index": choice.index,
        **beside(choice.logprobs, grounds, of_own(choice.extras, OWN)),
    }


def written_part(part: Part, losses: Losses, where: str) -> dict[str, Any] | None:
    """One part of an answer."""
    if isinstance(part, ToolResult):
        losses.add(Feature.OTHER, where)
        return None
    return written(part, losses, where, answer=True)


def beside(logprobs: Logprobs | None, grounds: Grounds, own: Mapping[str, Any]) -> dict[str, Any]:
    """What stands beside a candidate's content. Google's own metadata goes back as it came."""
    out: dict[str, Any] = {}
    if logprobs is not None:
        out["logprobsResult"] = written_logprobs(logprobs)
    found = grounds.written()
    if found is not None and not own.keys() & {"groundingMetadata", "citationMetadata"}:
        out["groundingMetadata"] = found
    return {**out, **own}


def finish(stop: Stop | None, losses: Losses) -> dict[str, Any]:
    """`finishReason` and `finishMessage`. The wire's own word goes back."""
    if stop is None:
        return {"finishReason": "STOP"}
    word = stop.raw if stop.origin is OWN and stop.raw and stop.raw.isupper() else None
    if word is None and stop.reason in _INEXACT:
        losses.add(Feature.STOP_DETAILS, "finishReason")
    return {"finishReason": word or _WORDS[stop.reason], **({"finishMessage": stop.details} if stop.details else {})}


def written_logprobs(logprobs: Logprobs) -> dict[str, Any]:
    """Chances of the tokens; those of a refusal are text like any other here."""
    chances = (*(logprobs.content or ()), *(logprobs.refusal or ()))
    out: dict[str, Any] = {"chosenCandidates": [_written_chance(chance) for chance in chances]}
    if any(chance.top for chance in chances):
        out["topCandidates"] = [{"candidates": [_written_chance(top) for top in chance.top]} for chance in chances]
    return out


def _written_chance(chance: TokenChance) -> dict[str, Any]:
    return {"token": chance.token, "logProbability": chance.logprob}
