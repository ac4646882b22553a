"""Chat streams: every recorded one keeps the promises, means what its chunks say, and is written legally again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from gproxy.canonical.events import Event, Failed, Finished, PartClosed
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Part, RedactedThinking, Refusal, Signature, Text, Thinking, ToolCall
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_chat.dialogue import PROTOCOL
from tests.protocols import legality
from tests.protocols.recorded import SIZES, cut, exchanges, frames

FACTS = ReplyFacts(id="chatcmpl-1", model="asked", created=7, include_usage=True)


def decode(chunks: list[bytes]) -> list[Event]:
    decoder = PROTOCOL.stream_decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    legality.check(events)
    return events


def encode(events: list[Event], facts: ReplyFacts = FACTS) -> bytes:
    encoder = PROTOCOL.stream_encoder(facts, Losses())
    out = b"".join(encoder.encode(event) for event in events)
    assert encoder.encode(Finished()) == b""
    assert encoder.fail(Failure(Kind.DRAINING, "late")) == b""
    for body in frames(out):
        if "error" not in body:
            ChatCompletionChunk.model_validate(body, strict=True)
    return out


def assembled(events: list[Event]) -> Response:
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()


@pytest.mark.parametrize("folder", ["openai-chat", "openai-compat"])
def test_every_recorded_stream(folder: str) -> None:
    for case in exchanges(folder):
        if not case.sse:
            continue
        events = decode([case.response])
        for size in SIZES[1:3]:
            assert decode(cut(case.response, size)) == events, case.name
        whole = assembled(events)
        text: dict[int, str] = {}
        stops: dict[int, str] = {}
        for body in frames(case.response):
            if not isinstance(body, dict):
                continue
            for choice in body.get("choices") or ():
                delta = choice.get("delta") or {}
                if isinstance(delta.get("content"), str):
                    text[choice["index"]] = text.get(choice["index"], "") + delta["content"]
                if choice.get("finish_reason"):
                    stops.setdefault(choice["index"], choice["finish_reason"])
        for choice in whole.choices:
            said = "".join(part.text for part in choice.parts if isinstance(part, Text))
            assert said == text.get(choice.index, "") or folder == "openai-compat", case.name
            if whole.error is None and choice.stop is not None:
                assert choice.stop.raw == stops[choice.index], case.name
        # Written and read again, it is the same answer.
        back = assembled(decode([encode(events)]))
        assert [c.parts for c in back.choices] == [tuple(settled(p) for p in c.parts) for c in whole.choices], case.name
        assert (back.error is None) is (whole.error is None), case.name
        if whole.error is None and whole.usage.known:
            assert back.usage.total == whole.usage.total, case.name


def settled(part: Part) -> Part:
    """A part as it is once it has been written: a call that never had arguments has an empty object."""
    if isinstance(part, ToolCall):
        return ToolCall(part.id, part.name, part.arguments or "{}", part.custom)
    if isinstance(part, Thinking) and part.signature == Signature(Dialect.OPENAI_CHAT, "thinking"):
        return Thinking(part.text, Signature(Dialect.OPENAI_CHAT, "reasoning_content"))
    return part


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return (
        b"data: " + json.dumps({"id": "c", "model": "m", "created": 1, "choices": choices, **fields}).encode() + b"\n\n"
    )


DONE = b"data: [DONE]\n\n"


def call(index: int | None = None, own_id: Any = None, name: Any = None, arguments: Any = None) -> dict[str, Any]:
    item: dict[str, Any] = {"function": {}}
    if index is not None:
        item["index"] = index
    if own_id is not None:
        item["id"] = own_id
    if name is not None:
        item["function"]["name"] = name
    if arguments is not None:
        item["function"]["arguments"] = arguments
    return {"tool_calls": [item]}


def parts(*chunks: bytes) -> tuple[Part, ...]:
    (choice,) = assembled(decode(list(chunks))).choices
    return choice.parts


STOP = chunk({}, "stop")


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (
            [call(0, "a", "f", ""), call(0, None, None, '{"x"'), call(0, None, None, ":1}")],
            [ToolCall("a", "f", '{"x":1}')],
        ),
        ([call(0, "a", "f", None), call(0, "a", "f", "{}")], [ToolCall("a", "f", "{}")]),
        ([call(0, "a", None, '{"x'), call(0, None, "f", '":1}')], [ToolCall("a", "f", '{"x":1}')]),
        ([call(0, "a", "f", {"x": 1})], [ToolCall("a", "f", '{"x":1}')]),
        (
            [call(None, "a", "f", "{}"), call(None, "b", "g", "{}")],
            [ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")],
        ),
        ([call(None, "a", "f", "{"), call(None, None, None, "}")], [ToolCall("a", "f", "{}")]),
        ([call(0, "a", "f", "{}"), call(0, "b", "g", "{}")], [ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")]),
        ([call(3, "a", "f", "{}"), call(4, "b", "g", "{}")], [ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}")]),
        ([call(0, "", "f", "{}")], [ToolCall("call_c_0_0", "f", "{}")]),
        (
            [call(0, "a", "f", "1"), call(1, "b", "g", "2"), call(0, None, None, "3")],
            [ToolCall("a", "f", "13"), ToolCall("b", "g", "2")],
        ),
        ([{"content": ""}, {"content": None}, {}], []),
        ([{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}], [Text("ab")]),
        ([{"refusal": "no"}, {"refusal": " way"}], [Refusal("no way")]),
        ([{"content": "a"}, {"tool_calls": None}, {"content": "b"}], [Text("ab")]),
        (
            [{"reasoning_content": "t"}, {"content": "a"}],
            [Thinking("t", Signature(Dialect.OPENAI_CHAT, "reasoning_content")), Text("a")],
        ),
        ([{"function_call": {"name": "f"}}, {"function_call": {"arguments": "{}"}}], None),
    ],
)
def test_odd_deltas(deltas: list[dict[str, Any]], expected: list[Part] | None) -> None:
    found = parts(*[chunk(delta) for delta in deltas], STOP, DONE)
    if expected is None:
        assert [(p.name, p.arguments) for p in found if isinstance(p, ToolCall)] == [("f", "{}")]
    else:
        assert list(found) == expected


def test_text_after_the_finish_and_a_finish_twice() -> None:
    found = assembled(
        decode([chunk({"content": "a"}), STOP, chunk({"content": "b"}), chunk({"content": ""}, "stop"), DONE])
    )
    assert found.choices == (Choice(0, (Text("ab"),), Stop(StopReason.END, raw="stop", origin=Dialect.OPENAI_CHAT)),)


def test_choices_are_kept_apart() -> None:
    two: dict[str, Any] = {"choices": [{"index": 1, "delta": {"content": "x"}}]}
    found = assembled(decode([chunk({"content": "a"}), chunk(**two), chunk({"content": "b"}), STOP]))
    assert [c.parts for c in found.choices] == [(Text("ab"),), (Text("x"),)]


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "broke off"),
        (chunk({"content": "a"}), "broke off"),
        (chunk({"content": "a"}) + b"data: {\n\n", "no JSON object"),
        (chunk({"content": "a"}) + b"data: 5\n\n" + STOP + DONE, "no JSON object"),
        (chunk({"content": "a"}) + b'data: {"error":{"message":"boom"}}\n\n' + DONE, "boom"),
        (b'event: error\ndata: {"message":"boom"}\n\n', "boom"),
    ],
)
def test_broken_streams_end_in_a_failure(stream: bytes, message: str) -> None:
    for size in (1, 10_000):
        events = decode(cut(stream, size))
        last = events[-1]
        assert isinstance(last, Failed)
        assert message in last.error.message
    out = frames(encode(events))
    assert message in out[-1]["error"]["message"]


def test_without_done_every_choice_must_have_its_reason() -> None:
    first, second = (
        chunk({"content": text}).replace(b'"index": 0', b'"index": %d' % at) for at, text in enumerate("ab")
    )
    assert first != second
    ends = [STOP, STOP.replace(b'"index": 0', b'"index": 1')]
    assert isinstance(decode([first, second, *ends])[-1], Finished)
    assert isinstance(decode([first, second, ends[0]])[-1], Failed)
    assert isinstance(decode([first, second, ends[0], DONE])[-1], Finished)


def test_usage_is_told_only_to_those_who_asked() -> None:
    events = decode([chunk({"content": "a"}), STOP, chunk(usage={"prompt_tokens": 3, "completion_tokens": 4}), DONE])
    assert frames(encode(events))[-1]["usage"]["total_tokens"] == 7
    quiet = encode(events, ReplyFacts("i", "m", 1))
    assert b"usage" not in quiet
    assert quiet.endswith(DONE)


PARTS = st.one_of(
    st.builds(Text, st.text(min_size=1)),
    st.builds(Refusal, st.text(min_size=1)),
    st.builds(
        ToolCall, st.text("ab1", min_size=1), st.text("fg", min_size=1), st.sampled_from(['{"a":1}', '{"b":"é"}'])
    ),
    st.builds(Thinking, st.text(min_size=1), st.just(Signature(Dialect.ANTHROPIC_MESSAGES, "sig"))),
    st.builds(RedactedThinking, st.just(Signature(Dialect.GEMINI, "data"))),
)


def merged(found: tuple[Part, ...]) -> list[Part]:
    """Neighbouring texts are one in this dialect; everything else keeps its place."""
    out: list[Part] = []
    for part in found:
        last = out[-1] if out else None
        if isinstance(part, Text) and isinstance(last, Text):
            out[-1] = Text(last.text + part.text)
        elif isinstance(part, Refusal) and isinstance(last, Refusal):
            out[-1] = Refusal(last.text + part.text)
        elif isinstance(part, Thinking) and isinstance(last, Thinking):
            out[-1] = Thinking(last.text + part.text, part.signature)
        else:
            out.append(part)
    return out


@settings(max_examples=150)
@given(st.lists(PARTS, max_size=5), st.sampled_from([StopReason.END, StopReason.LENGTH]), st.integers(1, 60))
def test_any_answer_survives_being_streamed(found: list[Part], reason: StopReason, size: int) -> None:
    numbered = [
        ToolCall(f"{part.id}{i}", part.name, part.arguments) if isinstance(part, ToolCall) else part
        for i, part in enumerate(found)
    ]
    answer = Response("r", "m", (Choice(0, tuple(numbered), Stop(reason)),), Usage(input=1, output=2))
    events = as_events(answer)
    legality.check(events)
    assert assembled(events).choices == answer.choices
    back = assembled(decode(cut(encode(events), size)))
    assert back.usage.total == 3
    (choice,) = back.choices
    lasting = [p for p in merged(choice.parts) if not isinstance(p, RedactedThinking)]
    assert lasting == [p for p in merged(tuple(numbered)) if not isinstance(p, RedactedThinking)] or any(
        isinstance(p, RedactedThinking) for p in numbered
    )


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(
            [
                chunk({"content": "a"}),
                STOP,
                DONE,
                chunk(call(0, "a", "f", "{")),
                b"data: ",
                b"\n",
                b"{",
                b'{"choices":[{"delta":5}]}\n\n',
                b'data: {"choices":[{"index":"x","delta":{"tool_calls":[{"index":[],"function":5}],"content":5}}]}\n\n',
            ]
        ),
        max_size=8,
    )
)
def test_any_bytes_keep_the_promises(pieces: list[bytes]) -> None:
    decode(pieces)


@given(st.binary(max_size=200))
def test_garbage_keeps_the_promises(raw: bytes) -> None:
    decode([raw])


def test_parts_close_with_everything() -> None:
    events = decode([chunk({"content": "a"}), chunk(call(0, "i", "f", "{}")), STOP, DONE])
    assert [event.part for event in events if isinstance(event, PartClosed)] == [Text("a"), ToolCall("i", "f", "{}")]


def test_only_the_first_delta_says_that_a_call_is_a_custom_one() -> None:
    first = {"index": 0, "id": "i", "type": "custom", "custom": {"name": "f", "input": "SELECT "}}
    later = {"index": 0, "custom": {"input": "1"}}
    events = decode([chunk({"tool_calls": [first]}), chunk({"tool_calls": [later]}), STOP, DONE])
    closed = [event.part for event in events if isinstance(event, PartClosed)]
    assert closed == [ToolCall("i", "f", "SELECT 1", custom=True)]
