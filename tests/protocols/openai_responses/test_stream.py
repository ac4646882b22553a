"""Responses streams: every recorded one keeps the promises, means what the whole answer says, and is written legally again."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import APIError, OpenAI, Stream, omit
from openai.lib.streaming.responses._responses import ResponseStreamState  # the SDK's own accumulator of streams
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from gproxy.canonical.events import (
    ArgumentsDelta,
    Event,
    Failed,
    Finished,
    LogprobsDelta,
    PartClosed,
    PartOpened,
    Started,
    TextDelta,
)
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    Citation,
    CitationKind,
    Image,
    Inline,
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
from gproxy.canonical.response import Choice, Logprobs, Response, Stop, StopReason, TokenChance
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_responses.dialogue import PROTOCOL
from tests.protocols import legality
from tests.protocols.recorded import SIZES, cut, exchanges, frames
from tests.vendor.legal import judge

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS = ReplyFacts(id="resp_1", model="asked", created=7)
OWN, CLAUDE, GEMINI = Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI
STRICT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
LAST = ("response.completed", "response.incomplete", "response.failed")


def decode(chunks: list[bytes]) -> list[Event]:
    decoder = PROTOCOL.stream_decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    legality.check(events)
    return events


def encode(events: list[Event], losses: Losses | None = None) -> bytes:
    encoder = PROTOCOL.stream_encoder(FACTS, Losses() if losses is None else losses)
    out = b"".join(encoder.encode(event) for event in events)
    assert encoder.encode(Finished()) == b""
    assert encoder.fail(Failure(Kind.DRAINING, "late")) == b""
    orderly(out)
    return out


def orderly(stream: bytes) -> None:
    """Numbers grow by one, ids stay, places follow each other, all is closed once, and the end repeats what was streamed."""
    verdict = judge("openai_responses", stream=True, body=stream)
    assert verdict.legal, verdict.faults
    added: dict[int, dict[str, Any]] = {}
    done: dict[int, dict[str, Any]] = {}
    pieces: dict[tuple[int, str, int], str | None] = {}
    for number, body in enumerate(frames(stream)):
        assert body["sequence_number"] == number
        kind, index, item = body["type"], body.get("output_index"), body.get("item")
        if kind == "response.output_item.added":
            assert index == len(added)
            added[index] = item
        elif kind == "response.output_item.done":
            assert index not in done
            assert (item["type"], item.get("id")) == (added[index]["type"], added[index].get("id"))
            assert not [key for key, said in pieces.items() if key[0] == index and said is not None]
            done[index] = item
        elif index is not None:
            assert index in added
            assert index not in done
            assert body["item_id"] == added[index]["id"]
            inner(body, pieces)
        if kind in LAST:
            assert body["response"]["output"] == [done[i] for i in sorted(done)]
            assert kind == "response.failed" or done.keys() == added.keys()
            assert kind == f"response.{body['response']['status']}"


def inner(body: dict[str, Any], pieces: dict[tuple[int, str, int], str | None]) -> None:
    kind = body["type"].removeprefix("response.")
    name = "summary" if "summary_index" in body else "content"
    key = (body["output_index"], name, body.get("summary_index", body.get("content_index", -1)))
    if kind.endswith("part.added"):
        assert key not in pieces
        assert key[2] == sum(1 for other in pieces if other[:2] == key[:2])
        pieces[key] = ""
    elif kind.endswith("part.done"):
        part = body["part"]
        assert pieces[key] == part.get("text", part.get("refusal"))
        pieces[key] = None
    elif kind.endswith(".delta") and key[2] >= 0:
        said = pieces[key]
        assert said is not None
        pieces[key] = said + body["delta"]
    elif kind in ("output_text.done", "refusal.done", "reasoning_text.done", "reasoning_summary_text.done"):
        assert pieces[key] == body.get("text", body.get("refusal"))


class Reply:
    """As much of an HTTP answer as the SDK's stream parser looks at."""

    request = None

    def __init__(self, body: bytes) -> None:
        self._body = body

    def iter_bytes(self) -> Iterator[bytes]:
        yield self._body

    def close(self) -> None:
        """There is nothing to close."""


