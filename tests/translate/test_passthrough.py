"""Same dialect on both sides: not a byte changes but what must."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, VENDOR_ONLY, Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Names
from gproxy.translate.voices import VOICES
from tests.protocols.recorded import cut, exchanges
from tests.translate import meaning
from tests.vendor.legal import judge

FOLDERS = {
    Dialect.OPENAI_CHAT: "openai-chat",
    Dialect.OPENAI_RESPONSES: "openai-responses",
    Dialect.ANTHROPIC_MESSAGES: "anthropic-messages",
    Dialect.GEMINI: "gemini",
    Dialect.OPENAI_COMPLETIONS: "openai-completions",
}
GEMINI, MESSAGES, RESPONSES = Dialect.GEMINI, Dialect.ANTHROPIC_MESSAGES, Dialect.OPENAI_RESPONSES
SAME, OTHER = Names("m", "m"), Names("asked-for", "served-as")
FAILURE = Failure(Kind.UPSTREAM_ERROR, "no more")


def passthrough(dialect: Dialect, names: Names = SAME, *, streams: bool = True, **more: Any) -> Passthrough:
    return Passthrough(dialect, names, streams=streams, include_usage=more.pop("include_usage", True), **more)


@pytest.mark.parametrize("dialect", FOLDERS)
def test_recorded_answers_come_through_byte_for_byte(dialect: Dialect) -> None:
    for exchange in exchanges(FOLDERS[dialect]):
        made = passthrough(dialect, streams=exchange.sse)
        if exchange.request is not None:
            assert made.request(exchange.request) is exchange.request
        if exchange.status != 200:
            continue
        if made.begins(b"text/event-stream" if exchange.sse else b"application/json"):
            out = b"".join(made.feed(piece) for piece in cut(exchange.response, 777)) + made.end()
        elif made.complaint(exchange.response) is not None:
            continue
        else:
            out = made.answer(exchange.response)
        assert out == exchange.response, exchange.name


@pytest.mark.parametrize("dialect", GENERATE_DIALECTS)
def test_an_alias_is_echoed_and_nothing_else_changes(dialect: Dialect) -> None:
    checked = 0
    for exchange in exchanges(FOLDERS[dialect]):
        if exchange.status != 200 or not exchange.sse:
            continue
        before = meaning.read(dialect.value, exchange.response, stream=True)
        made = passthrough(dialect, OTHER)
        out = b"".join(made.feed(piece) for piece in cut(exchange.response, 777)) + made.end()
        after = meaning.read(dialect.value, out, stream=True)
        if before.model:
            assert after.model == "asked-for", exchange.name
            assert made.model == before.model
            checked += 1
        after.model = before.model
        assert after == before
    assert checked > 50


@pytest.mark.parametrize("dialect", GENERATE_DIALECTS)
def test_the_figures_are_the_vendors(dialect: Dialect) -> None:
    for exchange in exchanges(FOLDERS[dialect]):
        source = meaning.read(dialect.value, exchange.response, stream=exchange.sse) if exchange.status == 200 else None
        if source is None or source.prompt is None or source.stop is None:
            continue
        made = passthrough(dialect, streams=exchange.sse)
        if exchange.sse:
            made.feed(exchange.response)
            made.end()
        else:
            made.answer(exchange.response)
        assert made.finished, exchange.name
        if dialect is MESSAGES and b"iterations" in exchange.response:
            continue  # side calls are billed with the request and stand only there
        assert (made.usage.total, made.usage.output) == (source.prompt + (source.output or 0), source.output), (
            exchange.name
        )


REQUESTS: list[tuple[Dialect, bytes, bytes]] = [
    (Dialect.OPENAI_CHAT, b'{ "model" : "asked-for", "x":1}', b'{ "model" : "served-as", "x":1}'),
    (MESSAGES, b'{"max_tokens":1,"model":"asked-for"}', b'{"max_tokens":1,"model":"served-as"}'),
    (RESPONSES, b'{"model":"asked-for"}', b'{"model":"served-as"}'),
    (GEMINI, b'{"contents": [ ]}', b'{"contents": [ ]}'),
    (GEMINI, b'{"model":"models/asked-for","content":{}}', b'{"model":"models/served-as","content":{}}'),
    (GEMINI, b'{"requests":[{"model":"models/a"},{}]}', b'{"requests":[{"model":"models/served-as"},{}]}'),
    (
        GEMINI,
        b'{"contents":[{"text":"\\"model\\""}],"a":"model"}',
        b'{"contents":[{"text":"\\"model\\""}],"a":"model"}',
    ),
    (
        GEMINI,
        b'{"generateContentRequest":{"model":"models/asked-for"}}',
        b'{"generateContentRequest":{"model":"models/served-as"}}',
    ),
]


@pytest.mark.parametrize(("dialect", "body", "wanted"), REQUESTS)
def test_the_model_is_named_as_the_vendor_knows_it(dialect: Dialect, body: bytes, wanted: bytes) -> None:
    assert passthrough(dialect, OTHER).request(body) == wanted


def test_only_chat_must_ask_for_usage() -> None:
    for dialect in GENERATE_DIALECTS:
        body = b'{"model":"m"}'
        out = passthrough(dialect, include_usage=None).request(body)
        assert (out == body) is (dialect is not Dialect.OPENAI_CHAT)


@pytest.mark.parametrize("dialect", GENERATE_DIALECTS)
def test_a_stream_that_is_cut_ends_in_the_dialects_error(dialect: Dialect) -> None:
    exchange = next(one for one in exchanges(FOLDERS[dialect]) if one.sse and one.status == 200)
    for size in (0, len(exchange.response) // 2, len(exchange.response) * 2 // 3):
        made = passthrough(dialect)
        out = made.feed(exchange.response[:size]) + made.cut(FAILURE)
        # What was left in the middle of a frame is closed, so that the error is an event of its own.
        last = out.replace(b"\r", b"").rstrip(b"\n").split(b"\n\n")[-1]
        assert b"no more" in last
        value = json.loads(last.split(b"data: ")[1])
        assert value["error"]["message"] == "no more"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("dialect", [*GENERATE_DIALECTS, Dialect.OPENAI_AUDIO, Dialect.OPENAI_IMAGES])
def test_a_page_is_no_answer(dialect: Dialect, streams: bool) -> None:
    made = Passthrough(dialect, SAME, streams=streams, include_usage=None)
    assert not made.begins(b"Text/HTML; charset=utf-8")
    complaint = made.complaint(b"<html><h1>502</h1></html>")
    assert complaint is not None
    assert complaint.code == "unreadable"


ARRAY = b'[{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"modelVersion":"served-as"}'


@pytest.mark.parametrize(
    ("fed", "legal"),
    [(b"", True), (b"[", True), (ARRAY, True), (ARRAY + b",\r\n", False), (ARRAY[:20], False)],
)
def test_an_array_that_is_cut_is_closed_where_it_can_be(fed: bytes, legal: bool) -> None:
    made = passthrough(GEMINI)
    assert made.begins(b"application/json; charset=UTF-8")
    out = made.feed(fed) + made.cut(FAILURE)
    if legal and fed:
        assert judge("gemini", stream=True, body=out, sse=False).error
    elif fed.endswith(b"}") or not fed:
        assert b"no more" in out


def test_a_gemini_array_is_echoed_and_counted() -> None:
    whole = (
        ARRAY[:-1]
        + b',"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}},\n{"candidates":[{"finishReason":"STOP"}]}\n]'
    )
    made = passthrough(GEMINI, OTHER)
    out = b"".join(made.feed(piece) for piece in cut(whole, 5)) + made.end()
    assert out == whole.replace(b"served-as", b"asked-for")
    assert made.usage == Usage(input=3, output=4)
    assert made.finished


def test_a_gemini_tools_argument_is_not_taken_for_the_models_name() -> None:
    def frame(part: dict[str, Any], **more: Any) -> bytes:
        body = {"candidates": [{"content": {"parts": [part], "role": "model"}}], **more}
        return b"data: %b\n\n" % json.dumps(body).encode()

    said = frame({"text": "a"}, modelVersion="served-as")
    called = frame({"functionCall": {"name": "f", "args": {"modelVersion": "served-as"}}})
    made = passthrough(GEMINI, OTHER)
    out = b"".join(map(made.feed, [said, said, called, said]))
    renamed = said.replace(b"served-as", b"asked-for")
    assert out == renamed + renamed + called + renamed


def test_gemini_is_finished_when_its_stream_is() -> None:
    """A finish reason comes once per round of the vendor's own tools: the first is not the end."""
    made = passthrough(GEMINI)
    made.feed(b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1}}\n\n')
    early = made.finished
    made.feed(b'data: {"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":9}}\n\n')
    made.end()
    assert (early, made.finished) == (False, True)
    assert made.usage.input == 9


