"""Usage rows for tests: everything has a value, and the test names what matters to it."""

from __future__ import annotations

from typing import Any

from gproxy.ids import new_id
from gproxy.ledger.record import UsageRow


def usage_row(**given: Any) -> UsageRow:
    fields: dict[str, Any] = {
        "attempt_id": new_id(),
        "request_id": new_id(),
        "at": 1_764_000_000_000_000,
        "user_id": "user-1",
        "user_name": "alice",
        "key_id": "key-1",
        "provider_name": "openai-main",
        "credential_id": "credential-1",
        "channel": "openai",
        "dialect_in": "openai_chat",
        "dialect_out": "openai_chat",
        "operation": "generate",
        "model_asked": "gpt-4.1-mini",
        "model_served": "gpt-4.1-mini",
        "route_name": None,
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": None,
        "cache_write_5m_tokens": 1,
        "cache_write_1h_tokens": 2,
        "reasoning_tokens": 5,
        "audio_tokens": None,
        "cost_nano_usd": 1_000,
        "price_version": "abc",
        "source": "reported",
        "outcome": "complete",
        "status": 200,
        "attempt_no": 1,
        "first_byte_ms": 12,
        "total_ms": 40,
        "streamed": False,
        "excess_nano_usd": 0,
    }
    return UsageRow(**{**fields, **given})
