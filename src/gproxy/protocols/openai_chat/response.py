"""Chat completion answers, both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    Audio,
    FileRef,
    Image,
    Inline,
    Opaque,
    Part,
    Refusal,
    ServerToolCall,
    ServerToolResult,
    Text,
    ToolCall,
)
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.protocols import complaints
from gproxy.protocols.figures import count
from gproxy.protocols.openai_chat.content import (
    OWN,
    citations_of,
    content,
    source_of,
    thinking_of,
    tool_calls_of,
    url_of,
    written_call,
    written_citations,
    written_thinking,
)
from gproxy.protocols.openai_chat.google import extra_content
from gproxy.protocols.openai_chat.usage import usage_of, written
from gproxy.protocols.reading import at, of_own, rest, tables, text
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.protocols.base import ReplyFacts

_READ: Final = frozenset({"id", "object", "created", "model", "choices", "usage", "service_tier", "error"})

STOPS: Final = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
    # Words of servers that speak the dialect with an accent.
    "eos": StopReason.END,
    "end_turn": StopReason.END,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "max_tokens": StopReason.LENGTH,
    "model_length": StopReason.CONTEXT,
    "tool_use": StopReason.TOOL_CALLS,
    "refusal": StopReason.REFUSAL,
    "error": StopReason.FAILED,
    "insufficient_system_resource": StopReason.FAILED,
}
_WORDS: Final = {
    StopReason.END: "stop",
    StopReason.LENGTH: "length",
    StopReason.CONTEXT: "length",
    StopReason.STOP_SEQUENCE: "stop",
    StopReason.TOOL_CALLS: "tool_calls",
    StopReason.CONTENT_FILTER: "content_filter",
    StopReason.REFUSAL: "content_filter",
    StopReason.PAUSE: "stop",
    StopReason.MALFORMED_CALL: "stop",
    StopReason.FAILED: "stop",
    StopReason.OTHER: "stop",
}
_EXACT: Final = frozenset({StopReason.END, StopReason.LENGTH, StopReason.TOOL_CALLS, StopReason.CONTENT_FILTER})
# The SDKs accept no other word.
_TIERS: Final = {
    **{word: word for word in ("auto", "default", "flex", "scale", "priority", "fast")},
    "standard": "default",
    "on_demand": "default",
}
_OFFICIAL: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


# --- reading ---


def decode(body: bytes) -> Response:
    """Read a whole answer. Raises `JsonProblem` when it is no chat completion."""
    source = loads_lenient(body)
    if not isinstance(source, dict):
        raise JsonProblem("the vendor's answer must be a JSON object")
    choices = tables(source, "choices")
    error = complaints.of_value(source) if source.get("error") else None
    if not choices and error is None and not isinstance(choices, list):
        raise JsonProblem("the vendor's answer has no `choices`", "choices")
    response_id = text(source, "id") or ""
    return Response(
        id=response_id,
        model=text(source, "model") or "",
        created=count(source.get("created")),
        choices=tuple(_choice(choice, i, response_id) for i, choice in enumerate(choices or ())),
        usage=usage_of(source),
        service_tier=text(source, "service_tier") or None,
        error=error,
        extras=rest(source, _READ, OWN),
    )


def _choice(choice: dict[str, Any], i: int, response_id: str) -> Choice:
    where = at("choices", i)
    index = count(choice.get("index"))
    index = i if index is None else index
    message = choice.get("message")
    if not isinstance(message, dict):
        # Legacy completions put plain text here.
        message = {"content": choice.get("text")}
    parts = parts_of(message, at(where, "message"), f"call_{response_id}_{index}_")
    return Choice(
        index=index,
        parts=tuple(parts),
        stop=stop_of(choice.get("finish_reason"), calls=any(isinstance(part, ToolCall) for part in parts)),
        logprobs=logprobs_of(choice.get("logprobs")),
    )


def parts_of(message: Mapping[str, Any], where: str, id_base: str) -> list[Part]:
    """An assistant's message as parts. Zero values where others leave a field out (`refusal: ""`) say nothing."""
    parts = thinking_of(message)
    said = [part for part in content(message.get("content"), at(where, "content")) if not _is_empty(part)]
    citations = citations_of(message.get("annotations"))
    if citations:
        first = next((i for i, part in enumerate(said) if isinstance(part, Text)), None)
        if first is None:
            said.append(Text("", citations))
        else:
            cited = said[first]
            assert isinstance(cited, Text)
            said[first] = Text(cited.text, citations, extras=cited.extras)
    parts += said
    refusal = text(message, "refusal", where)
    if refusal:
        parts.append(Refusal(refusal))
    parts += images_of(message)
    spoken = audio_of(message)
    if spoken is not None:
        parts.append(spoken)
    return [*parts, *tool_calls_of(message, where, id_base)]


