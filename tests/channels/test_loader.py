"""The catalog: what ships is whole, a compatible vendor is small, a broken file is told file and key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from gproxy.canonical.operation import GENERATE_DIALECTS, Dialect, Operation
from gproxy.channels.loader import CatalogError, catalog, catalog_with, read
from gproxy.channels.quirks import QUIRKS
from gproxy.channels.vendor import Support, Vendor

NAMES = [
    "openai",
    "azure_openai",
    "anthropic",
    "aistudio",
    "vertex",
    "vertexexpress",
    "bedrock",
    "deepseek",
    "groq",
    "openrouter",
    "nvidia",
    "mistral",
    "xai",
    "together",
    "fireworks",
    "cerebras",
    "perplexity",
    "cohere",
    "vercel",
    "ollama",
    "vllm",
    "custom",
    "demo",
]


def test_every_channel_is_there() -> None:
    assert sorted(catalog()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_serves_every_generate_dialect_somehow(name: str) -> None:
    vendor = catalog()[name]
    for operation in (Operation.GENERATE, Operation.STREAM):
        for dialect in GENERATE_DIALECTS:
            entry = vendor.endpoint(operation, dialect)
            assert entry is not None, (operation, dialect)
            if entry.support is Support.TRANSLATE:
                assert entry.to is not None
                target = vendor.endpoint(operation, entry.to)
                assert target is not None
                assert target.support is Support.NATIVE
            else:
                assert entry.path.startswith("/")


@pytest.mark.parametrize("name", NAMES)
def test_every_translation_leads_to_something_native(name: str) -> None:
    vendor = catalog()[name]
    for model in (None, "claude-opus-4-6", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "gpt-5", "openai.gpt-5.6"):
        for operation in Operation:
            for dialect in Dialect:
                entry = vendor.endpoint(operation, dialect, model)
                if entry is not None and entry.support is Support.TRANSLATE:
                    assert entry.to is not None
                    target = vendor.endpoint(operation, entry.to, model)
                    assert target is not None
                    assert target.support is Support.NATIVE


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_names_its_page(name: str) -> None:
    vendor = catalog()[name]
    assert vendor.label
    assert vendor.docs.startswith("https://") or name == "demo"


def test_where_the_main_things_live() -> None:
    def path(name: str, operation: Operation, dialect: Dialect, model: str | None = None) -> str | None:
        entry = catalog()[name].endpoint(operation, dialect, model)
        return None if entry is None else entry.path

    assert path("openai", Operation.GENERATE, Dialect.OPENAI_CHAT) == "/v1/chat/completions"
    assert path("openai", Operation.COUNT_TOKENS, Dialect.OPENAI_RESPONSES) == "/v1/responses/input_tokens"
    assert path("openai", Operation.COMPACT, Dialect.OPENAI_RESPONSES) == "/v1/responses/compact"
    assert path("anthropic", Operation.COUNT_TOKENS, Dialect.ANTHROPIC_MESSAGES) == "/v1/messages/count_tokens"
    assert path("deepseek", Operation.STREAM, Dialect.ANTHROPIC_MESSAGES) == "/anthropic/v1/messages"
    assert path("perplexity", Operation.GENERATE, Dialect.OPENAI_CHAT) == "/chat/completions"
    stream = catalog()["aistudio"].endpoint(Operation.STREAM, Dialect.GEMINI)
    assert stream is not None
    assert (stream.path, stream.query) == ("/v1beta/models/{model}:streamGenerateContent", "alt=sse")


def test_a_model_decides_where_a_cloud_serves_several_families() -> None:
    for name, claude, other in (
        ("vertex", "claude-opus-4-6@20260101", "gemini-3-pro"),
        ("bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "openai.gpt-oss-20b-1:0"),
    ):
        vendor = catalog()[name]
        assert set(vendor.speaks(model=claude)) & set(GENERATE_DIALECTS) == {Dialect.ANTHROPIC_MESSAGES}
        chat = vendor.endpoint(Operation.STREAM, Dialect.OPENAI_CHAT, claude)
        assert chat is not None
        assert chat.to is Dialect.ANTHROPIC_MESSAGES
        messages = vendor.endpoint(Operation.GENERATE, Dialect.ANTHROPIC_MESSAGES, other)
        assert messages is not None
        assert messages.support is Support.TRANSLATE
        assert Dialect.ANTHROPIC_MESSAGES not in vendor.speaks(model=other)


@pytest.mark.parametrize(
    ("dialect", "model"),
    [(Dialect.ANTHROPIC_MESSAGES, "anthropic.claude-x"), (Dialect.BEDROCK_CONVERSE, "meta.llama3-3-70b-instruct-v1:0")],
)
def test_bedrock_streams_in_event_streams(dialect: Dialect, model: str) -> None:
    vendor = catalog()["bedrock"]
    entry = vendor.endpoint(Operation.STREAM, dialect, model)
    assert entry is not None
    assert entry.framing == "eventstream"
    assert dialect in vendor.speaks(Operation.STREAM, model)


def test_tokens_are_counted_locally_where_a_vendor_cannot() -> None:
    entry = catalog()["groq"].endpoint(Operation.COUNT_TOKENS, Dialect.ANTHROPIC_MESSAGES)
    assert entry is not None
    assert entry.support is Support.LOCAL


def test_a_compatible_vendor_is_a_few_lines() -> None:
    vendor = read(
        {
            "new.toml": """