def by_sdk(stream: bytes) -> list[Any]:
    """What the official SDK makes of it: its stream parser, then its accumulator."""
    reply: Any = Reply(stream)
    kind: Any = ResponseStreamEvent
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=[], text_format=omit)
    with OpenAI(api_key="none", base_url="http://unused.invalid") as client, warnings.catch_warnings():
        # Of vendors' own items newer than itself the SDK warns, and passes them on.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        events: Stream[Any] = Stream(cast_to=kind, response=reply, client=client)
        return [out for event in events for out in state.handle_event(event)]


def assembled(events: list[Event]) -> Response:
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()


def plain(part: Part) -> Part:
    """A part without what differs between two accounts of it: names that are new each time, sealed anew each time."""
    match part:
        case Text():
            citations = tuple(
                replace(c, title=c.title or "", start=c.start or 0, end=c.end or 0, extras={}) for c in part.citations
            )
            return replace(part, citations=citations, extras={})
        case Thinking():
            return replace(part, signature=part.signature and replace(part.signature, value=""), id=None, extras={})
        case RedactedThinking():
            return RedactedThinking(replace(part.data, value=""))
        case ToolCall():
            return replace(part, arguments=part.arguments or "{}", extras={})
        case Refusal() | ServerToolCall() | ServerToolResult() | Image():
            return replace(part, extras={})
        case Opaque():
            return replace(part, payload={})
        case _:
            return part


ODD = {
    # The final object was made by another run than the stream.
    "ai--responses-openai-shell-container-1",
    # The stream and the final object list servers' tools, or interleaved runs, in different orders.
    "pydantic-ai--test-openai-responses-test-openai-responses-model-mcp-list-tools-stream-backfills-missing-results",
    "xai--ai--responses-xai-x-search-tool",
}


def test_every_recorded_stream() -> None:
    seen = 0
    for case in exchanges("openai-responses"):
        if not case.sse:
            continue
        seen += 1
        events = decode([case.response])
        for size in SIZES[1:3]:
            if len(case.response) < 8_000 * size:
                assert decode(cut(case.response, size)) == events, case.name
        whole = assembled(events)
        said = {body["type"]: body for body in frames(case.response) if isinstance(body, dict)}
        last = said.get("response.completed") or said.get("response.incomplete")
        if last is None:
            assert whole.error is not None, case.name
            assert whole.error.code == said["response.failed"]["response"]["error"]["code"], case.name
        else:
            buffered = PROTOCOL.decode_response(json.dumps(last["response"]).encode())
            assert (whole.model, whole.usage) == (buffered.model, buffered.usage), case.name
            if buffered.choices[0].parts and case.name.rpartition("/")[2] not in ODD:
                assert list(map(plain, whole.choices[0].parts)) == list(map(plain, buffered.choices[0].parts)), (
                    case.name
                )
                assert whole.choices[0].stop == buffered.choices[0].stop, case.name
                assert whole.choices[0].logprobs == buffered.choices[0].logprobs, case.name
        out = encode(events)
        again = assembled(decode([out]))
        assert [plain(p) for p in again.choices[0].parts] == [plain(p) for p in whole.choices[0].parts], case.name
        assert again.choices[0].stop == whole.choices[0].stop, case.name
        # "None were written to the cache" must be said where the vendor said nothing: the SDK asks for a number.
        written = whole.usage.cache_write_5m or 0 if whole.usage.known else None
        assert again.usage == msgspec.structs.replace(whole.usage, cache_write_5m=written), case.name
        if whole.error is None and len(out) < 200_000:
            final = by_sdk(out)[-1].response
            text = "".join(part.text for part in whole.choices[0].parts if isinstance(part, Text))
            assert final.output_text == text, case.name
    assert seen > 60


def test_a_stream_byte_by_byte() -> None:
    for case in exchanges("openai-responses"):
        if case.sse and len(case.response) < 12_000:
            assert decode(cut(case.response, 1)) == decode([case.response]), case.name


