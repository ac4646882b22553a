"""What upstream answers mean, as tables; and the vendors' recorded error bodies, all of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.loader import catalog
from gproxy.channels.verdicts import (
    MAX_REST,
    Evidence,
    Scope,
    Verdict,
    VerdictKind,
    judge,
    judge_fault,
    named_error,
    read_error,
    status_of,
)
from gproxy.errors import Phase, UpstreamFault
from gproxy.wire.http import Header
from tests.shared import require_shared

NOW_US = 1_790_000_000_000_000


def verdict(channel: str, status: int, error: Evidence | None = None, headers: list[Header] | None = None) -> Verdict:
    return judge(catalog()[channel], status, headers or [], error, NOW_US)


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (101, "ok", False),
        (200, "ok", False),
        (201, "ok", False),
        (204, "ok", False),
        (302, "broken", True),
        (307, "broken", True),
        (400, "client_error", False),
        (401, "bad_key", True),
        (402, "client_error", False),
        (403, "bad_key", True),
        (404, "client_error", False),
        (408, "client_error", False),
        (409, "client_error", False),
        (413, "client_error", False),
        (422, "client_error", False),
        (429, "rate_limited", True),
        (451, "client_error", False),
        (500, "broken", True),
        (502, "broken", True),
        (503, "overloaded", True),
        (504, "broken", True),
        (529, "overloaded", True),
        (599, "broken", True),
        (999, "broken", True),
    ],
)
def test_the_shared_table(status: int, kind: str, retryable: bool) -> None:
    found = verdict("custom", status)
    assert (found.kind, found.retryable) == (kind, retryable)
    assert found.retry_after is None


@pytest.mark.parametrize(
    ("channel", "status", "error", "kind", "scope", "rest"),
    [
        ("openai", 429, {"code": "insufficient_quota"}, "rate_limited", "credential", 300),
        ("openai", 429, {"type": "insufficient_quota"}, "rate_limited", "credential", 300),
        ("openai", 429, {"code": "rate_limit_exceeded"}, "rate_limited", "credential_model", None),
        ("openai", 403, {"code": "model_not_found"}, "bad_key", "credential_model", 60),
        ("openai", 403, {"code": "unsupported_country_region_territory"}, "bad_key", "credential", None),
        ("openai", 404, {"code": "model_not_found"}, "client_error", "credential_model", None),
        ("anthropic", 529, {"type": "overloaded_error"}, "overloaded", "credential_model", None),
        (
            "anthropic",
            400,
            {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."},
            "rate_limited",
            "credential",
            300,
        ),
        ("anthropic", 400, {"type": "invalid_request_error", "message": "x"}, "client_error", "credential_model", None),
        ("aistudio", 400, {"reasons": ("API_KEY_INVALID",)}, "bad_key", "credential", None),
        ("aistudio", 400, {"message": "API key not valid. Please"}, "bad_key", "credential", None),
        ("aistudio", 400, {"type": "INVALID_ARGUMENT"}, "client_error", "credential_model", None),
        ("vertex", 403, {"reasons": ("IAM_PERMISSION_DENIED",)}, "bad_key", "credential_model", 60),
        ("bedrock", 403, {"type": "AccessDeniedException"}, "bad_key", "credential_model", 60),
        ("bedrock", 403, {"type": "UnrecognizedClientException"}, "bad_key", "credential", None),
        (
            "bedrock",
            403,
            {
                "type": "AccessDeniedException",
                "message": "Authentication failed: Please make sure your API Key is valid.",
            },
            "bad_key",
            "credential",
            None,
        ),
        ("bedrock", 424, {"type": "ModelErrorException"}, "broken", "credential_model", None),
        ("deepseek", 402, {}, "rate_limited", "credential", 300),
        ("openrouter", 402, {}, "rate_limited", "credential", 30),
        ("openrouter", 403, {}, "client_error", "credential_model", None),
        ("openrouter", 408, {}, "overloaded", "credential_model", None),
        ("groq", 498, {}, "overloaded", "credential_model", None),
        (
            "xai",
            400,
            {"code": "invalid-argument", "message": "Incorrect API key provided. x"},
            "bad_key",
            "credential",
            None,
        ),
        (
            "xai",
            400,
            {"code": "invalid-argument", "message": "Model not found"},
            "client_error",
            "credential_model",
            None,
        ),
    ],
)
def test_what_vendors_say_in_their_own_words(
    channel: str, status: int, error: dict[str, Any], kind: str, scope: str, rest: float | None
) -> None:
    found = verdict(channel, status, Evidence(status, **error))
    assert (found.kind, found.scope, found.retry_after) == (kind, scope, rest)


def test_a_failure_dressed_as_success() -> None:
    assert verdict("openrouter", 200, Evidence(429)).kind is VerdictKind.RATE_LIMITED
    assert verdict("openrouter", 200, Evidence(401)).kind is VerdictKind.BAD_KEY
    assert verdict("openai", 200, Evidence(200, code="server_error")).kind is VerdictKind.BROKEN
    html = verdict("openai", 200, Evidence(200, code="unreadable"))
    assert (html.kind, html.retryable) == (VerdictKind.BROKEN, True)


def test_bad_keys_do_not_spend_the_retry_budget() -> None:
    assert not verdict("openai", 401).spends_budget
    assert verdict("openai", 500).spends_budget
    assert verdict("openai", 429).spends_budget


def test_the_vendors_word_goes_before_the_rules() -> None:
    error = Evidence(429, code="insufficient_quota")
    assert verdict("openai", 429, error, [(b"retry-after", b"7")]).retry_after == 7
    assert verdict("openai", 503, None, [(b"retry-after", b"3")]).retry_after == 3
    assert verdict("openai", 401, None, [(b"retry-after", b"3")]).retry_after is None
    assert verdict("openai", 400, None, [(b"retry-after", b"3")]).retry_after is None
    assert verdict("aistudio", 429, Evidence(429, retry_after=34.4)).retry_after == 34.4


def test_the_longest_rest() -> None:
    assert verdict("openai", 429, None, [(b"retry-after", b"1000000000")]).retry_after == MAX_REST


def test_exhausted_limits_say_when_they_are_full_again() -> None:
    headers = [
        (b"x-ratelimit-remaining-requests", b"5"),
        (b"x-ratelimit-reset-requests", b"8h"),
        (b"x-ratelimit-remaining-tokens", b"0"),
        (b"x-ratelimit-reset-tokens", b"6m0s"),
    ]
    assert verdict("openai", 429, None, headers).retry_after == 360
    assert verdict("openai", 429, None, [*headers, (b"retry-after", b"2")]).retry_after == 2
    assert verdict("openai", 500, None, headers).retry_after is None
    at = [(b"x-ratelimit-remaining", b"0"), (b"x-ratelimit-reset", b"1790000012500")]
    assert verdict("openrouter", 429, None, at).retry_after == 12.5


def test_reasons_are_short_public_words() -> None:
    found = verdict("openai", 429, Evidence(429, code="rate_limit_exceeded", message="secret canary"))
    assert found.reason == "rate limited (429 rate_limit_exceeded)"
    assert len(verdict("openai", 429, Evidence(429, code="x" * 500)).reason) < 100


@pytest.mark.parametrize(
    ("phase", "retryable", "scope"),
    [
        (Phase.CONNECT, True, Scope.CREDENTIAL),
        (Phase.TLS, True, Scope.CREDENTIAL),
        (Phase.SEND, True, Scope.CREDENTIAL_MODEL),
        (Phase.HEAD, True, Scope.CREDENTIAL_MODEL),
        (Phase.BODY, False, Scope.CREDENTIAL_MODEL),
    ],
)
def test_faults_of_the_network(phase: Phase, retryable: bool, scope: Scope) -> None:
    for timeout in (False, True):
        found = judge_fault(UpstreamFault(phase, "it broke", timeout=timeout))
        assert (found.kind, found.retryable, found.scope) == (VerdictKind.BROKEN, retryable, scope)
        assert (found.timeout, found.reason) == (timeout, f"{phase}: it broke")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            {"error": {"message": "m", "type": "t", "code": "c", "param": "p"}},
            Evidence(400, "c", "t", "m", "p"),
        ),
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "m"}, "request_id": "r"},
            Evidence(400, None, "overloaded_error", "m"),
        ),
        (
            {
                "error": {
                    "code": 429,
                    "status": "RESOURCE_EXHAUSTED",
                    "message": "m",
                    "details": [
                        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R"},
                        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"},
                        "junk",
                        {"retryDelay": "-3s"},
                        {"retryDelay": "soon"},
                    ],
                }
            },
            Evidence(400, "429", "RESOURCE_EXHAUSTED", "m", reasons=("R",), retry_after=34.4),
        ),
        ([{"error": {"code": 400, "status": "S", "message": "m"}}], Evidence(400, "400", "S", "m")),
        ({"error": "text", "code": "invalid-argument"}, Evidence(400, "invalid-argument", None, "text")),
        ({"message": "m", "__type": "ThrottlingException"}, Evidence(400, None, "ThrottlingException", "m")),
        ({"detail": "Invalid API Key"}, Evidence(400, message="Invalid API Key")),
        ({"object": "error", "message": "m", "type": "t", "code": "1500"}, Evidence(400, "1500", "t", "m")),
        ({"error": {"code": True, "message": 5, "type": None}}, Evidence(400)),
        ({}, Evidence(400)),
        ([], Evidence(400)),
        (None, Evidence(400)),
        ("x", Evidence(400)),
        (5, Evidence(400)),
    ],
)
def test_reading_error_bodies(body: object, expected: Evidence) -> None:
    assert read_error(400, body) == expected


def test_the_status_inside_a_200_counts() -> None:
    assert read_error(200, {"error": {"code": 429, "message": "m"}}).status == 429
    assert read_error(200, {"error": {"code": "x", "message": "m"}}).status == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "code", "message", "details", "reason", "retryDelay", "x"]), inner)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("status", "name", "kind", "scope"),
    [
        (403, b"AccessDeniedException:http://internal.amazon.com/coral/", "bad_key", "credential_model"),
        (403, b"InvalidSignatureException", "bad_key", "credential"),
        (429, b"ThrottlingException", "rate_limited", "credential_model"),
        (429, b"ModelNotReadyException:", "overloaded", "credential_model"),
        (400, b"ThrottlingException", "rate_limited", "credential_model"),
        (400, b"ValidationException", "client_error", "credential_model"),
        (408, b"ModelTimeoutException", "overloaded", "credential_model"),
        (503, b"", "overloaded", "credential_model"),
    ],
)
def test_an_error_that_a_header_names(status: int, name: bytes, kind: str, scope: str) -> None:
    headers: list[Header] = [(b"x-amzn-errortype", name)] if name else []
    for error in (None, read_error(status, {"message": "no"})):
        found = verdict("bedrock", status, error, headers)
        assert (found.kind, found.scope) == (kind, scope)
    # The name is nobody else's.
    assert verdict("anthropic", 403, None, headers).scope is Scope.CREDENTIAL
    assert named_error(catalog()["bedrock"], headers) == (name.split(b":")[0].decode() or None)


@given(JSON, st.integers(100, 599), st.sampled_from(sorted(catalog())), st.binary(max_size=20))
def test_every_answer_has_a_verdict(body: object, status: int, channel: str, header: bytes) -> None:
    error = read_error(status, body) if status >= 300 else None
    found = judge(catalog()[channel], status, [(b"retry-after", header)], error, NOW_US)
    assert found.retry_after is None or 0 < found.retry_after <= MAX_REST
    assert found.kind is not VerdictKind.OK or status < 300


CHANNEL_OF = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google-ai-studio": "aistudio",
    "google-vertex": "vertex",
    "bedrock-anthropic": "bedrock",
    "azure-openai": "azure_openai",
    "deepseek": "deepseek",
    "groq": "groq",
    "mistral": "mistral",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "xai": "xai",
}


def test_recorded_errors_blame_keys_only_where_the_vendor_does() -> None:
    """Every recorded error: what a vendor says about a key rests the key, everything else is the caller's."""
    found = 0
    for meta in sorted((require_shared() / "fixtures").glob("*/*/meta.json")):
        about = json.loads(meta.read_text())
        channel = CHANNEL_OF.get(about["provider"])
        body = meta.parent / "response.json"
        if about.get("status", 200) < 400 or channel is None or not body.exists():
            continue
        error = read_error(about["status"], json.loads(body.read_text()))
        headers = [(k.encode(), str(v).encode()) for k, v in (about.get("response_headers") or {}).items()]
        got = judge(catalog()[channel], about["status"], headers, error, NOW_US)
        text = (error.message or "").lower()
        about_key = about["status"] in {401, 403} or ("api key" in text and about["status"] == 400)
        assert (got.kind is VerdictKind.BAD_KEY) == about_key, (meta.parent.name, error)
        assert error.message
        found += 1
    assert found >= 50


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("rate_limit_exceeded", "requests"), 429),
        (("invalid_api_key", "invalid_request_error"), 401),
        (("string_above_max_length", "invalid_request_error"), 400),
        ((None, "overloaded_error"), 529),
        ((None, "UNAVAILABLE"), 503),
        (("throttlingException", None), 429),
        (("boom", "server_exploded"), 502),
        ((None, None), 502),
    ],
)
def test_an_error_without_a_status_is_known_by_its_words(words: tuple[str | None, ...], status: int) -> None:
    assert status_of(*words) == status