def test_keep_alives_mean_nothing() -> None:
    for dialect in GENERATE_DIALECTS:
        made = passthrough(dialect)
        filler = made.keep_alive()
        assert filler
        exchange = next(one for one in exchanges(FOLDERS[dialect]) if one.sse and one.status == 200)
        assert meaning.read(dialect.value, filler + exchange.response + filler, stream=True) == meaning.read(
            dialect.value, exchange.response, stream=True
        )
        # Half an event is held back, so a filler may stand here too.
        assert made.feed(b"data: {") == b""
        assert made.keep_alive() == filler


@pytest.mark.parametrize("name", ["error", r"\u0065rror", r"err\u006Fr", r"\u0065\u0072\u0072\u006f\u0072"])
def test_an_error_with_a_good_status_is_seen_however_its_name_is_spelled(name: str) -> None:
    for dialect in GENERATE_DIALECTS:
        body = b'{"%b":{"message":"boom","type":"server_error","code":500}}' % name.encode()
        complaint = passthrough(dialect, streams=False).complaint(body)
        assert complaint is not None, dialect
        assert complaint.message == "boom"


def test_an_answer_that_speaks_of_errors_is_an_answer() -> None:
    body = json.dumps({"choices": [{"message": {"content": 'é \\u0065rror "error"'}}], "error": None}).encode()
    assert passthrough(Dialect.OPENAI_CHAT, streams=False).complaint(body) is None


