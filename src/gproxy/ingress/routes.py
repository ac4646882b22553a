"""The public API on one page: method and path → what is asked, in which dialect, of which provider.

Paths are matched raw, as they stand on the request line: an encoded slash or dot never becomes a separator, so
what is authorised is what is routed. A path that starts with a version segment is aggregated; otherwise its
first segment names a provider and the rest is matched the same way (scoped).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from gproxy.canonical.operation import Dialect, Operation


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means. `dialect` None: it follows from the caller's headers (model lists)."""

    operation: Operation
    dialect: Dialect | None
    takes_id: bool = False
    """The rest of the path is an id (of a model: slashes included)."""
    batch: bool = False
    """Several of the operation at once."""


@dataclass(frozen=True, slots=True)
class Match:
    """A route found, with what the path itself says: a provider's name, and the id of a model or of a kept response."""

    route: Route
    provider: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path exists, the method does not; `allow` is the value of the `Allow` header."""

    allow: str


ROUTES: Final[dict[str, dict[str, Route]]] = {
    "/v1/chat/completions": {"POST": Route(Operation.GENERATE, Dialect.OPENAI_CHAT)},
    "/v1/responses": {"POST": Route(Operation.GENERATE, Dialect.OPENAI_RESPONSES)},
    "/v1/responses/input_tokens": {"POST": Route(Operation.COUNT_TOKENS, Dialect.OPENAI_RESPONSES)},
    "/v1/responses/compact": {"POST": Route(Operation.COMPACT, Dialect.OPENAI_RESPONSES)},
    "/v1/messages": {"POST": Route(Operation.GENERATE, Dialect.ANTHROPIC_MESSAGES)},
    "/v1/messages/count_tokens": {"POST": Route(Operation.COUNT_TOKENS, Dialect.ANTHROPIC_MESSAGES)},
    "/v1/embeddings": {"POST": Route(Operation.EMBED, Dialect.OPENAI_EMBEDDINGS)},
    "/v1/completions": {"POST": Route(Operation.COMPLETE, Dialect.OPENAI_COMPLETIONS)},
    "/v1/moderations": {"POST": Route(Operation.MODERATE, Dialect.OPENAI_MODERATIONS)},
    "/v1/images/generations": {"POST": Route(Operation.CREATE_IMAGE, Dialect.OPENAI_IMAGES)},
    "/v1/images/edits": {"POST": Route(Operation.EDIT_IMAGE, Dialect.OPENAI_IMAGES)},
    "/v1/audio/speech": {"POST": Route(Operation.SPEECH, Dialect.OPENAI_AUDIO)},
    "/v1/audio/transcriptions": {"POST": Route(Operation.TRANSCRIBE, Dialect.OPENAI_AUDIO)},
    "/v1/rerank": {"POST": Route(Operation.RERANK, Dialect.RERANK)},
    "/v1/models": {"GET": Route(Operation.LIST_MODELS, None)},
    "/v1beta/models": {"GET": Route(Operation.LIST_MODELS, Dialect.GEMINI)},
    "/models": {"GET": Route(Operation.LIST_MODELS, Dialect.GEMINI)},
}
"""Exact paths, as written after the provider segment, if there is one."""

_RESPONSES: Final = "/v1/responses/"
PREFIXES: Final[tuple[tuple[str, dict[str, Route]], ...]] = (
    ("/v1/models/", {"GET": Route(Operation.GET_MODEL, None, takes_id=True)}),
    ("/v1beta/models/", {"GET": Route(Operation.GET_MODEL, Dialect.GEMINI, takes_id=True)}),
    ("/models/", {"GET": Route(Operation.GET_MODEL, Dialect.GEMINI, takes_id=True)}),
    (
        _RESPONSES,
        {
            "GET": Route(Operation.GET_RESPONSE, Dialect.OPENAI_RESPONSES, takes_id=True),
            "DELETE": Route(Operation.DELETE_RESPONSE, Dialect.OPENAI_RESPONSES, takes_id=True),
        },
    ),
)
"""Paths whose rest is an id. Gemini's models are accepted without a version, as some clients write them."""

BELOW: Final[dict[str, tuple[str, dict[str, Route]]]] = {
    _RESPONSES: ("/input_items", {"GET": Route(Operation.LIST_INPUT_ITEMS, Dialect.OPENAI_RESPONSES, takes_id=True)}),
}
"""What stands below one of these ids, by the prefix."""

ACTIONS: Final[dict[str, Route]] = {
    "generateContent": Route(Operation.GENERATE, Dialect.GEMINI),
    "streamGenerateContent": Route(Operation.STREAM, Dialect.GEMINI),
    "countTokens": Route(Operation.COUNT_TOKENS, Dialect.GEMINI),
    "embedContent": Route(Operation.EMBED, Dialect.GEMINI),
    "batchEmbedContents": Route(Operation.EMBED, Dialect.GEMINI, batch=True),
}
"""What a POST below a model means, by what stands behind the last colon."""

RESERVED: Final = frozenset(
    {"v1", "v1beta", "models", "admin", "user", "login", "logout", "console", "docs", "openapi.json", "metrics"}
    | {"livez", "readyz", "healthz", "api", "_vendor"}
)
"""First segments that are never provider names."""


@lru_cache(maxsize=1024)
def match(method: str, path: str) -> Match | WrongMethod | None:
    """Find the route of a request line. None: there is no such path."""
    found = _lookup(method, path)
    if found is not None:
        return found if isinstance(found, WrongMethod) else Match(found[0], None, found[1])
    slash = path.find("/", 1)
    if slash < 2:
        return None
    provider = path[1:slash]
    if provider in RESERVED:
        return None
    found = _lookup(method, path[slash:])
    if found is None or isinstance(found, WrongMethod):
        return found
    return Match(found[0], unquote(provider), found[1])


def _lookup(method: str, path: str) -> tuple[Route, str | None] | WrongMethod | None:
    methods = ROUTES.get(path)
    model = None
    if methods is None:
        for prefix, under in PREFIXES:
            if len(path) > len(prefix) and path.startswith(prefix):
                name, colon, action = path[len(prefix) :].rpartition(":")
                if method == "POST" and colon and name:
                    acted = ACTIONS.get(action)
                    return None if acted is None else (acted, unquote(name))
                methods, rest = under, path[len(prefix) :]
                ending, below = BELOW.get(prefix, ("", under))
                if ending and rest.endswith(ending):
                    methods, rest = below, rest.removesuffix(ending)
                model = unquote(rest)
                break
        else:
            return None
    route = methods.get("GET" if method == "HEAD" else method)
    if route is None:
        return WrongMethod(", ".join(sorted(methods)))
    return route, model
