"""Who may call what: every route of the table with every kind of caller."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter

from gproxy.admin.access import TABLE, Level
from gproxy.admin.app import openapi
from gproxy.admin.gate import guarded
from tests.admin.conftest import ALICE_KEY, ROOT_KEY, House

SAFE = {"GET"}


def routes(house: House) -> set[str]:
    document = openapi(house.app.app)
    found = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    return found | {"GET /openapi.json", "GET /docs"}


async def test_the_table_is_the_routes(house: House) -> None:
    assert routes(house) == {key.replace("{id:path}", "{id}") for key in TABLE}


async def test_a_route_that_is_not_declared_cannot_be_added() -> None:
    router = APIRouter(route_class=guarded(None))  # type: ignore[arg-type]  # never asked

    async def secret() -> None: ...

    with pytest.raises(KeyError, match="GET /admin/undeclared"):
        router.add_api_route("/admin/undeclared", secret)


def allowed(level: Level, *, known: bool, session: bool, admin: bool) -> int:
    """0: let in; otherwise the status of the refusal."""
    if level is Level.NONE:
        return 0
    if not known:
        return 401
    if level is Level.ADMIN and not admin:
        return 403
    return 403 if level is Level.SESSION and not session else 0


async def test_every_route_with_every_caller(house: House) -> None:
    alice = await house.login("alice")
    root = await house.login("root")
    async with house.client(ROOT_KEY) as admin:
        disabled = (await admin.post("/admin/keys", json={"user_name": "bob", "enabled": False})).json()["api_key"]
        expired = (await admin.post("/admin/keys", json={"user_name": "bob", "expires_at": 1})).json()["api_key"]
        mute = (await admin.post("/admin/users", json={"name": "mute", "enabled": False})).json()["id"]
        off = (await admin.post("/admin/keys", json={"user_id": mute})).json()["api_key"]
    callers: dict[str, tuple[str | None, dict[str, bool]]] = {
        "none": (None, {"known": False, "session": False, "admin": False}),
        "bad key": ("sk-nobody-0123456789", {"known": False, "session": False, "admin": False}),
        "bad session": ("gps_" + "0" * 48, {"known": False, "session": False, "admin": False}),
        "disabled key": (disabled, {"known": False, "session": False, "admin": False}),
        "expired key": (expired, {"known": False, "session": False, "admin": False}),
        "disabled user": (off, {"known": False, "session": False, "admin": False}),
        "user key": (ALICE_KEY, {"known": True, "session": False, "admin": False}),
        "user session": (alice["session_token"], {"known": True, "session": True, "admin": False}),
        "admin key": (ROOT_KEY, {"known": True, "session": False, "admin": True}),
        "admin session": (root["session_token"], {"known": True, "session": True, "admin": True}),
    }
    cells = 0
    for route, level in TABLE.items():
        method, path = route.split(" ")
        # Nothing with this id or name exists, and no body is one that would be taken.
        path = path.replace("{id:path}", "no-such").replace("{id}", "no-such").replace("{name}", "no-such")
        if route == "POST /logout":
            continue  # would end the sessions of the others; below
        for name, (token, who) in callers.items():
            async with house.client(token) as client:
                body: Any = None if method in {"GET", "DELETE"} else b"{"
                answer = await client.request(method, path, content=body)
            refused = allowed(level, **who)
            cells += 1
            if refused:
                assert answer.status_code == refused, (route, name, answer.text)
                assert answer.json()["error"]["code"] in {"unauthorized", "forbidden"}
            else:
                assert answer.status_code not in {401, 403, 500}, (route, name, answer.text)
    assert cells >= 10 * 90
    async with house.client(alice["session_token"]) as client:
        assert (await client.post("/logout")).status_code == 204
        assert (await client.get("/user/me")).status_code == 401
    async with house.client(ALICE_KEY) as client:
        assert (await client.post("/logout")).status_code == 403


async def test_what_belongs_to_others_is_not_there(house: House) -> None:
    alice, bob = await house.login("alice"), await house.login("bob")
    async with house.client(bob["session_token"]) as client:
        (theirs,) = (await client.get("/user/keys")).json()["items"]
    async with house.client(alice["session_token"]) as client:
        assert [key["user_name"] for key in (await client.get("/user/keys")).json()["items"]] == ["alice"]
        nobody = await client.get("/user/keys/no-such")
        calls: list[tuple[str, str, dict[str, Any] | None]] = [
            ("GET", f"/user/keys/{theirs['id']}", None),
            ("PATCH", f"/user/keys/{theirs['id']}", {"enabled": False}),
            ("DELETE", f"/user/keys/{theirs['id']}", None),
            ("POST", f"/user/keys/{theirs['id']}/rotate", {}),
        ]
        for method, path, body in calls:
            answer = await client.request(method, path, json=body)
            assert answer.status_code == nobody.status_code == 404
            assert answer.text.replace(theirs["id"], "no-such") == nobody.text
        for body in (
            {"user_name": "bob"},
            {"user_id": bob["user_id"]},
            {"is_admin": True},
            {"api_key": "sk-mine-0123"},
        ):
            assert (await client.post("/user/keys", json=body)).status_code == 400
        for query in ("user_id", "user_name"):
            rows = (await client.get("/user/usages", params={query: "bob"})).json()["items"]
            assert rows == []
    async with house.client(bob["session_token"]) as client:
        assert (await client.get("/user/keys")).json()["items"] == [theirs]


async def test_a_key_is_not_looked_for_in_the_query(house: House) -> None:
    async with house.client() as client:
        assert (await client.get("/admin/users", params={"key": ROOT_KEY})).status_code == 401
    for header in ("x-api-key", "x-goog-api-key"):
        async with house.client(**{header: ROOT_KEY}) as client:
            assert (await client.get("/admin/users")).status_code == 200
