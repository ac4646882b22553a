"""Messages streams: every recorded one keeps the promises, means what a whole answer means, and is written legally."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError
from anthropic.types.beta import (
    BetaRawContentBlockDeltaEvent,
    BetaRawContentBlockStartEvent,
    BetaRawContentBlockStopEvent,
    BetaRawMessageDeltaEvent,
    BetaRawMessageStartEvent,
    BetaRawMessageStopEvent,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from gproxy.canonical.events import (
    ArgumentsDelta,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    PartClosed,
    PartOpened,
    SignatureDelta,
    Started,
    TextDelta,
)
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import ReplyFacts
from tests.protocols import legality
from tests.protocols.anthropic_messages.meaning import settled, spelled
from tests.protocols.recorded import SIZES, Exchange, cut, exchanges, frames
from tests.vendor.legal import judge

OWN = Dialect.ANTHROPIC_MESSAGES
FACTS = ReplyFacts(id="msg_1", model="asked", created=7)
KINDS: dict[str, type[BaseModel]] = {
    "message_start": BetaRawMessageStartEvent,
    "message_delta": BetaRawMessageDeltaEvent,
    "message_stop": BetaRawMessageStopEvent,
    "content_block_start": BetaRawContentBlockStartEvent,
    "content_block_delta": BetaRawContentBlockDeltaEvent,
    "content_block_stop": BetaRawContentBlockStopEvent,
}


def decode(chunks: list[bytes]) -> list[Event]:
    decoder = PROTOCOL.stream_decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    assert decoder.feed(b"data: {}\n\n") == decoder.end() == []
    legality.check(events)
    return events


def unknown_to_the_sdk(stream: bytes) -> set[tuple[str, str]]:
    """What the SDK's strict types miss in a stream: the frame's type and the field."""
    found: set[tuple[str, str]] = set()
    for body in frames(stream):
        kind = KINDS.get(str(body.get("type"))) if isinstance(body, dict) else None
        if kind is not None:
            try:
                kind.model_validate_json(json.dumps(body), strict=True)
            except ValidationError as problem:
                found |= {(body["type"], ".".join(map(str, error["loc"]))) for error in problem.errors()}
    return found


def encode(events: list[Event], source: bytes = b"") -> tuple[bytes, Losses]:
    """The stream for some events; it is legal by the judge, and the SDK's types accept every frame.

    A vendor's own stream from before the SDK's types (`source`) may lack what it lacked then.
    """
    losses = Losses()
    encoder = PROTOCOL.stream_encoder(FACTS, losses)
    out = b"".join(encoder.encode(event) for event in events)
    if isinstance(events[-1], Finished | Failed):
        assert encoder.encode(Finished()) == encoder.fail(Failure(Kind.DRAINING, "late")) == b""
        verdict = judge("anthropic_messages", stream=True, body=out)
        assert verdict.legal, verdict.faults
    assert unknown_to_the_sdk(out) <= unknown_to_the_sdk(source)
    return out, losses


def assembled(events: list[Event]) -> Response:
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()


def by_sdk(stream: bytes) -> Any:
    """What the official SDK's accumulator makes of a stream."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as network:
        client = Anthropic(api_key="k", base_url="http://vendor.invalid", http_client=network, max_retries=0)
        with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream_:
            return stream_.get_final_message()


