"""JSON arrays over time, at every boundary, against a reading of the whole text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.wire.array import Array
from gproxy.wire.sse import FrameTooLong


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[i : i + size] for i in range(0, len(text), size)]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='ab"\\[]{},é\n', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='a"]}', max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.lists(VALUES, max_size=5), st.integers(1, 40), st.sampled_from([None, 2]), st.booleans())
def test_elements_come_out_whole_and_no_byte_is_lost(
    values: list[Any], size: int, indent: int | None, plain: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=plain).encode() + b"\n"
    array = Array()
    pieces = [piece for chunk in cut(text, size) for piece in array.feed(chunk)]
    assert b"".join(piece for piece, _ in pieces) + array.take() == text
    assert [json.loads(piece) for piece, whole in pieces if whole] == [v for v in values if isinstance(v, dict | list)]
    assert not array.inside


def test_an_element_is_there_as_soon_as_its_last_byte_is() -> None:
    array = Array()
    assert array.feed(b'[{"a":"]}"') == [(b"[", False)]
    assert array.inside
    assert array.feed(b"}") == [(b'{"a":"]}"}', True)]
    assert array.feed(b"\n,\r\n") == [(b"\n,\r\n", False)]
    assert array.feed(b'{"b"') == []
    assert array.take() == b'{"b"'


def test_an_element_too_long() -> None:
    array = Array(100)
    assert array.feed(b'[{"a":"' + b"x" * 60) == [(b"[", False)]
    with pytest.raises(FrameTooLong):
        array.feed(b"x" * 60)


def test_byte_by_byte_is_linear() -> None:
    text = b'[{"a":"' + b'\\"x' * 100_000 + b'"}]'
    array = Array()
    assert sum(whole for chunk in cut(text, 1) for _, whole in array.feed(chunk)) == 1