def test_a_stream_cut_at_any_event_ends_legally() -> None:
    chosen = [c for c in exchanges("openai-responses") if c.sse and 5_000 < len(c.response) < 40_000][:12]
    for case in chosen:
        blocks = case.response.split(b"\n\n")
        for n in range(0, len(blocks) - 2, 3):
            events = decode([b"\n\n".join(blocks[:n]) + b"\n\n"])
            last = events[-1]
            if isinstance(last, Finished):
                continue
            assert isinstance(last, Failed)
            told = frames(encode(events))
            assert [body["type"] for body in told[-2:]] == ["error", "response.failed"]
            assert "broke off" in told[-2]["error"]["message"]


# --- odd servers ---


def sse(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", **fields}


CREATED = event("created", response={"id": "resp_9", "model": "m", "created_at": 1, "output": []})
DONE = event("completed", response={"id": "resp_9", "model": "m", "status": "completed", "output": []})


def parts(*bodies: dict[str, Any]) -> list[Part]:
    (choice,) = assembled(decode([sse(CREATED, *bodies, DONE)])).choices
    return [plain(part) for part in choice.parts]


def message(*content: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": list(content)}


def call(arguments: Any = "", **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": arguments, **fields}


def added(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return event("output_item.added", output_index=index, item=item)


def done(item: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return event("output_item.done", output_index=index, item=item)


def said(delta: str, **fields: Any) -> dict[str, Any]:
    return event("output_text.delta", output_index=0, content_index=0, delta=delta, **fields)


def output_text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], **fields}


REASONING = {"type": "reasoning", "id": "rs_1", "summary": []}


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        # Nothing but the closing events.
        ([done(message(output_text("ab")))], [Text("ab")]),
        ([added(message()), event("output_text.done", output_index=0, content_index=0, text="ab")], [Text("ab")]),
        ([added(call()), done(call('{"a":1}'))], [ToolCall("c", "f", '{"a":1}')]),
        ([added(call()), event("function_call_arguments.done", output_index=0, arguments="{}")], [ToolCall("c", "f", "{}")]),
        # More at the end than was streamed, and something else than was streamed.
        ([added(message()), said("a"), done(message(output_text("ab")))], [Text("ab")]),
        ([added(message()), said("a"), done(message(output_text("xy")))], [Text("a")]),
        # No index, a wrong index, an item that is never closed, text twice.
        ([added(message()), event("output_text.delta", delta="a")], [Text("a")]),
        ([added(message()), event("output_text.delta", content_index=3, output_index=0, delta="a"), done(message(output_text("a")))], [Text("a")]),
        ([added(message()), said("a")], [Text("a")]),
        ([added(message()), said("a"), done(message(output_text("a"))), done(message(output_text("a")))], [Text("a")]),
        # A call without an id of its own; a name that comes late; the arguments as an object.
        ([added(call(call_id=None)), done(call("{}", call_id=None))], [ToolCall("call_resp_9_0", "f", "{}")]),
        ([added(call(name="")), done(call("{}"))], [ToolCall("c", "f", "{}")]),
        ([done(call({"a": 1}))], [ToolCall("c", "f", '{"a":1}')]),
        # Calls side by side.
        (
            [
                added(call(call_id="a")),
                added(call(call_id="b"), 1),
                event("function_call_arguments.delta", output_index=1, delta="[1"),
                event("function_call_arguments.delta", output_index=0, delta="{}"),
                event("function_call_arguments.delta", output_index=1, delta="]"),
            ],
            [ToolCall("a", "f", "{}"), ToolCall("b", "f", "[1]")],
        ),
        # Reasoning of which only a seal, a name, or a part is known.
        ([done({**REASONING, "encrypted_content": "x"})], [RedactedThinking(Signature(OWN, ""))]),
        ([done(REASONING)], [Thinking("", summary=True)]),
        (
            [
                added(REASONING),
                event("reasoning_summary_text.delta", output_index=0, summary_index=0, delta="a"),
                event("reasoning_summary_text.delta", output_index=0, summary_index=1, delta="b"),
                done({**REASONING, "encrypted_content": "x"}),
            ],
            [Thinking("a", summary=True), Thinking("b", Signature(OWN, ""), summary=True)],
        ),
        ([event("mystery.delta", output_index=0, delta="a"), added({"type": "novelty", "id": "n"})], []),
    ],
)  # fmt: skip
def test_odd_servers(bodies: list[dict[str, Any]], expected: list[Part]) -> None:
    assert parts(*bodies) == expected


def test_an_answer_that_is_only_its_last_event() -> None:
    last = {**DONE, "response": {**DONE["response"], "output": [message(output_text("ab")), call("{}")]}}
    (choice,) = assembled(decode([sse(last)])).choices
    assert [plain(p) for p in choice.parts] == [Text("ab"), ToolCall("c", "f", "{}")]
    assert choice.stop == Stop(StopReason.TOOL_CALLS, raw="completed", origin=OWN)


def test_text_that_is_not_streamed_is_passed_on_before_it_closes() -> None:
    events = decode([sse(CREATED, added(message()), said("a"), done(message(output_text("abc"))), DONE)])
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["a", "bc"]


@pytest.mark.parametrize(
    ("stream", "told"),
    [
        (b"", "broke off"),
        (sse(CREATED), "broke off"),
        (sse(CREATED, added(message()), said("a")), "broke off"),
        (sse(CREATED) + b"data: [DONE]\n\n", "broke off"),
        (sse(CREATED) + b"data: {\n\n" + sse(DONE), "no JSON object"),
        (sse(CREATED) + b"data: 5\n\n", "no JSON object"),
        (sse(CREATED, done({"type": "function_call", "call_id": "c"})), "`item.name`"),
        (sse(CREATED, {"type": "error", "message": "boom", "code": "c"}, DONE), "boom"),
        (sse(CREATED, {"type": "error", "error": {"message": "boom"}}), "boom"),
        (b'event: error\ndata: {"error":{"message":"boom"}}\n\n', "boom"),
        (
            sse(CREATED, event("failed", response={"status": "failed", "error": {"code": "x", "message": "boom"}})),
            "boom",
        ),
        (sse(CREATED, event("failed", response={"status": "failed", "error": None})), "error"),
    ],
)
def test_broken_streams_end_in_a_failure(stream: bytes, told: str) -> None:
    for size in (1, 10_000):
        events = decode(cut(stream, size))
        last = events[-1]
        assert isinstance(last, Failed)
        assert told in last.error.message
    out = encode(events)
    with pytest.raises(APIError, match=r"boom|vendor"):
        by_sdk(out)


def test_a_failure_of_ours() -> None:
    encoder = PROTOCOL.stream_encoder(FACTS, Losses())
    early = encoder.fail(Failure(Kind.UPSTREAM_ERROR, "sorry"))
    (body,) = frames(early)
    assert (body["type"], body["error"]["code"], body["message"]) == ("error", "upstream_error", "sorry")
    encoder = PROTOCOL.stream_encoder(FACTS, Losses())
    events = as_events(Response("r", "m", (Choice(0, (Text("half"),), None),)))[:3]
    out = b"".join(encoder.encode(event) for event in events) + encoder.fail(Failure(Kind.DRAINING, "bye"))
    orderly(out)
    assert [b["type"] for b in frames(out)][-2:] == ["error", "response.failed"]
    assert frames(out)[-1]["response"]["error"] == {"code": "draining", "message": "bye"}
    assert encoder.keep_alive() == b": keep-alive\n\n"


# --- other vendors' answers ---

FOREIGN = Response(
    "msg_1",
    "claude",
    (
        Choice(
            0,
            (
                Thinking("hm", Signature(CLAUDE, "sig")),
                RedactedThinking(Signature(CLAUDE, "dark")),
                ServerToolCall("srv_1", ServerToolKind.WEB_SEARCH, "web_search", '{"query":"q"}'),
                ServerToolResult("srv_1", ServerToolKind.WEB_SEARCH, citations=(Citation(CitationKind.URL, "https://s"),)),
                ServerToolCall("srv_2", ServerToolKind.CODE_EXECUTION, "code_execution", '{"code":"1+1"}'),
                ServerToolResult("srv_2", ServerToolKind.CODE_EXECUTION, (Text("2"),)),
                Text("one "),
                Text("two", (Citation(CitationKind.URL, "https://x", "X", start=0, end=3),)),
                ToolCall("c", "f", "", signature=Signature(GEMINI, "g")),
                ToolCall("d", "g", '{"a":1}', custom=True),
                Image(Inline("QUJD", "image/png")),
            ),
            Stop(StopReason.TOOL_CALLS),
            Logprobs((TokenChance("one", -0.5, (111,), (TokenChance("two", -1.5, (116,)),)),)),
        ),
        Choice(1, (Text("other"),), Stop(StopReason.END)),
    ),
    Usage(input=5, output=7, cache_read=3, cache_write_1h=2, reasoning=1),
)  # fmt: skip


def test_a_foreign_answer_is_written_as_the_sdk_wants_it() -> None:
    losses = Losses()
    out = encode(as_events(FOREIGN), losses)
    for body in frames(out):
        STRICT.validate_python(body, strict=True)
    assert losses.header() == "n"
    final = by_sdk(out)[-1].response
    assert [item.type for item in final.output] == [
        "reasoning", "reasoning", "web_search_call", "code_interpreter_call", "message", "function_call", "reasoning",
        "custom_tool_call", "image_generation_call",
    ]  # fmt: skip
    assert final.output_text == "one two"
    assert (final.output[0].summary[0].text, final.output[1].summary) == ("hm", [])
    assert final.output[2].action.query == "q"
    assert final.output[2].action.sources[0].url == "https://s"
    assert (final.output[3].code, final.output[3].outputs[0].logs) == ("1+1", "2")
    assert final.output[4].content[1].annotations[0].url == "https://x"
    assert final.output[4].content[0].logprobs[0].top_logprobs[0].token == "two"
    assert (final.output[5].arguments, final.output[7].input) == ("{}", '{"a":1}')
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 7)
    assert final.usage.input_tokens_details.cached_tokens == 3


