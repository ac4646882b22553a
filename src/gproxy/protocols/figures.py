"""Reading vendors' figures. They come as null, as text, negative or missing; unknown is None, never 0."""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.usage import Usage

MOST: Final = 10**10
"""No answer has more tokens. A figure beyond is a vendor's mistake, and as money it would not fit a budget's column."""


def count(value: Any) -> int | None:
    """A token count, or None when the value is not a usable one."""
    if type(value) is int:  # nearly always, and never a bool
        return value if 0 <= value <= MOST else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and 0 <= value <= MOST else None
    if isinstance(value, str):
        # int() of a text without end would take its time.
        return count(int(value)) if value.isascii() and value.isdigit() and len(value) < 19 else None
    return None


def first_count(*values: Any) -> int | None:
    """The first usable count."""
    for value in values:
        found = count(value)
        if found is not None:
            return found
    return None


def part_of(value: Any, key: str) -> Any:
    """`value[key]` when the value is an object that has it, else None."""
    return value.get(key) if isinstance(value, dict) else None


def within(
    prompt: int | None,
    answer: int | None,
    *,
    cache_read: int | None,
    cache_write: int | None,
    reasoning: int | None,
    cache_write_1h: int | None = None,
    audio_input: int | None = None,
    audio_output: int | None = None,
) -> Usage:
    """Usage from totals that include their parts, as OpenAI counts.

    Parts that together exceed their total (some servers count them otherwise) are cut to it: the vendor's totals
    are what it bills, and they are never exceeded.
    """
    fresh = prompt
    if fresh is not None:
        cache_read = _cut(cache_read, fresh)
        fresh -= cache_read or 0
        cache_write = _cut(cache_write, fresh)
        fresh -= cache_write or 0
        audio_input = _cut(audio_input, fresh)
    if answer is not None:
        reasoning, audio_output = _cut(reasoning, answer), _cut(audio_output, answer)
    cache_write_1h = _cut(cache_write_1h, cache_write or 0)
    return Usage(
        input=fresh,
        output=answer,
        cache_read=cache_read,
        cache_write_5m=None if cache_write is None else cache_write - (cache_write_1h or 0),
        cache_write_1h=cache_write_1h,
        reasoning=reasoning,
        audio_input=audio_input,
        audio_output=audio_output,
    )


def _cut(part: int | None, total: int) -> int | None:
    return None if part is None else min(part, total)
