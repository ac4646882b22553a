"""ConverseStream: the same events whatever the chunks, an end for every stream, failures in the vendor's words."""

from __future__ import annotations

import base64
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.events import ArgumentsDelta, ChoiceFinished, Event, Failed, Finished, Started
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    CitationKind,
    Image,
    Inline,
    RedactedThinking,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.canonical.response import Response, StopReason
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.bedrock_converse.stream import Decoder
from gproxy.wire.eventstream import Message, encode
from tests.protocols.bedrock_converse import wire
from tests.protocols.legality import check
from tests.protocols.recorded import cut

OWN = Dialect.BEDROCK_CONVERSE


def events(pieces: list[bytes]) -> list[Event]:
    decoder = Decoder()
    found = [event for piece in pieces for event in decoder.feed(piece)]
    return found + decoder.end()


def whole(*raw: bytes) -> Response:
    found = events([b"".join(raw)])
    check(found)
    assembler = Assembler()
    for event in found:
        assembler.take(event)
    return assembler.response()


def failure(*raw: bytes) -> Failed:
    found = events([b"".join(raw)])
    check(found)
    assert isinstance(found[-1], Failed)
    return found[-1]


def test_thinking_text_and_calls() -> None:
    answer = whole(wire.THINKS_AND_CALLS)
    (choice,) = answer.choices
    assert choice.parts == (
        Thinking("let me see – naïve", Signature(OWN, "proof")),
        Text("I will look. 🚲"),
        ToolCall("tooluse_A", "add", '{"a": 1}'),
        ToolCall("tooluse_B", "now", "{}"),
    )
    assert choice.stop is not None
    assert (choice.stop.reason, choice.stop.raw) == (StopReason.TOOL_CALLS, "tool_use")
    assert answer.usage == Usage(input=12, output=34, cache_read=80, cache_write_5m=15, cache_write_1h=5)
    assert answer.service_tier == "default"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_chunks_change_nothing(size: int) -> None:
    assert events(cut(wire.THINKS_AND_CALLS, size)) == events([wire.THINKS_AND_CALLS])


@pytest.mark.parametrize("seed", range(20))
def test_random_chunks_change_nothing(seed: int) -> None:
    dice, pieces, at = random.Random(seed), [], 0
    while at < len(wire.THINKS_AND_CALLS):
        size = dice.choice((1, 2, 3, 5, 12, 13, 90, 400))
        pieces.append(wire.THINKS_AND_CALLS[at : at + size])
        at += size
    assert events(pieces) == events([wire.THINKS_AND_CALLS])


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_what_comes_after_the_end_is_not_looked_at(size: int) -> None:
    rubbish = wire.THINKS_AND_CALLS + b"\x00\x01 this is no message" + wire.THINKS_AND_CALLS
    assert events(cut(rubbish, size)) == events([wire.THINKS_AND_CALLS])


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_what_came_before_rubbish_stays_told(size: int) -> None:
    raw = wire.start() + wire.delta(0, text="hello") + b"\xff" * 40
    found = events(cut(raw, size))
    check(found)
    assert isinstance(found[-1], Failed)
    assert "checksum" in found[-1].error.message
    assert found[-1].error.code is None
    assert found == events([raw])


def test_a_stream_that_is_cut_never_looks_whole() -> None:
    for at in set(range(len(wire.THINKS_AND_CALLS))) - {len(wire.WITHOUT_FIGURES)}:
        found = events([wire.THINKS_AND_CALLS[:at]])
        assert isinstance(found[-1], Failed), at


def test_a_call_that_is_cut_gets_no_arguments() -> None:
    found = events([wire.start() + wire.begin(0, toolUse={"toolUseId": "a", "name": "add"})])
    assert isinstance(found[-1], Failed)
    assert not [event for event in found if isinstance(event, ArgumentsDelta)]


def test_a_stream_without_figures_is_whole() -> None:
    found = events([wire.WITHOUT_FIGURES])
    check(found)
    assert found[-1] == Finished(UNKNOWN)