@pytest.mark.parametrize(
    ("reason", "status", "why", "lossless"),
    [
        (StopReason.END, "completed", None, True),
        (StopReason.LENGTH, "incomplete", "max_output_tokens", True),
        (StopReason.CONTEXT, "incomplete", "max_output_tokens", False),
        (StopReason.CONTENT_FILTER, "incomplete", "content_filter", True),
        (StopReason.REFUSAL, "incomplete", "content_filter", False),
        (StopReason.STOP_SEQUENCE, "completed", None, False),
        (StopReason.FAILED, "incomplete", None, False),
    ],
)
def test_how_an_answer_ends(reason: StopReason, status: str, why: str | None, lossless: bool) -> None:
    losses = Losses()
    out = encode(as_events(Response("r", "m", (Choice(0, (Text("x"),), Stop(reason)),))), losses)
    last = frames(out)[-1]["response"]
    assert (last["status"], (last["incomplete_details"] or {}).get("reason")) == (status, why)
    assert last["output"][0]["status"] == status
    assert (not losses) is lossless


def test_parallel_parts_are_items_side_by_side() -> None:
    a, b = ToolCall("a", "f"), ToolCall("b", "f")
    events: list[Event] = [
        Started("r", "m"),
        PartOpened(0, 0, Text("")),
        TextDelta(0, 0, "x"),
        PartOpened(0, 1, a),
        PartOpened(0, 2, b),
        ArgumentsDelta(0, 2, "{}"),
        TextDelta(0, 0, "y"),
        PartClosed(0, 0, Text("xy")),
        ArgumentsDelta(0, 1, "[]"),
        PartClosed(0, 2, replace(b, arguments="{}")),
        PartClosed(0, 1, replace(a, arguments="[]")),
        LogprobsDelta(0, Logprobs()),
        Finished(),
    ]
    back = assembled(decode([encode(events)])).choices[0].parts
    assert [plain(p) for p in back] == [Text("xy"), ToolCall("a", "f", "[]"), ToolCall("b", "f", "{}")]


