"""Embeddings in OpenAI's and in Gemini's form. Vectors are short, of length one, and the same for the same place."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

from gproxy.canonical.operation import Dialect, Operation
from gproxy.canonical.usage import Usage
from gproxy.vendor.ask import Ask, BadAsk, Words, dicts, need, positive
from gproxy.vendor.voice import encode


def read_openai(body: dict[str, Any]) -> Ask:
    """`POST /v1/embeddings`. A list of numbers counts one token each. Raises `BadAsk`."""
    given = need(body, "input", (str, list))
    inputs: list[Any] = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
    if not 1 <= len(inputs) <= 2048:
        raise BadAsk("'input' must hold 1 to 2048 items.", "input")
    counts = [_count(value) for value in inputs]
    return Ask(
        Dialect.OPENAI_EMBEDDINGS,
        Operation.EMBED,
        str(need(body, "model", str)),
        input_tokens=sum(counts),
        inputs=counts,
        dimensions=positive(body, "dimensions", most=8192) or 8,
        base64=body.get("encoding_format") == "base64",
    )


def _count(value: Any) -> int:
    if isinstance(value, str):
        return max(1, len(value.split()))
    return len(value) if isinstance(value, list) else 1


def read_gemini(body: dict[str, Any], model: str, *, batch: bool) -> Ask:
    """`:embedContent` and `:batchEmbedContents`. Raises `BadAsk`."""
    requests = dicts(need(body, "requests", list)) if batch else [body]
    counts = []
    for request in requests:
        words = Words()
        for part in dicts(need(request, "content", dict).get("parts")):
            words.text(part.get("text"))
        counts.append(words.total)
    wanted = positive(requests[0], "outputDimensionality", "output_dimensionality", most=8192) if requests else None
    return Ask(
        Dialect.GEMINI,
        Operation.EMBED,
        model,
        input_tokens=sum(counts),
        inputs=counts,
        dimensions=wanted or 8,
        batch=batch,
    )


def vector(index: int, dimensions: int) -> list[float]:
    """A unit vector that depends on nothing but its place."""
    raw = [math.sin((index + 1) * (at + 1)) for at in range(dimensions)]
    norm = math.sqrt(sum(value * value for value in raw)) or 1.0
    return [value / norm for value in raw]


def usage(ask: Ask, declared_input: int | None) -> Usage:
    """What is billed: the input only."""
    return Usage(input=ask.input_tokens if declared_input is None else declared_input, output=0, cache_read=0)


def body_of(ask: Ask, billed: Usage, *, told: bool) -> bytes:
    """The answer's body; `told` puts the usage in."""
    vectors = [vector(index, ask.dimensions) for index in range(len(ask.inputs))]
    total = billed.input or 0
    body: dict[str, Any]
    if ask.dialect is Dialect.GEMINI:
        values = [{"values": numbers} for numbers in vectors]
        body = {"embeddings": values} if ask.batch else {"embedding": values[0]}
        if told:
            details = [{"modality": "TEXT", "tokenCount": total}]
            body["usageMetadata"] = {"promptTokenCount": total, "promptTokenDetails": details}
        return encode(body)
    data = [
        {"object": "embedding", "index": index, "embedding": _packed(numbers) if ask.base64 else numbers}
        for index, numbers in enumerate(vectors)
    ]
    body = {"object": "list", "data": data, "model": ask.model}
    if told:
        body["usage"] = {"prompt_tokens": total, "total_tokens": total}
    return encode(body)


def _packed(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()
