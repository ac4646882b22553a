"""Caps of credentials through a real gateway: skipped when full, told truthfully, kept across changes of the world."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.process import rig
from tests.process.test_admin import SEED, admin
from tests.process.test_budgets import control

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


def provider(vendor: rig.Vendor, *caps: str) -> str:
    pool = ", ".join(
        f'{{ api_key = "{rig.VENDOR_KEY}-cap-{number}", label = "c{number}"{", " if text else ""}{text} }}'
        for number, text in enumerate(caps)
    )
    return f"""
[[providers]]
name = "capped"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:{vendor.port}", dialect = "openai_chat" }}
credentials = [ {pool} ]

[[models]]
provider_name = "capped"
model_id = "sim-model"
price = {{ input = 1.0, output = 2.0 }}
max_output_tokens = 1000
"""


def ask(gateway: rig.Gateway, script: str = "tokens=5", **more: Any) -> tuple[int, dict[str, str], Any]:
    body = {"model": "sim-model", "messages": [{"role": "user", "content": f"[[sim {script}]] hello"}], **more}
    status, headers, content = gateway.request("POST", "/capped/v1/chat/completions", body)
    return status, headers, json.loads(content)


def credentials(gateway: rig.Gateway) -> dict[str, dict[str, Any]]:
    rows = admin(gateway, "GET", "/admin/credentials?provider_name=capped")["items"]
    return {row["label"]: row for row in rows}


def explained(gateway: rig.Gateway) -> list[tuple[bool, str]]:
    asked = {"user": "alice", "model": "sim-model", "provider": "capped"}
    (way,) = admin(gateway, "POST", "/admin/explain", asked)["candidates"]
    return [(each["usable"], each["reason"]) for each in way["credentials"]]


def test_requests_a_minute_are_kept_to_and_survive_a_change(folder: Any, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port, SEED + provider(vendor, "rpm = 3"))) as gateway:
        assert [ask(gateway)[0] for _ in range(3)] == [200] * 3
        status, headers, told = ask(gateway)
        assert (status, told["error"]["code"]) == (503, "no_credential")
        assert "at its caps" in told["error"]["message"]
        assert 50 <= int(headers["retry-after"]) <= 62, "the first of the three leaves the window after a minute"
        held = credentials(gateway)["c0"]
        assert (held["rpm"], held["tpm"], held["max_in_flight"]) == (3, None, None)
        assert held["in_use"]["requests"] == 3
        assert explained(gateway) == [(False, "at its caps")]
        path = f"/admin/credentials/{held['id']}"
        assert admin(gateway, "PATCH", path, {"rpm": 0}, 400)["error"]["field"] == "rpm"
        # The change finds what was counted before it: two more, not five.
        admin(gateway, "PATCH", path, {"rpm": 5})
        assert [ask(gateway)[0] for _ in range(3)] == [200, 200, 503]
        admin(gateway, "PATCH", path, {"rpm": None})
        assert ask(gateway)[0] == 200
        assert credentials(gateway)["c0"]["in_use"] is None
        assert len(gateway.rows(6)) == 6, "a request that found no credential has no row"


def test_the_others_of_the_pool_go_on(folder: Any, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port, SEED + provider(vendor, "rpm = 1", ""))) as gateway:
        assert [ask(gateway)[0] for _ in range(6)] == [200] * 6
        ids = {row["id"]: label for label, row in credentials(gateway).items()}
        used = [ids[row["credential_id"]] for row in gateway.rows(6)]
    assert sorted(used) == ["c0"] + ["c1"] * 5
    assert all(row["attempt_no"] == 1 for row in gateway.query("SELECT attempt_no FROM usages"))


def test_tokens_count_in_full_until_the_answer_is_there(folder: Any, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port, SEED + provider(vendor, "tpm = 2000"))) as gateway:
        answered: list[int] = []
        first = threading.Thread(
            target=lambda: answered.append(ask(gateway, "tokens=5,gate=tokens", max_tokens=1500)[0])
        )
        first.start()
        control(vendor, "GET", "gates/tokens?waiting=1")
        assert credentials(gateway)["c0"]["in_use"]["tokens"] >= 1500
        assert ask(gateway, max_tokens=1000)[0] == 503
        control(vendor, "POST", "gates/tokens")
        first.join()
        assert answered == [200]
        assert ask(gateway, max_tokens=1000)[0] == 200, "what it took was less than what it could have taken"
        rows = gateway.rows(2)
        used = sum(row["input_tokens"] + row["output_tokens"] for row in rows)
        assert credentials(gateway)["c0"]["in_use"] == {"requests": 2, "tokens": used, "in_flight": 0}


def test_requests_at_the_same_time(folder: Any, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port, SEED + provider(vendor, "max_in_flight = 1"))) as gateway:
        answered: list[int] = []
        first = threading.Thread(target=lambda: answered.append(ask(gateway, "tokens=5,gate=busy")[0]))
        first.start()
        control(vendor, "GET", "gates/busy?waiting=1")
        status, headers, _ = ask(gateway)
        assert (status, headers["retry-after"]) == (503, "1")
        assert credentials(gateway)["c0"]["in_use"]["in_flight"] == 1
        control(vendor, "POST", "gates/busy")
        first.join()
        assert answered == [200]
        assert ask(gateway)[0] == 200
        assert ask(gateway, "status=400")[0] == 400, "a request that failed gives its place back too"
        assert ask(gateway)[0] == 200


def test_several_workers_let_through_no_more_than_one_would(folder: Any, vendor: rig.Vendor) -> None:
    seed = rig.seed(vendor.port, SEED + provider(vendor, "rpm = 5"))
    with rig.gateway(folder, seed, "--workers", "2") as gateway:
        gateway.told("all workers serve")
        # Every request is a connection of its own, so that both workers have some.
        answers = [ask(gateway) for _ in range(40)]
        told = {status for status, _, _ in answers}
        through = sum(status == 200 for status, _, _ in answers)
        assert told == {200, 503}
        assert 2 <= through <= 5, "each has its share, and the shares add up to the cap"
        assert all(0 < int(headers["retry-after"]) <= 62 for status, headers, _ in answers if status == 503)
        assert len(gateway.rows(through)) == through
