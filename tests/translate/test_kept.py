"""Neutral → any dialect → neutral: the meaning is the same, but for what the translation itself names as lost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.canonical.part import Image, Inline, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from gproxy.canonical.request import FunctionTool, Request, Role, Sampling, ToolChoice, ToolMode, Turn
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.canonical.usage import Usage
from gproxy.protocols.assembly import Assembler, as_events
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.registry import DIALOGUES

IN_TESTS = settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
IN_SOAK = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))

WORDS = st.sampled_from(["a", "0", "null", "{", '"', "\\", "naïve", "東京", "🚲", "<x>", "data:", "[DONE]", "é", "-"])
NAMES = st.sampled_from(["a", "b", "add", "run", "get_weather", "x_1", "type", "name", "id"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=3).map(json.dumps)
IMAGES = st.builds(Image, st.builds(Inline, st.sampled_from(["QUJD", "QQ=="]), st.just("image/png")))
SCHEMAS = st.builds(
    lambda names: {"type": "object", "properties": {name: {"type": "string"} for name in names}, "required": names},
    st.lists(NAMES, max_size=3, unique=True),
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Turn, ...]:
    """Turns as an agent's conversation has them: every call is answered, in the order of the calls."""
    found: list[Turn] = []
    if draw(st.booleans()):
        found.append(Turn(Role.SYSTEM, (Text(draw(WORDS)),)))
    made = 0
    for _ in range(draw(st.integers(1, 3))):
        said = draw(st.lists(st.builds(Text, WORDS) | IMAGES, min_size=1, max_size=3))
        found.append(Turn(Role.USER, tuple(said)))
        for _ in range(draw(st.integers(0, 2))):
            calls = []
            for _ in range(draw(st.integers(1, 3))):
                calls.append(ToolCall(f"call_{made}", draw(NAMES), draw(ARGUMENTS)))
                made += 1
            spoken = [Text(draw(WORDS))] if draw(st.booleans()) else []
            found.append(Turn(Role.ASSISTANT, (*spoken, *calls)))
            results = [ToolResult(call.id, (Text(draw(WORDS)),), name=call.name) for call in calls]
            found.append(Turn(Role.USER, tuple(results)))
        found.append(Turn(Role.ASSISTANT, (Text(draw(WORDS)),)))
    found.append(Turn(Role.USER, (Text(draw(WORDS)),)))
    return tuple(found)


TOOLS = st.lists(
    st.builds(FunctionTool, NAMES, WORDS, SCHEMAS), min_size=1, max_size=3, unique_by=lambda tool: tool.name
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    tools = tuple(draw(TOOLS)) if draw(st.booleans()) else None
    choices = [None, ToolChoice(ToolMode.AUTO), ToolChoice(ToolMode.NONE), ToolChoice(ToolMode.REQUIRED)]
    choice = None
    if tools is not None:
        choice = draw(st.sampled_from([*choices, ToolChoice(ToolMode.REQUIRED, (tools[0].name,))]))
    sampling = Sampling(
        temperature=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])),
        top_p=draw(st.none() | st.sampled_from([0.1, 0.9])),
        top_k=draw(st.none() | st.integers(1, 40)),
        max_output_tokens=draw(st.none() | st.integers(16, 4000)),
        stop=draw(st.none() | st.lists(WORDS, min_size=1, max_size=3, unique=True).map(tuple)),
        seed=draw(st.none() | st.integers(0, 99)),
        presence_penalty=draw(st.none() | st.just(0.5)),
    )
    return Request(
        "m", draw(conversations()), stream=draw(st.booleans()), tools=tools, tool_choice=choice, sampling=sampling,
        parallel_tool_calls=draw(st.none() | st.booleans()) if tools else None, user=draw(st.none() | NAMES),
    )  # fmt: skip


@dataclass
class Asked:
    """What a request means. Calls and results are told by their place: ids may take a dialect's own form."""

    said: list[tuple[str, str]]
    images: list[Any]
    calls: list[tuple[str, Any]]
    results: list[tuple[int, str]]


def asked(request: Request) -> Asked:
    found = Asked([], [], [], [])
    order: dict[str, int] = {}
    for turn in request.turns:
        role = "system" if turn.role is Role.DEVELOPER else turn.role.value
        for part in turn.parts:
            match part:
                case Text(text) if text:
                    if found.said and found.said[-1][0] == role:
                        found.said[-1] = (role, found.said[-1][1] + text)
                    else:
                        found.said.append((role, text))
                case Image(source):
                    found.images.append(source)
                case ToolCall():
                    order[part.id] = len(found.calls)
                    found.calls.append((part.name, json.loads(part.arguments or "{}")))
                case ToolResult():
                    text = "".join(inner.text for inner in part.parts if isinstance(inner, Text))
                    found.results.append((order[part.call_id], text))
    return found


