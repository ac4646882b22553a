"""Recorded traffic comes through byte for byte, however it is cut, with the recorded usage in its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.process import rig
from tests.shared import require_shared

pytestmark = pytest.mark.process

SPLITS = ("event", "bytes:7", "random:5")


def recorded_usage(case: Path) -> dict[str, Any] | None:
    """The last usage object of a recording, read in the plainest way."""
    if (case / "response.json").exists():
        found = json.loads((case / "response.json").read_bytes())
        return found.get("usage") if isinstance(found, dict) else None
    last = None
    for line in (case / "response.sse").read_text(encoding="utf-8").splitlines():
        if line.startswith("data:") and line[5:].strip() not in {"", "[DONE]"}:
            last = json.loads(line[5:]).get("usage") or last
    return last


def test_every_openai_chat_recording(gateway: rig.Gateway) -> None:
    folder = require_shared() / "fixtures" / "openai-chat"
    wrong: list[str] = []
    asked: dict[str, tuple[str, dict[str, Any] | None]] = {}
    for case in sorted(folder.iterdir()):
        name = case.name
        meta = json.loads((case / "meta.json").read_text())
        if not meta["request"]["available"] or meta["status"] == 401:
            continue  # a vendor's 401 is about the operator's key and is never shown to a caller
        body = json.loads((case / "request.json").read_bytes())
        wanted = next(case.glob("response.*")).read_bytes()
        for split in SPLITS:
            # The client asks for usage in streams, so that nothing is withheld from it.
            body["model"] = f"replay/openai-chat/{name},split={split}"
            if body.get("stream"):
                body["stream_options"] = {"include_usage": True}
            status, headers, got = gateway.request("POST", "/main/v1/chat/completions", body)
            if (status, got) != (meta["status"], wanted):
                wrong.append(
                    f"{name} {split}: {status} instead of {meta['status']}, {len(got)} bytes for {len(wanted)}"
                )
            elif status == 200:
                asked[headers["x-request-id"]] = (name, recorded_usage(case))
    assert not wrong, "\n".join(wrong)
    assert len(asked) > 300

    rows = rig.await_that(
        lambda: (
            found
            if len(found := {row["request_id"]: row for row in gateway.query("SELECT * FROM usages")}) >= len(asked)
            else None
        ),
        gateway,
        "all rows",
    )
    for request_id, (name, usage) in asked.items():
        row = rows[request_id]
        if usage is None:
            assert row["source"] == "estimated", name
            continue
        details = usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens") or 0
        assert (row["input_tokens"], row["cache_read_tokens"] or 0) == (usage["prompt_tokens"] - cached, cached), name
        assert row["output_tokens"] == usage["completion_tokens"], name
        assert row["source"] == "reported", name
        reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        assert row["reasoning_tokens"] == reasoning, name
