from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gproxy.window import Window

steps = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 4)), min_size=1, max_size=120)


@given(steps)
def test_waiting_as_long_as_told_is_enough(gaps: list[tuple[float, int]]) -> None:
    window, now = Window(60.0), 5.0
    for gap, cost in gaps:
        now += gap
        wait = window.wait_for(cost, 6, now)
        assert window.wait_for(cost, 6, now + wait + 1e-6) == 0.0
        if wait == 0.0:
            window.add(cost, now)
