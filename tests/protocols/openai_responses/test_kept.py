"""Conversations put together again from kept answers, purely."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect
from gproxy.ids import new_id
from gproxy.protocols.openai_responses import kept as k
from gproxy.translate.hub import Hub, Setup
from gproxy.translate.tally import Tally
from gproxy.translate.translator import Names
from gproxy.wire.json import JsonProblem
from tests.translate.test_pairs import answers

CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}


def kept(said: Any, output: list[Any], previous: str | None = None) -> k.KeptResponse:
    body = json.dumps({"model": "m", "input": said}).encode()
    texts = k.written(k.said_of(body), {"id": "resp_x", "output": output})
    return k.KeptResponse(new_id(), "user", "conversation", previous, 7, *texts)


def test_ids_are_told_from_those_of_others() -> None:
    own = new_id()
    assert k.is_own(k.public_id(own))
    for other in ("", "resp_1", "resp_" + "0" * 48, own, "resp_" + own, k.public_id(own) + "\n", "msg_" + own):
        assert not k.is_own(other)


def test_a_conversation_is_said_again_in_order() -> None:
    first = kept(
        [{"role": "user", "content": [{"type": "input_text", "text": "look"}, IMAGE]}],
        [
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
            {"type": "custom_tool_call", "id": "ctc_1", "call_id": "c2", "name": "sql", "input": "SELECT 1"},
        ],
    )
    second = kept(
        [
            {"type": "function_call_output", "call_id": "c1", "output": [IMAGE]},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "1"},
        ],
        [{"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]}],
        first.id,
    )
    asked = {
        "instructions": "new ones",
        "model": "m",
        "input": "and now?",
        "previous_response_id": "resp_",
        "top_p": 1.0,
    }
    told = json.loads(k.continued(json.dumps(asked).encode(), [first, second]))
    assert {key: value for key, value in told.items() if key != "input"} == {
        "instructions": "new ones", "model": "m", "top_p": 1.0
    }  # fmt: skip
    kinds = ["message", "reasoning", "function_call", "custom_tool_call", "function_call_output",
             "custom_tool_call_output", "message", "message"]  # fmt: skip
    assert [item.get("type", "message") for item in told["input"]] == kinds
    assert told["input"][0]["content"][1] == IMAGE
    assert told["input"][1]["encrypted_content"] == "sealed"
    assert told["input"][-1] == {"type": "message", "role": "user", "content": "and now?"}


def test_a_request_may_say_nothing_new() -> None:
    told = json.loads(k.continued(b'{"model":"m","previous_response_id":"resp_1"}', [kept("hello", [])]))
    assert told == {"model": "m", "input": [{"type": "message", "role": "user", "content": "hello"}]}


@pytest.mark.parametrize("body", [b"[]", b'{"input":7}', b'{"input":{}}'])
def test_input_that_is_none_is_named(body: bytes) -> None:
    if body == b"[]":
        assert k.said_of(body) == []
        return
    with pytest.raises(JsonProblem) as told:
        k.said_of(body)
    assert told.value.field == "input"


def test_an_answer_is_found_in_what_was_sent() -> None:
    whole = {"id": "resp_1", "output": []}
    assert k.answer_of(json.dumps(whole).encode()) == whole
    end = json.dumps({"type": "response.incomplete", "sequence_number": 9, "response": whole}).encode()
    item = b'event: response.output_item.done\ndata: {"type":"response.output_item.done","item":{}}\n\n'
    assert k.answer_of(item + b"event: response.incomplete\ndata: " + end + b"\n\n") == whole
    for none in (b"", b"{}", b"{", b"data: {\n\n", b": keep-alive\n\n", item, b'data: {"type":"response.failed"}\n\n'):
        assert k.answer_of(none) is None


def test_input_is_shown_in_pages() -> None:
    one = kept(
        ["not an item", {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"id": "mine"}], []
    )
    page = k.input_page(one, limit=2, after=None, ascending=True)
    assert (page["has_more"], len(page["data"])) == (True, 2)
    assert page["data"][1]["content"] == [{"type": "input_text", "text": "a"}]
    rest = k.input_page(one, limit=2, after=page["last_id"], ascending=True)
    assert [item["id"] for item in rest["data"]][1] == "mine"
    assert rest["data"][0]["content"] == [{"type": "output_text", "text": "b", "annotations": []}]
    assert rest["has_more"] is False
    assert k.input_page(one, limit=9, after=None, ascending=False)["first_id"] == "mine"
    assert k.input_page(one, limit=9, after="mine", ascending=True)["data"] == []
    with pytest.raises(k.UnknownItem):
        k.input_page(one, limit=9, after="nobody", ascending=True)


# --- through the hub: what a provider is told equals what a client that sends everything would have told it ---


def hub(upstream: Dialect, keep: Any, *, streams: bool, previous: str | None = None) -> Hub:
    setup = Setup(RESPONSES, upstream, Names("mine", "theirs"), streams=streams, upstream_streams=streams,
                  id=new_id(), created=7, keep=keep, previous_id=previous)  # fmt: skip
    return Hub(setup, Tally())


def said(upstream: Dialect, items: list[Any]) -> bytes:
    made = hub(upstream, None, streams=False)
    return made.request(json.dumps({"model": "m", "input": items}).encode())


@pytest.mark.parametrize("upstream", [CHAT, MESSAGES, GEMINI])
def test_recorded_answers_are_gone_on_from_like_those_a_client_keeps(upstream: Dialect) -> None:
    """Tool calls, reasoning with signatures, citations, pictures: whatever real vendors were recorded to answer."""
    seen = 0
    asked = b'{"model":"m","input":"first"}'
    for exchange in answers(upstream):
        found: list[bytes] = []
        made = hub(upstream, found.append, streams=exchange.sse)
        made.request(asked)
        if exchange.sse:
            made.begins(b"text/event-stream")
            out = made.feed(exchange.response) + made.end()
        else:
            made.begins(b"application/json")
            if made.complaint(exchange.response) is not None:
                assert not found
                continue
            out = made.answer(exchange.response)
        if not made.finished:
            assert not found, exchange.name
            continue
        assert len(found) == 1, exchange.name
        client_has = k.answer_of(out)
        answer = k.answer_of(found[0])
        assert answer is not None
        assert answer == client_has
        assert k.is_own(answer["id"])
        assert answer["store"] is True
        texts = k.written(k.said_of(asked), answer)
        one = k.KeptResponse("1", "user", "1", None, 7, *texts)
        told = k.continued(b'{"model":"m","input":"second"}', [one])
        everything = [{"type": "message", "role": "user", "content": "first"}, *answer["output"],
                      {"type": "message", "role": "user", "content": "second"}]  # fmt: skip
        assert hub(upstream, None, streams=False).request(told) == said(upstream, everything)
        seen += 1
    assert seen > 100


@pytest.mark.parametrize("streams", [False, True])
def test_what_a_client_does_not_want_kept_is_not(streams: bool) -> None:
    exchange = next(one for one in answers(CHAT) if one.sse is streams and len(one.response) > 600)
    found: list[bytes] = []
    made = hub(CHAT, found.append, streams=streams, previous="resp_before")
    made.request(b'{"model":"m","input":"x","store":false}')
    made.begins(b"text/event-stream" if streams else b"application/json")
    if streams:
        answer = k.answer_of(made.feed(exchange.response) + made.end())
    else:
        assert made.complaint(exchange.response) is None
        answer = k.answer_of(made.answer(exchange.response))
    assert answer is not None
    assert "store" not in answer
    assert answer["previous_response_id"] == "resp_before"
    assert not found


def test_a_stream_that_breaks_off_is_not_kept() -> None:
    exchange = next(one for one in answers(MESSAGES) if one.sse and len(one.response) > 600)
    found: list[bytes] = []
    made = hub(MESSAGES, found.append, streams=True)
    made.request(b'{"model":"m","input":"x"}')
    made.begins(b"text/event-stream")
    made.feed(exchange.response[: len(exchange.response) // 2])
    made.end()
    assert not found


def test_a_chain_knows_that_its_beginning_is_gone() -> None:
    first = kept("a", [])
    second = kept("b", [], first.id)
    assert not k.Chain().broken
    assert not k.Chain((first, second)).broken
    assert k.Chain((second,)).broken
