"""A row can be stored whatever the vendor called its model: an odd name must not cost the bill."""

from __future__ import annotations

import pytest

from gproxy.ledger.record import NAME_CHARS, row_of
from gproxy.storage.usage_values import check
from tests.ledger.records import closed, opened


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("", "upstream-model"),
        ("nul\0", "nul\ufffd"),
        ("a\ud800b", "a?b"),
        ("x" * 300, "x" * NAME_CHARS),
        ("模" * 300, "模" * NAME_CHARS),
    ],
)
def test_the_served_name_fits_every_database(said: str, stored: str) -> None:
    row = row_of(opened("a1", model_upstream="upstream-model"), closed("a1", model_served=said))
    assert row.model_served == stored
    check(row)
