"""Other clouds' roads to the same dialects, and engines that ask for no key."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.vendor.server import VendorServer
from tests.vendor_selftest.wire import post, talk

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "one two three"}]}
CLAUDE: dict[str, Any] = {**CHAT, "anthropic_version": "vertex-2023-10-16", "max_tokens": 9}
VERTEX = "/v1/projects/p/locations/global/publishers/anthropic/models"
AZURE = "/openai/deployments/mine/chat/completions"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (f"{VERTEX}/claude-opus-4-6%4020260101:rawPredict", CLAUDE, 200),
        (f"{VERTEX}/claude-opus-4-6%4020260101:rawPredict", {**CHAT, "max_tokens": 9}, 400),
        (f"{VERTEX}/claude-opus-4-6%4020260101:rawPredict", {**CLAUDE, "model": "m"}, 400),
        (f"{VERTEX}/count-tokens:rawPredict", {**CLAUDE, "model": "claude-opus-4-6@20260101"}, 200),
        (f"{AZURE}?api-version=2024-10-21", CHAT, 200),
        (AZURE, CHAT, 404),
    ],
)
async def test_what_the_clouds_take(vendor: VendorServer, path: str, body: dict[str, Any], status: int) -> None:
    heard = await talk(vendor, post(path, body))
    assert heard.status == status, heard.body
    if path.startswith(f"{VERTEX}/count-tokens"):
        assert heard.json() == {"input_tokens": 3}


async def test_an_engine_that_asks_for_no_key() -> None:
    server = VendorServer(keyless=True)
    await server.start()
    try:
        raw = post("/v1/chat/completions", {"model": "m", **CHAT}).replace(b"authorization: Bearer k-test\r\n", b"")
        heard = await talk(server, raw.replace(b"host: v", b"host: v\r\nconnection: close"))
        assert heard.status == 200
        assert b'"credential"' not in server.tally.lines()
    finally:
        await server.close()
