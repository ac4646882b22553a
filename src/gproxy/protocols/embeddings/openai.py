"""OpenAI's `/v1/embeddings`, both ways (API reference, "Create embeddings")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import UNKNOWN, Usage
from gproxy.protocols.embeddings.neutral import Embeddings, EmbedRequest, Vector, packed, unpacked
from gproxy.protocols.figures import first_count
from gproxy.protocols.reading import (
    at,
    integer,
    note_foreign,
    of_own,
    problem,
    required_text,
    rest,
    table,
    tables,
    text,
    whole_object,
)
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = Dialect.OPENAI_EMBEDDINGS
_READ: Final = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


def decode_request(body: bytes) -> EmbedRequest:
    """Read a client's request. Raises `JsonProblem`, also for texts given as tokens: those are one vendor's own."""
    source = whole_object(body)
    form = text(source, "encoding_format")
    if form not in (None, "float", "base64"):
        raise problem("encoding_format", "float or base64")
    return EmbedRequest(
        model=required_text(source, "model"),
        texts=_texts(source.get("input")),
        dimensions=integer(source, "dimensions"),
        base64=form == "base64",
        user=text(source, "user"),
        extras=rest(source, _READ, OWN),
    )


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not value:
        raise problem("input", "a string or an array of strings")
    for i, item in enumerate(value):
        if isinstance(item, int | list):
            raise problem("input", "text: tokens mean nothing to the vendor of this model")
        if not isinstance(item, str):
            raise problem(at("input", i), "a string")
    return tuple(value)


def encode_request(request: EmbedRequest, losses: Losses) -> bytes:
    """Write a request for an upstream. Vectors are asked for as numbers; a client's packing is our business."""
    note_foreign(request.extras, OWN, losses)
    if request.task is not None:
        losses.add(Feature.OTHER, "taskType")
    if request.title is not None:
        losses.add(Feature.OTHER, "title")
    body: dict[str, Any] = {"model": request.model, "input": list(request.texts), "encoding_format": "float"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.user is not None:
        body["user"] = request.user
    return dumps({**of_own(request.extras, OWN), **body})


def decode_response(body: bytes) -> Embeddings:
    """Read an upstream's answer, packed or not. Raises `JsonProblem`."""
    source = loads_lenient(body)
    items = tables(source, "data") if isinstance(source, dict) else None
    if items is None:
        raise JsonProblem("the vendor's answer has no `data`", "data")
    places = [first_count(item.get("index"), i) or 0 for i, item in enumerate(items)]
    ordered = sorted(zip(places, items, strict=True), key=lambda pair: pair[0])
    model = source.get("model")
    return Embeddings(
        tuple(_vector(item, at("data", i)) for i, item in ordered),
        model if isinstance(model, str) and model else None,
        _usage(table(source, "usage") or {}),
    )


def _vector(item: Mapping[str, Any], where: str) -> Vector:
    value = item.get("embedding")
    if isinstance(value, str):
        return unpacked(value)
    if not isinstance(value, list) or not all(isinstance(n, int | float) for n in value):
        raise problem(at(where, "embedding"), "an array of numbers")
    return tuple(map(float, value))


def _usage(raw: Mapping[str, Any]) -> Usage:
    prompt = first_count(raw.get("prompt_tokens"), raw.get("total_tokens"))
    return UNKNOWN if prompt is None else Usage(input=prompt, output=0)


def encode_response(answer: Embeddings, model: str, *, base64: bool) -> bytes:
    """Write an answer for a client. `model` is the name it used; its SDK wants a usage, so unknown becomes zero."""
    prompt = answer.usage.total
    return dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": packed(vector) if base64 else vector}
                for i, vector in enumerate(answer.vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
        }
    )
