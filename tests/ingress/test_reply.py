from __future__ import annotations

import json

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.errors import Failure, Kind
from gproxy.ingress.reply import dialect_of_path, render


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/v1/chat/completions", Dialect.OPENAI_CHAT),
        ("/v1/messages", Dialect.ANTHROPIC_MESSAGES),
        ("/main/v1/messages/count_tokens", Dialect.ANTHROPIC_MESSAGES),
        ("/v1beta/models/m:generateContent", Dialect.GEMINI),
        ("/main/v1beta/models", Dialect.GEMINI),
        ("/models/m:generateContent", Dialect.GEMINI),
        ("/", Dialect.OPENAI_CHAT),
        (None, Dialect.OPENAI_CHAT),
    ],
)
def test_a_refusal_before_routing_speaks_what_the_path_suggests(path: str | None, dialect: Dialect) -> None:
    assert dialect_of_path(path) is dialect


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_body_in_every_dialect(kind: Kind, dialect: Dialect) -> None:
    status, headers, body = render(Failure(kind, "what is wrong and how to mend it"), dialect, "an-id")
    assert 400 <= status < 600
    assert (b"content-type", b"application/json") in headers
    assert "what is wrong and how to mend it" in json.dumps(json.loads(body))


def test_the_shapes_are_those_the_sdks_parse() -> None:
    failure = Failure(Kind.RATE_LIMITED, "slow down", param="model", retry_after=0.2)
    _, headers, body = render(failure, Dialect.OPENAI_CHAT, "an-id")
    assert json.loads(body)["error"] == {
        "message": "slow down",
        "type": "rate_limit_error",
        "param": "model",
        "code": "rate_limited",
    }
    assert (b"retry-after", b"1") in headers
    _, _, body = render(failure, Dialect.ANTHROPIC_MESSAGES, "an-id")
    told = json.loads(body)
    assert (told["type"], told["error"]["type"], told["request_id"]) == ("error", "rate_limit_error", "an-id")
    _, _, body = render(failure, Dialect.GEMINI, "an-id")
    assert (json.loads(body)["error"]["code"], json.loads(body)["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("kind", [Kind.INVALID_API_KEY, Kind.QUOTA_EXCEEDED, Kind.FORBIDDEN])
def test_refusals_that_will_not_change_say_so(kind: Kind) -> None:
    _, headers, _ = render(Failure(kind, "no"), Dialect.OPENAI_CHAT, "an-id")
    assert (b"x-should-retry", b"false") in headers


def test_a_vendors_own_complaint_is_not_rewritten() -> None:
    own = b'{"error": {"message":"bad",   "odd": 1}}'
    failure = Failure(Kind.UPSTREAM_ERROR, "bad", upstream_status=422, verbatim=(b"application/json; x=y", own))
    status, headers, body = render(failure, Dialect.OPENAI_CHAT, "an-id")
    assert (status, body) == (422, own)
    assert headers == [(b"content-type", b"application/json; x=y")]
