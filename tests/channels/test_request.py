"""One signed request: where it goes, what travels, what never does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.auth.scheme import Token
from gproxy.channels.headers import TOKEN, VALUE
from gproxy.channels.loader import catalog
from gproxy.channels.request import USER_AGENT, Unsendable, betas, prepare
from gproxy.channels.vendor import Support
from gproxy.ids import CredentialId, ProviderId
from gproxy.routing.provider import Credential, Provider, assemble
from gproxy.secret import Secret
from gproxy.wire.http import Deadlines, Header, UpstreamRequest

NOW_US = 1_790_000_000_000_000
SETTINGS: dict[str, dict[str, Any]] = {
    "azure_openai": {"resource": "res"},
    "bedrock": {"region": "us-east-1"},
    "custom": {"base_url": "https://c.example"},
    "vertex": {"project": "proj"},
}
TOKEN_GIVEN = Token(Secret("own-token"), NOW_US * 2)


def provider(channel: str, **settings: Any) -> Provider:
    return assemble(
        provider_id=ProviderId("p"),
        name="p",
        label=None,
        enabled=True,
        vendor=catalog()[channel],
        settings=SETTINGS.get(channel, {}) | settings,
        credentials=(),
        deadlines=Deadlines(),
    )


def credential(**fields: str) -> Credential:
    secrets = {name: Secret(value) for name, value in (fields or {"api_key": "own-key"}).items()}
    return Credential(CredentialId("c"), None, enabled=True, weight=1, fields=secrets)


def send(
    where: Provider,
    dialect: str = "openai_chat",
    operation: Operation = Operation.GENERATE,
    key: Credential | None = None,
    **options: Any,
) -> UpstreamRequest:
    extra: dict[str, Any] = {"model": "m", "body": b"{}", "now_us": NOW_US, "token": TOKEN_GIVEN} | options
    entry = where.vendor.endpoint(operation, Dialect(dialect), extra["model"])
    assert entry is not None
    return prepare(where, key or credential(), entry, **extra)


def test_the_whole_of_a_plain_request() -> None:
    sent = send(provider("openai"), body=b'{"model":"m"}')
    assert sent.method == b"POST"
    assert sent.origin.host == "api.openai.com"
    assert sent.target == b"/v1/chat/completions"
    assert sent.body == b'{"model":"m"}'
    assert sent.headers == [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", USER_AGENT),
        (b"authorization", b"Bearer own-key"),
    ]


CALLERS: list[Header] = [
    (b"authorization", b"Bearer canary-1"),
    (b"x-api-key", b"canary-2"),
    (b"x-goog-api-key", b"canary-3"),
    (b"api-key", b"canary-4"),
    (b"cookie", b"s=canary-5"),
    (b"x-amz-security-token", b"canary-6"),
    (b"proxy-authorization", b"canary-7"),
    (b"x-forwarded-for", b"canary-8"),
    (b"forwarded", b"for=canary-9"),
    (b"via", b"canary-10"),
    (b"host", b"canary-11"),
    (b"x-real-ip", b"canary-12"),
    (b"connection", b"canary-13"),
    (b"content-length", b"99999"),
    (b"transfer-encoding", b"chunked"),
    (b"accept-encoding", b"canary-14"),
    (b"user-agent", b"canary-15"),
    (b"openai-organization", b"canary-16"),
    (b"x-goog-user-project", b"canary-17"),
    (b"x-stainless-os", b"canary-18"),
]
QUERY = "key=canary-q&api_key=canary-q&%6bey=canary-q&access_token=canary-q&beta=true"


@pytest.mark.parametrize("channel", sorted(catalog()))
def test_nothing_of_the_callers_proof_travels_to_any_channel(channel: str) -> None:
    where = provider(channel)
    checked = 0
    for model in ("m", "claude-x", "anthropic.claude-x"):
        for (operation, dialect), entry in where.vendor.endpoints.items():
            found = where.vendor.endpoint(operation, dialect, model)
            if found is None or found.support is not Support.NATIVE:
                continue
            key = {"bedrock": credential(access_key_id="a", secret_access_key="b")}.get(channel)
            sent = send(where, dialect, operation, key, model=model, caller_headers=CALLERS, query=QUERY)
            raw = b"\n".join([sent.target, *(name + b": " + value for name, value in sent.headers)])
            assert b"canary" not in raw, (entry, raw)
            assert b"beta=true" in sent.target
            assert sent.target.isascii()
            names = [name for name, _ in sent.headers]
            assert len(names) == len(set(names)), names
            assert not {b"host", b"content-length", b"connection", b"transfer-encoding"} & set(names)
            checked += 1
    assert checked


def test_listed_headers_travel_and_win_over_ours() -> None:
    callers = [(b"anthropic-version", b"2099-01-01"), (b"anthropic-beta", b"x, y"), (b"traceparent", b"00-a-b-01")]
    headers = dict(send(provider("anthropic"), "anthropic_messages", caller_headers=callers).headers)
    assert headers[b"anthropic-version"] == b"2099-01-01"
    assert headers[b"anthropic-beta"] == b"x, y"
    assert headers[b"traceparent"] == b"00-a-b-01"
    assert headers[b"x-api-key"] == b"own-key"
    assert dict(send(provider("anthropic"), "anthropic_messages").headers)[b"anthropic-version"] == b"2023-06-01"


def test_the_version_goes_to_every_anthropic_surface_but_the_clouds() -> None:
    for channel, expected in (("deepseek", b"2023-06-01"), ("openrouter", b"2023-06-01"), ("vertex", None)):
        sent = send(provider(channel), "anthropic_messages", model="claude-x")
        assert dict(sent.headers).get(b"anthropic-version") == expected
    assert b"anthropic-version" not in dict(send(provider("deepseek")).headers)


def test_an_operators_header_goes_before_the_endpoints_own() -> None:
    where = provider("deepseek", headers={"anthropic-version": "2030-01-01"})
    found = [value for name, value in send(where, "anthropic_messages").headers if name == b"anthropic-version"]
    assert found == [b"2030-01-01"]


def test_betas_of_the_provider_join_the_callers() -> None:
    where = provider("anthropic", extra_beta_headers=["b", "c"])
    callers = [(b"anthropic-beta", b"a,b"), (b"anthropic-beta", b"d")]
    headers = send(where, "anthropic_messages", caller_headers=callers).headers
    assert [value for name, value in headers if name == b"anthropic-beta"] == [b"a,b,d,c"]
    assert betas(where.vendor, callers) == ("a", "b", "d", "c")
    assert betas(provider("openai").vendor, callers) == ()


@pytest.mark.parametrize(
    ("channel", "dialect", "operation", "model", "target"),
    [
        (
            "aistudio",
            "gemini",
            "stream",
            "models/gemini-3-pro",
            b"/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse",
        ),
        ("aistudio", "gemini", "generate", "a/b c", b"/v1beta/models/a%2Fb%20c:generateContent"),
        (
            "bedrock",
            "anthropic_messages",
            "stream",
            "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            b"/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/invoke-with-response-stream",
        ),
        (
            "bedrock",
            "bedrock_converse",
            "generate",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0",
            b"/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0/converse",
        ),
        (
            "vertex",
            "anthropic_messages",
            "stream",
            "claude-opus-4-6@20260101",
            b"/v1/projects/proj/locations/global/publishers/anthropic/models/claude-opus-4-6%4020260101:streamRawPredict",
        ),
        (
            "vertex",
            "anthropic_messages",
            "count_tokens",
            "claude-x",
            b"/v1/projects/proj/locations/global/publishers/anthropic/models/count-tokens:rawPredict",
        ),
        ("openai", "openai_chat", "get_model", "../../admin", b"/v1/models/..%2F..%2Fadmin"),
        ("openai", "openai_responses", "realtime", "gpt&x=1", b"/v1/realtime?model=gpt%26x%3D1"),
    ],
)
def test_models_in_paths_are_one_encoded_segment(
    channel: str, dialect: str, operation: str, model: str, target: bytes
) -> None:
    assert send(provider(channel), dialect, Operation(operation), model=model).target == target


def test_a_service_account_names_its_project() -> None:
    where = provider("vertex", project="")
    key = credential(service_account='{"client_email":"a","private_key":"b","project_id":"from-file"}')
    assert send(where, "gemini", key=key).target.startswith(b"/v1/projects/from-file/")
    with pytest.raises(Unsendable, match="project"):
        send(where, "gemini", key=credential(client_email="a", private_key="b"))


def test_batch_embeddings_have_a_path_of_their_own() -> None:
    sent = send(provider("aistudio"), "gemini", Operation.EMBED, batch=True)
    assert sent.target == b"/v1beta/models/m:batchEmbedContents"


def test_googles_openai_surface_takes_a_bearer() -> None:
    headers = dict(send(provider("aistudio"), "openai_embeddings", Operation.EMBED).headers)
    assert headers[b"authorization"] == b"Bearer own-key"
    assert b"x-goog-api-key" not in headers


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("", b"?alt=sse"),
        ("alt=json&x=1", b"?alt=sse&x=1"),
        ("key=k&x=%2F&y", b"?alt=sse&x=%2F&y"),
        ("a=ü&b= c", b"?alt=sse&a=%C3%BC&b=%20c"),
        ("a=1\r\nx: y", b"?alt=sse&a=1%0D%0Ax:%20y"),
        ("a=#f", b"?alt=sse&a=%23f"),
        ("&&", b"?alt=sse"),
    ],
)
def test_the_callers_query_travels_but_for_keys_and_what_is_ours(query: str, target: bytes) -> None:
    sent = send(provider("aistudio"), "gemini", Operation.STREAM, query=query)
    assert sent.target == b"/v1beta/models/m:streamGenerateContent" + target


def test_accept_says_what_is_expected() -> None:
    def accept(channel: str, operation: Operation, dialect: str, model: str = "m") -> bytes:
        return dict(send(provider(channel), dialect, operation, model=model).headers)[b"accept"]

    assert accept("openai", Operation.STREAM, "openai_chat") == b"text/event-stream"
    assert accept("openai", Operation.SPEECH, "openai_audio") == b"*/*"
    bedrock = accept("bedrock", Operation.STREAM, "anthropic_messages", "anthropic.claude-x")
    assert bedrock == b"application/vnd.amazon.eventstream"
    converse = accept("bedrock", Operation.STREAM, "bedrock_converse", "amazon.nova-lite-v1:0")
    assert converse == b"application/vnd.amazon.eventstream"


def test_uploads_keep_their_content_type_and_reads_have_none() -> None:
    upload = send(
        provider("openai"), "openai_audio", Operation.TRANSCRIBE, content_type=b"multipart/form-data; boundary=x"
    )
    assert dict(upload.headers)[b"content-type"] == b"multipart/form-data; boundary=x"
    read = send(provider("openai"), "openai_chat", Operation.LIST_MODELS, body=b"", content_type=b"")
    assert read.method == b"GET"
    assert b"content-type" not in dict(read.headers)


@pytest.mark.parametrize("bad", [b"a\r\nx: y", b"a\nb", b"a\x00b", b"\x7f", b"a\rb"])
def test_a_value_that_would_split_the_request_is_refused(bad: bytes) -> None:
    with pytest.raises(Unsendable):
        send(provider("openai"), caller_headers=[(b"traceparent", bad)])
    with pytest.raises(Unsendable):
        send(provider("openai"), key=credential(api_key="k" + bad.decode()))
    with pytest.raises(Unsendable):
        send(provider("openai"), content_type=bad)


def test_a_credential_beyond_latin_1_is_refused_without_being_shown() -> None:
    with pytest.raises(Unsendable) as raised:
        send(provider("openai"), key=credential(api_key="canary–"))
    assert "canary" not in str(raised.value)


def test_a_lone_surrogate_is_refused() -> None:
    texts: list[dict[str, Any]] = [{"model": "\ud800"}, {"query": "a=\ud800"}]
    for extra in texts:
        with pytest.raises(Unsendable):
            send(provider("openai"), "openai_chat", Operation.GET_MODEL, **extra)


@given(
    st.lists(st.tuples(st.sampled_from([b"traceparent", b"openai-beta", b"x-api-key", b"x"]), st.binary(max_size=12))),
    st.text(max_size=20),
    st.text(min_size=1, max_size=20),
)
def test_what_is_sent_is_always_well_formed(headers: list[Header], query: str, model: str) -> None:
    try:
        sent = send(
            provider("openai"), "openai_chat", Operation.GET_MODEL, model=model, caller_headers=headers, query=query
        )
    except Unsendable:
        return
    assert all(TOKEN.fullmatch(name) and VALUE.fullmatch(value) for name, value in sent.headers)
    assert all(0x20 < byte < 0x7F for byte in sent.target)
    assert sent.target.startswith(b"/v1/models/")


def test_what_was_made_once_is_never_anothers() -> None:
    """A new key, another model, another provider's settings: each has a request of its own; the body always has."""
    one, other = provider("openai"), provider("openai", base_url="https://other.example")
    first, second = credential(api_key="first"), credential(api_key="second")
    seen = [
        (made.origin.host, dict(made.headers)[b"authorization"], made.body)
        for made in (
            send(one, key=first, body=b"1"),
            send(one, key=first, body=b"2"),
            send(one, key=second, body=b"3"),
            send(other, key=first, body=b"4"),
        )
    ]
    assert seen == [
        ("api.openai.com", b"Bearer first", b"1"),
        ("api.openai.com", b"Bearer first", b"2"),
        ("api.openai.com", b"Bearer second", b"3"),
        ("other.example", b"Bearer first", b"4"),
    ]