def _is_empty(part: Part) -> bool:
    return isinstance(part, Text) and not part.text


def images_of(message: Mapping[str, Any]) -> list[Part]:
    """Pictures the model made, as OpenRouter and others return them."""
    found: list[Part] = []
    images = message.get("images")
    for image in images if isinstance(images, list) else ():
        holder = image.get("image_url") if isinstance(image, dict) else None
        url = holder.get("url") if isinstance(holder, dict) else holder
        if isinstance(url, str) and url:
            found.append(Image(source_of(url)))
    return found


def audio_of(message: Mapping[str, Any]) -> Audio | None:
    """Spoken answer, whole."""
    spoken = message.get("audio")
    if not isinstance(spoken, dict) or not (spoken.get("data") or spoken.get("id")):
        return None
    transcript, data = spoken.get("transcript"), spoken.get("data")
    left = {key: spoken[key] for key in ("id", "expires_at") if key in spoken}
    return Audio(
        Inline(data, "audio/wav") if isinstance(data, str) and data else FileRef(str(spoken.get("id"))),
        transcript=transcript if isinstance(transcript, str) else None,
        extras={OWN: left} if left else {},
    )


def stop_of(word: Any, *, calls: bool) -> Stop | None:
    """Why a choice ended. OpenAI says `stop` after a forced call: with calls there, it is the calls that ended it."""
    if not isinstance(word, str) or not word:
        return None
    reason = STOPS.get(word, StopReason.OTHER)
    if calls and reason is StopReason.END:
        reason = StopReason.TOOL_CALLS
    return Stop(reason, raw=word, origin=OWN)


def logprobs_of(value: Any) -> Logprobs | None:
    """Chances of the tokens; None when there are none (or in a form that is not this dialect's)."""
    if not isinstance(value, dict):
        return None
    said, refused = _chances(value.get("content")), _chances(value.get("refusal"))
    return None if said is None and refused is None else Logprobs(said, refused)


def _chances(items: Any) -> tuple[TokenChance, ...] | None:
    if not isinstance(items, list):
        return None
    return tuple(_chance(item) for item in items if isinstance(item, dict) and isinstance(item.get("token"), str))


def _chance(item: dict[str, Any]) -> TokenChance:
    raw, logprob = item.get("bytes"), item.get("logprob")
    return TokenChance(
        item["token"],
        float(logprob) if isinstance(logprob, int | float) else 0.0,
        tuple(raw) if isinstance(raw, list) else None,
        _chances(item.get("top_logprobs")) or (),
    )


# --- writing ---


def encode(response: Response, facts: ReplyFacts, losses: Losses) -> bytes:
    """Write a whole answer for a client."""
    body: dict[str, Any] = {
        "id": response.id or facts.id,
        "object": "chat.completion",
        "created": facts.created if response.created is None else response.created,
        "model": facts.model,
        "choices": [_written_choice(choice, losses) for choice in response.choices],
    }
    usage = written(response.usage)
    if usage is not None:
        body["usage"] = usage
    tier = written_tier(response.service_tier, losses)
    if tier is not None:
        body["service_tier"] = tier
    body.update({key: value for key, value in of_own(response.extras, OWN).items() if key not in body})
    return dumps(body)