def test_a_spoken_answer_is_at_least_read() -> None:
    losses = Losses()
    spoken = Audio(Inline("QUJD", "audio/wav"), transcript="hello")
    out = encode(as_events(Response("r", "m", (Choice(0, (spoken,), Stop(StopReason.END)),))), losses)
    assert by_sdk(out)[-1].response.output_text == "hello"
    assert losses.header() == "audio"


# --- properties ---

TEXT = st.text(min_size=1, max_size=8)
SIGNATURES = st.builds(Signature, st.sampled_from([CLAUDE, GEMINI]), st.text(max_size=5))
PARTS = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Text, TEXT, st.just((Citation(CitationKind.URL, "https://x", "X", start=1, end=2),))),
    st.builds(Refusal, TEXT),
    st.builds(
        ToolCall,
        st.text("ab1", min_size=1),
        st.text("fg", min_size=1),
        st.sampled_from(['{"a":1}', '{"b":"é"}', "", "{"]),
        st.booleans(),
    ),
    st.builds(Thinking, TEXT, SIGNATURES, st.just(True)),
    st.builds(Thinking, TEXT, st.none(), st.just(True)),
    st.builds(Thinking, st.just(""), SIGNATURES, st.just(True)),
    st.builds(RedactedThinking, SIGNATURES),
)


