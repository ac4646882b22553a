"""Every resource: created, listed, read, changed, refused, deleted; and the next request obeys."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from gproxy.admin.access import BY_ID, BY_NAME
from tests.admin.conftest import House

PROVIDER = {"name": "main", "channel": "openai", "settings": {"base_url": "http://127.0.0.1:9"}}
SAMPLES: dict[str, dict[str, Any]] = {
    "providers": PROVIDER,
    "credentials": {"provider_name": "main", "label": "one", "fields": {"api_key": "sk-vendor-0123456789"}},
    "models": {
        "provider_name": "main",
        "model_id": "gpt-4.1-mini",
        "pricing": {"price": {"input": 0.4, "output": 1.6}},
    },
    "aliases": {"alias": "fast", "provider_name": "main", "model_id": "gpt-4.1-mini"},
    "routes": {"name": "best", "members": [{"provider_name": "main", "model_id": "gpt-4.1-mini"}]},
    "users": {"name": "carol", "password": "a long enough password"},
    "keys": {"user_name": "alice", "label": "laptop"},
    "permissions": {"user_name": "alice", "model_pattern": "gpt-*"},
    "file_permissions": {"user_name": "alice", "provider_name": "main"},
    "rate_limits": {"user_name": "alice", "model_pattern": "*", "rpm": 10},
    "quotas": {"user_name": "alice", "quota": "12.5"},
}
CHANGES: dict[str, dict[str, Any]] = {
    "providers": {"label": "Main"},
    "credentials": {"weight": 3},
    "models": {"display_name": "Mini", "pricing": None},
    "aliases": {"enabled": False},
    "routes": {"strategy": "weighted"},
    "users": {"is_admin": True},
    "keys": {"label": "desktop"},
    "permissions": {"model_pattern": "*"},
    "file_permissions": {},
    "rate_limits": {"rpm": None, "rpd": 5},
    "quotas": {"quota": None},
}
NAMED = {
    "providers": "main",
    "models": "main/gpt-4.1-mini",
    "aliases": "fast",
    "routes": "best",
    "users": "carol",
    "quotas": "alice",
}
RESOURCES = (*BY_NAME, *BY_ID)


async def made(root: httpx2.AsyncClient, resource: str) -> dict[str, Any]:
    """One of this resource, with what it needs."""
    needs: tuple[str, ...] = ()
    if resource in {"credentials", "models", "aliases", "routes", "file_permissions"}:
        needs = ("providers",)
    for need in needs:
        answer = await root.post(f"/admin/{need}", json=SAMPLES[need])
        assert answer.status_code == 201, answer.text
    answer = await root.post(f"/admin/{resource}", json=SAMPLES[resource])
    assert answer.status_code == 201, answer.text
    row: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/admin/{resource}/{row['id']}"
    assert answer.headers["etag"] == f'"{row["version"]}"'
    return row


def test_there_is_a_sample_of_every_resource() -> None:
    assert set(SAMPLES) == set(CHANGES) == set(RESOURCES)


@pytest.mark.parametrize("resource", RESOURCES)
async def test_the_life_of_a_row(house: House, root: httpx2.AsyncClient, resource: str) -> None:
    before = house.world.snapshot.revision
    row = await made(root, resource)
    assert house.world.snapshot.revision > before, "the snapshot is swapped before the answer"
    path = f"/admin/{resource}/{row['id']}"

    read = await root.get(path)
    assert read.status_code == 200
    for secret in ("api_key", "fields"):
        row.pop(secret, None)
    assert {name: value for name, value in read.json().items() if name in row} == row

    listing = (await root.get(f"/admin/{resource}")).json()
    assert row["id"] in [each["id"] for each in listing["items"]]
    assert listing["next_cursor"] is None

    changed = await root.patch(path, json=CHANGES[resource], headers={"if-match": read.headers["etag"]})
    assert changed.status_code == 200, changed.text
    for name, value in CHANGES[resource].items():
        assert changed.json()[name] == value
    if CHANGES[resource]:
        assert changed.headers["etag"] != read.headers["etag"]
        stale = await root.patch(path, json=CHANGES[resource], headers={"if-match": read.headers["etag"]})
        assert (stale.status_code, stale.json()["error"]["code"]) == (412, "precondition_failed")
        assert (await root.delete(path, headers={"if-match": read.headers["etag"]})).status_code == 412

    gone = await root.delete(path, headers={"if-match": changed.headers["etag"]})
    assert (gone.status_code, gone.content) == (204, b"")
    if resource == "quotas":  # without a limit, but what was spent stays on record
        assert (await root.get(path)).json()["quota"] is None
    else:
        missing = await root.get(path)
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
        assert (await root.patch(path, json={})).status_code == 404
        assert (await root.delete(path)).status_code == 404


@pytest.mark.parametrize("resource", sorted(NAMED))
async def test_names_work_as_ids(root: httpx2.AsyncClient, resource: str) -> None:
    row = await made(root, resource)
    assert (await root.get(f"/admin/{resource}/{NAMED[resource]}")).json()["id"] == row["id"]


@pytest.mark.parametrize("resource", [each for each in RESOURCES if each not in {"credentials", "keys", "quotas"}])
async def test_the_same_twice_is_a_conflict(root: httpx2.AsyncClient, resource: str) -> None:
    await made(root, resource)
    again = await root.post(f"/admin/{resource}", json=SAMPLES[resource])
    assert again.status_code == 409, again.text
    assert again.json()["error"]["code"] == "conflict"
    assert again.json()["error"]["field"]


@pytest.mark.parametrize(
    ("resource", "body", "field"),
    [
        ("providers", {"channel": "openai"}, "name"),
        ("providers", {**PROVIDER, "name": "admin"}, "name"),
        ("providers", {**PROVIDER, "name": "v1"}, "name"),
        ("providers", {**PROVIDER, "name": "a b"}, "name"),
        ("providers", {**PROVIDER, "name": 7}, "name"),
        ("providers", {**PROVIDER, "name": "x" * 201}, "name"),
        ("providers", {**PROVIDER, "channel": "nobody"}, "channel"),
        ("providers", {**PROVIDER, "settings": {"base_url": "ftp://x"}}, "settings.base_url"),
        ("providers", {**PROVIDER, "settings": {"base_url": "http://169.254.169.254/"}}, "settings.base_url"),
        ("providers", {**PROVIDER, "settings": {"rotation": "odd"}}, "settings.rotation"),
        ("providers", {**PROVIDER, "settings": []}, "settings"),
        ("providers", {**PROVIDER, "enabled": "yes"}, "enabled"),
        ("providers", {**PROVIDER, "colour": "red"}, "colour"),
        ("credentials", {"fields": {"api_key": "x"}}, "provider_name"),
        ("credentials", {"provider_name": "nobody", "fields": {"api_key": "x"}}, "provider_name"),
        ("credentials", {"provider_name": "main", "fields": {}}, "fields.api_key"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "x", "odd": "y"}}, "fields.odd"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "a\nb"}}, "fields.api_key"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "x"}, "weight": -1}, "weight"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "x"}, "rpm": 0}, "rpm"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "x"}, "tpm": "many"}, "tpm"),
        ("credentials", {"provider_name": "main", "fields": {"api_key": "x"}, "max_in_flight": 1.5}, "max_in_flight"),
        ("models", {"provider_name": "main", "model_id": ""}, "model_id"),
        ("models", {"provider_name": "main", "model_id": "m", "max_output_tokens": 0}, "max_output_tokens"),
        ("models", {"provider_name": "main", "model_id": "m", "pricing": {"odd": 1}}, "pricing.odd"),
        ("models", {"provider_name": "main", "model_id": "m", "pricing": {"price": {"input": -1}}}, "pricing.price.input"),
        ("aliases", {"alias": "a\u0000b", "provider_name": "main", "model_id": "m"}, "alias"),
        ("routes", {"name": "r", "members": []}, "members"),
        (
            "routes",
            {"name": "r", "members": [{"provider_name": "main", "model_id": "m"}], "hedge_percentile": 100},
            "hedge_percentile",
        ),
        ("routes", {"name": "r", "members": [{"provider_name": "x", "model_id": "m"}]}, "members[0].provider_name"),
        ("routes", {"name": "r", "members": [{"provider_name": "main"}]}, "members[0].model_id"),
        ("routes", {"name": "r", "strategy": "odd", "members": [{"provider_name": "main", "model_id": "m"}]}, "strategy"),
        ("users", {"name": " alice"}, "name"),
        ("users", {"name": "dave", "password": "short"}, "password"),
        ("users", {"name": "dave", "password": "$argon2id$v=19$m=99999999,t=9,p=1$c2FsdA$aGFzaA"}, "password"),
        ("keys", {"label": "nobody's"}, "user_name"),
        ("keys", {"user_name": "alice", "expires_at": -1}, "expires_at"),
        ("keys", {"user_name": "alice", "on_disconnect": "explode"}, "on_disconnect"),
        ("keys", {"user_name": "alice", "api_key": "with a space"}, "api_key"),
        ("permissions", {"user_name": "alice", "model_pattern": "[a"}, "model_pattern"),
        ("permissions", {"user_name": "alice", "user_id": "alice", "model_pattern": "*"}, "user_name"),
        ("rate_limits", {"user_name": "alice", "model_pattern": "*"}, "rpm"),
        ("rate_limits", {"user_name": "alice", "model_pattern": "*", "rpm": 1.5}, "rpm"),
        ("rate_limits", {"user_name": "alice", "model_pattern": "*", "rpm": 2**60}, "rpm"),
        ("quotas", {"user_name": "alice"}, "quota"),
        ("quotas", {"user_name": "alice", "quota": -1}, "quota"),
        ("quotas", {"user_name": "alice", "quota": True}, "quota"),
        ("quotas", {"user_name": "alice", "quota": "0.0000000001"}, "quota"),
        ("quotas", {"user_name": "alice", "quota": "NaN"}, "quota"),
    ],
)  # fmt: skip
async def test_bad_input_names_its_field(
    house: House, root: httpx2.AsyncClient, resource: str, body: dict[str, Any], field: str
) -> None:
    if resource != "providers":
        await root.post("/admin/providers", json=PROVIDER)
    before = house.world.snapshot.revision
    answer = await root.post(f"/admin/{resource}", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["field"] == field, answer.text
    assert house.world.snapshot.revision == before, "nothing was written"


async def test_secrets_are_shown_once(root: httpx2.AsyncClient) -> None:
    await root.post("/admin/providers", json=PROVIDER)
    answer = (await root.post("/admin/credentials", json=SAMPLES["credentials"])).json()
    assert answer["fields"] == {"api_key": "sk-vendor-0123456789"}
    assert (await root.get(f"/admin/credentials/{answer['id']}")).json()["fields"] == {"api_key": "sk-…6789"}
    key = (await root.post("/admin/keys", json=SAMPLES["keys"])).json()
    assert key["api_key"].startswith("sk-gp-")
    for path in (f"/admin/keys/{key['id']}", "/admin/keys", "/admin/audit"):
        assert key["api_key"] not in (await root.get(path)).text
    revealed = (await root.post(f"/admin/keys/{key['id']}/reveal")).json()
    assert revealed == {"id": key["id"], "fields": {"api_key": key["api_key"]}}
    shown = (await root.post(f"/admin/credentials/{answer['id']}/reveal")).json()
    assert shown["fields"] == {"api_key": "sk-vendor-0123456789"}
    audit = (await root.get("/admin/audit", params={"action": "reveal"})).json()["items"]
    assert [(row["resource"], row["resource_id"]) for row in audit] == [
        ("credentials", answer["id"]),
        ("keys", key["id"]),
    ]
    assert (await root.post("/admin/keys/nobody/reveal")).status_code == 404


async def test_lists_are_paged_filtered_and_searched(root: httpx2.AsyncClient) -> None:
    operations = [{"op": "create", "values": {"name": f"tenant-{n:03}"}} for n in range(25)]
    assert (await root.post("/admin/users/batch", json={"operations": operations})).status_code == 200
    names: list[str] = []
    cursor = ""
    while True:
        page = (await root.get("/admin/users", params={"limit": 10, "cursor": cursor, "q": "TENANT"})).json()
        names += [row["name"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = page["next_cursor"]
    assert names == [f"tenant-{n:03}" for n in range(25)]
    assert [row["name"] for row in (await root.get("/admin/users?is_admin=true")).json()["items"]] == ["root"]
    assert (await root.get("/admin/users?q=%25")).json()["items"] == []
    for query, field in (
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("limit=9999", "limit"),
        ("colour=red", "colour"),
    ):
        answer = await root.get(f"/admin/users?{query}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


async def test_a_batch_is_all_or_nothing(house: House, root: httpx2.AsyncClient) -> None:
    carol = await made(root, "users")
    before = house.world.snapshot.revision
    operations: list[dict[str, Any]] = [
        {"op": "create", "values": {"name": "dave"}},
        {"op": "update", "id": carol["id"], "values": {"enabled": False}},
        {"op": "create", "values": {"name": "alice"}},
    ]
    answer = await root.post("/admin/users/batch", json={"operations": operations})
    assert answer.status_code == 409
    assert answer.json()["error"]["field"] == "operations[2].name"
    assert house.world.snapshot.revision == before
    assert (await root.get("/admin/users/dave")).status_code == 404
    operations[2] = {"op": "delete", "id": "bob"}
    done = (await root.post("/admin/users/batch", json={"operations": operations})).json()["results"]
    assert [each["op"] for each in done] == ["create", "update", "delete"]
    assert done[1]["item"]["enabled"] is False
    assert done[2]["item"] is None
    assert house.world.snapshot.revision == before + 1
    for bad, field in (
        ([], "operations"),
        ([{"op": "create", "id": "x", "values": {"name": "n"}}], "operations[0].id"),
        ([{"op": "delete"}], "operations[0].id"),
        ([{"op": "create", "values": {"name": ""}}], "operations[0].values.name"),
        ([{"op": "create", "values": {"name": "x", "password": "short"}}], "operations[0].values.password"),
        ([{"op": "explode"}], "operations[0].op"),
        ([{"op": "create", "values": {"name": f"n{n}"}} for n in range(501)], "operations"),
    ):
        answer = await root.post("/admin/users/batch", json={"operations": bad})
        assert (answer.status_code, answer.json()["error"]["field"]) == (400, field), answer.text


async def test_the_last_administrator_stays(root: httpx2.AsyncClient) -> None:
    for change in ({"enabled": False}, {"is_admin": False}):
        answer = await root.patch("/admin/users/root", json=change)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "last_admin")
    assert (await root.delete("/admin/users/root")).json()["error"]["code"] == "last_admin"
    assert (await root.patch("/admin/users/alice", json={"is_admin": True})).status_code == 200
    assert (await root.patch("/admin/users/root", json={"enabled": False})).status_code == 200
    assert (await root.get("/admin/users")).status_code == 401, "a disabled user's key is dead at once"


async def test_every_write_is_audited_without_secrets(root: httpx2.AsyncClient) -> None:
    await root.post("/admin/providers", json=PROVIDER)
    credential = (await root.post("/admin/credentials", json=SAMPLES["credentials"])).json()
    new = {"fields": {"api_key": "sk-vendor-9876543210"}}
    assert (await root.patch(f"/admin/credentials/{credential['id']}", json=new)).status_code == 200
    await root.delete(f"/admin/credentials/{credential['id']}")
    rows = (await root.get("/admin/audit", params={"resource": "credentials"})).json()["items"]
    assert [row["action"] for row in rows] == ["delete", "update", "create"]
    assert all((row["actor_name"], row["address"]) == ("root", "192.0.2.1") for row in rows)
    deleted, updated, created = rows
    assert created["before"] is None
    assert created["after"]["fields"] == {"api_key": "sk-…6789"}
    assert (updated["before"]["fields"], updated["after"]["fields"]) == (
        {"api_key": "sk-…6789"},
        {"api_key": "sk-…3210"},
    )
    assert deleted["after"] is None
    assert (await root.get(f"/admin/audit/{created['id']}")).json() == created


async def test_bodies_that_are_no_documents(root: httpx2.AsyncClient) -> None:
    json = {"content-type": "application/json"}
    for content in (
        b"",
        b"{",
        b"[]",
        b"7",
        b"null",
        b'"x"',
        b"\xff",
        b"[" * 100_000,
        b'{"name":"\\ud800"}',
        b'{"name": 1e999}',
    ):
        answer = await root.post("/admin/users", content=content, headers=json)
        assert answer.status_code == 400, (content[:20], answer.text)
        assert set(answer.json()) == {"error"}
    answer = await root.post("/admin/users", content=b'{"name":"x"}', headers={"content-type": "text/plain"})
    assert answer.status_code in {400, 415}
    assert (await root.put("/admin/users", json={})).json()["error"]["code"] == "method_not_allowed"
    assert (await root.get("/admin/nothing")).json()["error"]["code"] == "not_found"


async def test_deep_settings_are_refused(root: httpx2.AsyncClient) -> None:
    deep: Any = 1
    for _ in range(500):
        deep = {"x": deep}
    answer = await root.post("/admin/providers", json={**PROVIDER, "settings": {"x": deep}})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "settings")


async def test_rotation_keeps_the_old_key_for_a_while(house: House, root: httpx2.AsyncClient) -> None:
    old = (await root.post("/admin/keys", json=SAMPLES["keys"])).json()
    new = await root.post(f"/admin/keys/{old['id']}/rotate", json={"overlap_secs": 60})
    assert new.status_code == 201
    assert new.json()["label"] == old["label"]
    async with house.client(old["api_key"]) as client:
        assert (await client.get("/user/me")).status_code == 200
    assert (await root.post(f"/admin/keys/{old['id']}/rotate", json={"overlap_secs": 0})).status_code == 201
    async with house.client(old["api_key"]) as client:
        assert (await client.get("/user/me")).status_code == 401
    async with house.client(new.json()["api_key"]) as client:
        assert (await client.get("/user/me")).json()["name"] == "alice"