def as_stream(body: dict[str, Any]) -> bytes:
    """A whole answer as its vendor would have streamed it."""
    events: list[dict[str, Any]] = []
    start = {**body, "content": [], "stop_reason": None, "stop_sequence": None}
    events.append({"type": "message_start", "message": {k: v for k, v in start.items() if k != "stop_details"}})
    for index, block in enumerate(body["content"]):
        deltas: list[dict[str, Any]] = []
        empty = dict(block)
        match block["type"]:
            case "text":
                empty.update(text="")
                empty.pop("citations", None)
                deltas += [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
                deltas += [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            case "thinking":
                empty.update(thinking="", signature="")
                deltas += [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": block["signature"]})
            case "tool_use" | "server_tool_use" | "mcp_tool_use":
                empty.update(input={})
                pieces = halves(json.dumps(block["input"]))
                deltas += [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces)]
            case "compaction":
                empty.update(content=None)
                deltas += [{"type": "compaction_delta", "content": piece} for piece in halves(block["content"])]
            case _:
                pass
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ending = {key: body.get(key) for key in ("stop_reason", "stop_sequence", "stop_details", "container")}
    last = {"context_management": body["context_management"]} if "context_management" in body else {}
    events.append({"type": "message_delta", "delta": ending, "usage": body["usage"], **last})
    events.append({"type": "message_stop"})
    return b"".join(frame(event) for event in events)


def halves(text: str) -> tuple[str, ...]:
    middle = len(text) // 2
    return (text[:middle], text[middle:])


def frame(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def recorded() -> Iterator[Exchange]:
    for case in exchanges("anthropic-messages"):
        if case.status == 200:
            yield case


def test_every_recorded_stream() -> None:
    seen = 0
    for case in recorded():
        if not case.sse:
            continue
        seen += 1
        events = decode([case.response])
        assert isinstance(events[-1], Finished), case.name
        for size in SIZES[0 if len(case.response) < 3000 else 1 : 3]:
            assert decode(cut(case.response, size)) == events, case.name
        whole = assembled(events)
        text, inputs, signatures, stop = "", [""], [], None
        for body in frames(case.response):
            delta = body.get("delta") or {}
            text += delta.get("text", "")
            inputs[-1] += delta.get("partial_json", "")
            if body["type"] == "content_block_start" and body["content_block"].get("input"):
                inputs[-1] = json.dumps(body["content_block"]["input"])
            if body["type"] == "content_block_stop":
                inputs.append("")
            if delta.get("signature"):
                signatures.append(delta["signature"])
            stop = delta.get("stop_reason", stop)
        parts = whole.choices[0].parts
        assert "".join(part.text for part in parts if isinstance(part, Text)) == text, case.name
        calls = [part.arguments for part in parts if isinstance(part, ToolCall | ServerToolCall)]
        assert [spelled(c) for c in calls if c != "{}"] == [
            spelled(said) for said in inputs if said not in ("", "{}")
        ], case.name
        assert [p.signature.value for p in parts if isinstance(p, Thinking) and p.signature] == signatures, case.name
        assert whole.choices[0].stop is not None
        assert whole.choices[0].stop.raw == stop, case.name
        # Written and read again, it is the same answer.
        out, losses = encode(events, case.response)
        assert not losses, (case.name, losses.header())
        back = assembled(decode([out]))
        assert back.choices == whole.choices, case.name
        assert back.usage == whole.usage, case.name
    assert seen > 50


def test_a_stream_means_what_the_whole_answer_means() -> None:
    seen = 0
    for case in recorded():
        if case.sse:
            continue
        seen += 1
        body = json.loads(case.response)
        whole, streamed = PROTOCOL.decode_response(case.response), assembled(decode([as_stream(body)]))
        assert like(streamed) == like(whole), case.name
        assert (streamed.usage, streamed.service_tier) == (whole.usage, whole.service_tier), case.name
        assert streamed.extras == whole.extras, case.name
        # Played as a stream and written, the whole answer is the same for the client, too.
        assert like(assembled(decode([encode(as_events(whole), as_stream(body))[0]]))) == like(whole), case.name
    assert seen > 100


def like(response: Response) -> list[Choice]:
    return [replace(choice, parts=tuple(settled(part) for part in choice.parts)) for choice in response.choices]


def test_the_sdk_accumulates_what_is_written() -> None:
    for case in recorded():
        # A relay's `[DONE]` is no event of this dialect, and the SDK stumbles over the original.
        if not case.sse or len(case.response) > 60_000 or b"[DONE]" in case.response:
            continue
        out, _ = encode(decode([case.response]), case.response)
        theirs, ours = by_sdk(case.response), by_sdk(out)
        for mine, original in zip(ours.content, theirs.content, strict=True):
            assert mine.to_dict() == original.to_dict(), case.name
        assert ours.stop_reason == theirs.stop_reason, case.name
        assert ours.stop_sequence == theirs.stop_sequence, case.name
        assert ours.usage.to_dict() == theirs.usage.to_dict(), case.name


# --- odd servers ---

START = frame({"type": "message_start", "message": {"id": "msg_9", "model": "m", "usage": {"input_tokens": 3}}})
END = frame({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}})
STOP = frame({"type": "message_stop"})


def begin(index: int, **block: Any) -> bytes:
    return frame({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, **fields: Any) -> bytes:
    return frame({"type": "content_block_delta", "index": index, "delta": fields})


def close(index: int) -> bytes:
    return frame({"type": "content_block_stop", "index": index})


def words(index: int, text: str) -> bytes:
    return delta(index, type="text_delta", text=text)


def inputs(index: int, text: str) -> bytes:
    return delta(index, type="input_json_delta", partial_json=text)


TOOL = {"type": "tool_use", "id": "t", "name": "f"}


@pytest.mark.parametrize(
    ("frames_", "expected"),
    [
        ([begin(0, type="text", text=""), words(0, "a"), words(0, "b"), close(0)], [Text("ab")]),
        ([begin(0, type="text", text="a"), words(0, "b"), close(0)], [Text("ab")]),
        ([words(0, "a"), words(0, "b")], [Text("ab")]),
        ([begin(0, type="text", text=""), words(0, "a")], [Text("a")]),
        ([begin(0, type="text", text=""), words(0, "a"), begin(0, type="text", text=""), words(0, "b")], [Text("a"), Text("b")]),
        ([begin(0, **TOOL, input={}), inputs(0, ""), inputs(0, '{"x"'), inputs(0, ":1}"), close(0)], [ToolCall("t", "f", '{"x":1}')]),
        ([begin(0, **TOOL, input={"x": 1}), close(0)], [ToolCall("t", "f", '{"x":1}')]),
        ([begin(0, **TOOL, input={}), close(0)], [ToolCall("t", "f", "{}")]),
        ([begin(0, **TOOL, input={"x": 1}), inputs(0, "{}"), close(0)], [ToolCall("t", "f", "{}")]),
        ([begin(0, type="tool_use", name="f"), close(0)], [ToolCall("toolu_msg_9_0", "f", "{}")]),
        ([begin(0, type="tool_use", id="x"), inputs(0, "{}"), close(0), words(1, "a")], [Text("a")]),
        ([begin(0, type="thinking", thinking="t", signature="s"), close(0)], [Thinking("t", Signature(OWN, "s"))]),
        ([begin(0, type="thinking", thinking="", signature=""), delta(0, type="thinking_delta", thinking="t"), close(0)], [Thinking("t")]),
        ([begin(0, type="thinking", thinking="", signature=""), delta(0, type="signature_delta", signature="s"), close(0)], [Thinking("", Signature(OWN, "s"))]),
        ([delta(0, type="thinking_delta", thinking="t"), words(0, "a")], [Thinking("t"), Text("a")]),
        ([begin(0, type="new", content=None, n=1), delta(0, type="new_delta", content="a"), delta(0, type="new_delta", content="b"), close(0)], [Opaque(OWN, "new", {"type": "new", "content": "ab", "n": 1})]),
        ([begin(0, type="text", text=""), begin(1, **TOOL, input={}), words(0, "a"), inputs(1, "{}"), words(0, "b"), close(1), close(0)], [Text("ab"), ToolCall("t", "f", "{}")]),
        ([frame({"type": "ping"}), frame({"type": "invented"}), b": comment\n\n", words(0, "a")], [Text("a")]),
        ([close(4), delta(3, type="invented"), inputs(2, "{}")], []),
    ],
)  # fmt: skip
def test_odd_frames(frames_: list[bytes], expected: list[Part]) -> None:
    events = decode([START, *frames_, END, STOP])
    whole = assembled(events)
    assert list(whole.choices[0].parts) == expected
    assert (whole.id, whole.usage.input, whole.usage.output) == ("msg_9", 3, 4)
    encode(events, b"".join(frames_))


@pytest.mark.parametrize(
    ("frames_", "text"),
    [
        ([words(0, "a"), END, STOP], "a"),  # no start
        ([START, words(0, "a"), END], "a"),  # no stop
        ([START, words(0, "a"), END, b"data: [DONE]\n\n"], "a"),  # another dialect's end
        ([START, START, words(0, "a"), END, STOP, STOP], "a"),  # said twice
        ([START.replace(b"event: message_start\n", b""), words(0, "a"), END, STOP], "a"),  # no names
        ([START, words(0, "a").replace(b'"type": "content_block_delta", ', b""), END, STOP], "a"),  # only names
        ([START, words(0, "a").replace(b"\n", b"\r\n"), END, STOP.rstrip(b"\n")], "a"),
    ],
)
def test_streams_that_stray_from_the_line(frames_: list[bytes], text: str) -> None:
    for size in (1, 10_000):
        events = decode(cut(b"".join(frames_), size))
        assert isinstance(events[-1], Finished)
        assert assembled(events).choices[0].parts == (Text(text),)
        encode(events)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "broke off"),
        (START + words(0, "a"), "broke off"),
        (START + words(0, "a") + b"data: [DONE]\n\n", "broke off"),
        (START + begin(0, **TOOL, input={}) + inputs(0, '{"x'), "broke off"),
        (START + words(0, "a") + b"data: {\n\n", "no JSON object"),
        (START + b"data: 5\n\n" + END + STOP, "no JSON object"),
        (START + words(0, "a") + frame({"type": "error", "error": {"type": "overloaded_error", "message": "boom"}}), "boom"),
        (b'event: error\ndata: {"message":"boom"}\n\n', "boom"),
        (START + b'data: {"error":{"message":"boom"}}\n\n' + STOP, "boom"),
    ],
)  # fmt: skip
def test_broken_streams_end_in_a_failure(stream: bytes, message: str) -> None:
    for size in (1, 10_000):
        events = decode(cut(stream, size))
        last = events[-1]
        assert isinstance(last, Failed)
        assert message in last.error.message
    out, _ = encode(events)
    assert message in frames(out)[-1]["error"]["message"]


