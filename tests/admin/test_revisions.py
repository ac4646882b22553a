"""Every write is a revision; going back puts back exactly what was there."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.admin.conftest import ALICE_KEY, House
from tests.admin.test_transfer import DOCUMENT, bring, export


async def latest(root: httpx2.AsyncClient) -> int:
    found: int = (await root.get("/admin/revisions?limit=1")).json()["items"][0]["revision"]
    return found


async def back(root: httpx2.AsyncClient, number: int, status: int = 200, *, dry_run: bool = False) -> dict[str, Any]:
    answer = await root.post(f"/admin/revisions/{number}/rollback", params={"dry_run": dry_run})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_write_is_a_revision_with_author_and_masked_difference(root: httpx2.AsyncClient) -> None:
    settings = {"base_url": "http://127.0.0.1:9", "proxy": "http://me:hunter22@proxy.test:3128"}
    made = await root.post("/admin/providers", json={"name": "main", "channel": "openai", "settings": settings})
    assert made.status_code == 201, made.text
    assert made.json()["settings"]["proxy"] == "http://me:…@proxy.test:3128"
    fields = {"api_key": "sk-vendor-0123456789"}
    await root.post("/admin/credentials", json={"provider_name": "main", "fields": fields})
    await root.patch("/admin/users/alice", json={"is_admin": True, "password": "another password"})
    rows = (await root.get("/admin/revisions")).json()["items"]
    assert [row["actor_name"] for row in rows] == ["root"] * 3
    assert [row["row_count"] for row in rows] == [1, 1, 1]
    read = (await root.get(f"/admin/revisions/{rows[0]['revision']}")).json()
    change = read["changes"][0]
    assert (change["resource"], change["name"], change["action"]) == ("users", "alice", "update")
    assert change["before"] == {"is_admin": 0, "password": "…"}
    told = "".join([(await root.get(f"/admin/revisions/{row['revision']}")).text for row in rows])
    audited = (await root.get("/admin/audit")).text
    for secret in ("hunter22", "sk-vendor-0123456789", "argon2"):
        assert secret not in told
        assert secret not in audited
    page = (await root.get("/admin/revisions?limit=2")).json()
    rest = (await root.get("/admin/revisions", params={"cursor": page["next_cursor"]})).json()
    assert [*page["items"], *rest["items"]] == rows
    assert (await root.get("/admin/revisions/999999")).status_code == 404
    assert (await root.get("/admin/revisions?cursor=eA")).status_code == 400


async def test_a_masked_proxy_that_comes_back_keeps_its_password(house: House, root: httpx2.AsyncClient) -> None:
    settings = {"base_url": "http://127.0.0.1:9", "proxy": "http://me:hunter22@proxy.test:3128"}
    await root.post("/admin/providers", json={"name": "main", "channel": "openai", "settings": settings})
    read = (await root.get("/admin/providers/main")).json()["settings"]
    changed = await root.patch("/admin/providers/main", json={"settings": {**read, "user_agent": "x"}})
    assert changed.status_code == 200, changed.text
    assert "hunter22" in await export(root, with_secrets=True)
    veiled = await export(root, with_secrets=False)
    assert "hunter22" not in veiled
    assert "${GPROXY_MAIN_PROXY}" in veiled
    await root.patch("/admin/providers/main", json={"settings": {**read, "proxy": "http://proxy.test:3128"}})
    assert "hunter22" not in await export(root, with_secrets=True)


async def test_going_back_restores_the_whole_world(house: House, root: httpx2.AsyncClient) -> None:
    await bring(root, DOCUMENT)
    number, before = await latest(root), await export(root, with_secrets=True)
    await root.patch("/admin/settings/retention_days", json={"value": 9})
    await root.patch("/admin/routes/best", json={"members": [
        {"provider_name": "main", "model_id": "a"}, {"provider_name": "main", "model_id": "b"}]})  # fmt: skip
    await root.patch("/admin/quotas/dave", json={"quota": 3})
    await root.post("/admin/users", json={"name": "erin"})
    await root.post("/admin/keys", json={"user_name": "erin"})
    for path in ("providers/main", "users/dave", "users/alice"):
        assert (await root.delete(f"/admin/{path}")).status_code == 204
    assert await export(root, with_secrets=True) != before
    told = await back(root, number, dry_run=True)
    assert told["applied"] is False
    assert (await root.get("/admin/users/erin")).status_code == 200
    done = await back(root, number)
    assert (done["applied"], done["changes"]) == (True, told["changes"])
    assert await export(root, with_secrets=True) == before
    assert "main" in house.world.snapshot.providers
    async with house.client(ALICE_KEY) as alice:
        assert (await alice.get("/user/me")).status_code == 200
    # A rollback is a write like any other: it can be undone, and what is undone can be done again.
    await back(root, await latest(root) - 1)
    assert (await root.get("/admin/users/erin")).status_code == 200
    assert (await root.get("/admin/users/dave")).status_code == 404
    assert (await back(root, await latest(root)))["changes"] == []


async def test_an_etag_never_comes_back_with_another_content(root: httpx2.AsyncClient) -> None:
    await root.patch("/admin/users/bob", json={"enabled": True})
    await root.patch("/admin/users/bob", json={"enabled": False})
    tag = (await root.get("/admin/users/bob")).headers["etag"]
    await back(root, await latest(root) - 1)
    await root.get("/admin/users/bob")
    refused = await root.patch("/admin/users/bob", json={"enabled": True}, headers={"if-match": tag})
    assert refused.status_code == 412


async def test_what_cannot_be_gone_back_to(root: httpx2.AsyncClient) -> None:
    await back(root, 1, 404)
    await root.post("/admin/users", json={"name": "erin", "is_admin": True})
    await root.patch("/admin/users/erin", json={"is_admin": False})
    await back(root, 0, 409)
    await back(root, 999999, 404)


async def test_going_back_never_locks_everybody_out(house: House, root: httpx2.AsyncClient) -> None:
    await root.patch("/admin/users/alice", json={"is_admin": True})
    number = await latest(root) - 1  # only root administers
    await root.patch("/admin/users/root", json={"enabled": False})
    async with house.client(ALICE_KEY) as alice:
        await alice.delete("/admin/users/root")
        await back(alice, number)
    assert (await root.get("/admin/users/root")).status_code == 200
