"""What fuzzing has found, one line each, so that it stays found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.events import ChoiceFinished, Event, Finished, Started, UsageReported
from gproxy.canonical.operation import Dialect
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Names
from gproxy.wire import multipart
from gproxy.wire.json import JsonProblem, patch_lenient
from tests.protocols import legality

CHAT, RESPONSES, MESSAGES = Dialect.OPENAI_CHAT, Dialect.OPENAI_RESPONSES, Dialect.ANTHROPIC_MESSAGES


def test_a_new_field_stands_behind_what_is_before_the_first_boundary() -> None:
    body = b'preamble\r\n--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--'
    content_type = b"multipart/form-data; boundary=b"
    form = multipart.parse(content_type, multipart.parse(content_type, body).with_text("model", "m"))
    assert [(part.name, bytes(form.value(part))) for part in form.parts] == [("model", b"m"), ("a", b"1")]


@pytest.mark.parametrize("broken", [rb'"\ud83d"', b'"a\nb"', b"NaN", rb'{"\ud83d": "model"}'])
def test_a_name_is_echoed_in_an_answer_that_only_a_lenient_reader_reads(broken: bytes) -> None:
    body = b'{"choices":[%b], "model" : "served", "n":{"model":"x"}}' % broken
    made = Passthrough(CHAT, Names("asked", "served"), streams=False, include_usage=None)
    assert made.complaint(body) is None
    assert made.answer(body) == body.replace(b'"served"', b'"asked"')
    frame = b"data: " + body + b"\n\n"
    stream = Passthrough(CHAT, Names("asked", "served"), streams=True, include_usage=True)
    assert stream.feed(frame) == frame.replace(b'"served"', b'"asked"')


def test_what_cannot_be_changed_is_passed_on() -> None:
    body = '{"choices":[1],"model":"served"}'.encode("utf-16")
    with pytest.raises(JsonProblem):
        patch_lenient(body, {"model": "x"})
    made = Passthrough(CHAT, Names("asked", "served"), streams=False, include_usage=None)
    assert made.complaint(body) is None
    assert made.answer(body) == body


@pytest.mark.parametrize(
    ("dialect", "body", "field"),
    [
        (RESPONSES, {"input": [{"role": "user", "content": [{"type": []}]}]}, "input[0].content[0].type"),
        (
            RESPONSES,
            {"input": "a", "tool_choice": {"type": "allowed_tools", "mode": [], "tools": []}},
            "tool_choice.mode",
        ),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function"}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            MESSAGES,
            {"max_tokens": 9, "messages": [{"role": "user", "content": [{"text": "a"}]}]},
            "messages[0].content[0].type",
        ),
    ],
)
def test_a_body_that_makes_no_sense_is_refused_by_name(dialect: Dialect, body: dict[str, Any], field: str) -> None:
    with pytest.raises(JsonProblem) as problem:
        DIALOGUES[dialect].decode_request(json.dumps({"model": "m", **body}).encode(), model="m", stream=False)
    assert problem.value.field == field


def read(dialect: Dialect, *bodies: dict[str, Any] | bytes) -> list[Event]:
    decoder = DIALOGUES[dialect].stream_decoder()
    frames = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    events = decoder.feed(b"".join(b"data: " + frame + b"\n\n" for frame in frames)) + decoder.end()
    legality.check(events)
    return events


def test_a_chat_stream_of_nothing_but_done_is_one_empty_answer() -> None:
    assert [type(event) for event in read(CHAT, b"[DONE]")] == [Started, ChoiceFinished, Finished]


def test_figures_before_the_first_choice_wait_for_the_start() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    events = read(
        CHAT, {"choices": [], "usage": usage}, {"id": "c", "choices": [{"index": 0, "finish_reason": "stop"}]}
    )
    assert isinstance(events[0], Started)
    assert not any(isinstance(event, UsageReported) for event in events[:1])
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.usage.input == 7


def test_odd_values_in_streams_are_no_reason_to_fall_over() -> None:
    added = {"type": "response.output_item.added", "output_index": 0, "item": {"type": [[]]}}
    read(RESPONSES, {"type": "response.created", "response": {}}, added)
    call = {"functionCall": {"name": "f", "args": {}}}
    read(Dialect.GEMINI, {"responseId": "\ud800", "candidates": [{"content": {"parts": [call]}}]})
    tap = Passthrough(RESPONSES, Names("m", "m"), streams=True, include_usage=None)
    frame = b'data: {"type":[[]],"response":{"usage":{}},"x":"response.completed"}\n\n'
    assert tap.feed(frame) == frame


def test_what_a_tap_learns_does_not_depend_on_the_pieces() -> None:
    quiet = b'data: {"type":"x","response":{"usage":{"input_tokens":7,"output_tokens":3}}}\n\n'
    loud = b'data: {"type":"response.in_progress","note":"response.completed"}\n\n'
    facts = []
    for pieces in ([quiet, loud], [quiet + loud]):
        tap = Passthrough(RESPONSES, Names("m", "m"), streams=True, include_usage=None)
        for piece in pieces:
            tap.feed(piece)
        facts.append(tap.usage)
    assert facts[0] == facts[1]
