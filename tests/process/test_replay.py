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

    def landed() -> dict[str, dict[str, Any]] | None:
        found = {row["request_id"]: row for row in gateway.query("SELECT * FROM usages")}
        return found if asked.keys() <= found.keys() else None

    rows = rig.await_that(landed, gateway, "all rows")
    for request_id, (name, usage) in asked.items():
        row = rows[request_id]
        if usage is None:
            assert row["source"] == "estimated", name
            continue
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        written = (row["cache_write_5m_tokens"] or 0) + (row["cache_write_1h_tokens"] or 0)
        assert (row["cache_read_tokens"] or 0) == cached, name
        assert row["input_tokens"] + cached + written == usage["prompt_tokens"], name
        assert row["output_tokens"] == usage["completion_tokens"], name
        assert row["source"] == "reported", name
        reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
        assert row["reasoning_tokens"] == reasoning, name
