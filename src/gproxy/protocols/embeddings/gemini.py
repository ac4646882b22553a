"""Gemini's `embedContent` and `batchEmbedContents`, both ways (Gemini API reference, "Embeddings")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.embeddings.neutral import Embeddings, EmbedRequest, Vector
from gproxy.protocols.figures import count, part_of
from gproxy.protocols.reading import at, integer, note_foreign, of_own, problem, rest, table, tables, text, whole_object
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = Dialect.GEMINI
_READ: Final = frozenset({"model", "content", "taskType", "title", "outputDimensionality"})
_SPELLINGS: Final = {"task_type": "taskType", "output_dimensionality": "outputDimensionality"}


def decode_request(body: bytes, *, model: str, batch: bool) -> EmbedRequest:
    """Read a client's request; `model` stands in its path. Raises `JsonProblem`.

    All texts of a batch must ask for the same: other dialects say it once.
    """
    source = whole_object(body)
    requests = tables(source, "requests") if batch else [source]
    if not requests:
        raise problem("requests", "an array of requests")
    read = [_request(item, model, at("requests", i) if batch else "") for i, item in enumerate(requests)]
    first = read[0]
    for i, other in enumerate(read):
        if (other.dimensions, other.task, other.title, other.extras) != (
            first.dimensions, first.task, first.title, first.extras,
        ):  # fmt: skip
            raise problem(at("requests", i), "like the first in all but its content")
    texts = tuple(said for other in read for said in other.texts)
    return EmbedRequest(model, texts, first.dimensions, task=first.task, title=first.title, extras=first.extras)


def _request(item: Mapping[str, Any], model: str, where: str) -> EmbedRequest:
    source = {_SPELLINGS.get(key, key): value for key, value in item.items() if value is not None}
    content = table(source, "content", where)
    if content is None:
        raise problem(at(where, "content"), "an object")
    return EmbedRequest(
        model,
        (_text(content, at(where, "content")),),
        integer(source, "outputDimensionality", where),
        task=text(source, "taskType", where),
        title=text(source, "title", where),
        extras=rest(source, _READ, OWN),
    )


def _text(content: Mapping[str, Any], where: str) -> str:
    parts = content.get("parts")
    items = [parts] if isinstance(parts, dict) else tables(content, "parts", where)
    said: list[str] = []
    for i, part in enumerate(items or ()):
        here = at(at(where, "parts"), i)
        if part.get("text") is None:
            raise problem(here, "a text: nothing else can be embedded by this model")
        said.append(text(part, "text", here) or "")
    if not said:
        raise problem(at(where, "parts"), "an array with a text")
    return "\n".join(said)


def encode_request(request: EmbedRequest, losses: Losses) -> bytes:
    """Write the body of `batchEmbedContents` for an upstream."""
    note_foreign(request.extras, OWN, losses)
    if request.user is not None:
        losses.add(Feature.USER, "user")
    said_once = {"taskType": request.task, "title": request.title, "outputDimensionality": request.dimensions}
    each: dict[str, Any] = {"model": f"models/{request.model}"}
    each |= {key: value for key, value in said_once.items() if value is not None}
    each |= of_own(request.extras, OWN)
    return dumps({"requests": [{**each, "content": {"parts": [{"text": said}]}} for said in request.texts]})


def decode_response(body: bytes) -> Embeddings:
    """Read an upstream's answer to either call. Raises `JsonProblem`."""
    source = loads_lenient(body)
    if not isinstance(source, dict) or not source.keys() & {"embedding", "embeddings"}:
        raise JsonProblem("the vendor's answer has no `embeddings`", "embeddings")
    single = table(source, "embedding")
    items = tables(source, "embeddings") or [] if single is None else [single]
    return Embeddings(tuple(_vector(item, at("embeddings", i)) for i, item in enumerate(items)), None, _usage(source))


def _vector(item: Mapping[str, Any], where: str) -> Vector:
    values = item.get("values")
    if not isinstance(values, list) or not all(isinstance(n, int | float) for n in values):
        raise problem(at(where, "values"), "an array of numbers")
    return tuple(map(float, values))


def _usage(source: Mapping[str, Any]) -> Usage:
    prompt = count(part_of(source.get("usageMetadata"), "promptTokenCount"))
    return UNKNOWN if prompt is None else Usage(input=prompt, output=0)


def encode_response(answer: Embeddings, *, batch: bool) -> bytes:
    """Write an answer for a client of one of the two calls."""
    vectors = [{"values": vector} for vector in answer.vectors]
    body: dict[str, Any] = (
        {"embeddings": vectors} if batch else {"embedding": vectors[0] if vectors else {"values": []}}
    )
    if answer.usage.known:
        body["usageMetadata"] = {"promptTokenCount": answer.usage.total}
    return dumps(body)