def keeps_a_request(request: Request, dialect: Dialect) -> None:
    losses = Losses()
    body = DIALOGUES[dialect].encode_request(request, losses)
    back = DIALOGUES[dialect].decode_request(body, model="m", stream=request.stream)
    lost = {loss.feature for loss in losses.found}
    assert asked(back) == asked(request), body
    assert back.stream is request.stream
    assert [(t.name, t.description, t.schema) for t in back.tools or () if isinstance(t, FunctionTool)] == [
        (t.name, t.description, t.schema) for t in request.tools or () if isinstance(t, FunctionTool)
    ]
    if Feature.TOOL_CHOICE not in lost:
        auto = ToolChoice(ToolMode.AUTO)
        before, after = request.tool_choice or auto, back.tool_choice or auto
        assert (after.mode, after.names) == (before.mode, before.names), body
    forbidden = request.tool_choice is not None and request.tool_choice.mode is ToolMode.NONE
    if Feature.PARALLEL_TOOL_CALLS not in lost and request.parallel_tool_calls is False and not forbidden:
        assert back.parallel_tool_calls is False, body
    for name, feature in SAMPLED.items():
        before, after = getattr(request.sampling, name), getattr(back.sampling, name)
        if feature not in lost and before is not None:
            assert after == before, (name, body)
    if Feature.USER not in lost:
        assert back.user == request.user, body


SAMPLED = {
    "temperature": Feature.TEMPERATURE,
    "top_p": Feature.TOP_P,
    "top_k": Feature.TOP_K,
    "max_output_tokens": Feature.OTHER,
    "stop": Feature.STOP,
    "seed": Feature.SEED,
    "presence_penalty": Feature.PENALTIES,
}

STOPS = [StopReason.END, StopReason.LENGTH, StopReason.CONTENT_FILTER]


@st.composite
def responses(draw: st.DrawFn) -> Response:
    part = st.builds(Text, WORDS) | st.builds(Thinking, WORDS) | st.builds(ToolCall, st.just(""), NAMES, ARGUMENTS)
    parts: list[Part] = list(draw(st.lists(part, max_size=5))) or [Refusal(draw(WORDS))]
    parts = [ToolCall(f"call_{i}", p.name, p.arguments) if isinstance(p, ToolCall) else p for i, p in enumerate(parts)]
    calls = any(isinstance(part, ToolCall) for part in parts)
    stop = StopReason.TOOL_CALLS if calls else draw(st.sampled_from(STOPS))
    if any(isinstance(part, Refusal) for part in parts):
        stop = StopReason.END
    counted = st.integers(0, 10**6)
    usage = Usage(input=draw(counted), output=draw(st.integers(1, 10**6)), cache_read=draw(counted))
    return Response("r", "m", (Choice(0, tuple(parts), Stop(stop)),), usage, created=7)


def told(response: Response, lost: set[Feature]) -> Any:
    (choice,) = response.choices
    text = thought = ""
    refuses = False
    calls = []
    for part in choice.parts:
        match part:
            case Text(said):
                text += said
            case Refusal(said):
                text += said
                refuses = Feature.REFUSAL not in lost
            case Thinking(said):
                thought += "" if Feature.THINKING in lost else said
            case ToolCall():
                calls.append((part.name, json.loads(part.arguments or "{}")))
    stop = choice.stop and choice.stop.reason
    # Some dialects have a place of its own for a refusal's words, some say so in the reason to stop; and what one calls a
    # filter is a refusal to another.
    if refuses or stop is StopReason.CONTENT_FILTER:
        stop = StopReason.REFUSAL
    return {"text": text, "thought": thought, "calls": calls, "stop": stop}


def keeps_a_response(response: Response, dialect: Dialect, stream: bool) -> None:
    losses, facts = Losses(), ReplyFacts("i", "m", 7, include_usage=True)
    dialogue = DIALOGUES[dialect]
    if stream:
        encoder, decoder, whole = dialogue.stream_encoder(facts, losses), dialogue.stream_decoder(), Assembler()
        body = b"".join(encoder.encode(event) for event in as_events(response))
        for event in (*decoder.feed(body), *decoder.end()):
            whole.take(event)
        back = whole.response()
        assert back.error is None, body
    else:
        body = dialogue.encode_response(response, facts, losses)
        back = dialogue.decode_response(body)
    lost = {loss.feature for loss in losses.found}
    assert told(back, set()) == told(response, lost), body
    assert back.usage.total == response.usage.total
    assert (back.usage.input, back.usage.output) == (response.usage.input, response.usage.output)


DIALECT = st.sampled_from(GENERATE_DIALECTS)


def test_requests() -> None:
    IN_TESTS(given(requests(), DIALECT)(keeps_a_request))()


def test_answers() -> None:
    IN_TESTS(given(responses(), DIALECT, st.booleans())(keeps_a_response))()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_thousand_requests() -> None:
    IN_SOAK(given(requests(), DIALECT)(keeps_a_request))()


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_thousand_answers() -> None:
    IN_SOAK(given(responses(), DIALECT, st.booleans())(keeps_a_response))()
