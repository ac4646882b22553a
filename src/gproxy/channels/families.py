"""The standard endpoints of each dialect, so that a compatible vendor is a few lines of data.

The paths are those of the vendor that defined the dialect; a catalog file overrides what differs. A vendor that
speaks one generate dialect serves the others by translation, counts tokens locally where it has no counter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from gproxy.canonical.operation import GENERATE_DIALECTS, VENDOR_DIALECTS, Dialect, Operation
from gproxy.channels.vendor import AuthScheme, Endpoint, EndpointTable, Support

_MODELS: Final = (
    (Operation.LIST_MODELS, "GET", "/v1/models", ""),
    (Operation.GET_MODEL, "GET", "/v1/models/{model}", ""),
)

STANDARD: Final[Mapping[Dialect, tuple[tuple[Operation, str, str, str], ...]]] = {
    # https://platform.openai.com/docs/api-reference
    Dialect.OPENAI_CHAT: (
        (Operation.GENERATE, "POST", "/v1/chat/completions", ""),
        (Operation.STREAM, "POST", "/v1/chat/completions", ""),
        *_MODELS,
    ),
    Dialect.OPENAI_RESPONSES: (
        (Operation.GENERATE, "POST", "/v1/responses", ""),
        (Operation.STREAM, "POST", "/v1/responses", ""),
    ),
    Dialect.OPENAI_EMBEDDINGS: ((Operation.EMBED, "POST", "/v1/embeddings", ""),),
    Dialect.OPENAI_IMAGES: (
        (Operation.CREATE_IMAGE, "POST", "/v1/images/generations", ""),
        (Operation.EDIT_IMAGE, "POST", "/v1/images/edits", ""),
    ),
    Dialect.OPENAI_AUDIO: (
        (Operation.SPEECH, "POST", "/v1/audio/speech", ""),
        (Operation.TRANSCRIBE, "POST", "/v1/audio/transcriptions", ""),
    ),
    Dialect.OPENAI_MODERATIONS: ((Operation.MODERATE, "POST", "/v1/moderations", ""),),
    Dialect.OPENAI_COMPLETIONS: ((Operation.COMPLETE, "POST", "/v1/completions", ""),),
    # https://docs.cohere.com/reference/rerank, the shape others follow
    Dialect.RERANK: ((Operation.RERANK, "POST", "/v1/rerank", ""),),
    # https://docs.anthropic.com/en/api/messages
    Dialect.ANTHROPIC_MESSAGES: (
        (Operation.GENERATE, "POST", "/v1/messages", ""),
        (Operation.STREAM, "POST", "/v1/messages", ""),
        *_MODELS,
    ),
    # https://ai.google.dev/api
    Dialect.GEMINI: (
        (Operation.GENERATE, "POST", "/v1beta/models/{model}:generateContent", ""),
        (Operation.STREAM, "POST", "/v1beta/models/{model}:streamGenerateContent", "alt=sse"),
        (Operation.LIST_MODELS, "GET", "/v1beta/models", ""),
        (Operation.GET_MODEL, "GET", "/v1beta/models/{model}", ""),
    ),
    # https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
    Dialect.BEDROCK_CONVERSE: (
        (Operation.GENERATE, "POST", "/model/{model}/converse", ""),
        (Operation.STREAM, "POST", "/model/{model}/converse-stream", ""),
    ),
}

FRAMED: Final = frozenset({Dialect.BEDROCK_CONVERSE})
"""Dialects whose streams are AWS event streams instead of server-sent events."""

COUNTERS: Final[Mapping[Dialect, str]] = {
    Dialect.OPENAI_RESPONSES: "/v1/responses/input_tokens",
    Dialect.ANTHROPIC_MESSAGES: "/v1/messages/count_tokens",
    Dialect.GEMINI: "/v1beta/models/{model}:countTokens",
}
"""Where a dialect counts tokens. Not part of the standard endpoints: few compatible vendors have it."""

OPENAI_SHAPED: Final = (
    Dialect.OPENAI_EMBEDDINGS,
    Dialect.OPENAI_IMAGES,
    Dialect.OPENAI_AUDIO,
    Dialect.OPENAI_MODERATIONS,
    Dialect.OPENAI_COMPLETIONS,
    Dialect.RERANK,
)
"""The small dialects that a `custom` provider speaking OpenAI is assumed to know; where not, its own 404 says so."""

GEMINI_EMBED: Final = Endpoint(
    Operation.EMBED,
    Dialect.GEMINI,
    Support.NATIVE,
    path="/v1beta/models/{model}:embedContent",
    batch_path="/v1beta/models/{model}:batchEmbedContents",
)

KEY_HEADERS: Final[Mapping[Dialect, AuthScheme]] = {
    Dialect.ANTHROPIC_MESSAGES: AuthScheme("header_key", (("header", "x-api-key"),)),
    Dialect.GEMINI: AuthScheme("header_key", (("header", "x-goog-api-key"),)),
}
"""How a dialect's own SDKs send the key, where that is not `Authorization: Bearer`."""