def _written_choice(choice: Choice, losses: Losses) -> dict[str, Any]:
    return {
        "index": choice.index,
        "message": _message(choice, losses),
        "logprobs": written_logprobs(choice.logprobs),
        "finish_reason": finish_word(choice.stop, losses),
    }


def _message(choice: Choice, losses: Losses) -> dict[str, Any]:
    where = at("choices", choice.index)
    said: list[str] = []
    length = 0
    annotations: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    refusals: list[str] = []
    calls: list[ToolCall] = []
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for part in choice.parts:
        match part:
            case Text():
                annotations += written_citations(part.citations, length, losses, where)
                said.append(part.text)
                length += len(part.text)
                extra_content(part, losses, where)
            case Refusal():
                refusals.append(part.text)
            case Image():
                image = written_image(part, losses, where)
                if image is not None:
                    images.append(image)
            case Audio():
                message["audio"] = written_audio(part)
            case ToolCall():
                calls.append(part)
            case _:
                note_homeless(part, losses, where)
    if said:
        message["content"] = "".join(said)
    if refusals:
        message["refusal"] = "".join(refusals)
    message.update(written_thinking(choice.parts, foreign=True))
    if annotations:
        message["annotations"] = annotations
    if images:
        message["images"] = images
    legacy = [call for call in calls if of_own(call.extras, OWN).get("function_call")]
    if legacy:
        message["function_call"] = {"name": legacy[0].name, "arguments": legacy[0].arguments}
    elif calls:
        message["tool_calls"] = [written_call(call, losses, where) for call in calls]
    return message


def note_homeless(part: Part, losses: Losses, where: str) -> None:
    """Name what an answer of this dialect cannot hold."""
    match part:
        case ServerToolCall() | ServerToolResult():
            losses.add(Feature.SERVER_TOOL, where)
        case Opaque():
            losses.add(Feature.OTHER, where)
        case _:
            pass  # reasoning has its own place


def written_image(part: Image, losses: Losses, where: str) -> dict[str, Any] | None:
    """A picture in the form that servers of this dialect use."""
    url = url_of(part.source)
    if url is None:
        losses.add(Feature.FILE_REFERENCE, where)
        return None
    return {"type": "image_url", "image_url": {"url": url}}


def written_audio(part: Audio) -> dict[str, Any]:
    """A spoken answer."""
    own = of_own(part.extras, OWN)
    return {
        "id": own.get("id", "audio_0"),
        "data": part.source.data if isinstance(part.source, Inline) else "",
        "expires_at": own.get("expires_at", 0),
        "transcript": part.transcript or "",
    }


def written_tier(tier: str | None, losses: Losses) -> str | None:
    """`service_tier`, in a word that the SDKs know."""
    if tier is None:
        return None
    if tier not in _TIERS:
        losses.add(Feature.SERVICE_TIER, "service_tier")
    return _TIERS.get(tier)


def finish_word(stop: Stop | None, losses: Losses) -> str | None:
    """`finish_reason`. The wire's own word goes back when it is one the SDKs know."""
    if stop is None:
        return "stop"
    if stop.origin is OWN and stop.raw in _OFFICIAL:
        return stop.raw
    if stop.reason not in _EXACT:
        losses.add(Feature.STOP_DETAILS, "finish_reason")
    return _WORDS[stop.reason]


def written_logprobs(logprobs: Logprobs | None) -> dict[str, Any] | None:
    """Chances of the tokens."""
    if logprobs is None:
        return None
    return {"content": _written_chances(logprobs.content), "refusal": _written_chances(logprobs.refusal)}


def _written_chances(chances: tuple[TokenChance, ...] | None) -> list[dict[str, Any]] | None:
    if chances is None:
        return None
    return [
        {**_written_chance(chance), "top_logprobs": [_written_chance(top) for top in chance.top]} for chance in chances
    ]


def _written_chance(chance: TokenChance) -> dict[str, Any]:
    raw = None if chance.bytes is None else list(chance.bytes)
    return {"token": chance.token, "logprob": chance.logprob, "bytes": raw}
