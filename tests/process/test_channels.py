"""Every recording of an OpenAI-compatible vendor through that vendor's own channel, and a new vendor as one file."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process import rig
from tests.shared import require_shared

pytestmark = pytest.mark.process

OWN = {
    "cerebras": "cerebras", "deepseek": "deepseek", "groq": "groq", "mistral": "mistral", "ollama": "ollama",
    "ollama-cloud": "ollama", "openrouter": "openrouter", "perplexity": "perplexity", "together": "together",
    "vercel-ai-gateway": "vercel", "vllm": "vllm", "xai": "xai",
}  # fmt: skip
"""Recorded vendors that have a channel; the others are what `custom` is for."""
PASSED_ON = {200, 400, 404}
"""Statuses that are the caller's answer; the others are about the operator's key or the vendor's health."""


def provider(name: str, channel: str, port: int, keys: int = 1) -> str:
    credentials = ", ".join(f'{{ api_key = "{rig.VENDOR_KEY}-{name}-{number}" }}' for number in range(keys))
    return f"""
[[providers]]
name = "{name}"
channel = "{channel}"
settings = {{ base_url = "http://127.0.0.1:{port}" }}
credentials = [ {credentials} ]
"""


def recorded_usage(case: Path) -> dict[str, Any] | None:
    """The last usage object of a recording, wherever vendors put it (Groq's streams have it in `x_groq`)."""
    if (case / "response.json").exists():
        values = [json.loads((case / "response.json").read_bytes())]
    else:
        lines = (case / "response.sse").read_text(encoding="utf-8").splitlines()
        data = [line[5:].strip() for line in lines if line.startswith("data:")]
        values = [json.loads(text) for text in data if text not in {"", "[DONE]"}]
    last = None
    for value in values:
        if isinstance(value, dict):
            last = value.get("usage") or (value.get("x_groq") or {}).get("usage") or last
    return last


def prompts_of(usage: dict[str, Any]) -> set[int]:
    """What a prompt may be counted as: some vendors count audio in the total only."""
    prompt = usage["prompt_tokens"]
    return {prompt, usage.get("total_tokens", prompt + usage["completion_tokens"]) - usage["completion_tokens"]}


def cases() -> Iterator[tuple[Path, dict[str, Any]]]:
    folder = require_shared() / "fixtures" / "openai-compat"
    for case in sorted(folder.iterdir()):
        meta = json.loads((case / "meta.json").read_text())
        if meta["request"]["available"] and meta["status"] in PASSED_ON:
            yield case, meta


def test_every_recording_of_a_compatible_vendor(folder: Path, vendor: rig.Vendor) -> None:
    every = list(cases())
    names = sorted({case.name.split("--")[0] for case, _ in every})
    extra = "".join(provider(name, OWN.get(name, "custom"), vendor.port) for name in names)
    wrong: list[str] = []
    asked: dict[str, tuple[str, dict[str, Any] | None]] = {}
    with rig.gateway(folder, rig.seed(vendor.port, extra)) as gateway:
        for number, (case, meta) in enumerate(every):
            body = json.loads((case / "request.json").read_bytes())
            wanted = next(case.glob("response.*")).read_bytes()
            body["model"] = f"replay/openai-compat/{case.name},split=random:{number}"
            if body.get("stream"):
                body["stream_options"] = {"include_usage": True}
            where = f"/{case.name.split('--')[0]}/v1/chat/completions"
            status, headers, got = gateway.request("POST", where, body)
            if (status, got) != (meta["status"], wanted):
                wrong.append(f"{case.name}: {status} instead of {meta['status']}, {got[:200]!r} for {wanted[:200]!r}")
            elif status == 200:
                asked[headers["x-request-id"]] = (case.name, recorded_usage(case))
        assert not wrong, "\n".join(wrong)
        rows = {row["request_id"]: row for row in gateway.rows(len(every))}
    assert len(asked) > 300
    for request_id, (name, usage) in asked.items():
        row = rows[request_id]
        kinds = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
        source, prompt = row["source"], sum(row[kind] or 0 for kind in kinds)
        right = prompts_of(usage) if usage is not None else {prompt}
        wanted_source = "estimated" if usage is None else "reported"
        if (row["channel"], source) != (OWN.get(name.split("--")[0], "custom"), wanted_source) or prompt not in right:
            wrong.append(f"{name}: {row['channel']} {source} {prompt} instead of {right}")
        elif usage is not None and row["output_tokens"] < usage["completion_tokens"]:
            wrong.append(f"{name}: {row['output_tokens']} output tokens for {usage['completion_tokens']}")
    assert not wrong, "\n".join(wrong)


def test_a_new_vendor_is_one_file(folder: Path, vendor: rig.Vendor) -> None:
    channels = folder / "channels"
    channels.mkdir()
    (channels / "brandnew.toml").write_text(
        'label = "Brand New"\ndocs = "https://example.com/docs"\nbase_url = "https://api.example.com/llm"\n'
        'speaks = ["openai_chat"]\nauth = { kind = "header_key", header = "x-api-key" }\n'
    )
    extra = provider("fresh", "brandnew", vendor.port)
    with rig.gateway(folder, rig.seed(vendor.port, extra), "--channels", str(channels)) as gateway:
        for dialect, ask in (
            ("chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
            ("messages", {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 50}),
        ):
            status, _, body = gateway.request("POST", f"/fresh/v1/{dialect}", {"model": "sim-model", **ask})
            assert status == 200, body
        rows = gateway.rows(2)
        assert {row["channel"] for row in rows} == {"brandnew"}
        assert {row["source"] for row in rows} == {"reported"}
        # A file that cannot be used is told on SIGHUP, and what was read before stays in force.
        (channels / "brandnew.toml").write_text('label = "Brand New"\nspeaks = ["klingon"]\n')
        gateway.signal(signal.SIGHUP)
        gateway.told("reload refused")
        again = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}
        status, _, body = gateway.request("POST", "/fresh/v1/chat/completions", again)
        assert status == 200, body


def test_a_bad_channel_file_is_named(folder: Path, vendor: rig.Vendor) -> None:
    channels = folder / "channels"
    channels.mkdir()
    (channels / "broken.toml").write_text('label = "Broken"\nbase_ulr = "https://api.example.com"\n')
    made = rig.Gateway(folder, rig.seed(vendor.port), "--channels", str(channels))
    made.start(ready=False)
    try:
        assert made.wait() == 1
    finally:
        made.end()
    assert "broken.toml: base_ulr: is not a key of a channel file" in made.text
    assert "Traceback" not in made.text
