"""Rate card + usage → integer nano-USD. Pure arithmetic; no clock, no files, no floats.

Unit prices are integers: nano-USD per 1,000,000 tokens. A cost is the exact sum of tokens x unit price over all
kinds of tokens, divided once by 1,000,000 and rounded half up once. So the order in which tokens are counted
cannot matter, and two ledgers that saw the same usage agree to the nano-USD.

Rules that are easy to get wrong, and how they are settled here:

* The tier is chosen by the whole prompt (input, cache reads and cache writes together) and then holds for every
  token of the call: the first tier whose bound is not below the prompt, else the last.
* Cached tokens are billed once: `Usage.input` excludes them.
* A missing cache price falls back to a price that is there (1 h write → combined write → 5 min write → input;
  5 min write → combined write → input; read → input). A gap in a price table must never make tokens free.
* Audio and reasoning tokens are parts of input or output: each takes its own price when there is one, else the
  price of the whole it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

import msgspec

from gproxy.canonical.usage import Usage

UNPRICED: Final = "unpriced"
"""The price version of a row that had no price."""

NANO: Final = 1_000_000_000
MAX_USD: Final = Decimal(1_000_000)
"""Above this, per million tokens or per call, a price is a typing error (a price per token in the wrong unit)."""

UNLIMITED_TOKENS: Final = 100_000_000
"""The bound of a last tier in shipped tables; stays exact in every JSON reader."""

_PER: Final = 1_000_000


class PriceError(ValueError):
    """A price field is not acceptable. `field` is its path (`price_tiers[1].price_input_tokens`)."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field
        self.text = text


@dataclass(frozen=True, slots=True)
class Tier:
    """Unit prices for prompts of up to `up_to` tokens, in nano-USD per 1,000,000 tokens; None = not given.

    The order of the fields is the order on disk (`RateCard.packed`): append, never reorder.
    """

    up_to: int
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_input: int | None = None
    """Kept, exported and shown; applied once a vendor's usage tells image tokens apart (`Usage` does not)."""
    image_output: int | None = None
    reasoning: int | None = None

    def exact(self, usage: Usage) -> int:
        """The token cost in nano-USD x 1,000,000: an exact integer, not yet rounded."""
        plain, out = self.input or 0, self.output or 0
        fresh, said = _count(usage.input), _count(usage.output)
        cost = fresh * plain + said * out
        # Every kind of token with a price of its own; most answers have hardly any of them.
        if usage.cache_read:
            cost += _count(usage.cache_read) * _first(self.cache_read, plain)
        if usage.cache_write_5m or usage.cache_write_1h:
            written = _first(self.cache_write, plain)
            cost += _count(usage.cache_write_5m) * _first(self.cache_write_5m, written)
            cost += _count(usage.cache_write_1h) * self._hour(written)
        if usage.audio_input:
            cost += min(_count(usage.audio_input), fresh) * (_first(self.audio_input, plain) - plain)
        voiced = 0
        if usage.audio_output:
            voiced = min(_count(usage.audio_output), said)
            cost += voiced * (_first(self.audio_output, out) - out)
        if usage.reasoning:
            cost += min(_count(usage.reasoning), said - voiced) * (_first(self.reasoning, out) - out)
        return cost

    def dearest(self) -> tuple[int, int]:
        """The highest unit price a prompt token and an output token can have in this tier."""
        plain, out = self.input or 0, self.output or 0
        written = _first(self.cache_write, plain)
        prompt = max(
            plain,
            _first(self.audio_input, plain),
            _first(self.cache_read, plain),
            _first(self.cache_write_5m, written),
            self._hour(written),
        )
        return prompt, max(out, _first(self.audio_output, out), _first(self.reasoning, out))

    def _hour(self, written: int) -> int:
        if self.cache_write_1h is not None:
            return self.cache_write_1h
        return max(written, _first(self.cache_write_5m, written))


@dataclass(frozen=True, slots=True)
class Prices:
    """What one service tier costs: nano-USD per call, and tiers in ascending order of their bound."""

    each_call: int | None = None
    tiers: tuple[Tier, ...] = ()


_NOTHING: Final = Prices()

