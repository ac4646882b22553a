"""What the hub itself promises, whatever the dialects."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from gproxy.canonical.events import Event, Started
from gproxy.canonical.failure import VendorError
from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.canonical.usage import Usage
from gproxy.errors import Failure, Kind, Refused
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from tests.translate.test_pairs import PAIRS, QUESTIONS, SERVED, answers, hub, named
from tests.vendor.legal import judge

CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
FAILURE = Failure(Kind.UPSTREAM_ERROR, "no more of this")
SSE, JSON = b"text/event-stream", b"application/json; charset=utf-8"


def setup(client: Dialect, upstream: Dialect, **more: Any) -> Setup:
    given: dict[str, Any] = {"streams": False, "upstream_streams": False, "id": "0190a7c5-0000", "created": 7} | more
    return Setup(client, upstream, Names("mine", "theirs"), **given)


def question(dialect: Dialect, **more: Any) -> bytes:
    base: Any = QUESTIONS[dialect]
    return json.dumps({**base, **more}).encode()


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_stream_may_be_cut_anywhere(pair: tuple[Dialect, Dialect]) -> None:
    client, upstream = pair
    short = [one for one in answers(upstream) if one.sse and 600 < len(one.response) < 8_000][:4]
    for exchange in short:
        for size in {0, *range(1, len(exchange.response), 211)}:
            made = hub(client, upstream, streams=True, upstream_streams=True, tally=Tally())
            made.request(question(client))
            assert made.begins(SSE)
            out = made.feed(exchange.response[:size])
            cut_here = not made.ended
            out += made.cut(FAILURE)
            assert made.ended
            assert made.cut(FAILURE) == made.feed(b"data: {}\n\n") == made.end() == made.keep_alive() == b""
            verdict = judge(client.value, stream=True, body=out)
            assert verdict.legal, (exchange.name, size, verdict.faults)
            if cut_here:
                assert verdict.error
                assert b"no more of this" in out
                assert not made.finished


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_stream_that_breaks_off_is_told_and_is_no_failure_of_the_vendors_own(pair: tuple[Dialect, Dialect]) -> None:
    client, upstream = pair
    exchange = next(one for one in answers(upstream) if one.sse and len(one.response) > 600)
    made = hub(client, upstream, streams=True, upstream_streams=True, tally=Tally())
    made.begins(SSE)
    out = made.feed(exchange.response[: len(exchange.response) // 3]) + made.end()
    verdict = judge(client.value, stream=True, body=out + made.cut(FAILURE))
    assert verdict.legal
    assert verdict.error
    assert (made.finished, made.failed, made.ended) == (False, False, True)


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_nonsense_is_told_too(pair: tuple[Dialect, Dialect]) -> None:
    for nonsense in (b"data: nonsense\n\n", b"<html>", b"\xff\xfe\n\n", b"data: [1]\n\n", b"data: null\n\n"):
        made = hub(*pair, streams=True, upstream_streams=True, tally=Tally())
        made.begins(SSE)
        out = made.feed(nonsense) + made.end() + made.cut(FAILURE)
        verdict = judge(pair[0].value, stream=True, body=out)
        assert verdict.legal, (nonsense, verdict.faults)
        assert verdict.error
        whole = hub(*pair, streams=False, upstream_streams=False, tally=Tally())
        whole.begins(JSON)
        assert whole.complaint(nonsense) is not None


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_keep_alives_change_nothing(pair: tuple[Dialect, Dialect]) -> None:
    exchange = next(
        one
        for one in answers(pair[1])
        if one.sse and 600 < len(one.response) < 9_000 and b'"error":{' not in one.response
    )
    outs = []
    for chatty in (False, True):
        made = hub(*pair, streams=True, upstream_streams=True, tally=Tally())
        made.begins(SSE)
        out = b""
        for i in range(0, len(exchange.response), 50):
            out += made.feed(exchange.response[i : i + 50])
            out += made.keep_alive() if chatty and b"\n\n" in out else b""
        outs.append(judge(pair[0].value, stream=True, body=out + made.end()))
    assert outs[0] == outs[1]
    assert outs[0].complete


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_an_array_is_whole_however_it_ends(client: Dialect) -> None:
    exchange = next(
        one
        for one in answers(client)
        if one.sse and 600 < len(one.response) < 9_000 and b'"error":{' not in one.response
    )
    for size in (0, len(exchange.response) // 2, len(exchange.response)):
        made = Hub(setup(GEMINI, client, streams=True, upstream_streams=True, array=True), Tally())
        assert made.content_type == b"application/json"
        made.begins(SSE)
        out = made.feed(exchange.response[:size]) + made.keep_alive()
        out += made.end() if size == len(exchange.response) else made.cut(FAILURE)
        verdict = judge("gemini", stream=True, body=out, sse=False)
        assert verdict.legal, verdict.faults
        assert verdict.complete is (size == len(exchange.response))


def test_losses_are_told_forbidden_or_kept_quiet() -> None:
    body = question(CHAT, seed=7)
    told, quiet, strict = (Hub(setup(CHAT, MESSAGES, loss=policy), Tally()) for policy in ("warn", "allow", "forbid"))
    told.request(body)
    assert told.loss_header == "seed"
    quiet.request(body)
    assert Hub(setup(CHAT, MESSAGES, loss=LossPolicy.ALLOW), Tally()).loss_header == ""
    with pytest.raises(Refused) as refused:
        Hub(replace_policy(strict), Tally()).request(body)
    assert refused.value.failure.param == "seed"
    assert refused.value.failure.kind is Kind.INVALID_REQUEST


def replace_policy(made: Hub) -> Setup:
    return replace(made._setup, loss=LossPolicy.FORBID)


@pytest.mark.parametrize("upstream", GENERATE_DIALECTS)
def test_a_kept_conversation_is_only_continued_where_it_is_kept(upstream: Dialect) -> None:
    made = Hub(setup(RESPONSES, upstream), Tally())
    body = question(RESPONSES, previous_response_id="resp_1")
    if upstream is RESPONSES:
        assert json.loads(made.request(body))["previous_response_id"] == "resp_1"
        return
    with pytest.raises(Refused) as refused:
        made.request(body)
    assert refused.value.failure.param == "previous_response_id"


@pytest.mark.parametrize("asks", [True, False])
def test_usage_is_asked_for_where_it_must_be(asks: bool) -> None:
    made = Hub(setup(MESSAGES, CHAT, streams=True, upstream_streams=True, asks_usage=asks), Tally())
    body = json.loads(made.request(question(MESSAGES)))
    assert body.get("stream_options") == ({"include_usage": True} if asks else None)
    whole = json.loads(Hub(setup(MESSAGES, CHAT), Tally()).request(question(MESSAGES)))
    assert "stream_options" not in whole


def test_the_cap_that_anthropic_demands() -> None:
    known = json.loads(Hub(setup(CHAT, MESSAGES, max_output=123), Tally()).request(question(CHAT)))
    unknown = json.loads(Hub(setup(CHAT, MESSAGES), Tally()).request(question(CHAT)))
    said = json.loads(Hub(setup(CHAT, MESSAGES, max_output=123), Tally()).request(question(CHAT, max_tokens=5)))
    assert (known["max_tokens"], said["max_tokens"]) == (123, 5)
    assert unknown["max_tokens"] >= 4096


def test_an_answer_without_figures_is_estimated_for_the_client_and_unknown_to_the_ledger() -> None:
    body = b'{"id":"c","choices":[{"message":{"content":"one two three four"},"finish_reason":"stop"}]}'
    made = Hub(setup(MESSAGES, CHAT), Tally())
    made.request(question(MESSAGES))
    made.begins(JSON)
    assert made.complaint(body) is None
    usage = json.loads(made.answer(body))["usage"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] == made.produced == 5
    assert made.usage == Usage()


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
@pytest.mark.parametrize("upstream", GENERATE_DIALECTS)
def test_a_vendors_complaint_keeps_its_text_and_code(client: Dialect, upstream: Dialect) -> None:
    made = Hub(setup(client, upstream), Tally())
    error = VendorError("the knob is loose", type="INVALID_ARGUMENT", code="loose_knob", param="knob")
    told = Failure(Kind.UPSTREAM_ERROR, error.message, upstream_status=422)
    body = made.encode_error(told, error)
    assert body is not None
    found = json.loads(body)["error"]
    assert found["message"] == "the knob is loose"
    assert "loose_knob" in body.decode()
    assert DIALOGUES[client].decode_error(body).message == "the knob is loose"
    openai = {client, upstream} <= {CHAT, RESPONSES}
    assert (found.get("param") == "knob") is openai
    assert ("INVALID_ARGUMENT" in body.decode()) is (
        openai or (client is GEMINI and found["status"] == "INVALID_ARGUMENT")
    )


@pytest.mark.parametrize("pair", PAIRS, ids=named)
def test_a_page_in_place_of_a_stream_is_a_complaint(pair: tuple[Dialect, Dialect]) -> None:
    for content_type in (b"text/html; charset=utf-8", b"Text/HTML", b"application/xhtml+xml", b"image/png"):
        made = hub(*pair, streams=True, upstream_streams=True, tally=Tally())
        made.request(question(pair[0]))
        assert not made.begins(content_type)
        complaint = made.complaint(b"<html><h1>502</h1></html>")
        assert complaint is not None
        assert complaint.code == "unreadable"


@pytest.mark.parametrize("content_type", [b"", b"text/plain", b"application/octet-stream", b"application/x-ndjson"])
def test_servers_name_their_streams_as_they_like(content_type: bytes) -> None:
    assert hub(MESSAGES, CHAT, streams=True, upstream_streams=True, tally=Tally()).begins(content_type)


def test_an_error_with_a_good_status_is_a_complaint() -> None:
    made = Hub(setup(MESSAGES, CHAT), Tally())
    made.begins(JSON)
    complaint = made.complaint(b'{"error":{"message":"no","code":"broken"}}')
    assert complaint is not None
    assert (complaint.message, complaint.code) == ("no", "broken")


@pytest.mark.parametrize("client", GENERATE_DIALECTS)
def test_an_encoder_that_fails_does_not_take_the_stream_with_it(
    client: Dialect, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = Tally()
    made = hub(client, CHAT, streams=True, upstream_streams=True, tally=tally)
    made.begins(SSE)
    writer = made._writer()
    encode = writer.encode

    class Failing:
        fail, keep_alive = writer.fail, writer.keep_alive

        def encode(self, event: Event) -> bytes:
            if isinstance(event, Started):
                return encode(event)
            raise ZeroDivisionError

    monkeypatch.setattr(made, "_encoder", Failing())
    out = made.feed(b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    verdict = judge(client.value, stream=True, body=out)
    assert verdict.legal
    assert verdict.error
    assert tally.ended == {(client, "encoder"): 1}
    assert (made.finished, made.failed, made.ended) == (False, False, True)


def test_the_upstream_is_asked_for_its_own_name_of_the_model() -> None:
    for client, upstream in PAIRS:
        made = hub(client, upstream, streams=False, upstream_streams=False, tally=Tally())
        body = json.loads(made.request(question(client)))
        assert body.get("model", SERVED) == SERVED
