"""A conversation that goes on with a vendor of the client's own dialect after a foreign one had a turn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect, Operation
from gproxy.canonical.part import Part, Signature, Text, Thinking, ToolCall
from gproxy.canonical.response import Choice, Response, Stop, StopReason
from gproxy.protocols.base import ReplyFacts
from gproxy.protocols.registry import DIALOGUES
from gproxy.translate import lent
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Names

CHAT, RESPONSES, MESSAGES, GEMINI = GENERATE_DIALECTS
FOREIGN = {RESPONSES: GEMINI, MESSAGES: GEMINI, GEMINI: MESSAGES}


def history(dialect: Dialect, origin: Dialect) -> dict[str, Any]:
    """What a client sends whose last answer was another vendor's, signed."""
    signature = Signature(origin, "c2lnbmVk")
    parts: tuple[Part, ...] = (Thinking("hm", signature), Text("said"), ToolCall("call_1", "add", '{"a":1}'))
    answer = Response("r", "m", (Choice(0, parts, Stop(StopReason.TOOL_CALLS)),))
    facts = ReplyFacts(id="r", model="m", created=7)
    told = json.loads(DIALOGUES[dialect].encode_response(answer, facts, Losses()))
    if dialect is RESPONSES:
        return {"model": "m", "input": [{"role": "user", "content": "a"}, *told["output"]], "store": False}
    if dialect is MESSAGES:
        said = {"role": "assistant", "content": told["content"]}
        return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}, said], "top_k": 3}
    content = told["candidates"][0]["content"]
    return {"contents": [{"role": "user", "parts": [{"text": "a"}]}, content]}


def passed(dialect: Dialect, body: bytes, operation: Operation = Operation.GENERATE) -> tuple[bytes, Passthrough]:
    made = Passthrough(dialect, Names("m", "m"), streams=False, include_usage=None, operation=operation)
    return made.request(body), made


@pytest.mark.parametrize("dialect", FOREIGN)
def test_what_was_lent_stays_behind(dialect: Dialect) -> None:
    body = json.dumps(history(dialect, FOREIGN[dialect])).encode()
    assert lent.holds(body, dialect)
    out, made = passed(dialect, body)
    assert not lent.holds(out, dialect)
    assert b"said" in out
    assert b"add" in out
    assert made.loss_header
    if dialect is MESSAGES:
        assert json.loads(out)["top_k"] == 3


@pytest.mark.parametrize("dialect", FOREIGN)
def test_a_vendors_own_history_is_not_touched(dialect: Dialect) -> None:
    body = json.dumps(history(dialect, dialect)).encode()
    out, made = passed(dialect, body)
    assert out is body
    assert made.loss_header == ""


def test_a_count_is_asked_without_it_too() -> None:
    body = json.dumps(history(MESSAGES, GEMINI)).encode()
    out, _ = passed(MESSAGES, body, Operation.COUNT_TOKENS)
    assert not lent.holds(out, MESSAGES)
    assert "max_tokens" not in json.loads(out)


@pytest.mark.parametrize("said", ["gproxy is a gateway", 'he wrote "gproxy.gemini:x"', "about gproxy_ids"])
def test_talk_of_gproxy_is_not_taken_for_it(said: str) -> None:
    body = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": said}]}).encode()
    assert passed(MESSAGES, body)[0] is body


def test_what_cannot_be_read_goes_on_as_it_is() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":5,"x":"gproxy.gemini:a"}]}'
    assert passed(MESSAGES, body)[0] is body
