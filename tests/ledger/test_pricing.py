"""Money: exact, order-independent, never free by accident."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.usage import Usage
from gproxy.ledger.pricing import NANO, PRICE_FIELDS, UNPRICED, PriceError, Prices, RateCard, Tier

GPT = {"price": {"input": 0.4, "output": 1.6, "cache_read": 0.1}}


def tier(up_to: Any = 100_000_000, **prices: Any) -> Any:
    return {"input_tokens_up_to": up_to, **{f"price_{name}": value for name, value in prices.items()}}


COST_CASES = [
    # (fields, usage, service tier, nano-USD)
    (GPT, Usage(input=1000, output=500), None, 400_000 + 800_000),
    (GPT, Usage(input=1, output=0), None, 400),
    (GPT, Usage(input=0, output=0, cache_read=7), None, 700),
    (GPT, Usage(), None, 0),
    (GPT, Usage(input=-5, output=-7), None, 0),
    ({"price_each_call": 0.01}, Usage(input=10**6, output=10**6), None, 10_000_000),
    ({"price_each_call": "0.000000001"}, Usage(), None, 1),
    # a missing cache price is the input price, never nothing
    ({"price": {"input": 2}}, Usage(input=1, cache_read=1, cache_write_5m=1, cache_write_1h=1), None, 8000),
    # 5 min falls back to the combined write price, 1 h to the dearer of what there is
    ({"price": {"input": 1, "cache_write": 3}}, Usage(cache_write_5m=1, cache_write_1h=1), None, 6000),
    ({"price": {"input": 1, "cache_write_5m": 5}}, Usage(cache_write_5m=1, cache_write_1h=1), None, 10_000),
    ({"price": {"input": 1, "cache_write_1h": 7}}, Usage(cache_write_5m=1, cache_write_1h=1), None, 8000),
    (
        {"price": {"input": 1, "cache_write": 3, "cache_write_5m": 4, "cache_write_1h": 6}},
        Usage(cache_write_5m=1, cache_write_1h=1),
        None,
        10_000,
    ),
    # audio and reasoning are parts of input and output
    (
        {"price": {"input": 1, "output": 2, "audio_input": 10, "audio_output": 20}},
        Usage(input=5, output=4, audio_input=2, audio_output=1),
        None,
        3000 + 20_000 + 6000 + 20_000,
    ),
    ({"price": {"input": 1, "output": 2}}, Usage(input=5, output=4, audio_input=2, audio_output=1), None, 13_000),
    ({"price": {"output": 8, "reasoning": 3}}, Usage(input=9, output=10, reasoning=4), None, 48_000 + 12_000),
    ({"price": {"output": 8}}, Usage(output=10, reasoning=4), None, 80_000),
    # parts beyond their whole (seen from vendors) are cut to it
    ({"price": {"input": 1, "audio_input": 10}}, Usage(input=5, audio_input=99), None, 50_000),
    (
        {"price": {"output": 1, "reasoning": 2, "audio_output": 3}},
        Usage(output=5, reasoning=99, audio_output=2),
        None,
        6000 + 6000,
    ),
    # half rounds up, once, at the end
    ({"price": {"input": "0.0005"}}, Usage(input=1), None, 1),
    ({"price": {"input": "0.000499999"}}, Usage(input=1), None, 0),
    ({"price": {"input": "0.0003", "output": "0.0003"}}, Usage(input=1, output=1), None, 1),
    # the smallest price and a great many tokens
    ({"price": {"input": "0.000000001"}}, Usage(input=10**9), None, 1000),
    # tiers: by the whole prompt, first bound not below it, else the last; given in any order
    ({"price_tiers": [tier(200, input_tokens=1), tier(100, input_tokens=5)]}, Usage(input=100), None, 500_000),
    ({"price_tiers": [tier(200, input_tokens=1), tier(100, input_tokens=5)]}, Usage(input=101), None, 101_000),
    (
        {"price_tiers": [tier(100, input_tokens=5), tier(200, input_tokens=1)]},
        Usage(input=60, cache_read=41),
        None,
        101_000,
    ),
    ({"price_tiers": [tier(100, input_tokens=5), tier(200, input_tokens=1)]}, Usage(input=500), None, 500_000),
    (
        {"price_tiers": [tier(100, output_tokens=5), tier(200, output_tokens=1)]},
        Usage(input=100, output=999),
        None,
        4_995_000,
    ),
    # service tiers: what they do not set, the default does
    ({**GPT, "flex_price_tiers": [tier(input_tokens=0.2)]}, Usage(input=10, output=10), "flex", 2000),
    ({**GPT, "flex_price_tiers": [tier(input_tokens=0.2)]}, Usage(input=10), "default", 4000),
    ({**GPT, "flex_price_tiers": [tier(input_tokens=0.2)]}, Usage(input=10), "FLEX", 2000),
    ({**GPT, "flex_price_tiers": [tier(input_tokens=0.2)]}, Usage(input=10), "scale", 4000),
    ({**GPT, "priority_price_each_call": 1}, Usage(input=10), "priority", NANO + 4000),
    ({**GPT, "priority_price_each_call": 1}, Usage(input=10), "fast", NANO + 4000),
    ({**GPT, "priority_price_each_call": 1}, Usage(input=10), "a tier of next year", 4000),
]


@pytest.mark.parametrize(("fields", "usage", "service_tier", "cost"), COST_CASES)
def test_cost(fields: Any, usage: Any, service_tier: Any, cost: Any) -> None:
    assert RateCard.from_fields(fields).cost(usage, service_tier) == cost


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"price": {"input": -1}}, "price.input"),
        ({"price": {"input": float("nan")}}, "price.input"),
        ({"price": {"input": float("inf")}}, "price.input"),
        ({"price": {"input": "Infinity"}}, "price.input"),
        ({"price": {"input": Decimal("sNaN")}}, "price.input"),
        ({"price": {"input": "cheap"}}, "price.input"),
        ({"price": {"input": True}}, "price.input"),
        ({"price": {"input": [1]}}, "price.input"),
        ({"price": {"input": 1_000_001}}, "price.input"),
        ({"price": {"input": "1e400"}}, "price.input"),
        ({"price": {"input": "1e-400"}}, "price.input"),
        ({"price": {"input": "0.0000000001"}}, "price.input"),
        ({"price": {"input": 0.1 + 0.2}}, "price.input"),
        ({"price": {"inputs": 1}}, "price.inputs"),
        ({"price": {"cache_write_5m": 1, "cache_write_5min": 1}}, "price.cache_write_5min"),
        ({"price": 4}, "price"),
        ({"price": {"input": 1}, "price_tiers": [tier(input_tokens=1)]}, "price"),
        ({"price": {"input": 1}, "price_each_call": 1}, "price"),
        ({"price_each_call": -0.5}, "price_each_call"),
        ({"scale_price_each_call": "x"}, "scale_price_each_call"),
        ({"price_tiers": {}}, "price_tiers"),
        ({"price_tiers": "many"}, "price_tiers"),
        ({"price_tiers": [1]}, "price_tiers[0]"),
        ({"price_tiers": [tier()]}, "price_tiers[0]"),
        ({"price_tiers": [tier(input_tokens=1), tier(input_tokens=2)]}, "price_tiers"),
        ({"price_tiers": [tier(0, input_tokens=1)]}, "price_tiers[0].input_tokens_up_to"),
        ({"price_tiers": [tier(1.5, input_tokens=1)]}, "price_tiers[0].input_tokens_up_to"),
        ({"priority_price_tiers": [tier(5, input_tokens=1), tier(9, output_token=1)]},
         "priority_price_tiers[1].price_output_token"),
        ({"price_input_tokens": 1}, "price_input_tokens"),
        ({"display_name": "x"}, "display_name"),
    ],
)  # fmt: skip
def test_bad_prices_name_their_field(fields: Any, field: Any) -> None:
    with pytest.raises(PriceError) as caught:
        RateCard.from_fields(fields)
    assert caught.value.field == field


@pytest.mark.parametrize("value", [0.4, "0.4", Decimal("0.4"), "0.40", "4e-1"])
def test_numbers_may_come_in_any_shape(value: Any) -> None:
    card = RateCard.from_fields({"price": {"input": value}})
    assert card == RateCard.from_fields({"price_tiers": [tier(input_tokens=Decimal("0.4"))]})


def test_no_price_at_all_is_unpriced_and_zero_is_a_price() -> None:
    assert RateCard.from_fields({}).version == UNPRICED
    assert RateCard.from_fields({"price_each_call": None, "price_tiers": [], "price": None}).version == UNPRICED
    assert not RateCard.from_fields({}).priced
    assert RateCard.from_fields({}).cost(Usage(input=10**9)) == 0
    assert RateCard.from_fields({}).bound(10**9, 10**9) == 0
    assert RateCard.from_fields({"price": {"input": 0}}).priced
    assert RateCard.unpack(b"") == RateCard.from_fields({})


def test_price_fields_are_those_that_are_read() -> None:
    for name in PRICE_FIELDS:
        RateCard.from_fields({name: None})


def test_version_is_of_the_content_alone() -> None:
    a, b = (
        RateCard.from_fields(GPT),
        RateCard.from_fields({"price": {"cache_read": "0.10", "output": 1.6, "input": 0.4}}),
    )
    assert a.version == b.version
    assert a == b
    assert a.version != RateCard.from_fields({"price": {"input": 0.4, "output": 1.6}}).version
    assert a.version == "8c5c744d3acf", "stored rows carry this version; a change of the hash would orphan them"


@pytest.mark.parametrize("junk", [b"\xc1", b"\x90\x90", b"\x91\x92\x01\x91\x90", b"{}", b"\xff" * 40])
def test_unpack_refuses_what_it_did_not_make(junk: Any) -> None:
    with pytest.raises(PriceError):
        RateCard.unpack(junk)


NANOS = st.integers(0, 10**15)
MAYBE = st.none() | NANOS
TOKENS = st.none() | st.integers(0, 10**9)


@st.composite
def tiers(draw: Any, most: Any = 4) -> Any:
    bounds = sorted(draw(st.sets(st.integers(1, 10**8), max_size=most)))
    made = []
    for bound in bounds:
        values = draw(st.lists(MAYBE, min_size=11, max_size=11).filter(any_given))
        made.append(Tier(bound, *values))
    return tuple(made)


def any_given(values: Any) -> Any:
    return any(value is not None for value in values)


PRICES = st.builds(Prices, MAYBE, tiers())
CARDS = st.builds(RateCard.of, PRICES, PRICES, PRICES, PRICES)
SERVICE = st.sampled_from([None, "default", "flex", "scale", "priority", "fast", "auto", "?"])
USAGES = st.builds(Usage, *[TOKENS] * 8)


@given(CARDS)
def test_packed_and_fields_bring_the_same_card_back(card: Any) -> None:
    assert RateCard.unpack(card.packed()) == card
    assert RateCard.from_fields(card.to_fields()) == card
    assert RateCard.from_plain(card.plain()) == card


@given(CARDS, USAGES, SERVICE)
def test_cost_is_what_fractions_say(card: Any, usage: Any, service: Any) -> None:
    each, found = card._mode(service)
    exact = Fraction(0)
    if found:
        prompt = sum(x or 0 for x in (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h))
        chosen = next((t for t in found if prompt <= t.up_to), found[-1])
        exact = Fraction(chosen.exact(usage), 10**6)
    cost = card.cost(usage, service)
    assert cost >= 0
    assert -Fraction(1, 2) < cost - each - exact <= Fraction(1, 2)


@given(tiers(1), USAGES, USAGES)
def test_exact_cost_adds_up_within_a_tier(one: Any, left: Any, right: Any) -> None:
    if not one:
        return
    # Parts beyond their whole are cut, which is no sum; keep them inside.
    left, right = inside(left), inside(right)
    both = Usage(*[(getattr(left, n) or 0) + (getattr(right, n) or 0) for n in Usage.__struct_fields__])
    assert one[0].exact(both) == one[0].exact(left) + one[0].exact(right)
    card = RateCard.of(Prices(None, one))
    assert abs(card.cost(both) - card.cost(left) - card.cost(right)) <= 1


def inside(usage: Any) -> Any:
    said = usage.output or 0
    voiced = min(usage.audio_output or 0, said)
    return msgspec.structs.replace(
        usage,
        audio_input=min(usage.audio_input or 0, usage.input or 0),
        audio_output=voiced,
        reasoning=min(usage.reasoning or 0, said - voiced),
    )


@given(CARDS, USAGES, SERVICE, st.integers(0, 10**6), st.integers(0, 10**6))
def test_cost_never_exceeds_the_bound(card: Any, usage: Any, service: Any, more_in: Any, more_out: Any) -> None:
    prompt = sum(x or 0 for x in (usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h))
    bound = card.bound(prompt + more_in, (usage.output or 0) + more_out, service)
    assert card.cost(usage, service) <= bound
    if service == "auto":
        assert all(card.cost(usage, tier) <= bound for tier in (None, "flex", "scale", "priority"))


@given(CARDS, st.permutations(range(4)))
def test_the_order_of_tiers_given_does_not_matter(card: Any, order: Any) -> None:
    given_fields = card.to_fields()
    for name, rows in given_fields.items():
        if name.endswith("tiers"):
            given_fields[name] = [rows[i] for i in order if i < len(rows)]
    assert RateCard.from_fields(given_fields) == card
