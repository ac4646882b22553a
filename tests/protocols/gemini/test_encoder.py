"""Writing Gemini streams: always legal, in both forms, for any answer, wherever it is cut."""

from __future__ import annotations

from typing import Any

from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.canonical.events import (
    ArgumentsDelta,
    ChoiceFinished,
    Event,
    Failed,
    Finished,
    LogprobsDelta,
    PartClosed,
    PartOpened,
    Started,
    TextDelta,
)
from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Audio,
    Citation,
    CitationKind,
    Inline,
    Refusal,
    ServerToolCall,
    ServerToolKind,
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
from gproxy.protocols.gemini.dialogue import PROTOCOL
from tests.protocols import legality
from tests.protocols.gemini.answers import ANSWERS, lasting
from tests.protocols.recorded import cut, exchanges, frames
from tests.vendor.legal import Verdict, judge

FACTS = ReplyFacts(id="resp-1", model="asked", created=7)


def write(events: list[Event], losses: Losses | None = None) -> bytes:
    encoder = PROTOCOL.stream_encoder(FACTS, losses if losses is not None else Losses())
    out = b"".join(encoder.encode(event) for event in events)
    if events and isinstance(events[-1], Finished | Failed):
        assert encoder.encode(Finished()) == encoder.fail(Failure(Kind.DRAINING, "late")) == encoder.keep_alive() == b""
        return out
    return out + encoder.fail(Failure(Kind.DRAINING, "restarting"))


def chunks(raw: bytes) -> list[Any]:
    assert raw.endswith(b"\r\n\r\n")
    return frames(raw)


def verdict(raw: bytes) -> Verdict:
    return judge("gemini", stream=True, body=raw)


def accepted(raw: bytes) -> None:
    """The official SDK's types take every chunk but an error, on which it raises."""
    for body in chunks(raw):
        if "error" not in body:
            usage = body.get("usageMetadata", {})
            usage.pop("serviceTier", None)  # sent by Google, and not known to the SDK
            types.GenerateContentResponse.model_validate(body)


def read(raw: bytes, size: int = 10_000) -> Response:
    decoder = PROTOCOL.stream_decoder()
    events = [event for piece in cut(raw, size) for event in decoder.feed(piece)] + decoder.end()
    legality.check(events)
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()


def recorded() -> list[tuple[str, list[Event]]]:
    found = []
    for case in exchanges("gemini"):
        if case.status != 200 or not (case.sse or case.response.lstrip()[:1] == b"["):
            continue
        decoder = PROTOCOL.stream_decoder()
        found.append((case.name, decoder.feed(case.response) + decoder.end()))
    return found


def test_every_recorded_stream_is_written_again() -> None:
    for name, events in recorded():
        losses = Losses()
        raw = write(events, losses)
        assert not losses, (name, losses.header())
        found = verdict(raw)
        assert (found.complete, found.faults) == (True, []), name
        assembler = Assembler()
        for event in events:
            assembler.take(event)
        was, now = assembler.response(), read(raw)
        assert [lasting(c)[0] for c in now.choices] == [lasting(c)[0] for c in was.choices], name
        assert [c.stop for c in now.choices] == [c.stop for c in was.choices], name
        assert now.usage == was.usage, name


