"""Embeddings between OpenAI and Gemini: recorded answers, both directions, and what is refused."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import CreateEmbeddingResponse

from gproxy.canonical.loss import Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.embeddings import gemini, openai
from gproxy.protocols.embeddings.neutral import Embeddings, EmbedRequest, packed, unpacked
from gproxy.wire.json import JsonProblem
from tests.protocols.recorded import exchanges


def test_every_recorded_openai_answer_is_written_for_gemini() -> None:
    seen = 0
    for case in exchanges("embeddings"):
        meta = json.loads((case.path / "meta.json").read_bytes())
        if meta["wire"] != "openai" or case.status != 200 or "perplexity" in case.name:  # packs in bytes of its own
            continue
        seen += 1
        source = json.loads(case.response)
        read = openai.decode_response(case.response)
        assert len(read.vectors) == len(source["data"]), case.name
        assert read.usage.total == source["usage"]["total_tokens"], case.name
        body = gemini.encode_response(read, batch=True)
        types.EmbedContentResponse.model_validate({"embeddings": json.loads(body)["embeddings"]})
        assert gemini.decode_response(body).vectors == read.vectors, case.name
        for base64 in (False, True):
            again = openai.encode_response(read, "asked", base64=base64)
            assert json.loads(again)["model"] == "asked"
            back = openai.decode_response(again)
            assert len(back.vectors) == len(read.vectors)
            assert back.vectors[0] == pytest.approx(read.vectors[0], rel=1e-6), case.name
    assert seen > 20


def test_every_recorded_gemini_answer_is_written_for_openai() -> None:
    seen = 0
    for case in exchanges("embeddings"):
        if b"usageMetadata" not in case.response or b'"values"' not in case.response:
            continue
        seen += 1
        read = gemini.decode_response(case.response)
        body = openai.encode_response(read, "m", base64=False)
        CreateEmbeddingResponse.model_validate_json(body, strict=True)
        source = json.loads(case.response)
        assert [list(v) for v in read.vectors] == [e["values"] for e in source["embeddings"]], case.name
        assert json.loads(body)["usage"]["total_tokens"] == source["usageMetadata"]["promptTokenCount"]
    assert seen > 1


def test_every_recorded_request_of_texts() -> None:
    seen = 0
    for case in exchanges("embeddings"):
        meta = json.loads((case.path / "meta.json").read_bytes())
        if case.request is None or meta["wire"] not in ("openai", "gemini"):
            continue
        source = json.loads(case.request)
        losses = Losses()
        try:
            if meta["wire"] == "openai":
                read = openai.decode_request(case.request)
                texts = source["input"] if isinstance(source["input"], list) else [source["input"]]
                written = json.loads(openai.encode_request(read, losses))
                assert written["input"] == texts
                assert written.keys() >= source.keys() - {"encoding_format"}, case.name
            elif "requests" in source:
                read = gemini.decode_request(case.request, model="m", batch=True)
                texts = [r["content"]["parts"][0]["text"] for r in source["requests"]]
            else:
                continue
        except JsonProblem as problem:
            assert "token" in problem.text or "text" in problem.text, case.name  # noqa: PT017 - tokens and pictures
            continue
        seen += 1
        assert list(read.texts) == texts, case.name
        assert not losses
    assert seen > 20


def test_openai_to_gemini() -> None:
    asked = openai.decode_request(
        b'{"model":"m","input":["a","b"],"dimensions":8,"encoding_format":"base64","user":"u","odd":1}'
    )
    assert asked == EmbedRequest(
        "m", ("a", "b"), 8, base64=True, user="u", extras={Dialect.OPENAI_EMBEDDINGS: {"odd": 1}}
    )
    losses = Losses()
    assert json.loads(gemini.encode_request(asked, losses)) == {
        "requests": [
            {"model": "models/m", "outputDimensionality": 8, "content": {"parts": [{"text": said}]}} for said in "ab"
        ]
    }
    assert losses.header() == "other, user"


def test_gemini_to_openai() -> None:
    one = {"content": {"parts": {"text": "a"}}, "task_type": "RETRIEVAL_QUERY", "outputDimensionality": 8}
    asked = gemini.decode_request(json.dumps(one).encode(), model="m", batch=False)
    assert asked == EmbedRequest("m", ("a",), 8, task="RETRIEVAL_QUERY")
    many = {"requests": [one, {**one, "content": {"parts": [{"text": "b"}, {"text": "c"}]}}]}
    assert gemini.decode_request(json.dumps(many).encode(), model="m", batch=True).texts == ("a", "b\nc")
    losses = Losses()
    assert json.loads(openai.encode_request(asked, losses)) == {
        "model": "m", "input": ["a"], "encoding_format": "float", "dimensions": 8,
    }  # fmt: skip
    assert losses.header() == "other"
    assert gemini.decode_request(gemini.encode_request(asked, Losses()), model="m", batch=True) == asked


def test_answers_without_usage() -> None:
    answer = gemini.decode_response(b'{"embedding":{"values":[1,0.5]}}')
    assert answer == Embeddings(((1.0, 0.5),), None, UNKNOWN)
    assert json.loads(openai.encode_response(answer, "m", base64=False))["usage"]["total_tokens"] == 0
    assert json.loads(gemini.encode_response(answer, batch=False)) == {"embedding": {"values": [1.0, 0.5]}}
    known = Embeddings(((1.0,),), "m", Usage(input=3, output=0))
    assert json.loads(gemini.encode_response(known, batch=True))["usageMetadata"] == {"promptTokenCount": 3}


def test_vectors_come_in_the_order_of_the_texts() -> None:
    body = b'{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}],"usage":null}'
    assert openai.decode_response(body).vectors == ((1.0,), (2.0,))


@pytest.mark.parametrize(
    "body",
    [b"5", b"{}", b'{"data":[{}]}', b'{"data":[{"embedding":"!"}]}', b'{"data":[{"embedding":"AAA="}]}'],
)
def test_what_is_no_answer_of_openai(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        openai.decode_response(body)


@pytest.mark.parametrize("body", [b"5", b"{}", b'{"embeddings":5}', b'{"embeddings":[{"values":"x"}]}'])
def test_what_is_no_answer_of_gemini(body: bytes) -> None:
    with pytest.raises(JsonProblem):
        gemini.decode_response(body)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": [[1]]}, "input"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": "a", "dimensions": "x"}, "dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "model": ""}, "model"),
    ],
)
def test_openai_refusals_name_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(JsonProblem) as problem:
        openai.decode_request(json.dumps({"model": "m", **fields}).encode())
    assert problem.value.field == field


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "requests"),
        ([{}], "requests[0].content"),
        ([{"content": {}}], "requests[0].content.parts"),
        ([{"content": {"parts": [{"inlineData": {}}]}}], "requests[0].content.parts[0]"),
        (
            [{"content": {"parts": [{"text": "a"}]}}, {"content": {"parts": [{"text": "b"}]}, "title": "t"}],
            "requests[1]",
        ),
    ],
)
def test_gemini_refusals_name_the_field(requests: list[Any], field: str) -> None:
    with pytest.raises(JsonProblem) as problem:
        gemini.decode_request(json.dumps({"requests": requests}).encode(), model="m", batch=True)
    assert problem.value.field == field


@settings(deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=9))
def test_packing(vector: list[float]) -> None:
    assert list(unpacked(packed(vector))) == vector
    assert len(struct.pack(f"<{len(vector)}f", *vector)) == 4 * len(vector)


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(JsonProblem):
        packed([1e300])
