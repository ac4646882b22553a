"""Recorded requests of real clients: our requests to the same vendors go to the same addresses."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest

from gproxy.canonical.operation import Dialect, Operation
from gproxy.channels.address import parse_base_url
from gproxy.channels.auth.scheme import Token
from gproxy.channels.loader import catalog
from gproxy.channels.request import prepare
from gproxy.ids import ProviderId
from gproxy.routing.provider import assemble
from gproxy.secret import Secret
from gproxy.wire.http import Deadlines
from tests.routing.world import credential
from tests.shared import require_shared

CHANNELS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("openai", {}),
    "anthropic": ("anthropic", {}),
    "google-ai-studio": ("aistudio", {}),
    "groq": ("groq", {}),
    "mistral": ("mistral", {}),
    "openrouter": ("openrouter", {}),
    "perplexity": ("perplexity", {}),
    "together": ("together", {}),
    "cerebras": ("cerebras", {}),
    "xai": ("xai", {}),
    "vercel-ai-gateway": ("vercel", {}),
    "ollama": ("ollama", {}),
    "vllm": ("vllm", {}),
    "bedrock-anthropic": ("bedrock", {"region": "us-east-1"}),
    "vertex-anthropic": ("vertex", {"project": "PROJECT", "location": "us-east5"}),
    "zai": ("custom", {"base_url": "https://api.z.ai/api/paas/v4"}),
    "venice": ("custom", {"base_url": "https://api.venice.ai/api/v1"}),
    "doubleword": ("custom", {"base_url": "https://api.doubleword.ai/v1"}),
    "llama.cpp": ("custom", {"base_url": "http://127.0.0.1:8080"}),
    "snowflake-cortex": ("custom", {"base_url": "https://x.snowflakecomputing.com/api/v2/cortex/v1"}),
    "avian": ("custom", {"base_url": "https://api.avian.io/v1"}),
    "crusoe": ("custom", {"base_url": "https://api.crusoe.ai/v1/"}),
}
FOLDERS = {
    "openai-chat": Dialect.OPENAI_CHAT,
    "openai-compat": Dialect.OPENAI_CHAT,
    "openai-responses": Dialect.OPENAI_RESPONSES,
    "anthropic-messages": Dialect.ANTHROPIC_MESSAGES,
    "gemini": Dialect.GEMINI,
    "embeddings": Dialect.OPENAI_EMBEDDINGS,
    "openai-completions": Dialect.OPENAI_COMPLETIONS,
}
# Other surfaces of the same vendors, which no channel offers or which a setting would choose.
ELSEWHERE = ("/api/coding/", "/responses/resp_", "/responses/compact", ":countTokens", "/api/v1/messages")


def operation_of(folder: str, streaming: bool) -> Operation:
    if folder == "embeddings":
        return Operation.EMBED
    if folder == "openai-completions":
        return Operation.COMPLETE
    return Operation.STREAM if streaming else Operation.GENERATE


@pytest.mark.parametrize("vendor", sorted(CHANNELS))
def test_the_same_address(vendor: str) -> None:
    channel, settings = CHANNELS[vendor]
    where = assemble(
        provider_id=ProviderId("p"),
        name="p",
        label=None,
        enabled=True,
        vendor=catalog()[channel],
        settings=settings,
        credentials=(),
        deadlines=Deadlines(),
    )
    checked = 0
    for meta in sorted((require_shared() / "fixtures").glob("*/*/meta.json")):
        about = json.loads(meta.read_text())
        path = (about.get("request") or {}).get("path")
        folder = meta.parent.parent.name
        if about["provider"] != vendor or folder not in FOLDERS or not path or any(e in path for e in ELSEWHERE):
            continue
        if vendor == "openrouter" and not path.startswith("/api/"):
            continue  # recorded through a proxy that moved the path
        dialect = FOLDERS[folder]
        if folder == "embeddings" and channel == "aistudio":
            dialect = Dialect.GEMINI
        streaming = about.get("streaming") or "stream" in path.lower()
        model = unquote(_model_in(path) or "m")
        entry = where.vendor.endpoint(operation_of(folder, bool(streaming)), dialect, model)
        assert entry is not None, meta.parent.name
        sent = prepare(
            where,
            credential("c"),
            entry,
            model=model,
            body=b"{}",
            now_us=0,
            token=Token(Secret("t"), 1),
            batch="batch" in path,
        )
        assert unquote(sent.target.decode().partition("?")[0]) == unquote(path), meta.parent.name
        checked += 1
    assert checked


def _model_in(path: str) -> str | None:
    for before in ("/models/", "/model/"):
        if before in path:
            return (
                path.split(before, 1)[1]
                .split(":generate", maxsplit=1)[0]
                .split(":stream", maxsplit=1)[0]
                .split(":raw", maxsplit=1)[0]
                .split(":batch", maxsplit=1)[0]
                .split("/", maxsplit=1)[0]
            )
    return None


def test_custom_addresses_are_taken_apart_as_written() -> None:
    for _, settings in CHANNELS.values():
        if "base_url" in settings:
            assert parse_base_url(settings["base_url"]).origin.host