def lasting(part: Part) -> Part:
    """A part as it comes back: arguments that were never written are an empty object."""
    match part:
        case ToolCall(custom=False):
            return replace(part, arguments=part.arguments or "{}", extras={})
        case Thinking():
            return replace(part, id=None, extras={})
        case RedactedThinking():
            return RedactedThinking(part.data)
        case Text() | Refusal() | ToolCall():
            return replace(part, extras={})
        case _:
            return part


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PARTS, max_size=6),
    st.sampled_from([StopReason.END, StopReason.LENGTH, StopReason.CONTENT_FILTER]),
    st.integers(1, 60),
)
def test_any_answer_survives_being_streamed(found: list[Part], reason: StopReason, size: int) -> None:
    answer = Response("r", "m", (Choice(0, tuple(found), Stop(reason)),), Usage(input=1, output=2))
    out = encode(as_events(answer))
    for body in frames(out):
        STRICT.validate_python(body, strict=True)
    back = assembled(decode(cut(out, size)))
    assert [lasting(p) for p in back.choices[0].parts] == [lasting(p) for p in found]
    assert back.usage.total == 3
    stop = back.choices[0].stop
    assert stop is not None
    calls = any(isinstance(part, ToolCall) for part in found)
    assert stop.reason is (StopReason.TOOL_CALLS if calls and reason is StopReason.END else reason)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                sse(CREATED),
                sse(DONE),
                sse(added(message())),
                sse(said("a")),
                sse(done(message(output_text("ab")))),
                sse(added(call(), 1)),
                sse(event("function_call_arguments.delta", output_index=1, delta="{")),
                sse(done(call("{}"), 1)),
                sse(done({**REASONING, "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "x"}, 2)),
                sse(event("output_item.added", output_index="x", item={"type": 5, "content": 7})),
                sse(event("output_item.done", output_index=3, item={"type": "reasoning", "summary": "no"})),
                sse(event("output_text.annotation.added", output_index=0, annotation={"type": "url_citation", "url": "u"})),
                b"data: ",
                b"\n",
                b"{",
            ]
        ),
        max_size=9,
    )
)  # fmt: skip
def test_any_bytes_keep_the_promises(pieces: list[bytes]) -> None:
    encode(decode(pieces))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_keeps_the_promises(raw: bytes) -> None:
    decode([raw])