def test_figures_before_the_reason() -> None:
    answer = whole(
        wire.start(), wire.delta(0, text="hi"), wire.metadata(inputTokens=1, outputTokens=2), wire.ending("max_tokens")
    )
    assert answer.usage == Usage(input=1, output=2)
    assert answer.choices[0].parts == (Text("hi"),)
    assert answer.choices[0].stop is not None
    assert answer.choices[0].stop.reason is StopReason.LENGTH


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", StopReason.END),
        ("stop_sequence", StopReason.STOP_SEQUENCE),
        ("guardrail_intervened", StopReason.CONTENT_FILTER),
        ("content_filtered", StopReason.CONTENT_FILTER),
        ("malformed_tool_use", StopReason.MALFORMED_CALL),
        ("malformed_model_output", StopReason.OTHER),
        ("model_context_window_exceeded", StopReason.CONTEXT),
        ("something_new", StopReason.OTHER),
    ],
)
def test_reasons(word: str, reason: StopReason) -> None:
    more = {"additionalModelResponseFields": {"stop_sequence": "X"}}
    stop = whole(wire.start(), wire.ending(word, **more), wire.metadata()).choices[0].stop
    assert stop is not None
    assert (stop.reason, stop.raw, stop.sequence) == (reason, word, "X")


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("throttlingException", 429),
        ("ThrottlingException", 429),
        ("internalServerException", 500),
        ("modelStreamErrorException", 424),
        ("serviceUnavailableException", 503),
        ("validationException", 400),
        ("newException", None),
    ],
)
def test_exceptions_in_the_stream(kind: str, status: int | None) -> None:
    begun = wire.start() + wire.delta(0, text="hel")
    error = failure(begun, wire.exception(kind, {"message": "Too many requests"}), wire.delta(0, text="lo")).error
    assert (error.message, error.code, error.status) == ("Too many requests", kind, status)
    assert failure(begun, wire.event(kind, {"message": "Too many requests"})).error == error
    assert failure(wire.exception(kind, b"")).error.message == kind


def test_a_models_own_failure_says_more() -> None:
    told = {"message": "see original", "originalStatusCode": 529, "originalMessage": "overloaded"}
    error = failure(wire.start(), wire.exception("modelStreamErrorException", told)).error
    assert (error.message, error.status) == ("overloaded", 529)


def test_an_error_of_the_framing() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "gone"}
    error = failure(wire.start(), encode(Message({**headers}))).error
    assert (error.message, error.code) == ("gone", "InternalFailure")


def test_pieces_that_mean_something_only_together() -> None:
    one, two = (base64.b64encode(part).decode() for part in (b"secret-", b"half"))
    picture = base64.b64encode(b"PNG!").decode()
    answer = whole(
        wire.start(),
        wire.delta(0, reasoningContent={"redactedContent": one}),
        wire.delta(0, reasoningContent={"redactedContent": two}),
        wire.stop(0),
        wire.begin(1, toolUse={"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use"}),
        wire.delta(1, toolUse={"input": '{"q":"x"}'}),
        wire.stop(1),
        wire.begin(2, toolResult={"toolUseId": "s", "type": "nova_grounding_result", "status": "success"}),
        wire.delta(2, toolResult=[{"text": "fo"}]),
        wire.delta(2, toolResult=[{"text": "und"}, {"json": {"n": 1}}]),
        wire.stop(2),
        wire.begin(3, image={"format": "png"}),
        wire.delta(3, image={"source": {"bytes": picture}}),
        wire.stop(3),
        wire.ending("end_turn"),
        wire.metadata(inputTokens=1, outputTokens=1),
    )
    redacted, call, result, image = answer.choices[0].parts
    assert redacted == RedactedThinking(Signature(OWN, base64.b64encode(b"secret-half").decode()))
    assert call == ServerToolCall("s", ServerToolKind.WEB_SEARCH, "nova_grounding", '{"q":"x"}')
    assert isinstance(result, ServerToolResult)
    assert (result.kind, result.parts, result.is_error) == (
        ServerToolKind.WEB_SEARCH, (Text("found"), Text('{"n":1}')), False,
    )  # fmt: skip
    assert image == Image(Inline(picture, "image/png"))


