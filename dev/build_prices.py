"""Derives `src/gproxy/ledger/price_data.json` from the `genai-prices` package in the locked environment.

    python dev/build_prices.py            write the file
    python dev/build_prices.py --check    exit 1 when it is not what the locked version gives

The output depends on the package's version alone, never on the day it is built: all dated prices are kept, and
`ledger.price_data` takes those in force. What a rate card cannot say (prices per page, second, character or
search; batch jobs) is left out; a model with no other price is left out whole. See docs/decisions/0003.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import sys
from decimal import ROUND_HALF_UP, Decimal
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from genai_prices import types as source
from genai_prices.data import providers

from gproxy.ledger.pricing import UNLIMITED_TOKENS, Prices, RateCard, Tier

TARGET = Path(__file__).resolve().parents[1] / "src/gproxy/ledger/price_data.json"

# The source's price keys a rate card has a home for. Cached audio and cached images are not here: a vendor's
# usage does not tell them apart, so they are billed at the plain cache price.
KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_5m_mtok": "cache_write_5m",
    "cache_write_1h_mtok": "cache_write_1h",
    "input_audio_mtok": "audio_input",
    "output_audio_mtok": "audio_output",
    "input_image_mtok": "image_input",
    "output_image_mtok": "image_output",
    "output_reasoning_mtok": "reasoning",
}
FLEX = ({"service_tier": "flex"},)
PRIORITY = ({"service_tier": "priority"}, {"service_tier": "fast"}, {"speed": "fast"})
BEGINNING = dt.date(1970, 1, 1)
NOT_SPEECH = r"^(?!.*-[tT][tT][sS](?:$|-))"


def main() -> int:
    text = render()
    if "--check" in sys.argv[1:]:
        if not TARGET.exists() or TARGET.read_text() != text:
            print("price_data.json is stale: run python dev/build_prices.py", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text)
    print(f"{TARGET.name}: {len(text):,} bytes")
    return 0


def render() -> str:
    """One model a line, so that an update can be read as a difference."""
    blocks = []
    for provider in providers:
        lines = [json.dumps(row, separators=(",", ":")) for row in map(model_row, provider.models) if row]
        fallback = json.dumps(provider.fallback_model_providers or [])
        blocks.append(f'"{provider.id}":{{"fallback":{fallback},"models":[\n' + ",\n".join(lines) + "\n]}")
    head = json.dumps(f"genai-prices {version('genai-prices')}")
    return f'{{"source":{head},"vendors":{{\n' + ",\n".join(blocks) + "\n}}\n"


def model_row(model: source.ModelInfo) -> list[Any] | None:
    """[id, ways to match, [[first day, card], …]]; the days ascend, the first is "" (always)."""
    dated: list[list[Any]] = []
    for day in boundaries(model):
        card = card_on(model, day)
        if not dated or dated[-1][1] != card:
            dated.append(["" if day == BEGINNING else day.isoformat(), card])
    if all(not RateCard.from_plain(card).priced for _, card in dated):
        return None
    return [model.id, match_rows(model.match), dated]


def boundaries(model: source.ModelInfo) -> list[dt.date]:
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [c.constraint for c in conditional] + [v.constraint for v in model.price_variants or ()]
    dates = {c.start_date for c in constraints if isinstance(c, source.StartDateConstraint)}
    return [BEGINNING, *sorted(dates)]


def card_on(model: source.ModelInfo, day: dt.date) -> list[Any]:
    plain = prices_on(model, day, None)
    variants = [
        next((p for w in way if (p := prices_on(model, day, w)) != plain), Prices()) for way in (FLEX, PRIORITY)
    ]
    return RateCard.of(plain, flex=variants[0], priority=variants[1]).plain()


def prices_on(model: source.ModelInfo, day: dt.date, context: dict[str, str] | None) -> Prices:
    """Where the price depends on the hour, the dearest hour's: a card holds all day, and a budget must too."""
    start = dt.datetime.combine(day, dt.time(), dt.UTC)
    conditional = model.prices if isinstance(model.prices, list) else []
    constraints = [c.constraint for c in conditional] + [v.constraint for v in model.price_variants or ()]
    hourly = any(isinstance(c, source.TimeOfDateConstraint) for c in constraints)
    moments = [start + dt.timedelta(minutes=30 * n) for n in range(48 if hourly else 1)]
    return max((prices_of(model.get_prices(moment, context)) for moment in moments), key=dearness)


