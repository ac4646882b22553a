"""What an Anthropic answer says was used.

`input_tokens` excludes the cached parts already. `message_delta` repeats the counters as running totals but not
the split of cache writes, so the wire's own object is kept and updated, and read as a whole. The top-level
counters leave out side calls that are billed with the request (compaction, advisor): those stand only in
`usage.iterations` and are added.
"""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.figures import count, part_of
from gproxy.wire.json import fields

# The iterations that the top-level counters already stand for.
_COUNTED: Final = ("message", "fallback_message", None)


def usage_of_body(body: bytes) -> tuple[Usage, str | None]:
    """Usage and the vendor's model name from a whole answer. Raises `JsonProblem` when it is no JSON object."""
    found = fields(body, "usage", "model")
    model = found.get("model")
    return usage_of(found.get("usage")), model if isinstance(model, str) and model else None


def merged(known: dict[str, Any], later: Any) -> dict[str, Any]:
    """The wire's usage object after a later event of the same stream: what it mentions replaces, null is no mention."""
    if not isinstance(later, dict):
        return known
    return {**known, **{key: value for key, value in later.items() if value is not None}}


def usage_of(raw: Any) -> Usage:
    """Usage from the wire's usage object; `UNKNOWN` when it holds none."""
    if not isinstance(raw, dict):
        return UNKNOWN
    total = _counters(raw)
    steps = raw.get("iterations")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("type") not in _COUNTED:
            total = _sum(total, _counters(step))
    return total


def _counters(raw: dict[str, Any]) -> Usage:
    written = count(raw.get("cache_creation_input_tokens"))
    split = raw.get("cache_creation")
    for_1h, for_5m = (
        count(part_of(split, "ephemeral_1h_input_tokens")),
        count(part_of(split, "ephemeral_5m_input_tokens")),
    )
    if written is None and (for_1h is not None or for_5m is not None):
        written = (for_1h or 0) + (for_5m or 0)
    if for_1h is not None and written is not None:
        for_1h = min(for_1h, written)
    return Usage(
        input=count(raw.get("input_tokens")),
        output=count(raw.get("output_tokens")),
        cache_read=count(raw.get("cache_read_input_tokens")),
        cache_write_5m=None if written is None else written - (for_1h or 0),
        cache_write_1h=for_1h,
        reasoning=count(part_of(raw.get("output_tokens_details"), "thinking_tokens")),
    )


def _sum(a: Usage, b: Usage) -> Usage:
    def plus(x: int | None, y: int | None) -> int | None:
        return None if x is None and y is None else (x or 0) + (y or 0)

    return Usage(
        input=plus(a.input, b.input),
        output=plus(a.output, b.output),
        cache_read=plus(a.cache_read, b.cache_read),
        cache_write_5m=plus(a.cache_write_5m, b.cache_write_5m),
        cache_write_1h=plus(a.cache_write_1h, b.cache_write_1h),
        reasoning=plus(a.reasoning, b.reasoning),
    )


def written(usage: Usage, raw: Any, tier: str | None) -> dict[str, Any]:
    """The wire's usage object; the dialect demands one even when nothing is known.

    `raw` is the object this dialect's own vendor sent: it goes back whole, as long as it still says the same.
    """
    out: dict[str, Any] = {"input_tokens": usage.input or 0, "output_tokens": usage.output or 0}
    if isinstance(raw, dict) and usage_of(raw) == usage:
        return {**out, **{key: value for key, value in raw.items() if value is not None}}
    out |= {
        "cache_creation_input_tokens": (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0),
        "cache_read_input_tokens": usage.cache_read or 0,
    }
    if usage.cache_write_5m is not None or usage.cache_write_1h is not None:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write_5m or 0,
            "ephemeral_1h_input_tokens": usage.cache_write_1h or 0,
        }
    if usage.reasoning is not None:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if tier is not None:
        out["service_tier"] = tier
    return out
