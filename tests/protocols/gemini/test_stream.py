"""Reading Gemini streams: every recorded one in both forms, cut anywhere, keeps the promises and says the same."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.events import Event, Failed, Finished, PartClosed, Started
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Audio, Inline, Part, Signature, Text, Thinking, ToolCall
from gproxy.canonical.response import Response, StopReason
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.gemini.dialogue import PROTOCOL
from tests.protocols import legality
from tests.protocols.recorded import SIZES, cut, exchanges, frames

OWN = Dialect.GEMINI


def decode(chunks: list[bytes]) -> list[Event]:
    decoder = PROTOCOL.stream_decoder()
    events = [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()
    assert decoder.feed(b"data: {}\n\n") == decoder.end() == []
    legality.check(events)
    return events


def assembled(events: list[Event]) -> Response:
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()


def as_sse(chunks: list[Any], end: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(b"data: " + json.dumps(chunk).encode() + end for chunk in chunks)


def as_array(chunks: list[Any], between: bytes = b"\r\n,\r\n") -> bytes:
    return b"[" + between.join(json.dumps(chunk, indent=1).encode() for chunk in chunks) + b"\r\n]\r\n"


def recorded() -> list[tuple[str, bytes, list[Any]]]:
    found = []
    for case in exchanges("gemini"):
        if case.sse:
            found.append((case.name, case.response, frames(case.response)))
        elif case.status == 200 and case.response.lstrip()[:1] == b"[":
            found.append((case.name, case.response, json.loads(case.response)))
    return found


def test_every_recorded_stream() -> None:
    seen = 0
    for name, raw, chunks in recorded():
        seen += 1
        events = decode([raw])
        assert isinstance(events[-1], Finished), name
        for size in SIZES[1:3] if len(raw) < 200_000 else SIZES[2:3]:
            assert decode(cut(raw, size)) == events, name
        # The same chunks in any form are the same stream.
        for other in (as_sse(chunks), as_sse(chunks, b"\n\n"), as_array(chunks), as_array(chunks, b",")):
            assert decode(cut(other, 4096)) == events, name
        whole = assembled(events)
        said: dict[tuple[int, bool], str] = {}
        signatures: list[str] = []
        stops: dict[int, Any] = {}
        for chunk in chunks:
            for candidate in chunk.get("candidates") or ():
                index = candidate.get("index", 0)
                for part in (candidate.get("content") or {}).get("parts") or ():
                    if "text" in part:
                        key = (index, bool(part.get("thought")))
                        said[key] = said.get(key, "") + part["text"]
                    if part.get("thoughtSignature"):
                        signatures.append(part["thoughtSignature"])
                if candidate.get("finishReason"):
                    stops[index] = candidate["finishReason"]
        for choice in whole.choices:
            assert "".join(p.text for p in choice.parts if isinstance(p, Text)) == said.get((choice.index, False), "")
            assert "".join(p.text for p in choice.parts if isinstance(p, Thinking)) == said.get(
                (choice.index, True), ""
            )
            assert choice.stop is not None
            if isinstance(stops[choice.index], str):
                assert choice.stop.raw == stops[choice.index], name
        held = [
            getattr(p, "signature", None) or p.extras.get(OWN, {}).get("thoughtSignature")  # type: ignore[union-attr] # those that have one
            for c in whole.choices
            for p in c.parts
        ]
        assert [s.value if isinstance(s, Signature) else s for s in held if s] == signatures, name
        counted = [chunk["usageMetadata"] for chunk in chunks if "totalTokenCount" in chunk.get("usageMetadata", {})]
        assert not counted or whole.usage.total == counted[-1]["totalTokenCount"], name
    assert seen > 80


def test_an_answer_that_streams_is_the_answer_that_does_not() -> None:
    """Every recorded buffered answer, sent as a stream of one chunk and of one chunk per part."""
    for case in exchanges("gemini"):
        if case.sse or case.status != 200 or case.response.lstrip()[:1] == b"[":
            continue
        body = json.loads(case.response)
        whole = PROTOCOL.decode_response(case.response)
        for raw in (as_sse([body]), as_array([body]), case.response):
            streamed = assembled(decode(cut(raw, 4096)))
            assert [c.parts for c in streamed.choices] == [c.parts for c in whole.choices], case.name
            assert [c.stop for c in streamed.choices] == [c.stop for c in whole.choices], case.name
            assert [c.logprobs for c in streamed.choices] == [c.logprobs for c in whole.choices], case.name
            assert streamed.usage == whole.usage, case.name
        (first, *_) = body["candidates"]
        parts = (first.get("content") or {}).get("parts") or []
        if len(body["candidates"]) > 1 or not parts:
            continue
        pieces = [{**body, "candidates": [{"content": {"parts": [part]}}]} for part in parts]
        pieces.append({**body, "candidates": [{**first, "content": {"parts": []}}]})
        streamed = assembled(decode([as_sse(pieces)]))
        assert joined(streamed.choices[0].parts) == joined(whole.choices[0].parts), case.name


def joined(parts: tuple[Part, ...]) -> list[Any]:
    """Texts in a row are one in a stream; places of citations are compared elsewhere."""
    out: list[Any] = []
    for part in parts:
        if isinstance(part, Text) and out and isinstance(out[-1], list) and out[-1][1] is None:
            out[-1] = [out[-1][0] + part.text, part.signature]
        else:
            out.append([part.text, part.signature] if isinstance(part, Text) else part)
    return out


def chunk(*parts: dict[str, Any], finish: str | None = None, **fields: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m", "responseId": "r", **fields}


STOP = chunk(finish="STOP")


def parts(*chunks: dict[str, Any]) -> list[Part]:
    (choice,) = assembled(decode([as_sse(list(chunks))])).choices
    return list(choice.parts)


def call(**fields: Any) -> dict[str, Any]:
    return chunk({"functionCall": fields})


def piece(path: str, more: bool = False, going_on: bool = True, **value: Any) -> dict[str, Any]:
    arg = {"jsonPath": path, **value, **({"willContinue": True} if more else {})}
    return call(partialArgs=[arg], **({"willContinue": True} if going_on else {}))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([chunk({"text": "a"}), chunk({"text": "b"}), chunk({"text": ""})], [Text("ab")]),
        ([chunk({"text": "a"}, {"text": "b"}), chunk({"text": "c"})], [Text("a"), Text("bc")]),
        (
            [chunk({"text": "a", "thought": True}), chunk({"text": "b", "thought": True}), chunk({"text": "c"})],
            [Thinking("ab"), Text("c")],
        ),
        (
            [chunk({"text": "a"}), chunk({"text": "", "thoughtSignature": "S"}), chunk({"text": "b"})],
            [Text("a", signature=Signature(OWN, "S")), Text("b")],
        ),
        (
            [chunk({"text": "a", "thought": True}), chunk({"text": "", "thoughtSignature": "S"})],
            [Thinking("a"), Text("", signature=Signature(OWN, "S"))],
        ),
        (
            [call(id="1", name="f", args={"x": 1}), call(id="2", name="g")],
            [ToolCall("1", "f", '{"x":1}'), ToolCall("2", "g", "{}")],
        ),
        (
            [
                call(id="1", name="f", willContinue=True),
                piece("$.a", more=True, stringValue="x"),
                piece("$.a", more=True, stringValue="y"),
                piece("$.a", stringValue=""),
                piece("$.b[0].c", numberValue=2),
                piece("$.b[1]['d.e']", boolValue=True),
                piece("$.f", nullValue=None),
                call(),
                chunk({"text": "t"}),
            ],
            [ToolCall("1", "f", '{"a":"xy","b":[{"c":2},{"d.e":true}],"f":null}'), Text("t")],
        ),
        (
            [
                call(id="1", name="f", willContinue=True),
                piece("$.a", going_on=False, stringValue="x"),
                call(id="2", name="g"),
            ],
            [ToolCall("1", "f", '{"a":"x"}'), ToolCall("2", "g", "{}")],
        ),
        (
            [call(id="1", name="f", willContinue=True), piece("$.a", stringValue="x"), call(id="2", name="g", args={})],
            [ToolCall("1", "f", '{"a":"x"}'), ToolCall("2", "g", "{}")],
        ),
        ([call(id="1", name="f", willContinue=True)], [ToolCall("1", "f", "{}")]),
    ],
)
def test_parts(chunks: list[dict[str, Any]], expected: list[Part]) -> None:
    assert parts(*chunks, STOP) == expected


def test_calls_end_a_stream_and_ids_are_as_in_a_whole_answer() -> None:
    body = chunk({"functionCall": {"name": "f"}}, {"functionCall": {"name": "f"}}, finish="STOP")
    streamed = assembled(decode([as_sse([body])]))
    assert streamed.choices == PROTOCOL.decode_response(json.dumps(body).encode()).choices
    assert streamed.choices[0].stop is not None
    assert streamed.choices[0].stop.reason is StopReason.TOOL_CALLS


def test_an_early_finish_is_not_the_end() -> None:
    found = assembled(
        decode([as_sse([chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, finish="MAX_TOKENS")])])
    )
    assert found.choices[0].parts == (Text("ab"),)
    assert found.choices[0].stop is not None
    assert found.choices[0].stop.reason is StopReason.LENGTH


def test_candidates_are_kept_apart() -> None:
    both = {
        "candidates": [
            {"index": 1, "content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"},
            {"index": 0, "content": {"parts": [{"text": "b"}]}, "finishReason": "SAFETY"},
        ]
    }
    found = assembled(decode([as_sse([chunk({"text": "a"}), both])]))
    assert [c.parts for c in found.choices] == [(Text("ab"),), (Text("x"),)]


def test_raw_sound_stays_base64() -> None:
    def sound(raw: bytes) -> dict[str, Any]:
        return chunk({"inlineData": {"mimeType": "audio/L16;rate=24000", "data": b64encode(raw).decode()}})

    (found,) = parts(sound(b"abcd"), sound(b"e"), sound(b"fghijkl"), STOP)
    assert isinstance(found, Audio)
    assert isinstance(found.source, Inline)
    assert b64decode(found.source.data, validate=True) == b"abcdefghijkl"


def test_citations_stand_on_their_text() -> None:
    metadata = {
        "groundingChunks": [{"web": {"uri": "https://x", "title": "X"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 6, "text": "two"}, "groundingChunkIndices": [0]}
        ],
    }
    last = chunk({"text": "o"}, finish="STOP")
    last["candidates"][0]["groundingMetadata"] = metadata
    (found,) = parts(chunk({"text": "é "}), chunk({"text": "tw"}), last)
    assert isinstance(found, Text)
    (citation,) = found.citations
    assert (citation.url, citation.start, citation.end) == ("https://x", 2, 5)
    # A text that is closed already cannot be marked any more: the source is told, its place is not.
    call_ = chunk({"functionCall": {"id": "1", "name": "f"}})
    found_ = parts(chunk({"text": "é two"}), call_, {"candidates": [{**last["candidates"][0], "content": {}}]})
    assert isinstance(found_[-1], Text)
    assert [c.url for c in found_[-1].citations] == ["https://x"]
    assert found_[-1].citations[0].start is None


def test_a_blocked_prompt() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3}}
    found = assembled(decode([as_sse([body])]))
    assert found.choices[0].stop is not None
    assert found.choices[0].stop.reason is StopReason.CONTENT_FILTER
    assert found.usage.total == 3


@pytest.mark.parametrize("form", [as_sse, as_array])
@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([chunk({"text": "a"})], "broke off"),
        ([chunk({"text": "a"}), 5, STOP], "no JSON object"),
        ([chunk({"text": "a"}), {"error": {"message": "boom", "code": 503}}, STOP], "boom"),
        ([{"error": {"message": "boom", "code": 503}}], "boom"),
        ([chunk({"text": 5}), STOP], "makes no sense"),
        ([piece("$.a", stringValue="x"), STOP], "arguments came before"),
        ([call(name="f", willContinue=True), piece("$[", stringValue="x"), STOP], "path"),
        ([call(name="f", willContinue=True), piece("$.a[999999]", stringValue="x"), STOP], "too far"),
        ([chunk({"inlineData": {"mimeType": "audio/pcm", "data": "!"}}), STOP], "base64"),
    ],
)
def test_broken_streams_end_in_a_failure(form: Any, chunks: list[Any], message: str) -> None:
    raw = form(chunks)
    for size in (1, 10_000):
        last = decode(cut(raw, size))[-1]
        assert isinstance(last, Failed)
        assert message in last.error.message


@pytest.mark.parametrize(
    "raw", [b"", b"\xef\xbb\xbf", b" ", b"[", b"{", b"<html>", b"[{", b"data: {", as_array([STOP])[:-4] + b",{"]
)
def test_what_does_not_end_fails(raw: bytes) -> None:
    for size in (1, 100):
        assert isinstance(decode(cut(raw, size))[-1], Failed)


@pytest.mark.parametrize("raw", [as_sse([STOP]), as_array([STOP]), json.dumps(STOP).encode()])
def test_a_byte_order_mark_and_space_are_passed_over(raw: bytes) -> None:
    for size in (1, 2, 100):
        assert isinstance(decode(cut(b"\xef\xbb\xbf" + raw, size))[-1], Finished)
        assert isinstance(decode(cut(b"\r\n\r\n" + raw, size))[-1], Finished)


def test_a_stream_cut_anywhere_keeps_what_came() -> None:
    chunks = [chunk({"text": "a", "thought": True}), chunk({"text": "b"}), call(id="1", name="f", args={"x": 1}), STOP]
    for form in (as_sse, as_array):
        raw = form(chunks)
        for at in range(len(raw) - 4):
            events = decode([raw[:at]])
            assert isinstance(events[0], Started)
            assert isinstance(events[-1], Failed) or at > len(raw) - 10


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                as_sse([chunk({"text": "a"})]),
                as_sse([STOP]),
                as_sse([call(name="f", willContinue=True)]),
                as_sse([piece("$.a", stringValue="x")]),
                as_sse([{"candidates": [{"content": {"parts": [{"functionCall": 5}]}}]}]),
                as_sse([{"candidates": [{"index": "x", "content": 5}], "usageMetadata": 5}]),
                b"data: ",
                b"\n",
                b"{",
                b"[",
                b"]",
                b",",
                json.dumps(chunk({"text": "b"})).encode(),
            ]
        ),
        max_size=8,
    )
)
def test_any_bytes_keep_the_promises(pieces: list[bytes]) -> None:
    decode(pieces)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_garbage_keeps_the_promises(raw: bytes) -> None:
    decode([raw])


def test_parts_close_with_everything() -> None:
    events = decode([as_sse([chunk({"text": "a"}), call(id="i", name="f", args={}), STOP])])
    assert [event.part for event in events if isinstance(event, PartClosed)] == [Text("a"), ToolCall("i", "f", "{}")]
