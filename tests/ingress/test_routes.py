from __future__ import annotations

import pytest

from gproxy.canonical.operation import Dialect, Operation
from gproxy.ingress.routes import Match, WrongMethod, match

CHAT, RESPONSES, MESSAGES, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
O = Operation  # noqa: E741 - a table reads better
POSTS: list[tuple[str, Operation, Dialect, str | None]] = [
    ("/v1/chat/completions", O.GENERATE, CHAT, None),
    ("/v1/responses", O.GENERATE, RESPONSES, None),
    ("/v1/responses/input_tokens", O.COUNT_TOKENS, RESPONSES, None),
    ("/v1/responses/compact", O.COMPACT, RESPONSES, None),
    ("/v1/messages", O.GENERATE, MESSAGES, None),
    ("/v1/messages/count_tokens", O.COUNT_TOKENS, MESSAGES, None),
    ("/v1beta/models/m:generateContent", O.GENERATE, GEMINI, "m"),
    ("/v1/models/m:generateContent", O.GENERATE, GEMINI, "m"),
    ("/models/m:generateContent", O.GENERATE, GEMINI, "m"),
    ("/v1beta/models/m:streamGenerateContent", O.STREAM, GEMINI, "m"),
    ("/v1beta/models/m:countTokens", O.COUNT_TOKENS, GEMINI, "m"),
    ("/v1beta/models/m:embedContent", O.EMBED, GEMINI, "m"),
    ("/v1beta/models/main/m:generateContent", O.GENERATE, GEMINI, "main/m"),
    ("/v1beta/models/main%2Fm%3A1:generateContent", O.GENERATE, GEMINI, "main/m:1"),
    ("/v1beta/models/llama3:8b:generateContent", O.GENERATE, GEMINI, "llama3:8b"),
    ("/v1/embeddings", O.EMBED, Dialect.OPENAI_EMBEDDINGS, None),
    ("/v1/completions", O.COMPLETE, Dialect.OPENAI_COMPLETIONS, None),
    ("/v1/moderations", O.MODERATE, Dialect.OPENAI_MODERATIONS, None),
    ("/v1/images/generations", O.CREATE_IMAGE, Dialect.OPENAI_IMAGES, None),
    ("/v1/images/edits", O.EDIT_IMAGE, Dialect.OPENAI_IMAGES, None),
    ("/v1/audio/speech", O.SPEECH, Dialect.OPENAI_AUDIO, None),
    ("/v1/audio/transcriptions", O.TRANSCRIBE, Dialect.OPENAI_AUDIO, None),
    ("/v1/rerank", O.RERANK, Dialect.RERANK, None),
]


@pytest.mark.parametrize("provider", [None, "main", "open ai"])
@pytest.mark.parametrize(("path", "operation", "dialect", "model"), POSTS)
def test_posts(provider: str | None, path: str, operation: Operation, dialect: Dialect, model: str | None) -> None:
    scope = "" if provider is None else "/" + provider.replace(" ", "%20")
    found = match("POST", scope + path)
    assert isinstance(found, Match)
    assert (found.route.operation, found.route.dialect) == (operation, dialect)
    assert (found.provider, found.model) == (provider, model)


def test_batches_are_told_apart() -> None:
    one, many = (match("POST", f"/v1beta/models/m:{action}") for action in ("embedContent", "batchEmbedContents"))
    assert isinstance(one, Match)
    assert isinstance(many, Match)
    assert (one.route.batch, many.route.batch) == (False, True)


GETS: list[tuple[str, Operation, Dialect | None, str | None]] = [
    ("/v1/models", O.LIST_MODELS, None, None),
    ("/v1beta/models", O.LIST_MODELS, GEMINI, None),
    ("/models", O.LIST_MODELS, GEMINI, None),
    ("/v1/models/main/m", O.GET_MODEL, None, "main/m"),
    ("/v1beta/models/m", O.GET_MODEL, GEMINI, "m"),
    ("/v1/models/llama3:8b", O.GET_MODEL, None, "llama3:8b"),
    ("/v1/responses/resp_1", O.GET_RESPONSE, RESPONSES, "resp_1"),
    ("/main/v1/responses/resp_1", O.GET_RESPONSE, RESPONSES, "resp_1"),
    ("/v1/responses/resp_1/input_items", O.LIST_INPUT_ITEMS, RESPONSES, "resp_1"),
    ("/v1/models/a/input_items", O.GET_MODEL, None, "a/input_items"),
]


@pytest.mark.parametrize(("path", "operation", "dialect", "model"), GETS)
def test_gets(path: str, operation: Operation, dialect: Dialect | None, model: str | None) -> None:
    found = match("GET", path)
    assert isinstance(found, Match)
    assert (found.route.operation, found.route.dialect, found.model) == (operation, dialect, model)


def test_a_kept_response_is_deleted() -> None:
    found = match("DELETE", "/v1/responses/resp_1")
    assert isinstance(found, Match)
    assert (found.route.operation, found.model) == (O.DELETE_RESPONSE, "resp_1")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("DELETE", "/v1/messages", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/v1beta/models/m", "GET"),
        ("PUT", "/main/v1/embeddings", "POST"),
        ("POST", "/v1/responses/resp_1", "DELETE, GET"),
        ("DELETE", "/v1/responses/resp_1/input_items", "GET"),
    ],
)
def test_a_wrong_method_is_told_apart(method: str, path: str, allow: str) -> None:
    assert match(method, path) == WrongMethod(allow)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/chat",
        "/v1/unknown",
        "/v1beta/models/m:unknown",
        "/v1beta/models/:generateContent",
        "/v1%2Fmessages",
        "/main/unknown",
        "/v1/v1/messages",
        "/admin/v1/messages",
        "/models/v1/messages",
    ],
)
def test_nothing_else_is_there(path: str) -> None:
    found = match("POST", path)
    assert found is None or isinstance(found, WrongMethod)