def dearness(prices: Prices) -> int:
    return (prices.each_call or 0) + sum(sum(tier.dearest()) for tier in prices.tiers)


def prices_of(price: source.ModelPrice) -> Prices:
    given = {KEYS[k]: v for k, v in vars(price).items() if k in KEYS and v is not None}
    starts = sorted({t.start for v in given.values() if isinstance(v, source.TieredPrices) for t in v.tiers})
    tiers = []
    for begin, up_to in zip([0, *starts], [*starts, UNLIMITED_TOKENS], strict=True):
        tiers.append(Tier(up_to, **{name: nano(at(value, begin)) for name, value in given.items()}))
    per_thousand = price.requests_kcount
    each_call = None if per_thousand is None else nano(at(per_thousand, 0) / 1000)
    return Prices(each_call, tuple(tiers) if given else ())


def at(value: Decimal | source.TieredPrices, begin: int) -> Decimal:
    """The price of the tier that starts at `begin`."""
    if isinstance(value, Decimal):
        return value
    found = value.base
    for tier in value.tiers:
        if begin >= tier.start:
            found = tier.price
    return found


def nano(usd: Decimal) -> int:
    return int(usd.scaleb(9).quantize(Decimal(1), ROUND_HALF_UP))


def match_rows(clause: Any) -> list[Any]:
    """Alternatives; each a plain string (equal) or a list of [operator, text] that must all hold."""
    return [way[0][1] if len(way) == 1 and way[0][0] == "=" else [list(atom) for atom in way] for way in ways(clause)]


def ways(clause: Any) -> list[list[tuple[str, str]]]:
    match clause:
        case source.ClauseEquals(equals=text):
            return [[("=", text.lower())]]
        case source.ClauseStartsWith(starts_with=text):
            return [[("^", text.lower())]]
        case source.ClauseEndsWith(ends_with=text):
            return [[("$", text.lower())]]
        case source.ClauseContains(contains=text):
            return [[("*", text.lower())]]
        case source.ClauseOr(or_=parts):
            return [way for part in parts for way in ways(part)]
        case source.ClauseAnd(and_=parts):
            return [[atom for way in combination for atom in way] for combination in product(*map(ways, parts))]
        case source.ClauseRegex(regex=pattern):
            return regex_ways(pattern)
        case _:
            raise TypeError(f"unknown clause {clause!r}")


def regex_ways(pattern: str) -> list[list[tuple[str, str]]]:
    """The few shapes the source uses, as digit templates (`#` is any digit); anything else stops the build."""
    if pattern == NOT_SPEECH:
        return [[("!*", "-tts-"), ("!$", "-tts")]]
    if not pattern.startswith("^"):
        raise ValueError(f"unknown pattern {pattern!r}")
    exact = pattern.endswith("$")
    body = pattern[1:-1] if exact else pattern[1:]
    return [[("#" if exact else "#^", text)] for text in templates(body)]


TOKEN = re.compile(r"\\d(?:\{(\d+)\})?|\\(.)|\[([^\]]+)\]|\(([^()]*)\)\?|([A-Za-z0-9/_.:@=-])")


def templates(body: str) -> list[str]:
    found, position = [""], 0
    while position < len(body):
        token = TOKEN.match(body, position)
        if token is None or token[5] == ".":
            raise ValueError(f"unknown pattern {body!r}")
        position = token.end()
        if token[2]:
            choices = [token[2]]
        elif token[3]:
            choices = list(token[3])
        elif token[4] is not None:
            choices = ["", *templates(token[4])]
        elif token[5]:
            choices = [token[5]]
        else:
            choices = ["#" * int(token[1] or 1)]
        found = [head + tail for head in found for tail in choices]
    return found


if __name__ == "__main__":
    sys.exit(main())