def test_an_error_in_the_stream_reaches_the_sdk() -> None:
    overloaded = frame({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
    out, _ = encode(decode([START, words(0, "a"), overloaded]))
    assert frames(out)[-1]["error"] == {"type": "overloaded_error", "message": "busy", "code": "upstream_error"}
    with pytest.raises(APIStatusError, match="busy"):
        by_sdk(out)


# --- writing what other dialects stream ---


def test_parts_that_grow_side_by_side_are_written_one_after_the_other() -> None:
    a, b, c = ToolCall("a", "f"), ToolCall("b", "g"), Text("")
    events: list[Event] = [
        Started("r", "m"),
        PartOpened(0, 0, a),
        PartOpened(0, 1, b),
        ArgumentsDelta(0, 1, "{}"),
        ArgumentsDelta(0, 0, '{"x"'),
        PartOpened(0, 2, c),
        TextDelta(0, 2, "t"),
        PartClosed(0, 1, replace(b, arguments="{}")),
        ArgumentsDelta(0, 0, ":1}"),
        PartClosed(0, 0, replace(a, arguments='{"x":1}')),
        TextDelta(0, 2, "u"),
        PartClosed(0, 2, Text("tu")),
        ChoiceFinished(0, Stop(StopReason.TOOL_CALLS)),
        Finished(Usage(input=1, output=2)),
    ]
    legality.check(events)
    out, losses = encode(events)
    assert not losses
    assert assembled(decode([out])).choices[0].parts == (
        ToolCall("a", "f", '{"x":1}'),
        ToolCall("b", "g", "{}"),
        Text("tu"),
    )
    message = by_sdk(out)
    assert [block.type for block in message.content] == ["tool_use", "tool_use", "text"]
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("tool_use", 1, 2)


def test_words_go_out_as_they_come() -> None:
    encoder = PROTOCOL.stream_encoder(FACTS, Losses())
    encoder.encode(Started("r", "m"))
    assert encoder.encode(PartOpened(0, 0, Text(""))) == b""
    assert b'"a"' in encoder.encode(TextDelta(0, 0, "a"))
    encoder.encode(PartClosed(0, 0, Text("a")))
    assert b"tool_use" in encoder.encode(PartOpened(0, 1, ToolCall("t", "f")))
    assert encoder.encode(ArgumentsDelta(0, 1, " ")) == b""
    assert b"{" in encoder.encode(ArgumentsDelta(0, 1, '{"x":'))
    assert encoder.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("call", "value", "lost"),
    [
        (ToolCall("t", "f", ""), {}, ""),
        (ToolCall("t", "f", "  "), {}, ""),
        (ToolCall("t", "f", ' {"a":1}'), {"a": 1}, ""),
        (ToolCall("t", "f", "[1]"), {"input": [1]}, "tool_arguments"),
        (ToolCall("t", "f", "free"), {"input": "free"}, "tool_arguments"),
        (ToolCall("t", "f", '{"a', custom=True), {"input": '{"a'}, "custom_tool"),
    ],
)
def test_arguments_are_an_object_in_the_end(call: ToolCall, value: Any, lost: str) -> None:
    events = as_events(Response("r", "m", (Choice(0, (call,), Stop(StopReason.TOOL_CALLS)),)))
    out, losses = encode(events)
    assert losses.header() == lost
    assert by_sdk(out).content[0].input == value


def test_a_call_that_cannot_be_read_is_no_answer() -> None:
    def streamed(reason: StopReason) -> list[Any]:
        call = ToolCall("t", "f", '{"path": "/etc')
        return frames(encode(as_events(Response("r", "m", (Choice(0, (call,), Stop(reason)),))))[0])

    assert streamed(StopReason.TOOL_CALLS)[-1]["type"] == "error"
    assert streamed(StopReason.LENGTH)[-2]["delta"]["stop_reason"] == "max_tokens"


def test_the_first_choice_is_the_answer() -> None:
    two = Response("r", "m", (Choice(0, (Text("a"),), None), Choice(1, (Text("b"),), None)))
    out, losses = encode(as_events(two))
    assert ([block.text for block in by_sdk(out).content], losses.header()) == (["a"], "n")


def test_signatures_survive_a_tool_loop_byte_for_byte() -> None:
    own, alien = Signature(OWN, "Eq+/ab=="), Signature(Dialect.GEMINI, "Ci+/=")
    parts: tuple[Part, ...] = (
        Thinking("t", own),
        RedactedThinking(Signature(OWN, "Em+/=="), extras={}),
        Thinking("u", alien),
        Thinking("", own),
        ToolCall("c", "f", '{"a":1}', signature=alien),
    )
    answer = Response("r", "m", (Choice(0, parts, Stop(StopReason.TOOL_CALLS)),))
    message = by_sdk(encode(as_events(answer))[0])
    history = [{"role": "assistant", "content": [block.to_dict() for block in message.content]}]
    for _ in range(3):  # the client sends it back with every turn
        back = PROTOCOL.decode_request(json.dumps({"model": "m", "messages": history}).encode())
        assert back.turns[0].parts == parts
        losses = Losses()
        sent = json.loads(PROTOCOL.encode_request(back, losses))["messages"][0]["content"]
        assert [block.get("signature") or block.get("data") for block in sent] == [
            "Eq+/ab==",
            "Em+/==",
            "Eq+/ab==",
            None,
        ]
        assert losses.header() == "thinking, signature"


def test_a_cut_anywhere_ends_in_an_error() -> None:
    case = max((c for c in recorded() if c.sse and len(c.response) < 20_000), key=lambda c: len(c.response))
    events = decode([case.response])
    for end in range(len(events)):
        encoder = PROTOCOL.stream_encoder(FACTS, Losses())
        out = b"".join(encoder.encode(event) for event in events[:end])
        out += encoder.fail(Failure(Kind.DRAINING, "going away"))
        assert encoder.encode(events[end]) == encoder.fail(Failure(Kind.INTERNAL, "x")) == b""
        verdict = judge("anthropic_messages", stream=True, body=out)
        assert verdict.legal, (end, verdict.faults)
        assert verdict.error == "draining"


# --- anything at all ---

SIGNATURES = st.builds(
    Signature, st.sampled_from([OWN, Dialect.GEMINI, Dialect.OPENAI_CHAT]), st.text("aB+/=", min_size=1)
)
PARTS = st.one_of(
    st.builds(Text, st.text(min_size=1)),
    st.builds(Text, st.text(min_size=1), st.just((Citation(CitationKind.URL, "https://x", "X", "q"),))),
    st.builds(
        ToolCall,
        st.text("ab1", min_size=1),
        st.text("fg", min_size=1),
        st.sampled_from(['{"a":1}', '{"b":"é"}', "{}"]),
        signature=st.none() | SIGNATURES.filter(lambda signature: signature.origin is not OWN),
    ),
    st.builds(Thinking, st.text(), st.none() | SIGNATURES),
    st.builds(RedactedThinking, SIGNATURES, extras=st.just({})),
    st.builds(
        ServerToolCall,
        st.text("ab1", min_size=1),
        st.just(ServerToolKind.WEB_SEARCH),
        st.just("web_search"),
        st.sampled_from(['{"query":"é"}', "{}"]),
        extras=st.sampled_from([{}, {OWN: {"type": "server_tool_use", "caller": {"type": "direct"}}}]),
    ),
    st.builds(lambda said: Opaque(OWN, "compaction", {"type": "compaction", "content": said}), st.text()),
    st.just(
        ServerToolResult(
            "s",
            ServerToolKind.WEB_SEARCH,
            extras={OWN: {"type": "web_search_tool_result", "tool_use_id": "s", "content": []}},
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=6), st.sampled_from([StopReason.LENGTH, StopReason.REFUSAL]), st.integers(1, 60))
def test_any_answer_survives_being_streamed(found: list[Part], reason: StopReason, size: int) -> None:
    answer = Response("r", "m", (Choice(0, tuple(found), Stop(reason)),), Usage(input=1, output=2, cache_read=3))
    out, losses = encode(as_events(answer))
    assert not losses
    back = assembled(decode(cut(out, size)))
    assert back.usage.total == 6
    (choice,) = back.choices
    assert choice.stop is not None
    assert choice.stop.reason is reason
    assert [bare(part) for part in choice.parts] == found
    # Whole, it is the same.
    whole = PROTOCOL.decode_response(PROTOCOL.encode_response(answer, FACTS, Losses()))
    assert [bare(part) for part in whole.choices[0].parts] == found


def bare(part: Part) -> Part:
    """Without the wire's own form of a citation, which only what was read from the wire has."""
    if isinstance(part, Text):
        return replace(part, citations=tuple(replace(citation, extras={}) for citation in part.citations), extras={})
    return part


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                START, END, STOP, words(0, "a"), words(1, "b"), inputs(0, "{"), inputs(1, "x"), close(0), close(1),
                begin(0, type="text", text=""), begin(0, **TOOL, input={}), begin(1, type="thinking", thinking=""),
                delta(0, type="signature_delta", signature="s"), delta(1, type="citations_delta", citation={}),
                begin(1, type=5), begin(2, type="tool_use", id=[], name={}), begin(3, type="image"),
                delta(2, type="text_delta", text=5), frame({"type": "message_delta", "delta": 5, "usage": []}),
                b'data: {"type":"content_block_delta","index":"x","delta":[]}\n\n',
                b'data: {"type":["content_block_start"]}\n\n', b"data: ", b"\n", b"{",
            ]
        ),
        max_size=10,
    )
)  # fmt: skip
def test_any_bytes_keep_the_promises(pieces: list[bytes]) -> None:
    encode(decode(pieces), b"".join(pieces))


@given(st.binary(max_size=200))
def test_garbage_keeps_the_promises(raw: bytes) -> None:
    encode(decode([raw]))


def test_a_refusal_elsewhere_is_words_here() -> None:
    out, losses = encode(as_events(Response("r", "m", (Choice(0, (Refusal("no"),), Stop(StopReason.END)),))))
    message = by_sdk(out)
    assert ([block.text for block in message.content], message.stop_reason) == (["no"], "refusal")
    assert not losses


def test_signatures_close_their_part() -> None:
    events = decode([START, begin(0, type="thinking", thinking=""), delta(0, type="signature_delta", signature="s"), END, STOP])  # fmt: skip
    order = [type(event) for event in events]
    assert all(a in order and b in order for a, b in pairwise([PartOpened, SignatureDelta, PartClosed]))