FORWARDED: Final[Mapping[Dialect, frozenset[bytes]]] = {
    Dialect.OPENAI_CHAT: frozenset({b"openai-beta"}),
    Dialect.OPENAI_RESPONSES: frozenset({b"openai-beta"}),
    Dialect.ANTHROPIC_MESSAGES: frozenset({b"anthropic-beta", b"anthropic-version"}),
}
"""Request headers that belong to a dialect. What chooses a payer (`openai-organization`) is not among them."""

FORWARDED_ALWAYS: Final = frozenset({b"traceparent", b"tracestate", b"idempotency-key"})

ALWAYS_SET: Final[Mapping[Dialect, tuple[tuple[bytes, bytes], ...]]] = {
    # The version we speak when we originate a message: https://docs.anthropic.com/en/api/versioning
    Dialect.ANTHROPIC_MESSAGES: ((b"anthropic-version", b"2023-06-01"),),
}
"""Headers a dialect's endpoints need, unless the caller's own is forwarded."""


def spoken(dialects: Iterable[Dialect]) -> EndpointTable:
    """The standard native endpoints of these dialects."""
    return {
        (operation, dialect): Endpoint(
            operation,
            dialect,
            Support.NATIVE,
            method,
            path,
            query,
            set_headers=ALWAYS_SET.get(dialect, ()),
            framing="eventstream" if dialect in FRAMED else "sse",
        )
        for dialect in dialects
        for operation, method, path, query in STANDARD[dialect]
    }


def counting(dialects: Iterable[Dialect]) -> EndpointTable:
    """The standard native token counters of these dialects."""
    return {
        (Operation.COUNT_TOKENS, d): Endpoint(
            Operation.COUNT_TOKENS, d, Support.NATIVE, path=COUNTERS[d], set_headers=ALWAYS_SET.get(d, ())
        )
        for d in dialects
    }


def completed(table: EndpointTable, preferred: Dialect | None) -> EndpointTable:
    """The table with the generate dialects that are missing filled in by translation to the preferred one.

    Token counting is translated to a native counter where there is one, else done locally. Embeddings are
    translated between the two shapes there are.
    """
    done = dict(table)
    for operation in (Operation.GENERATE, Operation.STREAM):
        native = [d for d in VENDOR_DIALECTS if _native(table, operation, d)]
        if not native:
            continue
        to = preferred if preferred in native else native[0]
        for dialect in GENERATE_DIALECTS:
            if (operation, dialect) not in done:
                done[operation, dialect] = Endpoint(operation, dialect, Support.TRANSLATE, to=to)
    counters = [d for d in COUNTERS if _native(table, Operation.COUNT_TOKENS, d)]
    generates = any(key[0] is Operation.GENERATE for key in done)
    for dialect in COUNTERS if generates else ():
        if (Operation.COUNT_TOKENS, dialect) not in done:
            done[Operation.COUNT_TOKENS, dialect] = (
                Endpoint(Operation.COUNT_TOKENS, dialect, Support.TRANSLATE, to=counters[0])
                if counters
                else Endpoint(Operation.COUNT_TOKENS, dialect, Support.LOCAL)
            )
    for dialect, other in ((Dialect.GEMINI, Dialect.OPENAI_EMBEDDINGS), (Dialect.OPENAI_EMBEDDINGS, Dialect.GEMINI)):
        if (Operation.EMBED, dialect) not in done and _native(table, Operation.EMBED, other):
            done[Operation.EMBED, dialect] = Endpoint(Operation.EMBED, dialect, Support.TRANSLATE, to=other)
    return done


def _native(table: EndpointTable, operation: Operation, dialect: Dialect) -> bool:
    entry = table.get((operation, dialect))
    return entry is not None and entry.support is Support.NATIVE
