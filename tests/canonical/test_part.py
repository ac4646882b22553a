"""Values: hashable where they should be, equal by content, extras empty by default."""

from __future__ import annotations

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import NO_EXTRAS, Text


def test_no_extras_is_an_empty_mapping() -> None:
    assert {**NO_EXTRAS} == {}
    assert NO_EXTRAS == {}
    assert list(NO_EXTRAS) == []
    assert NO_EXTRAS.get(Dialect.GEMINI, 5) == 5
    with pytest.raises(KeyError):
        NO_EXTRAS[Dialect.GEMINI]
    assert Text("a") == Text("a", extras={})
    assert hash(Text("a")) == hash(Text("a"))
