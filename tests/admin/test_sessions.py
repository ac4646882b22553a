"""Logging in, what a session is good for, and what ends it."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from gproxy.admin.access import TRIES, WINDOW_US
from gproxy.storage.login_tries import sweep_tries
from gproxy.storage.sessions import sweep_sessions
from tests.admin.conftest import PASSWORD, ROOT_KEY, URL, House


async def wrong(client: httpx2.AsyncClient, name: str) -> httpx2.Response:
    return await client.post("/login", json={"username": name, "password": "not this one"})


async def test_a_session_for_scripts(house: House) -> None:
    told = await house.login("alice")
    assert set(told) == {"user_id", "user_name", "session_token", "expires_in_secs", "is_admin", "csrf_token"}
    assert (told["expires_in_secs"], told["is_admin"]) == (86_400, False)
    async with house.client(told["session_token"]) as client:
        me = (await client.get("/user/me")).json()
        assert (me["name"], me["via"]) == ("alice", "bearer")
        assert (await client.post("/user/keys", json={})).status_code == 201, "no CSRF token for a bearer"
    stored = await house.world.db.fetch("SELECT digest FROM sessions")
    assert told["session_token"] not in str(stored)


async def test_a_session_for_browsers(house: House) -> None:
    async with house.client() as client:
        answer = await client.post("/login", json={"username": "root", "password": PASSWORD})
        session, csrf = (line for line in answer.headers.get_list("set-cookie"))
        assert "HttpOnly" in session
        assert "HttpOnly" not in csrf
        assert all("SameSite=lax" in line and "Secure" not in line for line in (session, csrf))
        token = answer.json()["csrf_token"]
        assert (await client.get("/user/me")).json()["csrf_token"] == token

        body = {"name": "carol"}
        good = {"origin": URL, "x-csrf-token": token}
        for headers in (
            {},
            {"x-csrf-token": token},
            {"origin": URL},
            {**good, "x-csrf-token": "0" * 64},
            {**good, "origin": "https://evil.test"},
            {**good, "origin": "null"},
            {**good, "origin": "http://gateway.test.evil.test"},
            {**good, "origin": "http://gateway.test:81"},
            {**good, "origin": "http://[bad"},
        ):
            refused = await client.post("/admin/users", json=body, headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "csrf_failed"), headers
        assert (await client.post("/admin/users", json=body, headers=good)).status_code == 201
        assert (await client.post("/logout", headers=good)).status_code == 204
        assert (await client.get("/user/me")).status_code == 401


async def test_a_csrf_token_fits_its_own_session_only(house: House) -> None:
    other = await house.login("root")
    async with house.client() as client:
        await client.post("/login", json={"username": "root", "password": PASSWORD})
        headers = {"origin": URL, "x-csrf-token": other["csrf_token"]}
        assert (await client.post("/admin/users", json={"name": "x"}, headers=headers)).status_code == 403


async def test_a_cookie_over_tls_is_secure(house: House) -> None:
    transport = httpx2.ASGITransport(app=house.app)
    async with httpx2.AsyncClient(transport=transport, base_url="https://gateway.test") as client:
        answer = await client.post("/login", json={"username": "root", "password": PASSWORD})
    assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))


async def test_a_browser_behind_a_proxy_that_ends_tls(house: House) -> None:
    async with house.client(origin="https://gateway.test") as client:
        answer = await client.post("/login", json={"username": "root", "password": PASSWORD})
    assert all("Secure" in line for line in answer.headers.get_list("set-cookie"))


async def test_the_address_a_trusted_proxy_tells_is_believed(house: House) -> None:
    claim = {"x-forwarded-for": "203.0.113.9, 198.51.100.7"}
    async with house.client(ROOT_KEY, address="10.0.0.1", **claim) as client:
        await client.post("/admin/users", json={"name": "through"})
    async with house.client(ROOT_KEY, address="192.0.2.66", **claim) as client:
        await client.post("/admin/users", json={"name": "direct"})
        rows = (await client.get("/admin/audit?action=create&resource=users")).json()["items"]
    assert [(row["after"]["name"], row["address"]) for row in rows] == [
        ("direct", "192.0.2.66"),
        ("through", "198.51.100.7"),
    ]


async def test_logging_in_from_a_foreign_page_is_refused(house: House) -> None:
    async with house.client(origin="https://evil.test") as client:
        answer = await client.post("/login", json={"username": "root", "password": PASSWORD})
    assert answer.status_code == 403


async def test_nobody_learns_who_exists(house: House) -> None:
    async with house.client(ROOT_KEY) as admin:
        await admin.post("/admin/users", json={"name": "mute", "password": PASSWORD, "enabled": False})
        await admin.post("/admin/users", json={"name": "keyed"})
    answers = []
    for number, name in enumerate(("root", "nobody", "mute", "keyed", "", "a\x00b", "x" * 1000, "\u202e")):
        async with house.client(address=f"198.51.100.{number}") as client:
            answers.append(await wrong(client, name))
    assert {(answer.status_code, answer.text) for answer in answers} == {(401, answers[0].text)}
    async with house.client() as client:
        answer = await client.post("/login", json={"username": "mute", "password": PASSWORD})
    assert answer.text == answers[0].text


async def test_ten_tries_per_name_from_anywhere(house: House) -> None:
    for number in range(TRIES):
        async with house.client(address=f"198.51.100.{number}") as client:
            assert (await wrong(client, "root")).status_code == 401
    async with house.client(address="203.0.113.1") as client:
        answer = await client.post("/login", json={"username": "root", "password": PASSWORD})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "rate_limited")
        assert 0 < int(answer.headers["retry-after"]) <= 901
        assert (await client.post("/login", json={"username": "alice", "password": PASSWORD})).status_code == 200


async def test_ten_tries_per_address_and_all_at_once(house: House) -> None:
    async with house.client() as client:
        answers = await asyncio.gather(*(wrong(client, f"guess-{number}") for number in range(3 * TRIES)))
    assert sorted(answer.status_code for answer in answers) == [401] * TRIES + [429] * 2 * TRIES


async def test_success_forgives_the_name(house: House) -> None:
    async with house.client() as client:
        for _ in range(3):
            for _ in range(2):
                await wrong(client, "root")
            await house.login("root")
    stored = await house.world.db.fetch("SELECT tries_json FROM login_tries")
    assert sorted(len(row[0].split(",")) if row[0] != "[]" else 0 for row in stored) == [0, 6]
    assert await sweep_tries(house.world.db, window_us=WINDOW_US) == 0
    assert await sweep_tries(house.world.db, window_us=-1) == 2


@pytest.mark.parametrize("change", [{"password": "another good password"}, {"enabled": False}, {"is_admin": True}])
async def test_what_ends_a_session(house: House, root: httpx2.AsyncClient, change: dict[str, object]) -> None:
    token = (await house.login("alice"))["session_token"]
    async with house.client(token) as client:
        assert (await client.get("/user/me")).status_code == 200
        assert (await root.patch("/admin/users/alice", json={"name": "alice"})).status_code == 200
        assert (await client.get("/user/me")).status_code == 200
        assert (await root.patch("/admin/users/alice", json=change)).status_code == 200
        assert (await client.get("/user/me")).status_code == 401


async def test_a_deleted_user_and_an_old_session(house: House, root: httpx2.AsyncClient) -> None:
    alice, bob = await house.login("alice"), await house.login("bob")
    await root.delete("/admin/users/alice")
    await house.world.db.execute("UPDATE sessions SET expires_at = 1")
    for told in (alice, bob):
        async with house.client(told["session_token"]) as client:
            assert (await client.get("/user/me")).status_code == 401
    assert await sweep_sessions(house.world.db) == 1


async def test_changing_ones_password(house: House) -> None:
    token = (await house.login("alice"))["session_token"]
    async with house.client(token) as client:
        bad = await client.post(
            "/user/password", json={"current_password": "nope nope", "new_password": "a better password"}
        )
        assert (bad.status_code, bad.json()["error"]["field"]) == (403, "current_password")
        good = await client.post(
            "/user/password", json={"current_password": PASSWORD, "new_password": "a better password"}
        )
        assert good.status_code == 204
        assert (await client.get("/user/me")).status_code == 401
    await house.login("alice", "a better password")


async def test_security_headers_are_on_every_answer(house: House, root: httpx2.AsyncClient) -> None:
    for path in ("/admin/users", "/admin/nothing", "/docs", "/openapi.json", "/admin/users?limit=x"):
        headers = (await root.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
