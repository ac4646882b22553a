"""Embeddings between their two shapes: what is asked, what comes back, what is said of failures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gproxy.canonical.loss import LossPolicy
from gproxy.canonical.operation import Dialect
from gproxy.errors import Failure, Kind, Refused
from gproxy.translate.embedding import Embed, Pair
from gproxy.translate.translator import Names

NAMES = Names("asked", "served")
OPENAI, GEMINI = Dialect.OPENAI_EMBEDDINGS, Dialect.GEMINI


def from_openai(loss: LossPolicy = LossPolicy.WARN) -> Embed:
    return Embed(Pair(OPENAI, GEMINI, NAMES, loss))


def from_gemini(*, batch: bool = False, loss: LossPolicy = LossPolicy.WARN) -> Embed:
    return Embed(Pair(GEMINI, OPENAI, NAMES, loss, batch=batch))


def sent(made: Embed, body: dict[str, Any]) -> Any:
    return json.loads(made.request(json.dumps(body).encode()))


def test_an_openai_client_of_a_gemini_vendor() -> None:
    made = from_openai()
    asked = sent(made, {"model": "asked", "input": ["one", "two three"], "dimensions": 8})
    assert [one["model"] for one in asked["requests"]] == ["models/served"] * 2
    assert [one["outputDimensionality"] for one in asked["requests"]] == [8, 8]
    answer = b'{"embeddings":[{"values":[0.5]},{"values":[1.0]}]}'
    assert made.complaint(answer) is None
    told = json.loads(made.answer(answer))
    assert [one["embedding"] for one in told["data"]] == [[0.5], [1.0]]
    assert told["model"] == "asked"
    assert told["usage"]["prompt_tokens"] == 3  # an estimate: the vendor tells none
    assert not made.usage.known


@pytest.mark.parametrize("batch", [False, True])
def test_a_gemini_client_of_an_openai_vendor(batch: bool) -> None:
    made = from_gemini(batch=batch)
    one = {"content": {"parts": [{"text": "one"}]}, "taskType": "RETRIEVAL_QUERY"}
    asked = sent(made, {"requests": [one]} if batch else one)
    assert asked == {"model": "served", "input": ["one"], "encoding_format": "float"}
    assert made.loss_header == "other"
    body = {"data": [{"index": 0, "embedding": [0.5]}], "model": "m-1", "usage": {"prompt_tokens": 4}}
    answer = json.dumps(body).encode()
    assert made.complaint(answer) is None
    told = json.loads(made.answer(answer))
    assert (told["embeddings"][0] if batch else told["embedding"]) == {"values": [0.5]}
    assert (made.usage.input, made.model) == (4, "m-1")


def test_losses_can_be_forbidden() -> None:
    made = from_gemini(loss=LossPolicy.FORBID)
    with pytest.raises(Refused) as refused:
        sent(made, {"content": {"parts": [{"text": "one"}]}, "taskType": "RETRIEVAL_QUERY"})
    assert refused.value.failure.param == "taskType"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"nonsense", "unreadable"),
        (b"{}", "unreadable"),
        (b'{"embeddings":[]}', "unreadable"),
        (b'{"embeddings":[{"values":["a"]}]}', "unreadable"),
    ],
)
def test_what_is_no_answer_is_a_complaint(answer: bytes, code: str) -> None:
    made = from_openai()
    sent(made, {"model": "asked", "input": "one"})
    complaint = made.complaint(answer)
    assert complaint is not None
    assert complaint.code == code


def test_a_vendors_words_are_kept() -> None:
    made = from_openai()
    sent(made, {"model": "asked", "input": "one"})
    body = b'{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}'
    complaint = made.complaint(body)
    assert complaint is not None
    told = made.encode_error(Failure(Kind.UPSTREAM_ERROR, "slow down", upstream_status=429), made.decode_error(body))
    assert json.loads(told or b"")["error"]["message"] == "slow down"
