"""What a Gemini answer says was used.

`promptTokenCount` includes the cached part but not what tools put into the prompt; thoughts are counted beside
the candidates. Zero counters are left out of the JSON, so a missing one beside known ones is read as nothing.
Enums may come as numbers (`$alt=json;enum-encoding=int`).
"""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.figures import count
from gproxy.wire.json import JsonProblem, fields, loads_lenient

_AUDIO: Final = ("AUDIO", 4)  # google.ai.generativelanguage Modality


def usage_of_body(body: bytes) -> tuple[Usage, str | None]:
    """Usage and the vendor's model name from a whole answer, or from a whole JSON-array stream.

    Raises `JsonProblem` when the body is neither a JSON object nor an array of them.
    """
    if body.lstrip()[:1] != b"[":
        return _read(fields(body, "usageMetadata", "modelVersion"))
    usage, model = UNKNOWN, None
    chunks = loads_lenient(body)
    if not isinstance(chunks, list) or not all(isinstance(chunk, dict) for chunk in chunks):
        raise JsonProblem("the body must be a JSON object or an array of objects")
    for chunk in chunks:
        later, name = _read(chunk)
        usage, model = usage.then(later), name or model
    return usage, model


def _read(chunk: dict[str, Any]) -> tuple[Usage, str | None]:
    model = chunk.get("modelVersion")
    return usage_of(chunk.get("usageMetadata")), model if isinstance(model, str) and model else None


def usage_of(raw: Any) -> Usage:
    """Usage from a `usageMetadata` object; `UNKNOWN` when it holds no counts."""
    if not isinstance(raw, dict):
        return UNKNOWN
    prompt, total = count(raw.get("promptTokenCount")), count(raw.get("totalTokenCount"))
    by_tools = count(raw.get("toolUsePromptTokenCount")) or 0
    answer, thoughts = count(raw.get("candidatesTokenCount")), count(raw.get("thoughtsTokenCount"))
    if answer is None:
        answer = count(raw.get("responseTokenCount"))  # the Live API's name for it
    cached = count(raw.get("cachedContentTokenCount"))
    if answer is None and thoughts is None:
        output = max(total - prompt - by_tools, 0) if prompt is not None and total is not None else None
    else:
        output = (answer or 0) + (thoughts or 0)
    fresh = None if prompt is None else max(prompt - (cached or 0), 0) + by_tools
    spoken = _audio(raw.get("promptTokensDetails"))
    if spoken is not None:
        spoken = max(spoken - (_audio(raw.get("cacheTokensDetails")) or 0), 0)
    return Usage(
        input=fresh,
        output=output,
        cache_read=cached,
        reasoning=thoughts,
        audio_input=spoken,
        audio_output=_audio(raw.get("candidatesTokensDetails")),
    )


def _audio(details: Any) -> int | None:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and detail.get("modality") in _AUDIO:
            return count(detail.get("tokenCount"))
    return None


def written_usage(usage: Usage) -> dict[str, Any] | None:
    """The wire's `usageMetadata`; None when nothing is known. Its parts add up to its total."""
    if not usage.known:
        return None
    answer, thoughts = usage.output or 0, usage.reasoning or 0
    prompt = usage.total - answer
    out: dict[str, Any] = {"promptTokenCount": prompt, "candidatesTokenCount": max(answer - thoughts, 0)}
    if usage.cache_read is not None:
        out["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning is not None:
        out["thoughtsTokenCount"] = min(thoughts, answer)
    out["totalTokenCount"] = prompt + answer
    if usage.audio_input is not None:
        out["promptTokensDetails"] = _details(usage.audio_input, prompt)
    if usage.audio_output is not None:
        out["candidatesTokensDetails"] = _details(usage.audio_output, max(answer - thoughts, 0))
    return out


def _details(spoken: int, total: int) -> list[dict[str, Any]]:
    return [
        {"modality": "AUDIO", "tokenCount": spoken},
        {"modality": "TEXT", "tokenCount": max(total - spoken, 0)},
    ]
