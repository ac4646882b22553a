"""The end of an attempt: what was used, what it cost, one `Closed` record in the journal.

Settling is synchronous and cannot be cancelled half-way: a price, one append, nothing awaited. It happens
before the last bytes of an answer leave for the client, so that no answer is ever acknowledged unrecorded.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from gproxy.canonical.usage import Source, Usage
from gproxy.channels.auth.scheme import Token
from gproxy.ledger.pricing import RateCard
from gproxy.ledger.record import Opened, Outcome, Progress, close_of
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.ports import JournalPort


class Reading(Protocol):
    """What a translator has read of the answer so far."""

    @property
    def usage(self) -> Usage:
        """The vendor's figures, as far as they came."""
        ...

    @property
    def model(self) -> str | None:
        """The model that the vendor says it served."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the answer reached its dialect's own end."""
        ...

    @property
    def produced(self) -> int:
        """An estimate, in tokens, of the output seen so far."""
        ...


class Attempt(msgspec.Struct):
    """One attempt while it runs. `closed` guards the promise of exactly one close record."""

    opened: Opened
    card: RateCard | None
    started_at: float
    first_byte_at: float | None = None
    closed: bool = False
    seen: int = -1
    """What the last progress record was written for; see `progress_of`."""
    tokens: int = 0
    """What it used in the end, input and output."""
    token: Token | None = None
    """The access token it was signed with, where the credential needs one."""


def figures(reading: Reading | None, opened: Opened, *, complete: bool) -> tuple[Usage, Source]:
    """The usage to bill and where it came from.

    The vendor's figures win. Without any, an answer that was being produced is estimated: the input from the
    request's size, the output from what was seen of it, so that an answer cut short is never free.
    """
    if reading is None:
        return Usage(), Source.REPORTED
    usage = reading.usage
    if usage.known and (complete or reading.finished):
        return usage, Source.REPORTED
    if usage.known:
        produced = reading.produced
        if (usage.output or 0) >= produced:
            return usage, Source.PARTIAL
        return (
            msgspec.structs.replace(
                usage, input=usage.input if usage.input is not None else opened.estimated_input, output=produced
            ),
            Source.PARTIAL,
        )
    return Usage(input=opened.estimated_input, output=reading.produced), Source.ESTIMATED


def close(
    x: Exchange,
    attempt: Attempt,
    journal: JournalPort,
    *,
    outcome: Outcome,
    status: int,
    reading: Reading | None,
    now: float,
    now_us: int,
) -> None:
    """Append the one close record of this attempt; a second call does nothing."""
    if attempt.closed:
        return
    attempt.closed = True
    opened = attempt.opened
    usage, source = figures(reading, opened, complete=outcome is Outcome.COMPLETE)
    cost = attempt.card.cost(usage, opened.service_tier) if attempt.card is not None and reading is not None else 0
    ended = close_of(
        opened,
        usage,
        cost,
        at=now_us,
        model_served=reading.model if reading is not None else None,
        source=source,
        outcome=outcome,
        status=status,
        first_byte_ms=_ms(attempt.first_byte_at, attempt.started_at),
        total_ms=int((now - attempt.started_at) * 1000),
    )
    journal.close(ended)
    x.model_served = ended.model_served
    attempt.tokens = usage.total
    x.tokens_in += attempt.tokens - (usage.output or 0)
    x.tokens_out += usage.output or 0
    if x.admission is not None:
        x.admission.charge(opened.attempt_id, cost)
        # Only a failure that the client has not seen may be followed by another attempt.
        if outcome is not Outcome.FAILED or x.client.started:
            x.admission.finish(x.tokens_in + x.tokens_out)
    x.cost_nano_usd += cost
    x.outcome = outcome.value


def progress_of(attempt: Attempt, reading: Reading, now_us: int) -> Progress | None:
    """A progress record when something new was seen since the last one."""
    produced = reading.produced
    usage = reading.usage
    mark = produced + usage.total
    if attempt.closed or mark == attempt.seen:
        return None
    attempt.seen = mark
    known, source = figures(reading, attempt.opened, complete=False)
    return Progress(
        attempt_id=attempt.opened.attempt_id,
        at=now_us,
        input_tokens=known.input,
        output_tokens=known.output,
        cache_read_tokens=known.cache_read,
        cache_write_5m_tokens=known.cache_write_5m,
        cache_write_1h_tokens=known.cache_write_1h,
        reasoning_tokens=known.reasoning,
        audio_input_tokens=known.audio_input,
        audio_output_tokens=known.audio_output,
        source=source,
        first_byte_ms=_ms(attempt.first_byte_at, attempt.started_at),
        model_served=reading.model,
    )


def _ms(at: float | None, since: float) -> int | None:
    return None if at is None else int((at - since) * 1000)
