"""The ledger's vocabulary: what the journal holds about one attempt, and the row it becomes.

An attempt leaves `Opened` before its first upstream byte, `Progress` at most once a second while it streams,
and exactly one `Closed`. A `UsageRow` is `Opened` + `Closed` and is what people query.
Fields are appended, never reordered or removed: journals outlive versions. Money is integer nano-USD.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from gproxy.canonical.usage import Source, Usage

NAME_CHARS: Final = 200
"""The longest name a row holds, in characters; the width of the table's columns."""


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETE = "complete"
    INTERRUPTED = "interrupted"
    """Cut by us: a drain deadline, a crash, an upstream that broke mid-answer."""
    CANCELLED = "cancelled"
    """Cut by the client."""
    FAILED = "failed"
    """The vendor refused or could not be reached."""


class Opened(msgspec.Struct, frozen=True, array_like=True, tag="o"):
    """Written before anything is sent upstream.

    `rates` are the unit prices in force (see `ledger.pricing.RateCard.packed`), kept here so that a crash is
    priced exactly as a clean end would have been. `reserved_nano_usd` is the bound held against the budget.
    """

    attempt_id: str
    request_id: str
    at: int
    user_id: str
    user_name: str
    key_id: str
    provider_name: str
    credential_id: str
    channel: str
    dialect_in: str
    dialect_out: str
    operation: str
    model_asked: str
    model_upstream: str
    route_name: str | None
    attempt_no: int
    streamed: bool
    price_version: str
    rates: bytes
    service_tier: str | None = None
    reserved_nano_usd: int = 0
    estimated_input: int = 0


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="p"):
    """What was seen of a stream so far; replaces earlier ones of the same attempt."""

    attempt_id: str
    at: int
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_input_tokens: int | None
    audio_output_tokens: int | None
    source: Source
    first_byte_ms: int | None
    model_served: str | None


class Closed(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """The end of an attempt, complete and priced."""

    attempt_id: str
    at: int
    model_served: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_tokens: int | None
    cost_nano_usd: int
    source: Source
    outcome: Outcome
    status: int
    first_byte_ms: int | None
    total_ms: int
    excess_nano_usd: int = 0


def close_of(
    opened: Opened,
    usage: Usage,
    cost_nano_usd: int,
    *,
    at: int,
    model_served: str | None,
    source: Source,
    outcome: Outcome,
    status: int,
    first_byte_ms: int | None,
    total_ms: int,
) -> Closed:
    """The end of `opened`. Whoever ends it, its own request or a recovery after a crash, the figures are laid out here."""
    return Closed(
        attempt_id=opened.attempt_id,
        at=at,
        model_served=model_served or opened.model_upstream,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_5m_tokens=usage.cache_write_5m,
        cache_write_1h_tokens=usage.cache_write_1h,
        reasoning_tokens=usage.reasoning,
        audio_tokens=usage.audio,
        cost_nano_usd=cost_nano_usd,
        source=source,
        outcome=outcome,
        status=status,
        first_byte_ms=first_byte_ms,
        total_ms=total_ms,
        excess_nano_usd=max(0, cost_nano_usd - opened.reserved_nano_usd) if opened.reserved_nano_usd else 0,
    )


class UsageRow(msgspec.Struct, frozen=True):
    """One line of the `usages` table; the names are the table's columns."""

    attempt_id: str
    request_id: str
    at: int
    user_id: str
    user_name: str
    key_id: str
    provider_name: str
    credential_id: str
    channel: str
    dialect_in: str
    dialect_out: str
    operation: str
    model_asked: str
    model_served: str
    route_name: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_5m_tokens: int | None
    cache_write_1h_tokens: int | None
    reasoning_tokens: int | None
    audio_tokens: int | None
    cost_nano_usd: int
    price_version: str
    source: str
    outcome: str
    status: int
    attempt_no: int
    first_byte_ms: int | None
    total_ms: int
    streamed: bool
    excess_nano_usd: int


def _storable(name: str) -> str:
    """A name as client or vendor gave it, in what every database can hold: an odd name must not cost its bill."""
    if name.isascii() and len(name) <= NAME_CHARS and "\0" not in name:
        return name
    return name[:NAME_CHARS].replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def row_of(opened: Opened, closed: Closed) -> UsageRow:
    """The table row of a finished attempt. `at` is when the attempt began."""
    return UsageRow(
        attempt_id=opened.attempt_id,
        request_id=opened.request_id,
        at=opened.at,
        user_id=opened.user_id,
        user_name=opened.user_name,
        key_id=opened.key_id,
        provider_name=opened.provider_name,
        credential_id=opened.credential_id,
        channel=opened.channel,
        dialect_in=opened.dialect_in,
        dialect_out=opened.dialect_out,
        operation=opened.operation,
        model_asked=_storable(opened.model_asked),
        model_served=_storable(closed.model_served) or opened.model_upstream,
        route_name=opened.route_name,
        input_tokens=closed.input_tokens,
        output_tokens=closed.output_tokens,
        cache_read_tokens=closed.cache_read_tokens,
        cache_write_5m_tokens=closed.cache_write_5m_tokens,
        cache_write_1h_tokens=closed.cache_write_1h_tokens,
        reasoning_tokens=closed.reasoning_tokens,
        audio_tokens=closed.audio_tokens,
        cost_nano_usd=closed.cost_nano_usd,
        price_version=opened.price_version,
        source=closed.source,
        outcome=closed.outcome,
        status=closed.status,
        attempt_no=opened.attempt_no,
        first_byte_ms=closed.first_byte_ms,
        total_ms=closed.total_ms,
        streamed=opened.streamed,
        excess_nano_usd=closed.excess_nano_usd,
    )