def test_citations_come_with_their_text() -> None:
    cited = {
        "title": "Doc",
        "sourceContent": [{"text": "quote"}],
        "location": {"documentPage": {"documentIndex": 0, "start": 3, "end": 4}},
    }
    answer = whole(
        wire.start(),
        wire.delta(0, text="fact"),
        wire.delta(0, citation=cited),
        wire.delta(0, citation={"location": {"web": {"url": "https://example.org", "domain": "example.org"}}}),
        wire.stop(0),
        wire.ending("end_turn"),
        wire.metadata(inputTokens=1, outputTokens=1),
    )  # fmt: skip
    (text,) = answer.choices[0].parts
    assert isinstance(text, Text)
    page, web = text.citations
    assert (page.kind, page.title, page.quote, page.document, page.start, page.end) == (
        CitationKind.PAGE, "Doc", "quote", 0, 3, 4,
    )  # fmt: skip
    assert (web.kind, web.url, web.title) == (CitationKind.URL, "https://example.org", "example.org")


def test_blocks_that_stray_from_the_line() -> None:
    """One index for two kinds of content, a block never closed, input of no call, unknown events and deltas."""
    answer = whole(
        wire.event("initial-response", {}),
        wire.start(),
        wire.delta(0, reasoningContent={"text": "hm"}),
        wire.delta(0, text="said"),
        wire.delta(5, toolUse={"input": "{}"}),
        wire.delta(0, news={"x": 1}),
        wire.event("contentBlockNews", {"contentBlockIndex": 0}),
        wire.begin(1, toolUse={"name": "add"}),
        wire.ending("end_turn"),
        wire.metadata(inputTokens=1, outputTokens=1),
    )
    assert answer.choices[0].parts == (Thinking("hm"), Text("said"), ToolCall("tooluse_1", "add", "{}"))


@pytest.mark.parametrize("payload", [b"", b"[]", b"not json", b'{"contentBlockIndex": 0'])
def test_an_event_that_is_no_object(payload: bytes) -> None:
    headers = {":event-type": "contentBlockDelta", ":message-type": "event"}
    assert "no JSON object" in failure(wire.start(), encode(Message({**headers}, payload))).error.message


_AT = st.integers(0, 3)
_EVENTS = st.one_of(
    st.just(wire.start()),
    st.builds(lambda at, said: wire.delta(at, text=said), _AT, st.text(max_size=3)),
    st.builds(lambda at, said: wire.delta(at, reasoningContent={"text": said}), _AT, st.text(max_size=3)),
    st.builds(lambda at, said: wire.delta(at, reasoningContent={"signature": said}), _AT, st.text(max_size=3)),
    st.builds(lambda at: wire.delta(at, reasoningContent={"redactedContent": "YQ=="}), _AT),
    st.builds(lambda at, said: wire.delta(at, toolUse={"input": said}), _AT, st.text(max_size=3)),
    st.builds(lambda at: wire.delta(at, citation={"title": "t"}), _AT),
    st.builds(lambda at: wire.delta(at, image={"source": {"bytes": "YQ=="}}), _AT),
    st.builds(lambda at: wire.begin(at, toolUse={"toolUseId": "t", "name": "add"}), _AT),
    st.builds(lambda at: wire.begin(at, image={"format": "png"}), _AT),
    st.builds(lambda at: wire.begin(at, toolResult={"toolUseId": "t"}), _AT),
    st.builds(wire.stop, _AT),
    st.builds(
        lambda at, odd: wire.delta(at, **{odd: odd}), _AT, st.sampled_from(["text", "toolUse", "news", "citation"])
    ),
    st.just(wire.event("contentBlockDelta", {"contentBlockIndex": "x", "delta": []})),
    st.just(wire.ending("end_turn")),
    st.just(wire.metadata(inputTokens=1, outputTokens=2)),
    st.just(wire.exception("throttlingException", {})),
)


@settings(max_examples=300)
@given(st.lists(_EVENTS, max_size=14), st.integers(1, 60))
def test_what_every_reader_of_events_is_promised(stream: list[bytes], size: int) -> None:
    raw = b"".join(stream)
    found = events([raw])
    check(found)
    assert events(cut(raw, size)) == found


def test_nothing_at_all() -> None:
    assert "broke off" in failure(b"").error.message


def test_what_starts_and_finishes() -> None:
    found: list[Any] = events([wire.THINKS_AND_CALLS])
    assert isinstance(found[0], Started)
    assert isinstance(found[-2], ChoiceFinished)
