"""What goes into a batch, and how poison is found."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gproxy.ledger.batch import Bisection, Window, backoff


def test_the_window_waits_for_size_or_age() -> None:
    window = Window(max_rows=100, max_seconds=0.5)
    assert window.wait(0, None, 10.0, closing=False) is None
    assert window.wait(0, None, 10.0, closing=True) is None
    assert window.wait(1, 10.0, 10.2, closing=False) == 10.5 - 10.2
    assert window.wait(1, 10.0, 10.5, closing=False) == 0.0
    assert window.wait(1, 0.0, 1000.0, closing=False) == 0.0
    assert window.wait(100, 10.0, 10.0, closing=False) == 0.0
    assert window.wait(1, 10.0, 10.0, closing=True) == 0.0


@given(st.integers(0, 200), st.sets(st.integers(0, 199)))
def test_bisection_lands_everything_but_the_poison_in_order(size: Any, poison: Any) -> None:
    poison = {index for index in poison if index < size}
    parts = Bisection(size)
    landed: list[int] = []
    refused: list[int] = []
    tries = 0
    while (part := parts.part) is not None:
        tries += 1
        low, high = part
        if poison & set(range(low, high)):
            index = parts.refused()
            if index is not None:
                refused.append(index)
        else:
            landed += range(low, high)
            parts.landed()
    assert refused == sorted(poison)
    assert landed == [index for index in range(size) if index not in poison]
    if len(poison) == 1:
        assert tries <= 2 * math.ceil(math.log2(size)) + 1


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_grows_and_is_bounded(failures: Any, dice: Any) -> None:
    assert 0.05 <= backoff(failures, dice) <= 5.0
    assert backoff(failures, dice) <= backoff(failures + 1, 1.0)
    assert backoff(1, 1.0) == 0.1
    assert backoff(10_000, 1.0) == 5.0
