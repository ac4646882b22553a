"""Usage rows as a team makes them over weeks: for benchmarks of reading, and for pictures. Not for tests.

Every run with the same seed gives the same rows. They land through the ledger's own writer, so that budgets, totals
and latencies are what they would have become.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final
from uuid import UUID

from gproxy.ledger.record import Outcome, UsageRow
from gproxy.storage.engine import connect
from gproxy.storage.usage import SqlLedger

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
_BATCH: Final = 2000


@dataclass(frozen=True, slots=True)
class Offer:
    """A model somewhere: how often it is chosen, how fast it is (ms), what a token costs (nano-USD)."""

    provider: str
    channel: str
    dialect: str
    model: str
    share: int
    first_ms: int
    per_token_ms: float
    input_nano: int
    output_nano: int


OFFERS: Final = (
    Offer("openai-main", "openai", "openai_chat", "gpt-4.1-mini", 46, 380, 9, 400, 1600),
    Offer("openai-main", "openai", "openai_responses", "gpt-4.1", 14, 620, 16, 2000, 8000),
    Offer("anthropic", "anthropic", "anthropic_messages", "claude-sonnet-4-5", 22, 900, 14, 3000, 15000),
    Offer("google", "aistudio", "gemini", "gemini-2.5-flash", 12, 300, 5, 300, 2500),
    Offer("in-house", "vllm", "openai_chat", "qwen3-32b", 6, 150, 22, 0, 0),
)


def rows(
    count: int, days: int, until: int, people: Sequence[tuple[str, str]], offers: Sequence[Offer] = OFFERS
) -> Iterator[UsageRow]:
    """So many rows over so many days before `until` (microseconds), oldest first. `people` are (id, name)."""
    dice = random.Random(8)  # noqa: S311 - the same rows every time is what is wanted
    shares = [offer.share for offer in offers]
    weights = [1 / (place + 1) for place in range(len(people))]
    hours = days * 24
    begin = until - hours * HOUR_US
    # People work by day and rest at weekends; and there is a little more of it each week.
    load = [
        (1.2 + math.sin((hour % 24 - 9) / 24 * 2 * math.pi))
        * (0.35 if hour // 24 % 7 in {5, 6} else 1.0)
        * (1 + hour / hours)
        for hour in range(hours)
    ]
    whole = sum(load)
    made = 0
    for hour, busy in enumerate(accumulate(load)):
        wanted = round(count * busy / whole)
        for moment in sorted(dice.randrange(HOUR_US) for _ in range(wanted - made)):
            offer = dice.choices(offers, shares)[0]
            user_id, name = dice.choices(people, weights)[0]
            yield _row(dice, begin + hour * HOUR_US + moment, offer, user_id, name)
        made = max(made, wanted)


def _row(dice: random.Random, at: int, offer: Offer, user_id: str, name: str) -> UsageRow:
    given, brought = int(dice.lognormvariate(6.6, 1.1)) + 8, int(dice.lognormvariate(5.2, 0.9)) + 1
    cached = int(given * dice.random() * 0.8) if dice.random() < 0.4 else 0
    fails = dice.random() < 0.02
    first = int(offer.first_ms * dice.lognormvariate(0, 0.45))
    return UsageRow(
        attempt_id=str(UUID(int=dice.getrandbits(128), version=4)),
        request_id=str(UUID(int=dice.getrandbits(128), version=4)),
        at=at,
        user_id=user_id,
        user_name=name,
        key_id=user_id,
        provider_name=offer.provider,
        credential_id=f"{offer.provider}-1",
        channel=offer.channel,
        dialect_in=dice.choice(("openai_chat", "anthropic_messages", offer.dialect)),
        dialect_out=offer.dialect,
        operation="stream" if dice.random() < 0.7 else "generate",
        model_asked=offer.model,
        model_served=offer.model,
        route_name=None,
        input_tokens=None if fails else given - cached,
        output_tokens=None if fails else brought,
        cache_read_tokens=None if fails else cached,
        cache_write_5m_tokens=None,
        cache_write_1h_tokens=None,
        reasoning_tokens=None,
        audio_tokens=None,
        cost_nano_usd=0 if fails else given * offer.input_nano + brought * offer.output_nano,
        price_version="1",
        source="reported",
        outcome=Outcome.FAILED if fails else Outcome.COMPLETE,
        status=503 if fails else 200,
        attempt_no=1,
        first_byte_ms=None if fails else first,
        total_ms=first if fails else first + int(brought * offer.per_token_ms),
        streamed=True,
        excess_nano_usd=0,
    )


async def land(dsn: str, made: Iterator[UsageRow]) -> int:
    """Write rows into a database that is there already; how many."""
    db = await connect(dsn)
    landed = 0
    try:
        ledger = SqlLedger(db)
        batch: list[UsageRow] = []
        for row in made:
            batch.append(row)
            if len(batch) == _BATCH:
                await ledger.insert_usages(batch, None)
                landed += len(batch)
                batch = []
        if batch:
            await ledger.insert_usages(batch, None)
            landed += len(batch)
    finally:
        await db.close()
    return landed
