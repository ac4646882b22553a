"""Every fuzz target for a moment, so that none rots; `make fuzz` runs them for long."""

from __future__ import annotations

import pytest

from tests.fuzz.running import run
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_holds(name: str) -> None:
    assert run(name, 25, 1) >= 25
