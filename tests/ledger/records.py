"""Attempts to put into journals, and a hand-wound clock."""

from __future__ import annotations

from gproxy.canonical.usage import Source
from gproxy.ids import new_id
from gproxy.ledger.pricing import RateCard
from gproxy.ledger.record import Closed, Opened, Outcome, Progress

CARD = RateCard.from_fields({"price": {"input": 1, "output": 2}})


class HandClock:
    """Moves when told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def now_us(self) -> int:
        return int(self.now * 1_000_000)


def opened(attempt_id: str | None = None, **changes: object) -> Opened:
    values: dict[str, object] = {
        "attempt_id": attempt_id or new_id(),
        "request_id": "0190-request",
        "at": 1_700_000_000_000_000,
        "user_id": "user-1",
        "user_name": "alice",
        "key_id": "key-1",
        "provider_name": "openai-main",
        "credential_id": "cred-1",
        "channel": "openai",
        "dialect_in": "openai_chat",
        "dialect_out": "openai_chat",
        "operation": "generate",
        "model_asked": "fast",
        "model_upstream": "gpt-4.1-mini",
        "route_name": None,
        "attempt_no": 1,
        "streamed": True,
        "price_version": CARD.version,
        "rates": CARD.packed(),
        "reserved_nano_usd": 1_000_000,
    }
    return Opened(**{**values, **changes})  # type: ignore[arg-type]


def progress(attempt_id: str, **changes: object) -> Progress:
    values: dict[str, object] = {
        "attempt_id": attempt_id,
        "at": 1_700_000_001_500_000,
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": None,
        "cache_write_5m_tokens": None,
        "cache_write_1h_tokens": None,
        "reasoning_tokens": None,
        "audio_input_tokens": None,
        "audio_output_tokens": None,
        "source": Source.REPORTED,
        "first_byte_ms": 7,
        "model_served": "gpt-4.1-mini-2025-04-14",
    }
    return Progress(**{**values, **changes})  # type: ignore[arg-type]


def closed(attempt_id: str, **changes: object) -> Closed:
    values: dict[str, object] = {
        "attempt_id": attempt_id,
        "at": 1_700_000_002_000_000,
        "model_served": "gpt-4.1-mini-2025-04-14",
        "input_tokens": 100,
        "output_tokens": 200,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": None,
        "cache_write_1h_tokens": None,
        "reasoning_tokens": None,
        "audio_tokens": None,
        "cost_nano_usd": 500_000,
        "source": Source.REPORTED,
        "outcome": Outcome.COMPLETE,
        "status": 200,
        "first_byte_ms": 7,
        "total_ms": 2000,
    }
    return Closed(**{**values, **changes})  # type: ignore[arg-type]
