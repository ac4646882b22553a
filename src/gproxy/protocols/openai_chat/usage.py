"""What an OpenAI-shaped answer says was used; also for legacy completions and embeddings.

`prompt_tokens` includes what came from and went to the prompt cache; vendors name the parts in several ways.
Where `total_tokens` is more than prompt + completion, the missing part is reasoning (xAI, Google) or audio
(Mistral) that the vendor counts beside the two.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.figures import MOST, count, first_count, part_of, within
from gproxy.wire.json import fields

_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]


class _PromptDetails(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: _Count | None = None
    audio_tokens: _Count | None = None


class _AnswerDetails(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: Any = None
    rejected_prediction_tokens: Any = None


class _Figures(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _AnswerDetails | None = None


class _Plain(msgspec.Struct):
    usage: _Figures
    model: str


_plain: Final = msgspec.json.Decoder(_Plain)
_NO_PROMPT_DETAILS: Final = _PromptDetails()
_NO_ANSWER_DETAILS: Final = _AnswerDetails()


def usage_of_body(body: bytes) -> tuple[Usage, str | None]:
    """Usage and the vendor's model name from a whole answer. Raises `JsonProblem` when it is no JSON object."""
    plain = _read_plainly(body)
    if plain is not None:
        return plain
    found = fields(body, "usage", "model", "x_groq")
    model = found.get("model")
    return usage_of(found), model if isinstance(model, str) and model else None


def _read_plainly(body: bytes) -> tuple[Usage, str | None] | None:
    """The same for an answer as OpenAI itself writes it, in a third of the time; None for any other."""
    try:
        if not body.isascii():
            body.decode()
        answer = _plain.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    figures = answer.usage
    read = figures.prompt_tokens_details or _NO_PROMPT_DETAILS
    said = figures.completion_tokens_details or _NO_ANSWER_DETAILS
    prompt, output = figures.prompt_tokens, figures.completion_tokens
    cached, heard = read.cached_tokens, read.audio_tokens
    thought, spoken = said.reasoning_tokens, said.audio_tokens
    if (
        figures.total_tokens > prompt + output
        or (cached or 0) + (heard or 0) > prompt
        or (thought or 0) > output
        or (spoken or 0) > output
    ):
        return None
    return Usage(prompt - (cached or 0), output, cached, None, None, thought, heard, spoken), answer.model or None


def usage_of(body: dict[str, Any]) -> Usage:
    """Usage from a decoded answer or stream chunk; `UNKNOWN` when it holds none."""
    raw = body.get("usage")
    if not isinstance(raw, dict) or not raw:
        raw = part_of(body.get("x_groq"), "usage")
    if not isinstance(raw, dict):
        return UNKNOWN
    prompt_details = raw.get("prompt_tokens_details") or raw.get("prompt_token_details")
    answer_details = raw.get("completion_tokens_details") or raw.get("completion_token_details")
    audio_input = count(part_of(prompt_details, "audio_tokens"))
    reasoning = first_count(part_of(answer_details, "reasoning_tokens"), raw.get("reasoning_tokens"))
    prompt, answer = _both_sides(raw, audio_input, reasoning)
    cache_read = first_count(
        part_of(prompt_details, "cached_tokens"),
        raw.get("prompt_cache_hit_tokens"),
        raw.get("cache_read_input_tokens"),
        raw.get("cached_tokens"),
        raw.get("num_cached_tokens"),
    )
    cache_write = first_count(part_of(prompt_details, "cache_write_tokens"), raw.get("cache_creation_input_tokens"))
    return within(
        prompt,
        answer,
        cache_read=cache_read,
        cache_write=cache_write,
        cache_write_1h=count(part_of(raw.get("cache_creation"), "ephemeral_1h_input_tokens")),
        reasoning=reasoning,
        audio_input=audio_input,
        audio_output=count(part_of(answer_details, "audio_tokens")),
    )


def _both_sides(raw: dict[str, Any], audio: int | None, reasoning: int | None) -> tuple[int | None, int | None]:
    prompt, answer = count(raw.get("prompt_tokens")), count(raw.get("completion_tokens"))
    total = count(raw.get("total_tokens"))
    if prompt is None or answer is None:
        return prompt, answer
    if total is None:
        return prompt, answer + reasoning if reasoning and reasoning > answer else answer
    beside = max(total - prompt - answer, 0)
    return (prompt + beside, answer) if beside and beside == audio else (prompt, answer + beside)


def written(usage: Usage) -> dict[str, Any] | None:
    """The wire's usage object; None when nothing is known."""
    if not usage.known:
        return None
    answer = usage.output or 0
    prompt = usage.total - answer
    details: dict[str, int] = {"cached_tokens": usage.cache_read or 0}
    if usage.cache_write_5m is not None or usage.cache_write_1h is not None:
        details["cache_write_tokens"] = (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
    if usage.audio_input is not None:
        details["audio_tokens"] = usage.audio_input
    answer_details: dict[str, int] = {"reasoning_tokens": usage.reasoning or 0}
    if usage.audio_output is not None:
        answer_details["audio_tokens"] = usage.audio_output
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": details,
        "completion_tokens_details": answer_details,
    }