def test_of_several_answers_without_done_each_must_end() -> None:
    def chunk(index: int, reason: str | None) -> bytes:
        choice = {"index": index, "delta": {"content": "a"}, "finish_reason": reason}
        return b"data: %b\n\n" % json.dumps({"choices": [choice]}).encode()

    for last, whole in (("stop", True), (None, False)):
        made = passthrough(Dialect.OPENAI_CHAT, choices=2)
        sent = [chunk(0, None), chunk(1, None), chunk(0, "stop"), chunk(1, last)]
        assert b"".join(map(made.feed, sent)) + made.end() == b"".join(sent)
        assert made.finished is whole
        assert bool(made.cut(FAILURE)) is not whole


def test_counting_uses_nothing() -> None:
    made = passthrough(MESSAGES, streams=False, operation=Operation.COUNT_TOKENS)
    assert made.complaint(b'{"input_tokens": 12}') is None
    assert made.answer(b'{"input_tokens": 12}') == b'{"input_tokens": 12}'
    assert made.usage == Usage(input=0, output=0)


SMALL: list[tuple[Dialect, Operation, bytes, Usage]] = [
    (
        Dialect.OPENAI_EMBEDDINGS,
        Operation.EMBED,
        b'{"data":[{"embedding":[0.1]}],"model":"e","usage":{"prompt_tokens":5,"total_tokens":5}}',
        Usage(input=5),
    ),
    (Dialect.RERANK, Operation.RERANK, b'{"results":[],"usage":{"total_tokens":7}}', Usage(input=7)),
    (Dialect.RERANK, Operation.RERANK, b'{"results":[],"meta":{"billed_units":{"search_units":1}}}', Usage(input=0)),
    (
        Dialect.OPENAI_IMAGES,
        Operation.CREATE_IMAGE,
        b'{"data":[{}],"usage":{"input_tokens":3,"output_tokens":4}}',
        Usage(input=3, output=4),
    ),
    (Dialect.OPENAI_AUDIO, Operation.SPEECH, b"\xff\xfb\x90", Usage()),
    (
        Dialect.OPENAI_AUDIO,
        Operation.TRANSCRIBE,
        b'{"text":"a","usage":{"input_tokens":3,"output_tokens":4}}',
        Usage(3, 4),
    ),
    (Dialect.OPENAI_MODERATIONS, Operation.MODERATE, b'{"results":[{}],"model":"m"}', Usage()),
    (GEMINI, Operation.EMBED, b'{"embedding":{"values":[0.5]}}', Usage()),
]


@pytest.mark.parametrize(("dialect", "operation", "body", "usage"), SMALL)
def test_small_dialects_are_passed_on(dialect: Dialect, operation: Operation, body: bytes, usage: Usage) -> None:
    made = passthrough(dialect, streams=False, operation=operation)
    assert made.complaint(body) is None
    assert made.answer(body) == body
    assert made.usage == usage
    assert made.produced == 0


def test_an_image_stream_is_watched() -> None:
    made = passthrough(Dialect.OPENAI_IMAGES)
    made.feed(b'event: image_generation.partial_image\ndata: {"type":"image_generation.partial_image"}\n\n')
    early = made.finished
    made.feed(b'data: {"type":"image_generation.completed","usage":{"input_tokens":3,"output_tokens":4}}\n\n')
    assert (early, made.finished) == (False, True)
    assert made.usage == Usage(input=3, output=4)


def test_every_dialect_has_a_voice() -> None:
    assert set(VOICES) == set(Dialect) - set(VENDOR_ONLY)


def test_a_vendor_that_keeps_no_answers_is_not_told_to() -> None:
    names = Names(asked="m", upstream="m")
    for keeps in (False, True):
        made = Passthrough(Dialect.OPENAI_RESPONSES, names, streams=False, include_usage=None, keeps=keeps)
        for body in (b'{"model": "m", "store": false}', b'{"model": "m"}', b'{"input": "\\"store\\": true"}'):
            assert made.request(body) is body
        asked = b'{"model": "m", "store": true, "x":1}'
        assert made.request(asked) == (asked if keeps else asked.replace(b"true", b"false"))
