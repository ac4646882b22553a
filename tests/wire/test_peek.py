"""What a request's body says about itself: what is read of it, what is refused, and that nothing is given twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.wire.json import JsonProblem
from gproxy.wire.peek import peek

DEEP = 100_000


def test_peek_reads_what_decisions_need() -> None:
    seen = peek(
        b'{"model":"gpt-4.1","messages":[{"role":"user","content":"hi"}],"stream":true,"n":2,"max_tokens":10,'
        b'"max_completion_tokens":20,"service_tier":"flex","stream_options":{"include_usage":true},"tools":[{}]}'
    )
    assert (seen.model, seen.stream, seen.n, seen.service_tier) == ("gpt-4.1", True, 2, "flex")
    assert (seen.max_tokens, seen.max_completion_tokens) == (10, 20)
    assert seen.include_usage is True
    assert seen.messages is not None
    assert bytes(seen.messages) == b'[{"role":"user","content":"hi"}]'


def test_peek_tells_absent_and_null_alike_and_defaults_nothing() -> None:
    empty = peek(b"{}")
    nulls = peek(
        b'{"model":null,"stream":null,"n":null,"max_tokens":null,"stream_options":null,"input":null,"messages":[]}'
    )
    assert empty.model is nulls.model is None
    assert empty.stream is nulls.stream is False
    assert empty.max_tokens is nulls.max_tokens is None
    assert empty.input is nulls.input is None
    assert empty.include_usage is nulls.include_usage is None


@pytest.mark.parametrize("spelling", ["generationConfig", "generation_config"])
def test_peek_reads_gemini_limits_in_both_spellings(spelling: str) -> None:
    body = json.dumps({"contents": [], spelling: {"maxOutputTokens": 9, "candidate_count": 3}}).encode()
    seen = peek(body)
    assert (seen.max_output_tokens, seen.n) == (9, 3)


def test_the_greatest_number_of_answers_counts() -> None:
    assert peek(b'{"n":2,"best_of":5}').n == 5


def test_whole_floats_are_integers_and_spaces_do_not_matter() -> None:
    assert peek(b' \n\r\t{"max_tokens" : 10.0}\n ').max_tokens == 10


REFUSED: list[tuple[str, bytes, str, str | None]] = [
    ("empty", b"", "empty", None),
    ("blank", b" \n ", "empty", None),
    ("array", b"[]", "must be a JSON object", None),
    ("string", b'"x"', "must be a JSON object", None),
    ("null", b"null", "must be a JSON object", None),
    ("depth", b'{"model":"a","x":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply", None),
    ("depth of messages", b'{"messages":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply", None),
    ("depth of objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP, "nested too deeply", None),
    ("depth where a string is due", b'{"model":' + b"[" * DEEP + b"]" * DEEP + b"}", "nested too deeply", None),
    ("depth, unclosed", b'{"a":' + b"[" * DEEP, "nested too deeply", None),
    ("NaN", b'{"x":NaN}', "unexpected character", None),
    ("Infinity", b'{"x":[Infinity]}', "unexpected character", None),
    ("-Infinity", b'{"x":-Infinity}', "unexpected character", None),
    ("10^400", b'{"max_tokens":1e400}', "out of range", "max_tokens"),
    ("400 nines", b'{"max_tokens":' + b"9" * 400 + b"}", "between 0 and", "max_tokens"),
    ("negative", b'{"max_tokens":-1}', "between 0 and", "max_tokens"),
    ("lone high surrogate", b'{"model":"a\\ud800b"}', "surrogate", None),
    ("lone surrogate in a skipped string", b'{"x":"a\\ud800"}', "surrogate", None),
    ("lone low surrogate", b'{"x":"\\udc00 and more text here"}', "surrogate", None),
    ("surrogate in UTF-8", b'{"x":"\xed\xa0\x80"}', "not UTF-8", None),
    ("overlong", b'{"x":"\xc0\xaf"}', "not UTF-8 (byte 6)", None),
    ("bad byte in a skipped string", b'{"messages":["\xff"]}', "not UTF-8", None),
    ("BOM", b'\xef\xbb\xbf{"model":"a"}', "byte order mark", None),
    ("UTF-16 with mark", '{"model":"a"}'.encode("utf-16"), "byte order mark", None),
    ("UTF-16 without mark", '{"model":"a"}'.encode("utf-16-le"), "not JSON", None),
    ("trailing garbage", b"{} x", "something follows", None),
    ("two values", b"{}{}", "something follows", None),
    ("cut", b'{"model":"a"', "ends too early", None),
    ("control character", b'{"x":"a\nb"}', "unexpected character", None),
    ("NUL", b'{"x":"\x00"}', "unexpected character", None),
    ("bad escape", b'{"x":"\\q"}', "unexpected character", None),
    ("trailing comma", b'{"a":1,}', "unexpected character", None),
    ("leading zero", b'{"a":01}', "unexpected character", None),
    ("single quotes", b"{'a':1}", "unexpected character", None),
    ("comment", b"{/**/}", "unexpected character", None),
    ("model twice", b'{"model":"a","model":"b"}', "given twice", "model"),
    ("model twice, one escaped", b'{"mod\\u0065l":"a","model":"b"}', "given twice", "model"),
    ("cap twice", b'{"max_tokens":1,"max_tokens":100000}', "given twice", "max_tokens"),
    ("config in two spellings", b'{"generationConfig":{},"generation_config":{}}', "given twice", "generationConfig"),
    ("stream twice", b'{"stream":false,"stream":true}', "given twice", "stream"),
    ("messages twice", b'{"model":"m","messages":[1],"messages":[2]}', "given twice", "messages"),
    ("messages twice, equal", b'{"messages":[1],"n":1,"messages":[1]}', "given twice", "messages"),
    ("messages twice, one escaped", b'{"m\\u0065ssages":[1],"messages":[2]}', "given twice", "messages"),
    ("messages twice, the last escaped", b'{"messages":[1],"m\\u0065ssages":[2]}', "given twice", "messages"),
    ("messages twice, both escaped", b'{"\\u006Dessages":[],"messag\\u0065s":[]}', "given twice", "messages"),
    (
        "messages twice, one nested first",
        b'{"a":{"messages":[]},"messages":[],"messages":[]}',
        "given twice",
        "messages",
    ),
    ("messages twice, spread", b'{ "messages" : [ ] ,\n\t"messages"\n:[] }', "given twice", "messages"),
    ("input twice, the first null", b'{"input":null,"input":"x"}', "given twice", "input"),
    ("input twice, the last null", b'{"input": "x", "input": null}', "given twice", "input"),
    ("input twice, a number in a number", b'{"a":{"input":10},"input":1,"input":10}', "given twice", "input"),
    ("contents twice", b'{"contents":[],"contents":{}}', "given twice", "contents"),
    ("tools twice", b'{"messages":[],"tools":[],"tools":[{}]}', "given twice", "tools"),
    ("prompt twice", b'{"prompt":"a","x":"prompt","prompt":["a","b"]}', "given twice", "prompt"),
    ("conversation twice", b'{"conversation":null,"conversation":"c"}', "given twice", "conversation"),
    ("cached content in two spellings", b'{"cachedContent":"c","cached_content":""}', "given twice", "cachedContent"),
    ("model is a number", b'{"model":1}', "non-empty string", "model"),
    ("model is an object", b'{"model":{}}', "non-empty string", "model"),
    ("model is empty", b'{"model":""}', "non-empty string", "model"),
    ("stream is a string", b'{"stream":"true"}', "true or false", "stream"),
    ("stream is 1", b'{"stream":1}', "true or false", "stream"),
    ("cap is a string", b'{"max_tokens":"10"}', "an integer", "max_tokens"),
    ("cap is true", b'{"max_tokens":true}', "an integer", "max_tokens"),
    ("cap is a fraction", b'{"max_tokens":1.5}', "an integer", "max_tokens"),
    ("messages is a string", b'{"messages":"hi"}', "an array", "messages"),
    ("stream_options is a list", b'{"stream_options":[]}', "an object", "stream_options"),
    ("include_usage is 1", b'{"stream_options":{"include_usage":1}}', "true or false", "stream_options.include_usage"),
    ("Gemini cap", b'{"generationConfig":{"maxOutputTokens":"x"}}', "an integer", "generationConfig.maxOutputTokens"),
]


@pytest.mark.parametrize(("body", "text", "field"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refused_bodies_say_why(body: bytes, text: str, field: str | None) -> None:
    with pytest.raises(JsonProblem) as problem:
        peek(body)
    assert text in problem.value.text
    assert problem.value.field == field


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"messages":[],"tools":[],"input":1}],"tools":[{"input":2}],"input":3,"prompt":4,"contents":5}',
        b'{"a":{"messages":[1]},"messages":[1]}',
        b'{"a":{"input":-1},"input":1}',
        b'{"a":{"input":"messages"},"input":"tools","tools":["input"],"messages":["messages"]}',
        b'{"m\\u0065ssages":[],"x":"\\u0061"}',
        b'{"messages" :[],"tools":  [],"input"\n:\n1}',
        b'{"":1,"":2,"x":1,"x":2,"messages":[],"messages2":[],"\\u006dessages3":[]}',
    ],
)
def test_a_name_that_stands_twice_but_not_at_the_top_is_no_matter(body: bytes) -> None:
    peek(body)


@given(st.data())
def test_twice_is_found_however_it_is_written(data: st.DataObject) -> None:
    names = ("messages", "input", "contents", "tools", "prompt", "x")
    values: st.SearchStrategy[Any] = st.sampled_from(
        [[], [1], {"messages": []}, {"input": [1], "tools": []}, "input", 1, 10, -1, None, "\\u0061"]
    )
    members = data.draw(st.lists(st.tuples(st.sampled_from(names), values), max_size=6))
    written = []
    for name, value in members:
        held = [] if name == "messages" else value
        at = data.draw(st.sampled_from([-1, -1, 0, len(name) - 1]))
        key = name if at < 0 else f"{name[:at]}\\u{ord(name[at]):04x}{name[at + 1 :]}"
        space = data.draw(st.sampled_from(["", "", " ", "\n"]))
        written.append(f'"{key}":{space}{json.dumps(held)}')
    body = ("{" + ",".join(written) + "}").encode()
    given = [name for name, _ in members if name != "x"]
    if len(given) == len(set(given)):
        peek(body)
    else:
        with pytest.raises(JsonProblem, match="given twice"):
            peek(body)