def test_a_recorded_stream_cut_at_any_event_ends_in_an_error() -> None:
    for name, events in recorded()[::9]:
        for at in range(0, len(events) - 1, 1 + len(events) // 40):
            found = verdict(write(events[:at]))
            assert (found.legal, found.error) == (True, "503"), (name, at)


@settings(max_examples=150, deadline=None)
@given(found=ANSWERS, size=st.integers(1, 99))
def test_any_answer_survives_being_streamed(found: Response, size: int) -> None:
    events = as_events(found)
    losses = Losses()
    raw = write(events, losses)
    assert not losses
    assert verdict(raw).legal
    accepted(raw)
    back = read(raw, size)
    parts = [lasting(c)[0] for c in back.choices], [lasting(c)[2] for c in back.choices]
    assert parts == ([lasting(c)[0] for c in found.choices], [lasting(c)[2] for c in found.choices])
    assert back.usage.total == found.usage.total


@settings(deadline=None)
@given(found=ANSWERS, data=st.data())
def test_any_answer_cut_anywhere_ends_in_an_error(found: Response, data: st.DataObject) -> None:
    events = as_events(found)
    at = data.draw(st.integers(0, len(events) - 1))
    for raw in (
        write(events[:at]),
        write([*events[:at], Failed(VendorError("boom", type="UNAVAILABLE", status=503))]),
    ):
        judged = verdict(raw)
        assert judged.legal
        assert judged.error
        accepted(raw)
        assert read(raw).error is not None


def text(choice: int, index: int, said: str) -> list[Event]:
    return [PartOpened(choice, index, Text("")), TextDelta(choice, index, said), PartClosed(choice, index, Text(said))]


def test_how_a_stream_looks() -> None:
    signature = Signature(Dialect.GEMINI, "QQ==")
    call = ToolCall("c1", "f", '{"a":1}', signature=Signature(Dialect.GEMINI, "Qg=="))
    citation = Citation(CitationKind.URL, "https://x", start=0, end=2)
    events: list[Event] = [
        Started("up", "model"),
        PartOpened(0, 0, Thinking("")),
        TextDelta(0, 0, "hm"),
        PartClosed(0, 0, Thinking("hm", signature)),
        PartOpened(0, 1, Text("")),
        TextDelta(0, 1, "é"),
        TextDelta(0, 1, "b"),
        PartClosed(0, 1, Text("éb", (citation,))),
        PartOpened(0, 2, ToolCall("c1", "f", signature=call.signature)),
        ArgumentsDelta(0, 2, '{"a":1}'),
        PartClosed(0, 2, call),
        ChoiceFinished(0, Stop(StopReason.TOOL_CALLS)),
        Finished(Usage(input=1, output=2), "default"),
    ]
    head = {"modelVersion": "asked", "responseId": "up"}

    def said(*parts: dict[str, Any]) -> dict[str, Any]:
        return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": 0}], **head}

    last = said({"text": ""})
    last["candidates"][0] |= {
        "finishReason": "STOP",
        "groundingMetadata": {
            "groundingChunks": [{"web": {"uri": "https://x"}}],
            "groundingSupports": [
                {"segment": {"startIndex": 0, "endIndex": 3, "text": "éb"}, "groundingChunkIndices": [0]}
            ],
        },
    }
    last["usageMetadata"] = {
        "promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3, "serviceTier": "standard",
    }  # fmt: skip
    expected = [
        said({"text": "hm", "thought": True}),
        said({"text": "", "thought": True, "thoughtSignature": "QQ=="}),
        said({"text": "é"}),
        said({"text": "b"}),
        said({"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}, "thoughtSignature": "Qg=="}),
        last,
    ]
    assert chunks(write(events)) == expected


def test_a_part_waits_for_its_turn() -> None:
    events: list[Event] = [
        Started("r", "m"),
        PartOpened(0, 0, ToolCall("a", "f")),
        PartOpened(0, 1, ToolCall("b", "g")),
        PartOpened(0, 2, Text("")),
        TextDelta(0, 2, "x"),
        ArgumentsDelta(0, 1, "{}"),
        ArgumentsDelta(0, 0, "{}"),
        PartClosed(0, 1, ToolCall("b", "g", "{}")),
        *text(1, 0, "other"),
        PartClosed(0, 0, ToolCall("a", "f", "{}")),
        TextDelta(0, 2, "y"),
        PartClosed(0, 2, Text("xy")),
        ChoiceFinished(1, Stop(StopReason.LENGTH)),
        ChoiceFinished(0, Stop(StopReason.END)),
        Finished(),
    ]
    legality.check(events)
    raw = write(events)
    assert verdict(raw).legal
    first, second = read(raw).choices
    assert first.parts == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"), Text("xy"))
    assert (second.parts, second.stop and second.stop.raw) == ((Text("other"),), "MAX_TOKENS")


def test_a_stream_without_anything_is_still_legal() -> None:
    raw = write([Started("", ""), Finished()])
    assert verdict(raw).legal
    (only,) = chunks(raw)
    assert (only["responseId"], only["candidates"][0]["finishReason"]) == ("resp-1", "STOP")


def test_a_keep_alive_says_nothing() -> None:
    encoder = PROTOCOL.stream_encoder(FACTS, Losses())
    raw = encoder.keep_alive() + encoder.keep_alive()
    for event in [Started("r", "m"), *text(0, 0, "a"), ChoiceFinished(0, None), Finished()]:
        raw += encoder.encode(event)
        if not isinstance(event, Finished):
            raw += encoder.keep_alive()
    assert verdict(raw).legal
    assert read(raw).choices[0].parts == (Text("a"),)
    accepted(raw)


def test_an_error_of_the_vendor_is_googles_status() -> None:
    raw = write([Started("r", "m"), Failed(VendorError("slow down", type="RESOURCE_EXHAUSTED", code="429"))])
    error = chunks(raw)[-1]["error"]
    assert (error["code"], error["message"], error["status"]) == (502, "slow down", "RESOURCE_EXHAUSTED")
    assert error["details"][0]["reason"] == "429"


def test_sound_refusals_logprobs_and_tools_of_others() -> None:
    losses = Losses()
    answer = Response(
        "r",
        "m",
        (
            Choice(
                0,
                (
                    Refusal("no"),
                    ServerToolCall("s", ServerToolKind.WEB_SEARCH, "web_search", "{}"),
                    Audio(Inline("QUJD", "audio/pcm"), transcript="abc"),
                ),
                Stop(StopReason.END),
                Logprobs((TokenChance("no", -0.5),)),
            ),
        ),
    )
    raw = write(as_events(answer), losses)
    assert set(losses.header().split(", ")) == {"refusal", "server_tool", "audio"}
    (choice,) = read(raw).choices
    assert choice.parts == (Text("no"), Audio(Inline("QUJD", "audio/pcm"), "pcm16"))
    assert choice.logprobs == Logprobs((TokenChance("no", -0.5),))
    assert any(isinstance(event, LogprobsDelta) for event in as_events(answer))
