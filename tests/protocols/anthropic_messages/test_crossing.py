"""Between Messages and chat completions, both ways: what was said, shown, called and answered is still there."""

from __future__ import annotations

import json
from typing import Any

from anthropic.types import Message
from openai.types.chat import ChatCompletion

from gproxy.canonical.events import Event
from gproxy.canonical.loss import Losses
from gproxy.canonical.part import Audio, Image, Inline, Part, Refusal, Text, ToolCall, ToolResult, Url
from gproxy.canonical.request import FunctionTool, Request
from gproxy.canonical.response import Response
from gproxy.protocols.anthropic_messages.dialogue import PROTOCOL as MESSAGES_PROTOCOL
from gproxy.protocols.assembly import Assembler
from gproxy.protocols.base import Dialogue, ReplyFacts
from gproxy.protocols.openai_chat.dialogue import PROTOCOL as CHAT_PROTOCOL
from gproxy.wire.json import JsonProblem
from tests.protocols.anthropic_messages.meaning import spelled
from tests.protocols.recorded import Exchange, exchanges
from tests.vendor.legal import judge

MESSAGES, CHAT = MESSAGES_PROTOCOL, CHAT_PROTOCOL
FACTS = ReplyFacts(id="id_1", model="asked", created=7, include_usage=True)


def requests(folder: str, dialogue: Dialogue) -> list[tuple[Exchange, Request]]:
    found = []
    for case in exchanges(folder):
        if case.request is not None:
            try:
                read = dialogue.decode_request(case.request, model=json.loads(case.request).get("model", "m"))
            except JsonProblem:
                continue
            found.append((case, read))
    return found


def crossed(asked: Request, to: Dialogue) -> tuple[Request, Losses]:
    losses = Losses()
    return to.decode_request(to.encode_request(asked, losses)), losses


def parts(asked: Request) -> list[Part]:
    found: list[Part] = []
    for turn in asked.turns:
        for part in turn.parts:
            found.append(part)
            found += part.parts if isinstance(part, ToolResult) else ()
    return found


def images(asked: Request) -> list[str]:
    """The pictures that any vendor can see: not those that only one has."""
    sources = [part.source for part in parts(asked) if isinstance(part, Image)]
    return [s.url if isinstance(s, Url) else s.data for s in sources if isinstance(s, Inline | Url)]


def texts(asked: Request) -> str:
    return "\n".join(part.text for part in parts(asked) if isinstance(part, Text) and part.text)


def calls(asked: Request) -> list[tuple[str, Any]]:
    return [(part.name, spelled(part.arguments)) for part in parts(asked) if isinstance(part, ToolCall)]


def tools(asked: Request) -> list[tuple[str, Any]]:
    return [(t.name, dict(t.schema or {})) for t in asked.tools or () if isinstance(t, FunctionTool)]


def links(asked: Request) -> list[tuple[int, str]]:
    """Which call each result answers, by the calls' order: ids may change, what they link must not."""
    order = [part.id for part in parts(asked) if isinstance(part, ToolCall)]
    return [
        (order.index(part.call_id) if part.call_id in order else -1, "".join(p.text for p in part.parts if isinstance(p, Text)))
        for part in parts(asked)
        if isinstance(part, ToolResult)
    ]  # fmt: skip


def test_messages_requests_as_chat() -> None:
    seen = 0
    for case, asked in requests("anthropic-messages", MESSAGES):
        seen += 1
        back, losses = crossed(asked, CHAT)
        assert set(texts(asked).split("\n")) <= set(texts(back).split("\n")), case.name
        assert images(back) == images(asked), case.name
        assert calls(back) == calls(asked), case.name
        assert links(back) == links(asked), case.name
        assert tools(back) == tools(asked), case.name
        assert back.sampling.max_output_tokens == asked.sampling.max_output_tokens, case.name
        assert (asked.cache is None and not any(getattr(p, "cache", None) for p in parts(asked))) or losses, case.name
    assert seen > 200


def test_chat_requests_as_messages() -> None:
    seen = 0
    for case, asked in requests("openai-chat", CHAT):
        seen += 1
        back, losses = crossed(asked, MESSAGES)
        said = [line for line in texts(asked).split("\n") if line]
        assert set(said) <= set(texts(back).split("\n")), case.name
        assert images(back) == images(asked), case.name
        custom = "custom_tool" in losses.header()
        assert custom or calls(back) == calls(asked) or "tool_arguments" in losses.header(), case.name
        assert links(back) == links(asked), case.name
        wanted = [(name, {**({"properties": {}} if not schema else {}), "type": "object", **schema}) for name, schema in tools(asked)]  # fmt: skip
        assert custom or tools(back) == wanted, case.name
        assert back.sampling.max_output_tokens is not None
    assert seen > 200


def answers(folder: str, dialogue: Dialogue) -> list[tuple[Exchange, Response]]:
    found = []
    for case in exchanges(folder):
        if case.status == 200 and not case.sse:
            read = dialogue.decode_response(case.response)
            if read.error is None:
                found.append((case, read))
    return found


def spoken(answer: Response) -> tuple[str, list[tuple[str, str]]]:
    """All words, wherever a dialect keeps them (a refusal, what a voice says), and all calls."""
    first = answer.choices[0].parts
    words = [
        part.transcript or "" if isinstance(part, Audio) else part.text
        for part in first
        if isinstance(part, Text | Refusal | Audio)
    ]
    return "".join(words), [(part.name, spelled(part.arguments)) for part in first if isinstance(part, ToolCall)]


def test_answers_both_ways() -> None:
    for folder, source, target, kind in (
        ("anthropic-messages", MESSAGES, CHAT, ChatCompletion),
        ("openai-chat", CHAT, MESSAGES, Message),
    ):
        seen = 0
        for case, answer in answers(folder, source):
            losses = Losses()
            raw = target.encode_response(answer, FACTS, losses)
            kind.model_validate_json(raw, strict=True)
            back = target.decode_response(raw)
            unfit = {"custom_tool", "tool_arguments"} & set(losses.header().split(", "))
            words, called = spoken(answer)
            assert spoken(back)[0] == words, case.name
            assert unfit or spoken(back)[1] == called, case.name
            if answer.usage.known:
                assert back.usage.total == answer.usage.total, case.name
            seen += 1
        assert seen > 100


def test_streams_both_ways() -> None:
    for folder, source, target in (("anthropic-messages", MESSAGES, CHAT), ("openai-chat", CHAT, MESSAGES)):
        seen = 0
        for case in exchanges(folder):
            if case.status != 200 or not case.sse:
                continue
            decoder = source.stream_decoder()
            events = decoder.feed(case.response) + decoder.end()
            losses = Losses()
            encoder = target.stream_encoder(FACTS, losses)
            out = b"".join(encoder.encode(event) for event in events)
            verdict = judge(target.dialect.value, stream=True, body=out)
            assert verdict.legal, (case.name, verdict.faults)
            again = target.stream_decoder()
            was, now = assembled(events), assembled(again.feed(out) + again.end())
            assert (now.error is None) is (was.error is None), case.name
            if was.error is not None:
                continue
            assert spoken(now)[0] == spoken(was)[0], case.name
            assert spoken(now)[1] == spoken(was)[1] or "custom_tool" in losses.header(), case.name
            if was.usage.known:
                assert now.usage.total == was.usage.total, case.name
            seen += 1
        assert seen > 50


def assembled(events: list[Event]) -> Response:
    assembler = Assembler()
    for event in events:
        assembler.take(event)
    return assembler.response()
