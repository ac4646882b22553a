"""Runs one target for some examples; the same for the tests and for `make fuzz`."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


def run(name: str, examples: int, number: int) -> int:
    """Try so many examples, drawn by this seed; the failure is raised, made as small as can be. Returns how many ran."""
    ran = 0

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        nonlocal ran
        ran += 1
        TARGETS[name](data.draw)

    tried()
    return ran
