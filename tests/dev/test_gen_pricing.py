"""Every worked example of docs/pricing.md is what the code bills."""

from __future__ import annotations

import pytest

from dev.gen_pricing import EXAMPLES, PAGE, Example, page
from gproxy.ledger.pricing import RateCard


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: e.title)
def test_the_example_costs_what_the_page_says(example: Example) -> None:
    card = RateCard.from_fields(example.price)
    assert card.cost(example.usage, example.service_tier) == example.nano


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
