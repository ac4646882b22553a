"""The quick way through a batch and the slow one say the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.usage import Source
from gproxy.ledger.record import Outcome, UsageRow
from gproxy.storage.errors import Poison
from gproxy.storage.usage_values import COLUMNS, checked, fault_of
from tests.storage.rows import usage_row

TEXTS = st.sampled_from(["", "x" * 36, "x" * 37, "x" * 201, "é" * 36, "a\0b", "\\u0000", "a\ud800", Source.REPORTED])
NUMBERS = st.sampled_from([0, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**63 - 1, 2**63, -(2**63), 2**64, 2**70, True])
ODD = st.sampled_from([None, 1.0, b"x", ()])


@given(st.sampled_from(COLUMNS), st.one_of(TEXTS, NUMBERS, ODD))
def test_a_batch_is_refused_exactly_for_a_field_at_fault(name: str, value: Any) -> None:
    kinds = {each.name: each.type for each in msgspec.structs.fields(UsageRow)}
    wrong_kind = isinstance(value, str) != (kinds[name] in {str, str | None}) and value is not None
    row = msgspec.structs.replace(usage_row(), **{name: value})
    if fault_of(name, value) is None:
        if not wrong_kind:
            (values,) = checked([row])
            assert values[COLUMNS.index(name)] == value
            assert all(type(each) in {str, int, type(None)} for each in values)
        return
    with pytest.raises(Poison) as caught:
        checked([usage_row(), row])
    assert caught.value.field == name


def test_enums_and_flags_become_plain_values() -> None:
    row = msgspec.structs.replace(usage_row(), source=Source.PARTIAL, outcome=Outcome.FAILED, streamed=True)
    (values,) = checked([row])
    found = dict(zip(COLUMNS, values, strict=True))
    assert (found["source"], found["outcome"], found["streamed"]) == ("partial", "failed", 1)
    assert {type(found[name]) for name in ("source", "outcome")} == {str}
    assert type(found["streamed"]) is int
