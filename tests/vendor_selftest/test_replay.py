from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from gproxy.vendor.recorded import Unknown, figures_in, load
from gproxy.vendor.server import VendorServer
from gproxy.vendor.tally import Figures
from tests.shared import require_shared
from tests.vendor_selftest.wire import ask, cases, count_of, post, talk

SPLITS = ("whole", "event", "bytes:7", "random:3", "byte")


def write(folder: Path, case: str, meta: dict[str, object], name: str, body: bytes) -> None:
    place = folder / case
    place.mkdir(parents=True)
    (place / "meta.json").write_text(json.dumps(meta))
    (place / name).write_bytes(body)


@pytest.mark.parametrize("split", SPLITS)
async def test_a_sample_of_the_recordings_is_replayed_byte_for_byte(vendor: VendorServer, split: str) -> None:
    folder = require_shared() / "fixtures"
    known = cases(folder)
    step = 97 if split == "byte" else 23
    # Every protocol is in the sample whatever the folder holds.
    sample = set(known[::step])
    sample |= {next(group) for _, group in itertools.groupby(known, key=lambda case: case.split("/")[0])}
    for case in sorted(sample):
        recording = load(folder, case)
        heard = await ask(vendor, "openai_chat", f"replay/{case},split={split}", stream=recording.streaming)
        assert heard.status == recording.status, case
        assert heard.body == recording.body, case
        assert heard.chunks()[1], case
        for header in recording.headers:
            assert header in heard.headers, case
    assert {one.how for one in count_of(vendor).attempts} == {"complete"}


async def test_boundaries_are_where_they_were_asked_for(tmp_path: Path) -> None:
    body = b'data: {"a":1}\n\n: note\n\ndata: [DONE]\n\n'
    meta: dict[str, object] = {"status": 200, "content_type": "text/event-stream", "wire": "openai-chat"}
    write(tmp_path, "openai-chat/one", meta, "response.sse", body)
    server = VendorServer(fixtures=tmp_path, control=True)
    await server.start()
    try:
        expected = {
            "whole": [body],
            "event": [b'data: {"a":1}\n\n', b": note\n\n", b"data: [DONE]\n\n"],
            "bytes:20": [body[:20], body[20:]],
            "byte": [body[at : at + 1] for at in range(len(body))],
        }
        for split, pieces in expected.items():
            heard = await ask(server, "openai_chat", f"replay/openai-chat/one,split={split}")
            assert heard.chunks() == (pieces, True), split
        again = [(await ask(server, "openai_chat", "replay/openai-chat/one,split=random:5")).chunks() for _ in range(2)]
        assert again[0] == again[1]
        assert b"".join(again[0][0]) == body
    finally:
        await server.close()


async def test_a_recording_can_be_chosen_by_queue_or_mark_and_for_any_path(tmp_path: Path) -> None:
    headers = {"X-Odd": "7", "Transfer-Encoding": "chunked", "Content-Length": "9"}
    meta: dict[str, object] = {
        "status": 418,
        "content_type": "application/json",
        "wire": "x",
        "response_headers": headers,
    }
    write(tmp_path, "embeddings/other", meta, "response.json", b' {"detail": "tea"} ')
    server = VendorServer(fixtures=tmp_path, control=True)
    await server.start()
    try:
        server.script({"replay": "embeddings/other"}, path="*/embed")
        heard = await talk(server, post("/v2/embed", b"not even json"))
        assert (heard.status, heard.body) == (418, b' {"detail": "tea"} ')
        assert (b"x-odd", b"7") in heard.headers
        heard = await ask(server, "anthropic_messages", "claude", text="hi [[replay embeddings/other]]")
        assert (heard.status, heard.body) == (418, b' {"detail": "tea"} ')
        assert (await ask(server, "openai_chat", "replay/embeddings/nothing")).status == 404
        assert (await ask(server, "openai_chat", "replay/../../etc")).status == 404
    finally:
        await server.close()


def test_the_declared_usage_of_recordings_is_read() -> None:
    anthropic = (
        b'data: {"type":"message_start","message":{"usage":{"input_tokens":5,"cache_creation_input_tokens":9,'
        b'"cache_creation":{"ephemeral_1h_input_tokens":4},"output_tokens":1}}}\n\n'
        b'data: {"type":"message_delta","usage":{"output_tokens":7}}\n\n'
    )
    assert figures_in("anthropic", anthropic) == Figures(input=5, output=7, cache_write_5m=5, cache_write_1h=4)
    gemini = b'[{"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":2,"candidatesTokenCount":3}},\n{"usageMetadata":{"promptTokenCount":9,"cachedContentTokenCount":2,"candidatesTokenCount":4,"thoughtsTokenCount":5}}]'
    assert figures_in("gemini", gemini) == Figures(input=7, output=9, cache_read=2, reasoning=5)
    assert figures_in("openai-chat", b'data: {"choices":[]}\r\n\r\ndata: [DONE]\r\n\r\n') is None


def test_usage_is_found_in_every_recording_said_to_hold_it() -> None:
    folder = require_shared() / "fixtures"
    missing = []
    for protocol in ("openai-chat", "openai-responses", "anthropic-messages", "gemini"):
        for case in cases(folder, protocol)[::7]:
            recording = load(folder, case)
            features = json.loads((folder / case / "meta.json").read_bytes())["features"]
            if recording.status == 200 and "usage-details" in features and recording.figures is None:
                missing.append(case)
    assert missing == []


def test_unknown_recordings_are_unknown(tmp_path: Path) -> None:
    for case in ("a", "a/b", "../x", "a/..", "a/b/c"):
        with pytest.raises(Unknown):
            load(tmp_path, case)