_TIER_FIELDS: Final[dict[str, str]] = {
    "price_input_tokens": "input",
    "price_output_tokens": "output",
    "price_cache_read_input_tokens": "cache_read",
    "price_cache_creation_input_tokens": "cache_write",
    "price_cache_creation_input_tokens_5min": "cache_write_5m",
    "price_cache_creation_input_tokens_1h": "cache_write_1h",
    "price_audio_input_tokens": "audio_input",
    "price_audio_output_tokens": "audio_output",
    "price_image_input_tokens": "image_input",
    "price_image_output_tokens": "image_output",
    "price_reasoning_tokens": "reasoning",
}
_SHORT_FIELDS: Final[dict[str, str]] = {
    "input": "input",
    "output": "output",
    "cache_read": "cache_read",
    "cache_write": "cache_write",
    "cache_write_5m": "cache_write_5m",
    "cache_write_5min": "cache_write_5m",
    "cache_write_1h": "cache_write_1h",
    "audio_input": "audio_input",
    "audio_output": "audio_output",
    "image_input": "image_input",
    "image_output": "image_output",
    "reasoning": "reasoning",
}
_SHORT_CALL: Final = "each_call"
_VARIANTS: Final = ("", "flex_", "scale_", "priority_")

PRICE_FIELDS: Final = frozenset(
    {"price", *(f"{v}price_each_call" for v in _VARIANTS), *(f"{v}price_tiers" for v in _VARIANTS)}
)
"""Every field of a model or alias that belongs to its price."""

# What vendors call the same thing. OpenAI's `fast` and Anthropic's `speed: fast` are priority by another name.
_SERVICE_TIERS: Final = {"flex": 1, "scale": 2, "priority": 3, "fast": 3}


