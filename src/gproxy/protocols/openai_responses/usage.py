"""What an OpenAI Responses answer says was used. `input_tokens` includes the cached part."""

from __future__ import annotations

from typing import Any

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.figures import count, first_count, part_of, within
from gproxy.wire.json import fields


def usage_of_body(body: bytes) -> tuple[Usage, str | None]:
    """Usage and the vendor's model name from a whole answer. Raises `JsonProblem` when it is no JSON object."""
    found = fields(body, "usage", "model")
    model = found.get("model")
    return usage_of(found.get("usage")), model if isinstance(model, str) and model else None


def usage_of(raw: Any) -> Usage:
    """Usage from the wire's usage object; `UNKNOWN` when it holds none."""
    if not isinstance(raw, dict):
        return UNKNOWN
    details, answer_details = raw.get("input_tokens_details"), raw.get("output_tokens_details")
    return within(
        count(raw.get("input_tokens")),
        count(raw.get("output_tokens")),
        cache_read=first_count(part_of(details, "cached_tokens"), raw.get("cache_read_input_tokens")),
        cache_write=first_count(part_of(details, "cache_write_tokens"), raw.get("cache_creation_input_tokens")),
        reasoning=count(part_of(answer_details, "reasoning_tokens")),
        audio_input=count(part_of(details, "audio_tokens")),
        audio_output=count(part_of(answer_details, "audio_tokens")),
    )


def written(usage: Usage) -> dict[str, Any] | None:
    """The wire's usage object; None when nothing is known."""
    if not usage.known:
        return None
    answer = usage.output or 0
    prompt = usage.total - answer
    details = {
        "cached_tokens": usage.cache_read or 0,
        "cache_write_tokens": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
    }
    if usage.audio_input is not None:
        details["audio_tokens"] = usage.audio_input
    answer_details = {"reasoning_tokens": usage.reasoning or 0}
    if usage.audio_output is not None:
        answer_details["audio_tokens"] = usage.audio_output
    return {
        "input_tokens": prompt,
        "input_tokens_details": details,
        "output_tokens": answer,
        "output_tokens_details": answer_details,
        "total_tokens": prompt + answer,
    }
