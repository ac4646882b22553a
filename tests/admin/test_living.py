"""Channels, settings, prices, health, calls to vendors, explain, one's own things, the documents."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.ids import CredentialId
from gproxy.routing.health import HealthRecord, Status
from gproxy.storage.health import CredentialStatus, save_statuses
from tests.admin.conftest import ALICE_KEY, House
from tests.admin.test_resources import SAMPLES


@pytest.fixture
async def configured(root: httpx2.AsyncClient) -> dict[str, Any]:
    """A provider with a credential and a model; its credential."""
    for resource in ("providers", "models"):
        assert (await root.post(f"/admin/{resource}", json=SAMPLES[resource])).status_code == 201
    found: dict[str, Any] = (await root.post("/admin/credentials", json=SAMPLES["credentials"])).json()
    return found


async def test_channels(root: httpx2.AsyncClient) -> None:
    rows = {row["name"]: row for row in (await root.get("/admin/channels")).json()["items"]}
    assert rows["openai"]["credential_fields"] == [["api_key"]]
    assert rows["custom"]["base_url"] == ""
    assert (await root.get("/admin/channels/openai")).json() == rows["openai"]
    assert (await root.get("/admin/channels/nothing")).status_code == 404


async def test_settings(house: House, root: httpx2.AsyncClient) -> None:
    rows = {row["name"]: row for row in (await root.get("/admin/settings")).json()["items"]}
    assert rows["port"]["needs_restart"]
    assert (rows["port"]["value"], rows["port"]["origin"]) == (None, "default")
    changed = await root.patch("/admin/settings/retention_days", json={"value": 30})
    assert changed.json()["value"] == 30
    assert house.world.snapshot.settings["retention_days"] == "30"
    several = await root.patch("/admin/settings", json={"values": {"retention_days": None, "log_level": "debug"}})
    assert {row["name"]: row["value"] for row in several.json()["items"] if row["value"]} == {"log_level": "debug"}
    assert (await root.delete("/admin/settings/log_level")).status_code == 204
    assert (await root.get("/admin/settings/log_level")).json()["value"] is None
    for path, body, field in (
        ("/admin/settings/port", {"value": "80"}, "value"),
        ("/admin/settings/port", {"value": 99_999}, "value"),
        ("/admin/settings/port", {"value": True}, "value"),
        ("/admin/settings/log_level", {"value": "shouting"}, "value"),
        ("/admin/settings", {"values": {"port": 80, "log_level": 7}}, "values.log_level"),
        ("/admin/settings", {"values": {}}, "values"),
    ):
        answer = await root.patch(path, json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field), answer.text
    assert (await root.patch("/admin/settings/secret_key", json={"value": "x"})).status_code == 404
    assert (await root.get("/admin/settings/_digest_key")).status_code == 404
    assert "port" not in house.world.snapshot.settings


async def test_prices(root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    (own,) = (await root.get("/admin/prices")).json()["items"]
    assert (own["kind"], own["name"], own["source"]) == ("model", "main/gpt-4.1-mini", "own")
    await root.patch("/admin/models/main/gpt-4.1-mini", json={"pricing": None})
    model = (await root.get("/admin/models/main/gpt-4.1-mini")).json()
    assert model["price_source"] == "bundled"
    (bundled,) = (await root.get("/admin/prices?provider_name=main")).json()["items"]
    assert bundled["source"] == "bundled"
    listed = (await root.get("/admin/prices/bundled?vendor=openai&model=gpt-4.1-mini")).json()
    assert listed["price"]["version"] == bundled["version"]
    assert listed["price"]["pricing"] == model["effective_pricing"]
    assert (await root.get("/admin/prices/bundled?vendor=nobody&model=x")).json()["price"] is None


async def test_health(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    path = f"/admin/health/{configured['id']}"
    assert (await root.get(path)).json()["state"] == "healthy"
    off = await root.patch(path, json={"state": "disabled", "reason": "leaked"})
    assert (off.json()["state"], off.json()["reason"]) == ("disabled", "leaked")
    assert (await root.get(f"/admin/credentials/{configured['id']}")).json()["health"]["state"] == "disabled"
    assert not house.world.board.health.usable(CredentialId(configured["id"]), "m", 0.0)
    assert [row["id"] for row in (await root.get("/admin/health?state=disabled")).json()["items"]] == [configured["id"]]
    assert (await root.patch(path, json={"state": "healthy"})).json()["state"] == "healthy"
    assert (await root.get("/admin/health?state=disabled")).json()["items"] == []
    assert (await root.get("/admin/health/nobody")).status_code == 404
    credential = f"/admin/credentials/{configured['id']}"
    new = {"fields": {"api_key": "sk-vendor-new-9876543210"}}
    steps = [{"op": "update", "id": configured["id"], "values": new}]
    for body, state in (({"label": "x"}, "disabled"), (new, "healthy"), ({"enabled": True}, "healthy")):
        await root.patch(path, json={"state": "disabled"})
        assert (await root.patch(credential, json=body)).json()["health"]["state"] == state
    await root.patch(path, json={"state": "disabled"})
    done = await root.post("/admin/credentials/batch", json={"operations": steps})
    assert done.json()["results"][0]["item"]["health"]["state"] == "healthy"


async def test_health_is_told_of_every_row_and_of_single_models(
    house: House, root: httpx2.AsyncClient, configured: dict[str, Any]
) -> None:
    sample = {**SAMPLES["credentials"], "label": "two"}
    other = (await root.post("/admin/credentials", json=sample)).json()
    board = house.world.board.health
    board.disable(CredentialId(other["id"]), "leaked")
    now, now_us = house.world.clock.monotonic(), house.world.clock.now_us()
    resting = HealthRecord(CredentialId(configured["id"]), "gpt-5", Status.COOLDOWN, now_us + 60_000_000, 1, "storm")
    over = HealthRecord(CredentialId(configured["id"]), "gpt-6", Status.COOLDOWN, now_us - 60_000_000, 1, "storm")
    board.restore((resting, over), now, now_us)
    rows = {row["id"]: row["health"] for row in (await root.get("/admin/credentials")).json()["items"]}
    assert rows == {
        configured["id"]: {"state": "healthy", "until": None, "reason": ""},
        other["id"]: {"state": "disabled", "until": None, "reason": "leaked"},
    }
    told = {row["id"]: row for row in (await root.get("/admin/health")).json()["items"]}
    assert (told[configured["id"]]["state"], told[other["id"]]["state"]) == ("healthy", "disabled")
    (model,) = told[configured["id"]]["models"]
    assert (model["model"], model["state"], model["reason"]) == ("gpt-5", "cooldown", "storm")
    assert told[other["id"]]["models"] == []
    overview = (await root.get("/admin/dashboard/overview")).json()
    assert overview["credentials"] == {"healthy": 1, "cooldown": 0, "disabled": 1}


async def test_health_has_a_history(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    path = f"/admin/health/{configured['id']}/history"
    assert (await root.get(path)).json() == {"items": [], "next_cursor": None, "before": None}

    def status(at: int, scope: str, state: str, until: int | None = None) -> CredentialStatus:
        return CredentialStatus(configured["id"], scope, state, until, "429" if until else None, 0, at)

    for each in (
        status(10, "", "cooldown", 15),
        status(20, "gpt-5", "cooldown", 25),
        status(30, "", "healthy"),
    ):
        await save_statuses(house.world.db, [each])
    told = (await root.get(path)).json()
    assert [(row["at"], row["model"], row["state"], row["until"]) for row in told["items"]] == [
        (30, None, "healthy", None),
        (20, "gpt-5", "cooldown", 25),
        (10, None, "cooldown", 15),
    ]
    first = (await root.get(path, params={"limit": 2})).json()
    rest = (await root.get(path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [*first["items"], *rest["items"]] == told["items"]
    assert rest["next_cursor"] is None
    span = (await root.get(path, params={"since": 25, "until": 30})).json()
    assert (span["items"], span["before"]) == ([], told["items"][2])
    assert (await root.get("/admin/health/nobody/history")).status_code == 404


async def test_pulling_models(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    house.vendor.will(200, {"data": [{"id": "gpt-4.1-mini"}, {"id": "gpt-5"}], "has_more": True, "last_id": "gpt-5"})
    house.vendor.will(200, {"data": [{"id": "gpt-6", "display_name": "Six"}, {"id": ""}, 7, {"id": "x" * 300}]})
    pulled = (await root.post("/admin/models/pull", json={"provider_name": "main", "add": True})).json()
    assert [(row["model_id"], row["known"]) for row in pulled["items"]] == [
        ("gpt-4.1-mini", True),
        ("gpt-5", False),
        ("gpt-6", False),
    ]
    assert pulled["added"] == 2
    assert [request.target for request in house.vendor.asked] == [b"/v1/models", b"/v1/models?after_id=gpt-5"]
    assert (b"authorization", b"Bearer sk-vendor-0123456789") in house.vendor.asked[0].headers
    assert (await root.get("/admin/models/main/gpt-6")).json()["display_name"] == "Six"
    for status, document in ((500, {}), (401, {"error": {"message": "no"}}), (200, {"odd": 1}), (200, b"<html>")):
        house.vendor.will(status, document)
        answer = await root.post("/admin/models/pull", json={"provider_name": "main"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
    assert (await root.post("/admin/models/pull", json={"provider_name": "nobody"})).status_code == 400


async def test_testing_a_credential(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    path = f"/admin/credentials/{configured['id']}/test"
    house.vendor.will(401, {"error": {"message": "bad", "code": "invalid_api_key"}})
    told = (await root.post(path)).json()
    assert (told["ok"], told["status"], told["verdict"]) == (False, 401, "bad_key")
    house.vendor.script.append(UpstreamFault(Phase.CONNECT, "connection refused"))
    told = (await root.post(path)).json()
    assert (told["ok"], told["status"], "connection refused" in told["reason"]) == (False, None, True)
    await root.patch(f"/admin/health/{configured['id']}", json={"state": "disabled"})
    house.vendor.will(200, {"data": [{"id": "m"}]})
    told = (await root.post(path)).json()
    assert (told["ok"], told["models"]) == (True, 1)
    assert (await root.get(f"/admin/health/{configured['id']}")).json()["state"] == "healthy"
    assert (await root.post("/admin/credentials/nobody/test")).status_code == 404


async def explain(root: httpx2.AsyncClient, **asked: Any) -> dict[str, Any]:
    answer = await root.post("/admin/explain", json={"user": "alice", "model": "gpt-4.1-mini", **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_explain_follows_the_order_of_a_request(root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    told = await explain(root)
    assert (told["allowed"], told["status"], told["code"]) == (False, 403, "forbidden")
    assert [step["step"] for step in told["steps"]] == ["identify", "permit"]
    await root.post("/admin/permissions", json={"user_name": "alice", "model_pattern": "*"})
    await root.post("/admin/rate_limits", json=SAMPLES["rate_limits"])
    told = await explain(root, input_tokens=1_000_000, max_output_tokens=1_000_000)
    assert (told["allowed"], told["status"]) == (True, 200)
    (way,) = told["candidates"]
    assert (way["provider_name"], way["support"], way["cost_bound"]) == ("main", "native", "2")
    assert way["credentials"] == [{"id": configured["id"], "label": "one", "usable": True, "reason": ""}]
    assert [row["rpm"] for row in told["rate_limits"]] == [10]
    await root.post("/admin/quotas", json={"user_name": "alice", "quota": "1.99"})
    told = await explain(root, input_tokens=1_000_000, max_output_tokens=1_000_000)
    assert (told["allowed"], told["status"], told["code"]) == (False, 402, "quota_exceeded")
    assert (await explain(root, input_tokens=1))["allowed"]
    # Without a stated cap a request is never refused for what it could cost, only for what it costs at the least.
    told = await explain(root, input_tokens=4_500_000)
    assert told["allowed"]
    assert "capped" in next(step["text"] for step in told["steps"] if step["step"] == "quota")
    await root.patch(f"/admin/health/{configured['id']}", json={"state": "disabled", "reason": "leaked"})
    told = await explain(root)
    assert (told["status"], told["candidates"][0]["credentials"][0]["reason"]) == (503, "leaked")
    assert (await explain(root, model="nothing"))["status"] == 404
    await root.patch("/admin/providers/main", json={"enabled": False})
    told = await explain(root, model="main/gpt-4.1-mini")
    assert told["status"] == 404
    assert told["skipped"][0]["reason"] == "the provider is disabled"
    assert (await root.post("/admin/explain", json={"user": "nobody", "model": "m"})).status_code == 400
    odd = await root.post("/admin/explain", json={"user": "alice", "model": "m", "dialect": "bedrock_converse"})
    assert (odd.status_code, "no client speaks it" in odd.text) == (400, True), odd.text


async def test_ones_own_things(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    session = (await house.login("alice"))["session_token"]
    async with house.client(session) as alice:
        assert (await alice.get("/user/models")).json()["items"] == []
        assert (await alice.get("/user/quota")).json()["quota"] is None
        await root.post("/admin/permissions", json={"user_name": "alice", "model_pattern": "gpt-*"})
        await root.post("/admin/quotas", json=SAMPLES["quotas"])
        await root.post("/admin/routes", json={**SAMPLES["routes"], "name": "gpt-best"})
        assert [(row["id"], row["kind"]) for row in (await alice.get("/user/models")).json()["items"]] == [
            ("gpt-4.1-mini", "model"),
            ("gpt-best", "route"),
            ("main/gpt-4.1-mini", "model"),
        ]
        quota = (await alice.get("/user/quota")).json()
        assert (quota["quota"], quota["remaining"]) == ("12.5", "12.5")
        made = await alice.post("/user/keys", json={"label": "laptop", "expires_at": 2**51})
        assert made.status_code == 201
        path = f"/user/keys/{made.json()['id']}"
        async with house.client(made.json()["api_key"]) as by_key:
            assert (await by_key.get("/user/keys")).status_code == 200
            assert (await by_key.post("/user/keys", json={})).status_code == 403, "a key makes no keys"
            off = await alice.patch(path, json={"enabled": False}, headers={"if-match": made.headers["etag"]})
            assert off.status_code == 200
            assert (await by_key.get("/user/me")).status_code == 401
        assert (await alice.delete(path)).status_code == 204
        assert (await alice.get(path)).status_code == 404
        assert (await alice.get("/user/usages/summary")).json()["attempts"] == 0
        for _ in range(99):
            assert (await alice.post("/user/keys", json={})).status_code == 201
        assert (await alice.post("/user/keys", json={})).status_code == 409


async def test_reload_and_in_flight(house: House, root: httpx2.AsyncClient, configured: dict[str, Any]) -> None:
    revision = house.world.snapshot.revision
    await house.world.db.execute("UPDATE providers SET channel = 'gone'")
    told = (await root.post("/admin/reload")).json()
    assert told["revision"] == revision
    assert told["problems"] == ["providers main: there is no channel 'gone'"]
    flying = (await root.get("/admin/in_flight")).json()
    assert {name: flying[name] for name in ("count", "limit", "items")} == {"count": 0, "limit": 1024, "items": []}
    assert (await root.post("/admin/credentials", json=SAMPLES["credentials"])).status_code == 400
    assert (await root.get("/admin/providers/main")).json()["channel"] == "gone", "and it can still be mended"


async def test_the_documents(house: House) -> None:
    async with house.client() as client:
        document = (await client.get("/openapi.json")).json()
        page = (await client.get("/docs")).text
    assert document["openapi"] == "3.1.0"
    operations = [each for item in document["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) > 80
    assert all(each["summary"] and each["tags"] for each in operations)
    assert "HTTPValidationError" not in document["components"]["schemas"]
    assert "<script" not in page
    assert "/admin/providers" in page


async def test_a_database_that_is_away_is_told_as_such(house: House, root: httpx2.AsyncClient) -> None:
    await house.world.db.close()
    answer = await root.get("/admin/users")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"]
    async with house.client(ALICE_KEY) as client:
        assert (await client.get("/user/me")).status_code == 200, "who somebody is, is known without it"
