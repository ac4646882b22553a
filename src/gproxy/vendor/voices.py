"""The vendor's dialects, and which request speaks which.

Paths are recognised by their end, because vendors and gateways put the same calls under different roots
(`/v1`, `/openai/v1`, `/api/v1`, `/openai/deployments/{name}`, `/v1beta1/projects/…/publishers/google`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from gproxy.canonical.operation import Dialect, Operation
from gproxy.vendor import (
    anthropic_messages,
    bedrock_converse,
    bedrock_invoke,
    embeddings,
    gemini,
    openai_chat,
    openai_responses,
)
from gproxy.vendor.ask import Ask, BadAsk
from gproxy.vendor.voice import Voice

VOICES: Final[dict[Dialect, Voice]] = {
    voice.dialect: voice
    for voice in (
        openai_chat.VOICE,
        openai_responses.VOICE,
        anthropic_messages.VOICE,
        gemini.VOICE,
        bedrock_converse.VOICE,
    )
}

_GEMINI: Final = re.compile(r"(?:^|/)models/(.+):([A-Za-z]+)$", re.DOTALL)
_MODELS: Final = re.compile(r"/models(?:/(.+))?$", re.DOTALL)
_BEDROCK: Final = re.compile(r"/model/([^/]+)/(converse|converse-stream|invoke|invoke-with-response-stream)$")
_ON_VERTEX: Final = "vertex-2023-10-16"
_COUNTER: Final = "count-tokens"
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/]+)/")
_decode: Final = msgspec.json.Decoder().decode


def on_bedrock(path: str) -> bool:
    """Whether this is a call of Bedrock's own runtime, which takes AWS's signatures."""
    return _BEDROCK.search(path) is not None


def voice_for(ask: Ask) -> Voice:
    """Who answers a request that was read."""
    return bedrock_invoke.VOICE if ask.framed else VOICES[ask.dialect]


def voice_of(path: str, headers: Mapping[bytes, bytes]) -> Voice:
    """In whose shape an error for this request is written, whatever the request is."""
    if on_bedrock(path):
        return bedrock_converse.VOICE
    if path.endswith(("/messages", "/messages/count_tokens")) or b"anthropic-version" in headers:
        return anthropic_messages.VOICE
    if _GEMINI.search(path) or "/v1beta" in path or b"x-goog-api-key" in headers:
        return gemini.VOICE
    return openai_responses.VOICE if "/responses" in path else openai_chat.VOICE


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = _decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadAsk(f"We could not parse the JSON body of your request: {error}") from error
    if not isinstance(value, dict):
        raise BadAsk("The body must be a JSON object.")
    return value


def read(method: str, path: str, query: str, body: bytes) -> Ask | None:
    """What a call asks for; None when the vendor has no such call. Raises `BadAsk`."""
    found = _MODELS.search(path)
    if method == "GET":
        if found is None:
            return None
        name = unquote(found.group(1) or "")
        return Ask(Dialect.OPENAI_CHAT, Operation.GET_MODEL if name else Operation.LIST_MODELS, name)
    if method != "POST":
        return None
    if path.endswith("/chat/completions"):
        value = _object(body)
        deployment = _DEPLOYMENT.search(path)
        if deployment is not None:
            if "api-version=" not in query:
                return None  # Azure has these paths in dated versions only
            value.setdefault("model", unquote(deployment.group(1)))
        return openai_chat.read(value)
    if path.endswith("/responses"):
        return openai_responses.read(_object(body))
    if path.endswith("/responses/input_tokens"):
        return openai_responses.read(_object(body), counting=True)
    if path.endswith("/messages"):
        return anthropic_messages.read(_object(body))
    if path.endswith("/messages/count_tokens"):
        return anthropic_messages.read(_object(body), counting=True)
    if path.endswith("/embeddings"):
        return embeddings.read_openai(_object(body))
    called = _BEDROCK.search(path)
    if called is not None:
        model, verb = unquote(called.group(1)), called.group(2)
        reader = bedrock_converse.read if verb.startswith("converse") else bedrock_invoke.read
        return reader(_object(body), model, stream=verb.endswith("stream"))
    match = _GEMINI.search(path)
    return None if match is None else _verb(unquote(match.group(1)), match.group(2), query, body)


def _verb(model: str, verb: str, query: str, body: bytes) -> Ask | None:
    match verb:
        case "generateContent":
            return gemini.read(_object(body), model, operation=Operation.GENERATE, sse=True)
        case "streamGenerateContent":
            return gemini.read(_object(body), model, operation=Operation.STREAM, sse="alt=sse" in query)
        case "countTokens":
            return gemini.read(_object(body), model, operation=Operation.COUNT_TOKENS, sse=True)
        case "embedContent" | "batchEmbedContents":
            return embeddings.read_gemini(_object(body), model, batch=verb.startswith("batch"))
        case "rawPredict" | "streamRawPredict":
            return _predicted(_object(body), model, stream=verb.startswith("stream"))
        case _:
            return None


def _predicted(body: dict[str, Any], model: str, *, stream: bool) -> Ask:
    """Anthropic on Vertex: the version stands in the body, the model in the path, but for the one that counts tokens."""
    if body.get("anthropic_version") != _ON_VERTEX:
        raise BadAsk(f"anthropic_version: must be {_ON_VERTEX}", "anthropic_version")
    if model == _COUNTER:
        return anthropic_messages.read(body, counting=True)
    if "model" in body:
        raise BadAsk("model: Extra inputs are not permitted", "model")
    return anthropic_messages.read(body, model=model, stream=stream)


def model_hint(path: str, body: bytes) -> str:
    """The model's name when the call itself could not be read: from the path, else from the body's first field."""
    match = _GEMINI.search(path) or _BEDROCK.search(path)
    if match is not None:
        return unquote(match.group(1))
    found = re.search(rb'"model"\s*:\s*"([^"\\]{1,300})"', body[:200_000])
    return found.group(1).decode("utf-8", "replace") if found else ""
