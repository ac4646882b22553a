"""Where a provider is said to be: every harmless spelling works, and a place where nobody answers is told as such."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.process import rig
from tests.vendor.count import read_count

pytestmark = [pytest.mark.process, pytest.mark.timeout(60)]

SPELLINGS = {
    "plain": ("", "/v1/chat/completions"),
    "slash": ("/", "/v1/chat/completions"),
    "version": ("/v1", "/v1/chat/completions"),
    "version-slash": ("/v1/", "/v1/chat/completions"),
    "prefix": ("/behind/a/proxy", "/behind/a/proxy/v1/chat/completions"),
    "prefix-slash": ("/behind/a/proxy/", "/behind/a/proxy/v1/chat/completions"),
    "prefix-version": ("/behind/a/proxy/v1", "/behind/a/proxy/v1/chat/completions"),
    "prefix-version-slash": ("/behind/a/proxy/v1/", "/behind/a/proxy/v1/chat/completions"),
}
CHAT = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}


def provider(name: str, url: str) -> str:
    return f"""
[[providers]]
name = "{name}"
channel = "custom"
settings = {{ base_url = "{url}", dialect = "openai_chat", connect_timeout = 5 }}
credentials = [ {{ api_key = "{rig.VENDOR_KEY}-{name}" }} ]
"""


def test_every_spelling_of_an_address_leads_to_the_same_place(folder: Path, vendor: rig.Vendor) -> None:
    extra = "".join(provider(name, f"http://127.0.0.1:{vendor.port}{end}") for name, (end, _) in SPELLINGS.items())
    before = len(read_count(vendor.count_file).attempts)
    with rig.gateway(folder, rig.seed(vendor.port, extra)) as gateway:
        for name in SPELLINGS:
            status, _, body = gateway.request("POST", f"/{name}/v1/chat/completions", CHAT)
            assert status == 200, (name, body)
    seen = [attempt.path for attempt in read_count(vendor.count_file).attempts[before:]]
    assert seen == [path for _, path in SPELLINGS.values()]


def test_nobody_there_is_the_upstreams_failure_and_costs_nothing(folder: Path, vendor: rig.Vendor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    places = {"closed": f"http://127.0.0.1:{closed}", "nameless": "http://nobody.invalid"}
    extra = "".join(provider(name, url) for name, url in places.items())
    with rig.gateway(folder, rig.seed(vendor.port, extra)) as gateway:
        for name in places:
            status, headers, body = gateway.request("POST", f"/{name}/v1/chat/completions", CHAT)
            told = json.loads(body)["error"]
            assert (status, told["code"]) == (502, "upstream_error"), name
            assert "retry-after" in headers
            assert rig.VENDOR_KEY not in body.decode()
        rows = gateway.rows(2)
        assert [(row["provider_name"], row["outcome"], row["cost_nano_usd"]) for row in rows] == [
            ("closed", "failed", 0),
            ("nameless", "failed", 0),
        ]
        # The others are not affected.
        assert gateway.request("POST", "/main/v1/chat/completions", CHAT)[0] == 200
