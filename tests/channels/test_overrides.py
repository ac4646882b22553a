"""A provider's settings: wrong ones are named, right ones move paths, headers and addresses."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.loader import catalog
from gproxy.channels.overrides import address_of, check_credential, check_settings, resolve
from gproxy.channels.vendor import Support
from gproxy.secret import Secret
from gproxy.wire.http import Origin


def url(channel: str, settings: dict[str, Any], dialect: Dialect, operation: Operation = Operation.GENERATE) -> str:
    vendor = catalog()[channel]
    assert check_settings(vendor, settings) == []
    address = address_of(vendor, settings)
    entry = resolve(vendor, settings).endpoint(operation, dialect)
    assert entry is not None
    scheme = address.origin.scheme
    query = f"?{entry.query}" if entry.query else ""
    return f"{scheme}://{address.origin.host_header.decode()}{address.path}{entry.path}{query}"


@pytest.mark.parametrize(
    ("channel", "settings", "dialect", "expected"),
    [
        ("openai", {}, "openai_chat", "https://api.openai.com/v1/chat/completions"),
        ("openai", {"base_url": "https://h/"}, "openai_chat", "https://h/v1/chat/completions"),
        ("openai", {"base_url": "https://h/v1"}, "openai_chat", "https://h/v1/chat/completions"),
        ("openai", {"base_url": "https://h/pre/v1/"}, "openai_chat", "https://h/pre/v1/chat/completions"),
        ("openai", {"base_url": ""}, "openai_chat", "https://api.openai.com/v1/chat/completions"),
        ("groq", {}, "openai_chat", "https://api.groq.com/openai/v1/chat/completions"),
        (
            "groq",
            {"base_url": "https://api.groq.com"},
            "openai_chat",
            "https://api.groq.com/openai/v1/chat/completions",
        ),
        ("groq", {"base_url": "http://127.0.0.1:9"}, "openai_chat", "http://127.0.0.1:9/v1/chat/completions"),
        ("openrouter", {}, "anthropic_messages", "https://openrouter.ai/api/v1/messages"),
        ("cohere", {}, "openai_chat", "https://api.cohere.ai/compatibility/v1/chat/completions"),
        ("fireworks", {}, "openai_chat", "https://api.fireworks.ai/inference/v1/chat/completions"),
        (
            "aistudio",
            {"base_url": "https://generativelanguage.googleapis.com/v1beta"},
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta/models/{model}:generateContent",
        ),
        (
            "azure_openai",
            {"resource": "my-res"},
            "openai_chat",
            "https://my-res.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure_openai",
            {"base_url": "https://r.openai.azure.com/openai/v1/"},
            "openai_responses",
            "https://r.openai.azure.com/openai/v1/responses",
        ),
        (
            "azure_openai",
            {"base_url": "https://r.openai.azure.com", "api_version": "2024-10-21"},
            "openai_chat",
            "https://r.openai.azure.com/openai/deployments/{model}/chat/completions?api-version=2024-10-21",
        ),
        (
            "vertex",
            {"project": "p", "location": "us-east5"},
            "gemini",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/us-east5/publishers/google/models/{model}:generateContent",
        ),
        (
            "vertex",
            {},
            "gemini",
            "https://aiplatform.googleapis.com/v1/projects/{project}/locations/global/publishers/google/models/{model}:generateContent",
        ),
        (
            "bedrock",
            {"region": "eu-west-1"},
            "bedrock_converse",
            "https://bedrock-runtime.eu-west-1.amazonaws.com/model/{model}/converse",
        ),
        (
            "custom",
            {"base_url": "http://h:1", "dialect": "bedrock_converse"},
            "bedrock_converse",
            "http://h:1/model/{model}/converse",
        ),
        ("custom", {"base_url": "http://h:1/v1"}, "openai_chat", "http://h:1/v1/chat/completions"),
        ("custom", {"base_url": "https://h/paas/v4"}, "openai_chat", "https://h/paas/v4/chat/completions"),
        (
            "custom",
            {"base_url": "https://h/novita/v3/openai", "endpoints": {"openai_chat": "/chat/completions"}},
            "openai_chat",
            "https://h/novita/v3/openai/chat/completions",
        ),
        (
            "custom",
            {"base_url": "https://h", "dialect": "anthropic_messages"},
            "anthropic_messages",
            "https://h/v1/messages",
        ),
        (
            "custom",
            {"base_url": "https://h", "dialects": ["gemini", "openai_chat"]},
            "gemini",
            "https://h/v1beta/models/{model}:generateContent",
        ),
        ("ollama", {}, "openai_chat", "http://127.0.0.1:11434/v1/chat/completions"),
    ],
)
def test_where_requests_go(channel: str, settings: dict[str, Any], dialect: str, expected: str) -> None:
    assert url(channel, settings, Dialect(dialect)) == expected


def test_custom_serves_what_it_does_not_speak_by_translation() -> None:
    vendor = resolve(catalog()["custom"], {"base_url": "https://h", "dialect": "anthropic_messages"})
    chat = vendor.endpoint(Operation.STREAM, Dialect.OPENAI_CHAT)
    assert chat is not None
    assert (chat.support, chat.to) == (Support.TRANSLATE, Dialect.ANTHROPIC_MESSAGES)
    assert vendor.endpoint(Operation.EMBED, Dialect.OPENAI_EMBEDDINGS) is None
    assert b"anthropic-beta" in vendor.forward_headers


def test_custom_signs_as_each_dialects_own_clients_do() -> None:
    vendor = resolve(catalog()["custom"], {"dialects": ["openai_chat", "anthropic_messages", "gemini"]})
    headers = {}
    for dialect in (Dialect.OPENAI_CHAT, Dialect.ANTHROPIC_MESSAGES, Dialect.GEMINI):
        entry = vendor.endpoint(Operation.GENERATE, dialect)
        assert entry is not None
        headers[dialect] = (entry.auth or vendor.auth).param("header", "authorization")
    assert list(headers.values()) == ["authorization", "x-api-key", "x-goog-api-key"]
    own = resolve(catalog()["custom"], {"dialect": "gemini", "auth": {"kind": "query_key"}})
    entry = own.endpoint(Operation.GENERATE, Dialect.GEMINI)
    assert entry is not None
    assert (entry.auth or own.auth).kind == "query_key"


def test_headers_agent_and_betas() -> None:
    settings = {"headers": {"X-Team": "a"}, "user_agent": "me/1", "extra_beta_headers": ["b-1"]}
    assert check_settings(catalog()["anthropic"], settings) == []
    vendor = resolve(catalog()["anthropic"], settings)
    assert dict(vendor.set_headers) == {b"anthropic-version": b"2023-06-01", b"user-agent": b"me/1", b"x-team": b"a"}
    assert vendor.betas == ("b-1",)


@pytest.mark.parametrize(
    ("channel", "settings", "key"),
    [
        ("custom", {}, "base_url"),
        ("azure_openai", {}, "base_url"),
        ("bedrock", {}, "region"),
        ("bedrock", {"region": "us/../x"}, "region"),
        ("bedrock", {"region": "x.attacker.example/"}, "region"),
        ("vertex", {"location": "evil.example#"}, "location"),
        ("vertex", {"project": 5}, "project"),
        ("openai", {"base_url": 5}, "base_url"),
        ("openai", {"base_url": "file:///x"}, "base_url"),
        ("openai", {"base_url": "http://169.254.169.254/v1"}, "base_url"),
        ("openai", {"base_url": "https://u:p@h"}, "base_url"),
        ("openai", {"rotation": "random"}, "rotation"),
        ("openai", {"rotation_strategy": "random"}, "rotation_strategy"),
        ("openai", {"rotation": ["round_robin"]}, "rotation"),
        ("openai", {"loss": "maybe"}, "loss"),
        ("openai", {"on_disconnect": "wait"}, "on_disconnect"),
        ("openai", {"total_timeout": 0}, "total_timeout"),
        ("openai", {"idle_timeout": "10"}, "idle_timeout"),
        ("openai", {"connect_timeout": True}, "connect_timeout"),
        ("openai", {"first_byte_timeout": float("nan")}, "first_byte_timeout"),
        ("openai", {"proxy": "ftp://h"}, "proxy"),
        ("openai", {"proxy": "socks5://"}, "proxy"),
        ("openai", {"headers": {"authorization": "x"}}, "headers.authorization"),
        ("openai", {"headers": {"Host": "x"}}, "headers.Host"),
        ("openai", {"headers": {"a b": "x"}}, "headers.a b"),
        ("openai", {"headers": {"x-a": "x\r\ny: z"}}, "headers.x-a"),
        ("openai", {"headers": {"x-a": 1}}, "headers.x-a"),
        ("openai", {"headers": ["x"]}, "headers"),
        ("openai", {"user_agent": "a\nb"}, "user_agent"),
        ("openai", {"endpoints": {"klingon": "/x"}}, "endpoints.klingon"),
        ("openai", {"endpoints": {"openai_chat": "x"}}, "endpoints.openai_chat.generate.path"),
        ("openai", {"endpoints": []}, "endpoints"),
        ("anthropic", {"extra_beta_headers": "x"}, "extra_beta_headers"),
        ("anthropic", {"extra_beta_headers": ["a\nb"]}, "extra_beta_headers"),
        ("custom", {"base_url": "https://h", "dialect": "klingon"}, "dialect"),
        ("custom", {"base_url": "https://h", "dialects": [1]}, "dialects"),
        ("custom", {"base_url": "https://h", "dialects": {}}, "base_url"),
        ("custom", {"base_url": "https://h", "auth": "magic"}, "auth.kind"),
    ],
)
def test_wrong_settings_are_named(channel: str, settings: dict[str, Any], key: str) -> None:
    keys = [problem.key for problem in check_settings(catalog()[channel], settings)]
    if settings.get("dialects") == {}:
        assert keys == []  # empty is as if it were not there
    else:
        assert key in keys


def test_all_wrong_settings_come_at_once() -> None:
    problems = check_settings(catalog()["openai"], {"rotation": 1, "loss": 2, "proxy": "x", "idle_timeout": -1})
    assert len(problems) == 4


def test_keys_of_other_rooms_are_left_alone() -> None:
    settings = {"rewrite_rules": [{"path": "a"}], "sanitize_rules": 1, "enable_magic_cache": True, "whatever": {}}
    assert check_settings(catalog()["anthropic"], settings) == []


@pytest.mark.parametrize(
    ("channel", "fields", "keys"),
    [
        ("openai", {"api_key": "sk-1"}, []),
        ("openai", {}, ["api_key"]),
        ("openai", {"api_key": ""}, ["api_key"]),
        ("openai", {"token": "x"}, ["token", "api_key"]),
        ("openai", {"api_key": "sk-1\n"}, ["api_key"]),
        ("openai", {"api_key": " sk-1"}, ["api_key"]),
        ("openai", {"api_key": "sk–1"}, ["api_key"]),
        ("azure_openai", {"tenant_id": "t", "client_id": "c", "client_secret": "s"}, []),
        ("azure_openai", {"tenant_id": "t", "client_id": "c"}, ["api_key"]),
        ("bedrock", {"access_key_id": "a", "secret_access_key": "b", "session_token": "c"}, []),
        ("bedrock", {"access_key_id": "a"}, ["secret_access_key"]),
        ("bedrock", {"api_key": "k"}, []),
        ("vertex", {"service_account": "{}"}, ["service_account"]),
        ("vertex", {"client_email": "a@b", "private_key": "x"}, ["private_key"]),
        ("vertex", {}, ["service_account"]),
        ("ollama", {}, []),
        ("custom", {}, []),
        ("custom", {"api_key": "k"}, []),
    ],
)
def test_credentials(channel: str, fields: dict[str, str], keys: list[str]) -> None:
    problems = check_credential(catalog()[channel], {name: Secret(value) for name, value in fields.items()})
    assert [problem.key for problem in problems] == keys


def test_no_complaint_shows_a_secret() -> None:
    for channel, name in (("openai", "api_key"), ("vertex", "service_account"), ("vertex", "private_key")):
        fields = {name: Secret("canary\n"), "client_email": Secret("a@b")}
        assert "canary" not in " ".join(map(str, check_credential(catalog()[channel], fields)))


def test_a_regional_host_and_its_global_form() -> None:
    vertex = catalog()["vertex"]
    assert address_of(vertex, {"location": "global"}).origin == Origin("https", "aiplatform.googleapis.com", 443)
