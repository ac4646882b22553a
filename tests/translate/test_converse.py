"""Clients of every dialect and a vendor that speaks Converse: requests that Bedrock takes, answers that clients read."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind, Refused
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.vendor import bedrock_converse
from gproxy.vendor.ask import BadAsk
from gproxy.wire.json import JsonProblem
from tests.protocols.bedrock_converse import wire
from tests.protocols.recorded import cut, exchanges
from tests.translate import meaning
from tests.vendor.legal import judge

CONVERSE = Dialect.BEDROCK_CONVERSE
CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
FOLDERS = {
    CHAT: ("openai-chat", "openai-compat"),
    RESPONSES: ("openai-responses",),
    MESSAGES: ("anthropic-messages",),
    GEMINI: ("gemini",),
}
QUESTIONS: dict[Dialect, dict[str, Any]] = {
    CHAT: {"model": "m", "stream_options": {"include_usage": True}, "messages": [{"role": "user", "content": "hello"}]},
    RESPONSES: {"model": "m", "input": "hello"},
    MESSAGES: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}
FRAMED = b"application/vnd.amazon.eventstream"
ANSWER = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}},
                {"text": "I will look."},
                {"toolUse": {"toolUseId": "tooluse_A", "name": "add", "input": {"a": 1}}},
            ],
        }
    },
    "stopReason": "tool_use",
    "usage": {"inputTokens": 12, "outputTokens": 34, "totalTokens": 126, "cacheReadInputTokens": 80},
}


def hub(client: Dialect, *, streams: bool, tally: Tally, loss: LossPolicy = LossPolicy.WARN) -> Hub:
    names = Names("asked-for", "us.amazon.nova-2-lite-v1:0")
    return Hub(Setup(client, CONVERSE, names, streams, streams, loss, id="0190a7c5-0000-7000", created=7), tally)


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_every_recorded_request_is_one_that_bedrock_takes(client: Dialect) -> None:
    """Judged by the simulated vendor's reader, which shares nothing with ours."""
    wrong: list[str] = []
    checked = 0
    for exchange in (one for folder in FOLDERS[client] for one in exchanges(folder)):
        if exchange.request is None or exchange.status != 200:
            continue
        made = hub(client, streams=exchange.sse, tally=Tally())
        try:
            body = json.loads(made.request(exchange.request))
        except (JsonProblem, Refused):
            continue  # other tests look at those
        if body["messages"] and body["messages"][0]["role"] == "assistant":
            continue  # Bedrock does not take a conversation that the model begins, and says so
        checked += 1
        try:
            bedrock_converse.read(body, "m", stream=exchange.sse)
        except BadAsk as refused:
            wrong.append(f"{exchange.name}: {refused}")
    assert not wrong, "\n".join(wrong[:40])
    assert checked > 200


def streamed(client: Dialect, pieces: list[bytes]) -> tuple[bytes, Hub]:
    tally = Tally()
    made = hub(client, streams=True, tally=tally)
    made.request(json.dumps(QUESTIONS[client]).encode())
    assert made.begins(FRAMED)
    body = b"".join(made.feed(piece) for piece in pieces) + made.end()
    assert not tally, tally
    return body, made


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_a_stream_is_read_by_every_client(client: Dialect) -> None:
    body, made = streamed(client, [wire.THINKS_AND_CALLS])
    verdict = judge(client.value, stream=True, body=body)
    assert verdict.legal, verdict.faults
    assert verdict.complete
    got = meaning.read(client.value, body, stream=True)
    assert (got.text, got.calls, got.stop, got.model) == (
        "I will look. 🚲", [("add", {"a": 1}), ("now", {})], "tools", "asked-for",
    )  # fmt: skip
    assert (got.prompt, got.output) == (112, 34)
    assert made.usage == Usage(input=12, output=34, cache_read=80, cache_write_5m=15, cache_write_1h=5)
    assert made.finished


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_chunks_change_nothing(client: Dialect, size: int) -> None:
    whole, _ = streamed(client, [wire.THINKS_AND_CALLS])
    assert streamed(client, cut(wire.THINKS_AND_CALLS, size))[0] == whole
    dice, pieces, at = random.Random(size), [], 0
    while at < len(wire.THINKS_AND_CALLS):
        step = dice.choice((1, 2, 5, 12, 90, 400))
        pieces.append(wire.THINKS_AND_CALLS[at : at + step])
        at += step
    assert streamed(client, pieces)[0] == whole


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_a_whole_answer_is_read_by_every_client(client: Dialect, streams: bool) -> None:
    tally = Tally()
    made = hub(client, streams=streams, tally=tally)
    made.request(json.dumps(QUESTIONS[client]).encode())
    raw = json.dumps(ANSWER).encode()
    assert not made.begins(b"application/json")
    assert made.complaint(raw) is None
    body = made.answer(raw)
    verdict = judge(client.value, stream=streams, body=body)
    assert verdict.legal, verdict.faults
    got = meaning.read(client.value, body, stream=streams)
    assert (got.text, got.calls, got.stop) == ("I will look.", [("add", {"a": 1})], "tools")
    assert (got.prompt, got.output) == (92, 34)
    assert not tally


