"""Compares `lookup` with the package the prices were derived from, model by model. Run by test_price_data."""

from __future__ import annotations

import datetime as dt
import sys
import warnings
from decimal import Decimal
from typing import Any

from genai_prices import Usage as TheirUsage
from genai_prices.data import providers

from gproxy.canonical.usage import Usage
from gproxy.ledger.price_data import lookup

MOMENTS = [dt.datetime(2025, 6, 1, 9, tzinfo=dt.UTC), dt.datetime(2026, 11, 20, 2, tzinfo=dt.UTC)]
USAGES = [
    (1_000, 500, 0, 0),
    (150_001, 2_345, 7_000, 0),
    (3, 1, 260_000, 5_000),
    (1_000_000, 10_000, 1_000, 1_000),
]
TOKEN_KEYS = {
    "input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "cache_write_5m_mtok", "cache_write_1h_mtok",
}  # fmt: skip
OTHER_TOKENS = ("audio", "image", "video", "reasoning", "citation", "text")


def main() -> int:
    warnings.simplefilter("ignore")
    compared = wrong = 0
    for provider in providers:
        for model in provider.models:
            for moment in MOMENTS:
                theirs = model.get_prices(moment)
                if any(part in key for key in vars(theirs) for part in OTHER_TOKENS) or hourly(model):
                    continue
                if not TOKEN_KEYS & {key for key, value in vars(theirs).items() if value is not None}:
                    continue
                reference = reference_of(provider, model)
                if reference is None:
                    continue
                card = lookup(provider.id, reference, at_us=int(moment.timestamp() * 1_000_000))
                for fresh, output, read, written in USAGES:
                    usage = TheirUsage(
                        input_tokens=fresh + read + written, output_tokens=output, cache_read_tokens=read,
                        cache_write_tokens=written,
                    )  # fmt: skip
                    want = theirs.calc_price(usage)["total_price"]
                    ours = Usage(input=fresh, output=output, cache_read=read, cache_write_5m=written)
                    got = None if card is None else Decimal(card.cost(ours)).scaleb(-9)
                    compared += 1
                    # Prices in the source with more than nine decimals are rounded to nine in ours.
                    if got is None or abs(got - want) > Decimal("0.000000002") + Decimal(10) ** -15 * (fresh + written):
                        wrong += 1
                        print(provider.id, reference, moment.date(), (fresh, output, read, written), want, got)
    print(f"{compared} compared, {wrong} wrong")
    return 1 if wrong or compared < 10_000 else 0


def hourly(model: Any) -> Any:
    conditional = model.prices if isinstance(model.prices, list) else []
    return any(type(entry.constraint).__name__ == "TimeOfDateConstraint" for entry in conditional)


def reference_of(provider: Any, model: Any) -> Any:
    """A name by which the source finds exactly this model."""
    found = provider.find_model(model.id, all_providers=providers)
    return model.id if found is model else None


if __name__ == "__main__":
    sys.exit(main())