label = "New"
docs = "https://new.example/docs"
base_url = "https://api.new.example/v1"
speaks = ["openai_chat"]
"""
        }
    )["new"]
    assert vendor.speaks() == (Dialect.OPENAI_CHAT,)
    assert vendor.auth.kind == "bearer"
    assert b"traceparent" in vendor.forward_headers
    small = resources.files("gproxy.channels") / "catalog" / "nvidia.toml"
    assert len(small.read_text("utf-8").splitlines()) <= 10


def test_a_folder_of_ones_own_adds_and_replaces(tmp_path: Path) -> None:
    body = 'label = "Mine"\ndocs = "https://m.example"\nbase_url = "https://m.example"\nspeaks = ["openai_chat"]\n'
    (tmp_path / "mine.toml").write_text(body)
    (tmp_path / "groq.toml").write_text(body)
    found = catalog_with(tmp_path)
    assert found["mine"].label == found["groq"].label == "Mine"
    assert found["openai"] is catalog()["openai"]
    assert catalog()["groq"].label == "Groq"


GOOD = 'label = "X"\ndocs = "https://x.example"\nbase_url = "https://x.example"\nspeaks = ["openai_chat"]\n'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("label = ", ""),
        ("", "label"),
        (GOOD + "lable = 1", "lable"),
        (GOOD + "auth = 'magic'", "auth.kind"),
        (GOOD + "auth = { kind = 'bearer', colour = 'red' }", "auth.colour"),
        (GOOD + "auth = 3", "auth"),
        (GOOD + "counts = ['openai_chat']", "counts"),
        (GOOD + "counts = ['klingon']", "counts"),
        (GOOD + "prefers = 'klingon'", "prefers"),
        (GOOD + "quirks = ['no_such']", "quirks"),
        (GOOD + "keyless = 'yes'", "keyless"),
        (GOOD + "needs = 'region'", "needs"),
        (GOOD + "defaults = { location = 1 }", "defaults"),
        (GOOD + "forward_headers = ['authorization']", "forward_headers"),
        (GOOD + "forward_headers = ['Openai-Beta']", "forward_headers"),
        (GOOD + "forward_headers = ['cookie']", "forward_headers"),
        (GOOD + "forward_headers = ['x-forwarded-for']", "forward_headers"),
        (GOOD + "[set_headers]\nhost = 'x'", "set_headers.host"),
        (GOOD + '[set_headers]\nx-a = "b\\r\\nc: d"', "set_headers.x-a"),
        (GOOD + "[endpoints.klingon]\ngenerate = '/x'", "endpoints.klingon"),
        (GOOD + "[endpoints.openai_chat]\nsing = '/x'", "endpoints.openai_chat.sing"),
        (GOOD + "[endpoints.openai_chat]\ngenerate = 'x'", "endpoints.openai_chat.generate.path"),
        (GOOD + "[endpoints.openai_chat]\ngenerate = '/x?y=1'", "endpoints.openai_chat.generate.path"),
        (GOOD + "[endpoints.openai_chat]\ngenerate = 5", "endpoints.openai_chat.generate"),
        (GOOD + "[endpoints.openai_chat]\ngenerate = { to = 'x' }", "endpoints.openai_chat.generate.to"),
        (GOOD + "[endpoints.openai_chat]\nstream = { path = '/x', q = 1 }", "endpoints.openai_chat.stream.q"),
        (GOOD + "[[verdicts]]\nstatus = '429'\nverdict = 'shrug'", "verdicts[0].verdict"),
        (GOOD + "[[verdicts]]\nstatus = 'soon'\nverdict = 'broken'", "verdicts[0].status"),
        (GOOD + "[[verdicts]]\nstatus = '429'\nverdict = 'broken'\nrest = -1", "verdicts[0].rest"),
        (GOOD + "[[verdicts]]\nstatus = '429'\nverdict = 'broken'\ncolour = 1", "verdicts[0].colour"),
        (GOOD + "[[limits]]\nremaining = 'a'\nreset = 'b'\nform = 'moons'", "limits[0].form"),
        (GOOD + "[[limits]]\nremaining = 'a'", "limits[0].reset"),
        (GOOD + "[[variants]]\nspeaks = ['gemini']", "variants[0]"),
        (GOOD + "[[variants]]\nmodels = ['x']\nfoo = 1", "variants[0].foo"),
        (GOOD.replace('https://x.example"\nspeaks', 'ftp://x"\nspeaks'), "base_url"),
        (GOOD.replace("openai_chat", "klingon"), "speaks"),
        (GOOD.replace('"X"', "7"), "label"),
    ],
)
def test_a_broken_file_is_told_its_name_and_key(text: str, key: str) -> None:
    with pytest.raises(CatalogError) as raised:
        read({"broken.toml": text, "fine.toml": GOOD})
    problems = raised.value.problems
    assert {problem.file for problem in problems} == {"broken.toml"}
    assert key in {problem.key for problem in problems}
    assert "broken.toml" in str(raised.value)


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(CatalogError) as raised:
        read({"a.toml": "speaks = ['x', 'y']\nfoo = 1", "b.toml": "auth = 'no'"})
    assert len(raised.value.problems) >= 7


def test_no_quirk_is_unused() -> None:
    used = {quirk for vendor in catalog().values() for quirk in vendor.quirks}
    assert used == set(QUIRKS)


def test_the_callers_proof_is_on_no_list() -> None:
    def forbidden(vendor: Vendor) -> frozenset[bytes]:
        return vendor.forward_headers & {b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"cookie"}

    assert not any(forbidden(vendor) for vendor in catalog().values())
