"""Write docs/pricing.md: worked examples of what a call costs, computed by the code that bills. `--check` compares."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from gproxy.canonical.usage import Usage
from gproxy.ledger.pricing import RateCard

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pricing.md"


@dataclass(frozen=True, slots=True)
class Example:
    """One sum, done by hand; `nano` is what the code has to find."""

    title: str
    price: dict[str, object]
    usage: Usage
    nano: int
    sum: str
    service_tier: str | None = None


_TIERS: list[dict[str, object]] = [
    {"input_tokens_up_to": 200_000, "price_input_tokens": 1, "price_output_tokens": 10},
    {"price_input_tokens": 2, "price_output_tokens": 15},
]
_FLEX: dict[str, object] = {
    "price": {"input": 2, "output": 8},
    "flex_price_tiers": [{"price_input_tokens": 1, "price_output_tokens": 4}],
}

EXAMPLES = (
    Example(
        "Cache reads and writes",
        {"price": {"input": 3, "output": 15, "cache_read": 0.3, "cache_write_5m": 3.75, "cache_write_1h": 6}},
        Usage(input=100, output=50, cache_read=1000, cache_write_5m=200, cache_write_1h=10),
        2_160_000,
        "100 x 3 + 50 x 15 + 1000 x 0.3 + 200 x 3.75 + 10 x 6 = 2160",
    ),
    Example(
        "A cache read without a price of its own",
        {"price": {"input": 3, "output": 15}},
        Usage(input=10, cache_read=90),
        300_000,
        "(10 + 90) x 3 = 300",
    ),
    Example(
        "The whole prompt chooses the context tier",
        {"price_tiers": _TIERS},
        Usage(input=200_000, cache_read=1, output=10),
        400_152_000,
        "200001 x 2 + 10 x 15 = 400152",
    ),
    Example(
        "At the bound, still the lower tier",
        {"price_tiers": _TIERS},
        Usage(input=200_000, output=10),
        200_100_000,
        "200000 x 1 + 10 x 10 = 200100",
    ),
    Example("Service tier", _FLEX, Usage(input=100, output=10), 140_000, "100 x 1 + 10 x 4 = 140", "flex"),
    Example("A service tier nobody knows", _FLEX, Usage(input=100, output=10), 280_000, "100 x 2 + 10 x 8 = 280", "x"),
    Example(
        "Audio is part of input and output",
        {"price": {"input": 2, "output": 8, "audio_input": 40, "audio_output": 80}},
        Usage(input=100, audio_input=60, output=20, audio_output=5),
        3_000_000,
        "40 x 2 + 60 x 40 + 15 x 8 + 5 x 80 = 3000",
    ),
    Example(
        "Per call",
        {"price": {"each_call": 0.01, "input": 1}},
        Usage(input=100),
        10_100_000,
        "10000 for the call + 100 x 1 = 10100",
    ),
    Example("Unpriced", {}, Usage(input=100, output=100), 0, "no price: 0, and the row says `unpriced`"),
    Example("Half a nano-USD rounds up", {"price": {"input": 0.0005}}, Usage(input=1), 1, "0.0005 (0.5 nano-USD)"),
)


def page() -> str:
    """The page as text."""
    out = [
        "# What a call costs\n",
        "<!-- Written by dev/gen_pricing.py; edit that. -->\n",
        "Prices are USD per million tokens, so tokens x price is millionths of a USD. The sum is exact and is rounded",
        "once, half up, to nano-USD. An alias's own prices come first, then its model's, then the bundled ones.",
    ]
    for each in EXAMPLES:
        tier = f", service tier `{each.service_tier}`" if each.service_tier else ""
        out += ["", f"## {each.title}", "", f"Price: `{each.price}`{tier}", ""]
        out += [f"Sum, in millionths of a USD: {each.sum}", "", f"Cost: **{each.nano:,} nano-USD**"]
    return "\n".join(out) + "\n"


def wrong() -> list[str]:
    """Titles of the examples for which the code finds another cost."""
    return [e.title for e in EXAMPLES if RateCard.from_fields(e.price).cost(e.usage, e.service_tier) != e.nano]


def main() -> int:
    """Write the page, or compare it."""
    if found := wrong():
        sys.stderr.write(f"the code finds another cost: {', '.join(found)}\n")
        return 1
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        sys.stderr.write("docs/pricing.md is stale: run dev/gen_pricing.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
