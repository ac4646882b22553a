"""The configuration as a document, there and back."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import httpx2
import pytest

from tests.admin.conftest import PASSWORD, House

TOML = {"content-type": "application/toml"}
DOCUMENT = """
[global]
retention_days = 30

[[providers]]
name = "main"
channel = "openai"
settings = { base_url = "http://127.0.0.1:9" }
credentials = [ { api_key = "sk-vendor-0123456789", label = "one" }, { api_key = "sk-vendor-9876543210", weight = 2 } ]

[[models]]
provider_name = "main"
model_id = "gpt-4.1-mini"
price = { input = 0.4, output = 1.6 }

[[model_aliases]]
alias = "fast"
provider_name = "main"
model_id = "gpt-4.1-mini"

[[routes]]
name = "best"
strategy = "weighted"
members = [ { provider_name = "main", model_id = "gpt-4.1-mini", weight = 3 } ]

[[users]]
name = "alice"
password = "correct horse battery staple"
[[users.keys]]
api_key = "sk-alice-0123456789abcdef"
label = "renamed"

[[users]]
name = "dave"
password = "a new password of dave"
[[users.keys]]
api_key = "sk-dave-0123456789abcdef"
expires_at = 2030-01-31T12:00:00Z

[[permissions]]
user_name = "dave"
model_pattern = "*"

[[file_permissions]]
user_name = "dave"
provider_name = "main"

[[rate_limits]]
user_name = "dave"
model_pattern = "*"
rpm = 5

[[quotas]]
user_name = "dave"
quota = 12.5
cost_used = 1.25
"""


async def bring(root: httpx2.AsyncClient, text: str, *, dry_run: bool = False) -> dict[str, Any]:
    answer = await root.post("/admin/import", content=text, headers=TOML, params={"dry_run": dry_run})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def export(root: httpx2.AsyncClient, *, with_secrets: bool, form: str = "toml") -> str:
    answer = await root.post("/admin/export", json={"with_secrets": with_secrets, "format": form})
    assert answer.status_code == 200
    return answer.text


async def test_a_rehearsal_changes_nothing_and_tells_everything(house: House, root: httpx2.AsyncClient) -> None:
    before = await export(root, with_secrets=True)
    told = await bring(root, DOCUMENT, dry_run=True)
    assert told["applied"] is False
    assert (told["created"], told["updated"]) == (13, 1)
    updated = [row for row in told["changes"] if row["action"] == "update"]
    assert updated == [{"table": "keys", "name": "alice number 1", "action": "update", "fields": ["label"]}]
    (key,) = [row for row in told["diff"] if row["action"] == "update"]
    assert (key["resource"], key["before"], key["after"]) == (
        "keys",
        {"label": "first"},
        {"label": key["after"]["label"]},
    )
    assert key["after"]["label"] not in {None, "first"}
    made = [row for row in told["diff"] if row["resource"] == "credentials"]
    assert made
    assert all(row["after"]["secret"] == "…" for row in made)
    assert not [
        secret for secret in ("sk-vendor-0123456789", "sk-dave-0123456789abcdef", "argon2id") if secret in str(told)
    ]
    assert await export(root, with_secrets=True) == before
    done = await bring(root, DOCUMENT)
    assert (done["applied"], done["changes"]) == (True, told["changes"])
    assert len(done["diff"]) == len(told["diff"])
    assert "main" in house.world.snapshot.providers
    again = await bring(root, DOCUMENT)
    assert (again["created"], again["updated"], again["changes"]) == (0, 0, [])
    await house.login("alice", PASSWORD)
    await house.login("dave", "a new password of dave")
    actions = {row["action"] for row in (await root.get("/admin/audit")).json()["items"]}
    assert {"import", "export with secrets", "login"} <= actions


async def test_there_and_back_is_the_same_document(root: httpx2.AsyncClient) -> None:
    await bring(root, DOCUMENT)
    text = await export(root, with_secrets=True)
    for secret in ("sk-vendor-0123456789", "sk-dave-0123456789abcdef", "$argon2id$"):
        assert secret in text
    again = await bring(root, text)
    assert again["changes"] == []
    assert await export(root, with_secrets=True) == text
    as_json = await root.post("/admin/export", json={"with_secrets": True, "format": "json"})
    assert as_json.headers["content-type"] == "application/json"
    back = await root.post("/admin/import", content=as_json.content, headers={"content-type": "application/json"})
    assert (back.status_code, back.json()["changes"]) == (200, []), back.text


async def test_without_secrets_there_are_none(root: httpx2.AsyncClient) -> None:
    await bring(root, DOCUMENT)
    text = await export(root, with_secrets=False)
    assert "sk-" not in text
    assert "argon2" not in text
    assert "${GPROXY_MAIN_1_API_KEY}" in text
    assert "${GPROXY_DAVE_KEY_1}" in text
    assert (await root.get("/admin/export")).text == text
    names = [provider["name"] for provider in tomllib.loads(text)["providers"]]
    assert names == ["main"]
    assert json.loads((await root.get("/admin/export?format=json")).text)["users"][0]["name"] == "root"
    refused = await root.post("/admin/import", content=text, headers=TOML)
    assert refused.status_code == 400, "the server's environment is not the caller's"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[[providers]]\nname = 'x'\n", "providers[0].channel"),
        ("[[nothing]]\n", "nothing"),
        ("[[providers]]\nname = '${PATH}'\nchannel = 'openai'", "providers[0].name"),
        ("not toml", None),
    ],
)
async def test_a_bad_document_is_told_whole_and_changes_nothing(
    house: House, root: httpx2.AsyncClient, text: str, field: str | None
) -> None:
    before = house.world.snapshot.revision
    answer = await root.post("/admin/import", content=text, headers=TOML)
    assert answer.status_code == 400
    assert answer.json()["error"].get("field") == field, answer.text
    assert house.world.snapshot.revision == before


async def test_documents_that_are_refused(house: House, root: httpx2.AsyncClient) -> None:
    await bring(root, DOCUMENT)
    other = DOCUMENT.replace('channel = "openai"', 'channel = "groq"')
    assert (await root.post("/admin/import", content=other, headers=TOML)).status_code == 409
    stolen = '[[users]]\nname = "eve"\nkeys = [ { api_key = "sk-alice-0123456789abcdef" } ]'
    assert (await root.post("/admin/import", content=stolen, headers=TOML)).status_code == 409
    locked = '[[users]]\nname = "root"\nis_admin = false'
    assert (await root.post("/admin/import", content=locked, headers=TOML)).status_code == 409
    assert (await root.get("/admin/users/eve")).status_code == 404
    for content, kind, status in (
        (b"x", "application/xml", 415),
        (b"\xff", "application/toml", 400),
        (b"[]", "application/json", 400),
        (b"{", "application/json", 400),
        (b'{"providers": 7}', "application/json", 400),
    ):
        answer = await root.post("/admin/import", content=content, headers={"content-type": kind})
        assert answer.status_code == status