@pytest.mark.parametrize("content_type", [b"text/html", b"text/event-stream", b"application/octet-stream", b""])
def test_what_is_no_event_stream_is_never_begun(content_type: bytes) -> None:
    """The client has been told nothing yet, so another attempt may answer it."""
    made = hub(CHAT, streams=True, tally=Tally())
    made.request(json.dumps(QUESTIONS[CHAT]).encode())
    assert not made.begins(content_type)
    for body in (b"<html>", b"", b"data: {}\n\n"):
        found = made.complaint(body)
        assert found is not None
        assert found.code == "unreadable"


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_a_failure_in_the_stream_is_told_in_the_clients_dialect(client: Dialect) -> None:
    raw = wire.start() + wire.delta(0, text="hel") + wire.exception("throttlingException", {"message": "Too many"})
    body, made = streamed(client, [raw])
    verdict = judge(client.value, stream=True, body=body)
    assert verdict.legal, verdict.faults
    assert verdict.error
    assert b"Too many" in body
    assert made.failed
    assert not made.finished


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_a_refusal_keeps_its_text(client: Dialect) -> None:
    made = hub(client, streams=False, tally=Tally())
    error = made.decode_error(b'{"message":"Malformed input request"}')
    failure = Failure(Kind.UPSTREAM_ERROR, error.message, upstream_status=400)
    body = made.encode_error(failure, error)
    assert body is not None
    assert json.loads(body)["error"]["message"] == "Malformed input request"


def test_a_provider_may_forbid_what_is_lost() -> None:
    made = hub(CHAT, streams=False, tally=Tally(), loss=LossPolicy.FORBID)
    with pytest.raises(Refused) as told:
        made.request(json.dumps({**QUESTIONS[CHAT], "seed": 7}).encode())
    assert told.value.failure.param == "seed"
    assert "bedrock_converse" in told.value.failure.text


@pytest.mark.parametrize("client", [CHAT, RESPONSES, MESSAGES, GEMINI])
def test_signed_thinking_comes_back_as_it_was(client: Dialect) -> None:
    """The client keeps the answer in its history and goes on; Bedrock is given its own proof again."""
    made = hub(client, streams=False, tally=Tally())
    made.request(json.dumps(QUESTIONS[client]).encode())
    raw = json.dumps(ANSWER).encode()
    assert made.complaint(raw) is None
    answer = json.loads(made.answer(raw))
    result: Any
    match client:
        case Dialect.OPENAI_CHAT:
            result = {"role": "tool", "tool_call_id": "tooluse_A", "content": "2"}
            more = {"messages": [*QUESTIONS[CHAT]["messages"], answer["choices"][0]["message"], result]}
        case Dialect.OPENAI_RESPONSES:
            result = {"type": "function_call_output", "call_id": "tooluse_A", "output": "2"}
            more = {"input": [{"role": "user", "content": "hello"}, *answer["output"], result]}
        case Dialect.ANTHROPIC_MESSAGES:
            result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "tooluse_A", "content": "2"}]}
            said = {"role": "assistant", "content": answer["content"]}
            more = {"messages": [*QUESTIONS[MESSAGES]["messages"], said, result]}
        case _:
            result = {"role": "user", "parts": [{"functionResponse": {"name": "add", "response": {"output": "2"}}}]}
            more = {"contents": [*QUESTIONS[GEMINI]["contents"], answer["candidates"][0]["content"], result]}
    again = json.loads(
        hub(client, streams=False, tally=Tally()).request(json.dumps({**QUESTIONS[client], **more}).encode())
    )
    thinking = [block for message in again["messages"] for block in message["content"] if "reasoningContent" in block]
    kept = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "proof"}}}
    assert thinking == [kept]
    bedrock_converse.read(again, "m", stream=False)
