"""Bundled list prices by vendor and model id, as shipped in `price_data.json`.

Derived from the MIT-licensed `genai-prices` data (see docs/decisions/0003-bundled-prices.md) by
`dev/build_prices.py`; never fetched. Read when first asked for, one vendor at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec

from gproxy.clock import SystemClock
from gproxy.ledger.pricing import RateCard

Match = Callable[[str, str], bool]


class _Vendor(msgspec.Struct):
    fallback: list[str]
    models: list[tuple[str, list[str | list[tuple[str, str]]], list[tuple[str, list[Any]]]]]


class _File(msgspec.Struct):
    source: str
    vendors: dict[str, msgspec.Raw]


_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def lookup(vendor_id: str, model_id: str, *, at_us: int | None = None) -> RateCard | None:
    """The list prices of a vendor's model at a moment (microseconds since the epoch; None = now), if known.

    `vendor_id` is the source's (`vendors()` lists them). Model ids match without regard to case, by the source's
    rules: the first model that fits, then the vendors whose models this one resells, then once more with a compact
    date (`-20251211`) written with dashes.
    """
    wanted = model_id.lower()
    found = _find(vendor_id.lower(), wanted)
    if found is None:
        dashed = _COMPACT_DATE.sub(r"-\1-\2-\3", wanted)
        found = _find(vendor_id.lower(), dashed) if dashed != wanted else None
    if found is None:
        return None
    card = RateCard.from_plain(_in_force(found, SystemClock.now_us() if at_us is None else at_us))
    return card if card.priced else None


def vendors() -> tuple[str, ...]:
    """The vendor ids that have prices."""
    return tuple(_file().vendors)


def source() -> str:
    """Name and version of the data the prices were derived from."""
    return _file().source


@cache
def _file() -> _File:
    return msgspec.json.decode(Path(__file__).with_name("price_data.json").read_bytes(), type=_File)


@cache
def _vendor(vendor_id: str) -> _Vendor | None:
    raw = _file().vendors.get(vendor_id)
    return None if raw is None else msgspec.json.decode(raw, type=_Vendor)


def _find(vendor_id: str, model_id: str) -> list[tuple[str, list[Any]]] | None:
    for vendor in _family(vendor_id):
        for _, ways, dated in vendor.models:
            for way in ways:
                if way == model_id if isinstance(way, str) else all(_HOLDS[op](model_id, text) for op, text in way):
                    return dated
    return None


def _family(vendor_id: str) -> Iterator[_Vendor]:
    vendor = _vendor(vendor_id)
    if vendor is not None:
        yield vendor
        for other in vendor.fallback:
            found = _vendor(other)
            if found is not None:
                yield found


def _in_force(dated: list[tuple[str, list[Any]]], at_us: int) -> list[Any]:
    """The last card whose first day has come, in UTC; before all of them, the first."""
    today = _day(at_us)
    chosen = dated[0][1]
    for first_day, card in dated:
        if first_day <= today:
            chosen = card
    return chosen


def _day(at_us: int) -> str:
    """The UTC day as YYYY-MM-DD (civil-from-days; no datetime import on the lookup path)."""
    days = at_us // 86_400_000_000 + 719_468
    era, day_of_era = divmod(days, 146_097)
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month + 2) // 5 + 1
    month += 3 if month < 10 else -9
    return f"{year + era * 400 + (month <= 2):04d}-{month:02d}-{day:02d}"


def _template(text: str, template: str) -> bool:
    return len(text) == len(template) and _template_prefix(text, template)


def _template_prefix(text: str, template: str) -> bool:
    """`#` stands for one ASCII digit; every other character for itself."""
    return len(text) >= len(template) and all(
        want == have or (want == "#" and have in "0123456789") for want, have in zip(template, text, strict=False)
    )


_HOLDS: Final[dict[str, Match]] = {
    "=": lambda text, part: text == part,
    "^": str.startswith,
    "$": str.endswith,
    "*": str.__contains__,
    "!*": lambda text, part: part not in text,
    "!$": lambda text, part: not text.endswith(part),
    "#": _template,
    "#^": _template_prefix,
}
