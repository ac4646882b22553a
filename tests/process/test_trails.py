"""What a living gateway tells of past requests and of the use of keys, also when nobody switched on a log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.process import rig
from tests.process.test_admin import ROOT, SEED, admin

pytestmark = pytest.mark.process

MORE = """
[[routes]]
name = "best"
members = [
  { provider_name = "other", model_id = "sim~status=503", tier = 0 },
  { provider_name = "main", model_id = "sim-model", tier = 1 },
]

[[rate_limits]]
user_name = "alice"
model_pattern = "best"
rpm = 5

[[quotas]]
user_name = "alice"
quota = 3
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(tmp_path_factory.mktemp("trails"), rig.seed(vendor.port, SEED + MORE)) as made:
        yield made


def ask(house: rig.Gateway, model: str, script: str = "tokens=2", *, key: str | None = rig.ALICE, **more: Any) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": f"[[sim {script}]] secret words"}], **more}
    _, headers, _ = house.request("POST", "/v1/chat/completions", body, key=key)
    return headers["x-request-id"]


def explained(house: rig.Gateway, request_id: str, attempts: int = 0) -> dict[str, Any]:
    """The trail, once it and so many attempts are in the database."""

    def found() -> dict[str, Any] | None:
        status, _, content = house.request("GET", f"/admin/requests/{request_id}/explain", key=ROOT)
        told: dict[str, Any] = json.loads(content)
        return told if status == 200 and told["trail"] and len(told["attempts"]) == attempts else None

    told: dict[str, Any] = rig.await_that(found, house, "the trail of a request")
    return told


def steps(told: dict[str, Any]) -> list[tuple[str, bool]]:
    return [(step["step"], step["ok"]) for step in told["trail"]["steps"]]


def test_refusals_say_at_which_step_and_why(house: rig.Gateway) -> None:
    told = explained(house, ask(house, "no-such-model"))
    assert (told["status"], told["error"], told["attempts"]) == (404, "model_not_found", [])
    assert steps(told) == [("identify", True), ("permit", True), ("resolve", False)]
    assert told["trail"]["user_name"] == "alice"
    told = explained(house, ask(house, "sim-model", key=rig.MUTE))
    assert (told["status"], steps(told)) == (403, [("identify", True), ("permit", False)])
    told = explained(house, ask(house, "sim-model", key="sk-nobody"))
    assert (told["status"], steps(told)) == (401, [("identify", False)])
    told = explained(house, ask(house, "sim-model", max_tokens=5_000_000))
    assert (told["status"], told["error"]) == (402, "quota_exceeded")
    assert steps(told)[-1] == ("reserve", False)
    # The dry run says the same of the same request.
    dry = admin(
        house, "POST", "/admin/explain", {"user": "alice", "model": "sim-model", "max_output_tokens": 5_000_000}
    )
    assert (dry["status"], dry["code"]) == (402, "quota_exceeded")
    assert dry["steps"][:3][1:] == told["trail"]["steps"][1:3]


def test_a_failover_is_told_credential_by_credential(house: rig.Gateway) -> None:
    told = explained(house, ask(house, "best"), attempts=2)
    tried = [(one["attempt"], one["provider_name"], one["verdict"]) for one in told["trail"]["credentials"]]
    assert tried == [(1, "other", "overloaded"), (2, "main", "ok")]
    assert [row["outcome"] for row in told["attempts"]] == ["failed", "complete"]
    assert told["trail"]["route"] == "best"
    (limit,) = told["trail"]["rate_limits"]
    assert (limit["dimension"], limit["cost"], limit["before"] - limit["after"]) == ("rpm", 1, 1)
    quota = told["trail"]["quota"]
    assert quota["before"] - quota["after"] == told["cost_nano_usd"] > 0
    assert "secret words" not in json.dumps(house.query("SELECT * FROM request_trails"))
    assert told["steps"][-1] == "answered 200"


def test_a_request_that_went_well_leaves_a_trail_only_where_that_is_wished(house: rig.Gateway) -> None:
    plain = ask(house, "sim-model")
    landed = f"SELECT 1 FROM usages WHERE request_id = '{plain}'"
    rig.await_that(lambda: house.query(landed) or None, house, "the row of a request")
    admin(house, "PATCH", "/admin/settings/trail_share", {"value": 1})
    sampled = explained(house, ask(house, "sim-model"), attempts=1)
    assert [(one["attempt"], one["verdict"]) for one in sampled["trail"]["credentials"]] == [(1, "ok")]
    assert steps(sampled)[-1] == ("answer", True)
    admin(house, "DELETE", "/admin/settings/trail_share", status=204)
    # Trails are written in their order, and the later one was there.
    assert admin(house, "GET", f"/admin/requests/{plain}/explain")["trail"] is None
    for name, value in (("trail_share", 1.5), ("trail_retention_days", -1), ("usage_retention_days", 40_000)):
        refused = admin(house, "PATCH", f"/admin/settings/{name}", {"value": value}, 400)
        assert refused["error"]["field"] == "value"


def test_the_last_use_of_a_key_is_noted_and_survives_a_restart(house: rig.Gateway) -> None:
    ask(house, "sim-model")
    keys = {row["user_name"]: row for row in admin(house, "GET", "/admin/keys?enabled=true")["items"]}
    assert set(keys) == {"alice", "mute", "root"}
    assert house.stop() == 0
    house.start()
    after = {row["user_name"]: row for row in admin(house, "GET", "/admin/keys?enabled=true")["items"]}
    (newest,) = house.query("SELECT MAX(at) AS at FROM usages WHERE user_name = 'alice'")
    # The row's moment is that of its attempt, the key's that of the request's arrival.
    assert newest["at"] - 5_000_000 < after["alice"]["last_used_at"] <= newest["at"]
    assert after["root"]["last_used_at"] > after["alice"]["last_used_at"]
    assert after["mute"]["version"] == keys["mute"]["version"], "a use is no change of the key"