@dataclass(frozen=True, slots=True)
class RateCard:
    """All prices of one model. Make it with `from_fields`, `unpack` or `of`.

    A card without any price costs 0 and has the version `unpriced`.
    """

    default: Prices
    flex: Prices
    scale: Prices
    priority: Prices
    version: str
    """A short hash of the content: equal cards have equal versions, on every machine."""
    packed_form: bytes = field(repr=False)
    """What `packed` returns; made once, because every attempt writes it."""

    @classmethod
    def of(
        cls, default: Prices, flex: Prices = _NOTHING, scale: Prices = _NOTHING, priority: Prices = _NOTHING
    ) -> RateCard:
        """A card from prices that are already in nano-USD."""
        plain = _plain((default, flex, scale, priority))
        packed = msgspec.msgpack.encode(plain)
        version = UNPRICED if plain == [[None, []]] else hashlib.blake2b(packed, digest_size=6).hexdigest()
        return cls(default, flex, scale, priority, version, packed)

    @classmethod
    def from_fields(cls, given: Mapping[str, object]) -> RateCard:
        """A card from the price fields of a seed file, an admin call or a stored row.

        Numbers are USD (per million tokens, or per call) and may be int, float, str or Decimal; a float means
        the decimal it prints as. None means not given. Raises `PriceError` naming the field: unknown field, not
        a number, negative, infinite, above 1,000,000 USD, or finer than 1e-9 USD.
        """
        for name in given:
            if name not in PRICE_FIELDS:
                raise PriceError(str(name), "unknown price field")
        prices = [_prices(prefix, given) for prefix in _VARIANTS]
        short = given.get("price")
        if short is not None:
            if prices[0] != _NOTHING:
                raise PriceError("price", "give either price or price_each_call/price_tiers, not both")
            prices[0] = _short(short)
        return cls.of(*prices)

    def to_fields(self) -> dict[str, object]:
        """The same card as fields that `from_fields` reads back without loss; names not given are left out.

        Numbers are int or float where that is exact, else str.
        """
        out: dict[str, object] = {}
        for prefix, prices in zip(_VARIANTS, self._all(), strict=True):
            if prices.each_call is not None:
                out[f"{prefix}price_each_call"] = _usd(prices.each_call)
            if prices.tiers:
                out[f"{prefix}price_tiers"] = [_tier_fields(tier) for tier in prices.tiers]
        return out

    def packed(self) -> bytes:
        """The card as bytes for the journal, so that a crash is priced as a clean end would have been."""
        return self.packed_form

    def plain(self) -> list[Any]:
        """The card as nested lists of integers, trailing gaps left off (the shape inside `packed`)."""
        return _plain(self._all())

    @classmethod
    def unpack(cls, packed: bytes) -> RateCard:
        """The card that `packed` made; empty bytes are a card without prices. Raises `PriceError`."""
        if not packed:
            return cls.of(_NOTHING)
        try:
            return cls.from_plain(_PLAIN.decode(packed))
        except msgspec.DecodeError as error:
            raise PriceError("rates", f"not a packed rate card: {error}") from error

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> RateCard:
        """The card whose `plain()` this is. Raises `PriceError` when it is none."""
        try:
            found = [Prices(call, tuple(Tier(*tier) for tier in tiers)) for call, tiers in plain]
            return cls.of(*found)
        except (TypeError, ValueError) as error:
            raise PriceError("rates", f"not a packed rate card: {error}") from error

    @property
    def priced(self) -> bool:
        """Whether there is any price at all (a price of zero is one)."""
        return self.version != UNPRICED

    def cost(self, usage: Usage, service_tier: str | None = None) -> int:
        """What the usage costs, in nano-USD. `service_tier` is the vendor's word; unknown ones mean default."""
        each_call, tiers = self._mode(service_tier)
        if not tiers:
            return each_call
        tier = tiers[0]
        if len(tiers) > 1:
            parts = (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h)
            tier = _reach(tiers, sum(map(_count, parts)))
        return each_call + (tier.exact(usage) + _PER // 2) // _PER

    def bound(self, input_tokens: int, output_tokens: int, service_tier: str | None = None) -> int:
        """The most that a call with at most so many prompt and output tokens can cost, in nano-USD.

        The dearest price of any kind of token in any tier such a prompt can reach, rounded up. `auto` lets the
        vendor choose the service tier, so it is the dearest of all of them.
        """
        if service_tier is not None and service_tier.lower() == "auto":
            return max(self.bound(input_tokens, output_tokens, tier) for tier in (None, "flex", "scale", "priority"))
        each_call, tiers = self._mode(service_tier)
        if not tiers:
            return each_call
        prompt, output = max(0, input_tokens), max(0, output_tokens)
        worst = 0
        for tier in tiers:
            dear_in, dear_out = tier.dearest()
            worst = max(worst, prompt * dear_in + output * dear_out)
            if prompt <= tier.up_to:
                break
        return each_call - (-worst // _PER)

    def _all(self) -> tuple[Prices, Prices, Prices, Prices]:
        return (self.default, self.flex, self.scale, self.priority)

    def _mode(self, service_tier: str | None) -> tuple[int, tuple[Tier, ...]]:
        """Price per call and tiers for a service tier; what it does not set, the default does."""
        at = 0 if service_tier is None else _SERVICE_TIERS.get(service_tier.lower(), 0)
        base = self.default
        if at:
            prices = self._all()[at]
            each = base.each_call if prices.each_call is None else prices.each_call
            return each or 0, prices.tiers or base.tiers
        return base.each_call or 0, base.tiers


_PLAIN: Final = msgspec.msgpack.Decoder(list[tuple[int | None, list[list[int | None]]]])


def _count(tokens: int | None) -> int:
    """Unknown counts as none; a vendor's negative figure must not pay money back."""
    return tokens if tokens is not None and tokens > 0 else 0


def _first(price: int | None, fallback: int) -> int:
    return fallback if price is None else price


def _reach(tiers: tuple[Tier, ...], prompt: int) -> Tier:
    for tier in tiers:
        if prompt <= tier.up_to:
            return tier
    return tiers[-1]


def _plain(prices: Sequence[Prices]) -> list[Any]:
    out: list[Any] = [[p.each_call, [_trim(tier) for tier in p.tiers]] for p in prices]
    while len(out) > 1 and out[-1] == [None, []]:
        out.pop()
    return out


def _trim(tier: Tier) -> list[int | None]:
    values: list[int | None] = [getattr(tier, field.name) for field in fields(tier)]
    while values[-1] is None:
        values.pop()
    return values


def _prices(prefix: str, given: Mapping[str, object]) -> Prices:
    call_name, tiers_name = f"{prefix}price_each_call", f"{prefix}price_tiers"
    each_call = _nano(call_name, given.get(call_name))
    rows = given.get(tiers_name)
    if rows is None:
        return Prices(each_call)
    if isinstance(rows, (str, bytes)) or not isinstance(rows, Sequence):
        raise PriceError(tiers_name, "must be a list of tiers")
    tiers = sorted(_tiers(tiers_name, rows), key=lambda tier: tier.up_to)
    for before, after in pairwise(tiers):
        if before.up_to == after.up_to:
            raise PriceError(tiers_name, f"two tiers have input_tokens_up_to = {after.up_to}")
    return Prices(each_call, tuple(tiers))


def _tiers(name: str, rows: Sequence[object]) -> Iterator[Tier]:
    for index, row in enumerate(rows):
        path = f"{name}[{index}]"
        if not isinstance(row, Mapping):
            raise PriceError(path, "must be a table of prices")
        up_to = UNLIMITED_TOKENS
        found: dict[str, int | None] = {}
        for key, value in row.items():
            if key == "input_tokens_up_to":
                up_to = _tokens(f"{path}.{key}", value)
            elif key in _TIER_FIELDS:
                found[_TIER_FIELDS[key]] = _nano(f"{path}.{key}", value)
            else:
                raise PriceError(f"{path}.{key}", "unknown price field")
        if all(value is None for value in found.values()):
            raise PriceError(path, "a tier needs at least one price")
        yield Tier(up_to, **found)


def _short(given: object) -> Prices:
    if not isinstance(given, Mapping):
        raise PriceError("price", "must be a table such as { input = 0.4, output = 1.6 }")
    each_call: int | None = None
    found: dict[str, int | None] = {}
    for key, value in given.items():
        if key == _SHORT_CALL:
            each_call = _nano(f"price.{key}", value)
        elif key not in _SHORT_FIELDS:
            raise PriceError(f"price.{key}", f"unknown; one of {', '.join(_SHORT_FIELDS)}, {_SHORT_CALL}")
        elif _SHORT_FIELDS[key] in found:
            raise PriceError(f"price.{key}", "the same price is given twice")
        else:
            found[_SHORT_FIELDS[key]] = _nano(f"price.{key}", value)
    priced = any(value is not None for value in found.values())
    return Prices(each_call, (Tier(UNLIMITED_TOKENS, **found),) if priced else ())


def _tokens(path: str, value: object) -> int:
    if value is None:
        return UNLIMITED_TOKENS
    number = _decimal(path, value)
    if number != number.to_integral_value() or not 0 < number < 2**63:
        raise PriceError(path, "must be a whole number of tokens above 0")
    return int(number)


def _nano(path: str, value: object) -> int | None:
    """A price in USD as nano-USD."""
    if value is None:
        return None
    number = _decimal(path, value)
    if number < 0:
        raise PriceError(path, "a price cannot be negative")
    if number > MAX_USD:
        raise PriceError(path, "above 1,000,000 USD; prices are USD per million tokens")
    nano = number.scaleb(9)
    if nano != nano.to_integral_value():
        raise PriceError(path, "finer than 0.000000001 USD; give at most nine decimals")
    return int(nano)


def _decimal(path: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Decimal)):
        raise PriceError(path, "must be a number")
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation as error:
        raise PriceError(path, "must be a number") from error
    if not number.is_finite():
        raise PriceError(path, "must be a finite number")
    # Digits beyond what any context holds would be rounded on the way; they are nonsense in a price anyway.
    if len(number.as_tuple().digits) > 28 or abs(number.adjusted()) > 28:
        if number == 0:
            return Decimal(0)
        raise PriceError(path, "has too many digits")
    return number


def _usd(nano: int) -> int | float | str:
    number = Decimal(nano).scaleb(-9)
    if number == number.to_integral_value():
        return int(number)
    near = float(number)
    return near if Decimal(repr(near)) == number else format(number.normalize(), "f")


def _tier_fields(tier: Tier) -> dict[str, object]:
    out: dict[str, object] = {"input_tokens_up_to": tier.up_to}
    for name, attribute in _TIER_FIELDS.items():
        value = getattr(tier, attribute)
        if value is not None:
            out[name] = _usd(value)
    return out
