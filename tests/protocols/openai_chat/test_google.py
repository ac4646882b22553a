"""A call's signature survives a chat client: answer, stream, history and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import Part, Signature, Text, ToolCall
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.openai_chat.dialogue import PROTOCOL

FACTS = ReplyFacts(id="chatcmpl-1", model="asked", created=7)
SIGNED = ToolCall("call_1", "add", '{"a":1}', signature=Signature(Dialect.GEMINI, "c2lnbmVk"))
CARRIED = {"google": {"thought_signature": "c2lnbmVk"}}


def answer(*parts: Part) -> Response:
    return Response("r", "m", (Choice(0, parts, Stop(StopReason.TOOL_CALLS)),))


def history(model: str, call: dict[str, Any]) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]}
    return PROTOCOL.decode_request(json.dumps(body).encode())


def test_a_whole_answer_and_its_history() -> None:
    written = json.loads(PROTOCOL.encode_response(answer(SIGNED), FACTS, Losses()))
    call = written["choices"][0]["message"]["tool_calls"][0]
    assert call["extra_content"] == CARRIED
    (part,) = history("m", call).turns[1].parts
    assert part.signature == SIGNED.signature
    again = PROTOCOL.decode_response(json.dumps(written).encode())
    assert again.choices[0].parts == (SIGNED,)


def test_a_stream() -> None:
    encoder, decoder, whole = PROTOCOL.stream_encoder(FACTS, Losses()), PROTOCOL.stream_decoder(), Assembler()
    out = b"".join(encoder.encode(event) for event in as_events(answer(SIGNED)))
    for event in (*decoder.feed(out), *decoder.end()):
        whole.take(event)
    assert whole.response().choices[0].parts == (SIGNED,)


@pytest.mark.parametrize(
    ("model", "kept"), [("gemini-3-pro-preview", True), ("google/Gemini-3", True), ("gpt-x", False)]
)
def test_only_googles_models_are_sent_the_field(model: str, kept: bool) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    losses = Losses()
    out = json.loads(PROTOCOL.encode_request(history(model, call | {"extra_content": CARRIED}), losses))
    sent = out["messages"][1]["tool_calls"][0]
    assert sent.get("extra_content") == (CARRIED if kept else None)
    assert [loss.feature for loss in losses.found] == ([] if kept else [Feature.SIGNATURE])


@pytest.mark.parametrize("value", [None, 5, {}, {"google": 1}, {"google": {"thought_signature": 5}}])
def test_what_is_no_signature_is_none(value: Any) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add"}, "extra_content": value}
    (part,) = history("m", call).turns[1].parts
    assert part.signature is None


def test_a_signed_text_is_a_named_loss() -> None:
    losses = Losses()
    signed = Text("a", signature=SIGNED.signature)
    PROTOCOL.encode_response(answer(signed), FACTS, losses)
    assert [loss.feature for loss in losses.found] == [Feature.SIGNATURE]
