"""The JSON door: what it reads, and that a patch moves no other byte."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.wire.json import REMOVE, JsonProblem, Path, dumps, loads, patch
from gproxy.wire.peek import peek
from tests.wire.test_peek import REFUSED


@pytest.mark.parametrize("body", [case[1] for case in REFUSED[:30]], ids=[case[0] for case in REFUSED[:30]])
def test_loads_never_fails_otherwise(body: bytes) -> None:
    with contextlib.suppress(JsonProblem):
        loads(body)


def test_a_million_keys_are_read_and_patched() -> None:
    body = b'{"model":"x",' + b",".join(b'"k%d":0' % i for i in range(1_000_000)) + b"}"
    assert peek(body).model == "x"
    assert patch(body, {"model": "y"}) == body.replace(b'"x"', b'"y"', 1)
    assert patch(body, {("stream_options", "include_usage"): True}).endswith(body[1:])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for read in (peek, loads):
        with contextlib.suppress(JsonProblem):
            read(body)


PATCHES: list[tuple[bytes, dict[Any, Any], bytes]] = [
    (b'{"model":"a","x":1}', {"model": "b"}, b'{"model":"b","x":1}'),
    (b' { "x" : 1 , "model" :\t"a" } ', {"model": "b"}, b' { "x" : 1 , "model" :\t"b" } '),
    (b"{}", {"model": "b"}, b'{"model":"b"}'),
    (b'{ "x":1}', {"model": "b"}, b'{ "model":"b","x":1}'),
    (b'{"a":{"model":"in"},"model":"a"}', {"model": "b"}, b'{"a":{"model":"in"},"model":"b"}'),
    (b'{"a":{"model":"in"}}', {"model": "b"}, b'{"model":"b","a":{"model":"in"}}'),
    (b'{"t":"say \\"model\\":\\"a\\"","model":"a"}', {"model": "b"}, b'{"t":"say \\"model\\":\\"a\\"","model":"b"}'),
    (b'{"t":"model","model":"a"}', {"model": "b"}, b'{"t":"model","model":"b"}'),
    (b'{"mod\\u0065l":"a"}', {"model": "b"}, b'{"mod\\u0065l":"b"}'),
    (b'{"x":{"model":"a"},"mod\\u0065l":"a"}', {"model": "b"}, b'{"x":{"model":"a"},"mod\\u0065l":"b"}'),
    (b'{"model":"a","x":1,"model":"c"}', {"model": "b"}, b'{"model":"b","x":1,"model":"b"}'),
    (b'{"model":"a","mod\\u0065l":"c"}', {"model": "b"}, b'{"model":"b","mod\\u0065l":"b"}'),
    (b'{"n":12,"n":1}', {"n": 3}, b'{"n":3,"n":3}'),
    (b'{"n":1,"m":[1,{"n":"]}"}],"n":[2,3]}', {"n": 3}, b'{"n":3,"m":[1,{"n":"]}"}],"n":3}'),
    (b'{"a":1,"b":2,"c":3}', {"a": REMOVE}, b'{"b":2,"c":3}'),
    (b'{"a":1,"b":2,"c":3}', {"b": REMOVE}, b'{"a":1,"c":3}'),
    (b'{"a":1,"b":2,"c":3}', {"c": REMOVE}, b'{"a":1,"b":2}'),
    (b'{"a":1,"b":2,"c":3}', {"b": REMOVE, "c": REMOVE}, b'{"a":1}'),
    (b'{ "a":1 , "b":2 }', {"a": REMOVE, "b": REMOVE}, b"{  }"),
    (b'{ "a":1 , "b":2 }', {"a": REMOVE, "b": REMOVE, "c": 1}, b'{ "c":1 }'),
    (b'{"a":1}', {"z": REMOVE}, b'{"a":1}'),
    (b'{"a":1}', {("z", "y"): REMOVE}, b'{"a":1}'),
    (b'{"a":1}', {("o", "u"): True}, b'{"o":{"u":true},"a":1}'),
    (b'{"o":null,"a":1}', {("o", "u"): True}, b'{"o":{"u":true},"a":1}'),
    (b'{"o":{"x":1},"a":1}', {("o", "u"): True}, b'{"o":{"u":true,"x":1},"a":1}'),
    (b'{"o":{"u": false , "x":1}}', {("o", "u"): True}, b'{"o":{"u": true , "x":1}}'),
    (b'{"o":{"u":false,"x":1}}', {("o", "u"): REMOVE}, b'{"o":{"x":1}}'),
    (b'{"o":{"p":{"q":1}}}', {("o", "p", "q"): 2, "m": {"k": [1]}}, b'{"m":{"k":[1]},"o":{"p":{"q":2}}}'),
    ('{"é":"ü","model":"ß"}'.encode(), {"model": "ø"}, '{"é":"ü","model":"ø"}'.encode()),
]


@pytest.mark.parametrize(("body", "edits", "expected"), PATCHES)
def test_patch_changes_nothing_else(body: bytes, edits: dict[Any, Any], expected: bytes) -> None:
    assert patch(body, edits) == expected


@pytest.mark.parametrize("size", [10, 10_000, 300_000])
def test_patch_works_the_same_at_every_size(size: int) -> None:
    filler = json.dumps({"role": "user", "content": 'text with "model":"a" \\ é' * (size // 20)}).encode()
    body = b'{"messages":[' + filler + b'], "model" : "a", "last":[{"model":"in"}]}'
    expected = body.replace(b', "model" : "a", "last"', b', "model" : "b/c", "last"')
    assert expected != body
    assert patch(body, {"model": "b/c"}) == expected
    edits: dict[Path, Any] = {"model": "b/c", ("stream_options", "include_usage"): True}
    both = patch(body, edits)
    assert both == b'{"stream_options":{"include_usage":true},' + expected[1:]


@pytest.mark.parametrize("body", [b"[]", b"1", b"", b'{"a":', b'{"a":1}}'])
def test_patch_refuses_what_is_no_object(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        patch(body, {"model": "b"})


def test_patch_names_a_parent_that_is_no_object() -> None:
    with pytest.raises(JsonProblem) as problem:
        patch(b'{"stream_options":[1]}', {("stream_options", "include_usage"): True})
    assert problem.value.field == "stream_options"


NAMES = st.sampled_from(["model", "a", "stream", 'q"\\', "é", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(NAMES, VALUES), max_size=6),
    st.dictionaries(NAMES, VALUES | st.just(REMOVE), max_size=3),
    st.booleans(),
    st.sampled_from(["", " ", "\n\t "]),
    st.sampled_from([0, 9_000, 300_000]),
)
def test_patch_means_what_it_says(
    members: list[tuple[str, Any]], edits: dict[str, Any], ascii_only: bool, space: str, pad: int
) -> None:
    def text(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, separators=(f",{space}", f"{space}:{space}"))

    members = [*members, ("pad", "x" * pad)]
    body = f"{{{space}{f'{space},{space}'.join(f'{text(k)}{space}:{space}{text(v)}' for k, v in members)}{space}}}"
    expected = dict(members)
    for key, value in edits.items():
        if value is REMOVE:
            expected.pop(key, None)
        else:
            expected[key] = value
    patched = patch(body.encode(), edits)
    assert json.loads(patched) == expected
    # Every place is changed: a reader that takes the first of two sees the same.
    pairs = json.loads(patched, object_pairs_hook=lambda found: found)
    for key, value in edits.items():
        found = [json.loads(json.dumps(v)) for k, v in pairs if k == key] if isinstance(pairs, list) else []
        assert len(found) == 0 if value is REMOVE else len(found) >= 1


@given(VALUES)
def test_whole_values_survive(value: Any) -> None:
    assert loads(dumps(value)) == value


def test_big_integers_and_key_order_survive() -> None:
    body = b'{"z":123456789012345678901234567890,"a":[-18446744073709551617,1.5],"m":{"y":1,"b":2}}'
    assert dumps(loads(body)) == body


def test_half_a_surrogate_pair_is_replaced_and_halves_are_joined() -> None:
    assert dumps({"a": "x\ud83d", "b": "\ud83d\ude00"}) == '{"a":"x�","b":"😀"}'.encode()
