"""Request logs of a living gateway: nothing until asked for, everything without secrets then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.process import rig
from tests.process.test_admin import SEED, admin

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(tmp_path_factory.mktemp("logs"), rig.seed(vendor.port, SEED)) as made:
        yield made


def ask(gateway: rig.Gateway, *, stream: bool = False, model: str = "sim-model") -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "a question"}], "max_tokens": 4, "stream": stream}
    status, headers, _ = gateway.request("POST", "/v1/chat/completions?key=query-secret-1", body)
    assert status in {200, 404}
    return headers["x-request-id"]


def logged(gateway: rig.Gateway, request_id: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        status, _, content = gateway.request("GET", f"/admin/requests/{request_id}", key="sk-root-0123456789abcdef")
        told: dict[str, Any] = json.loads(content)
        return told if status == 200 and told["downstream"] else None

    told: dict[str, Any] = rig.await_that(found, gateway, "the log of a request")
    return told


def test_four_toggles(house: rig.Gateway) -> None:
    before = ask(house)
    names = ("enable_downstream_log", "enable_upstream_log")
    admin(house, "PATCH", "/admin/settings", {"values": dict.fromkeys(names, True)})
    told = logged(house, ask(house))
    assert told["downstream"]["request_body"] is None
    assert told["upstream"][0]["status"] == 200
    assert told["upstream"][0]["response_body"] is None
    bodies = [f"{name}_body" for name in names]
    admin(house, "PATCH", "/admin/settings", {"values": dict.fromkeys(bodies, True)})
    for stream in (False, True):
        told = logged(house, ask(house, stream=stream))
        down, up = told["downstream"], told["upstream"][0]
        assert (down["user_name"], down["status"], down["outcome"]) == ("alice", 200, "complete")
        assert "a question" in down["request_body"]
        assert "a question" in up["request_body"]
        assert "choices" in down["response_body"]
        assert "choices" in up["response_body"]
    text = json.dumps(told) + json.dumps(house.query("SELECT * FROM request_logs"))
    for secret in (rig.ALICE, rig.VENDOR_KEY, "query-secret-1"):
        assert secret not in text
    refused = logged(house, ask(house, model="no-such-model"))
    assert (refused["downstream"]["status"], refused["upstream"]) == (404, [])
    explained = admin(house, "GET", f"/admin/requests/{refused['request_id']}/explain")
    assert (explained["error"], explained["attempts"]) == ("model_not_found", [])
    explained = admin(house, "GET", f"/admin/requests/{told['request_id']}/explain")
    assert explained["attempts"][0]["model_served"] == "sim-model"
    assert explained["steps"][-1] == "answered 200"
    listed = admin(house, "GET", "/admin/requests?side=upstream&user_name=alice&limit=2")
    assert len(listed["items"]) == 2
    assert listed["next_cursor"]
    admin(house, "PATCH", "/admin/settings", {"values": dict.fromkeys((*names, *bodies), None)})
    count = house.query("SELECT COUNT(*) AS n FROM request_logs")
    after = ask(house)
    assert house.stop() == 0
    assert house.query("SELECT COUNT(*) AS n FROM request_logs") == count
    assert not house.query(f"SELECT 1 FROM request_logs WHERE request_id IN ('{before}', '{after}')")
