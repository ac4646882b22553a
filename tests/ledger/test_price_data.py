"""The bundled prices say what their source says, and are found the way the source finds them."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gproxy.canonical.usage import Usage
from gproxy.ledger import price_data
from gproxy.ledger.price_data import lookup
from gproxy.ledger.pricing import RateCard

ROOT = Path(__file__).resolve().parents[2]


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1_000_000)


AUTUMN = at("2026-11-20T12:00:00")


@pytest.mark.parametrize(
    ("vendor", "model", "fields"),
    [
        ("openai", "gpt-4.1-mini", (0.4, 1.6, 0.1)),
        ("openai", "GPT-4.1-Mini", (0.4, 1.6, 0.1)),
        ("OpenAI", "gpt-4.1-mini-2025-04-14", (0.4, 1.6, 0.1)),
        ("openrouter", "openai/gpt-4.1-mini", (0.4, 1.6, 0.1)),
        ("anthropic", "claude-3-5-sonnet-20241022", (3, 15, 0.3)),
        ("azure", "claude-opus-4-5", (5, 25, 0.5)),
        ("openai", "gpt-6-astra-20261001", (10, 50, 1)),
        ("anthropic", "claude-fable-5-20260901", (10, 50, 1)),
    ],
)
def test_lookup(vendor: Any, model: Any, fields: Any) -> None:
    card = lookup(vendor, model, at_us=AUTUMN)
    assert card is not None
    first = card.default.tiers[0]
    assert (first.input, first.output, first.cache_read) == tuple(int(Decimal(str(usd)) * 10**9) for usd in fields)


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("openai", "no-such-model"),
        ("no-such-vendor", "gpt-4.1"),
        ("openai", ""),
        ("openai", "tts-1"),  # priced per character: a rate card cannot say that
        ("mistral", "mistral-ocr-2503"),  # per page
        ("openai", "gpt-6-astra-2026-1-1"),
    ],
)
def test_unknown_is_none(vendor: Any, model: Any) -> None:
    assert lookup(vendor, model, at_us=AUTUMN) is None


def test_tiers_and_service_tiers() -> None:
    card = lookup("google", "gemini-2.5-pro", at_us=AUTUMN)
    assert card is not None
    assert [(t.up_to, t.input) for t in card.default.tiers] == [(200_000, 1_250_000_000), (100_000_000, 2_500_000_000)]
    mini = lookup("openai", "gpt-4.1-mini", at_us=AUTUMN)
    assert mini is not None
    assert mini.cost(Usage(input=10), "priority") == 7000
    assert mini.cost(Usage(input=10), "default") == 4000


def test_prices_in_force_by_date() -> None:
    before = lookup("google", "gemini-4-argon", at_us=at("2026-11-30T23:59:59"))
    after = lookup("google", "gemini-4-argon", at_us=at("2026-12-01T00:00:00"))
    assert before is not None
    assert after is not None
    assert after.default.tiers[0].input == 4_000_000_000
    assert before.version != after.version


def test_where_the_hour_decides_the_dearest_holds() -> None:
    card = lookup("deepseek", "deepseek-v4-pro", at_us=at("2026-11-20T20:00:00"))
    assert card is not None
    assert card.default.tiers[0].input == 1_320_000_000


def test_audio_and_per_call_prices_are_carried() -> None:
    live = lookup("google", "gemini-live-2.5-flash", at_us=AUTUMN)
    assert live is not None
    assert live.default.tiers[0].audio_input == 3_000_000_000
    sonar = lookup("perplexity", "sonar", at_us=AUTUMN)
    assert sonar is not None
    assert sonar.default.each_call == 12_000_000


def test_now_is_the_default_moment() -> None:
    assert lookup("openai", "gpt-4.1-mini") is not None


def test_every_shipped_card_is_readable() -> None:
    seen = 0
    for vendor in price_data.vendors():
        found = price_data._vendor(vendor)
        assert found is not None
        for _, ways, dated in found.models:
            assert ways
            assert [first for first, _ in dated] == sorted(first for first, _ in dated)
            for _, card in dated:
                assert RateCard.from_plain(card).plain() == card
                seen += 1
    assert seen > 2000
    assert price_data.source().startswith("genai-prices ")


def test_days() -> None:
    for text in ("1970-01-01", "2000-02-29", "2026-11-24", "2100-03-01", "2400-12-31", "1999-12-31"):
        assert price_data._day(at(f"{text}T00:00:00")) == text
        assert price_data._day(at(f"{text}T23:59:59")) == text


def test_same_price_as_the_source_for_every_model_of_every_vendor() -> None:
    """The judge is the source's own arithmetic, in a process of its own: importing it is slow and warns."""
    script = Path(__file__).with_name("price_source.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_file_is_what_the_locked_source_gives() -> None:
    done = subprocess.run(
        [sys.executable, "dev/build_prices.py", "--check"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
