"""The control plane of a real gateway: the next request obeys, reloads disturb nobody, generated requests find no fault."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process import rig
from tests.process.generated import attack, document_of

pytestmark = pytest.mark.process

ROOT = "sk-root-0123456789abcdef"
CHAT = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}]}
SEED = f"""
[[users]]
name = "root"
password = "correct horse battery staple"
is_admin = true
[[users.keys]]
api_key = "{ROOT}"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(tmp_path_factory.mktemp("admin"), rig.seed(vendor.port, SEED)) as made:
        yield made


def admin(gateway: rig.Gateway, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    code, _, content = gateway.request(method, path, body, key=ROOT)
    assert code == status, (method, path, code, content)
    return json.loads(content) if content else None


def chat(gateway: rig.Gateway, key: str, model: str = "sim-model") -> tuple[int, dict[str, Any]]:
    code, _, content = gateway.request("POST", "/v1/chat/completions", {**CHAT, "model": model}, key=key)
    return code, json.loads(content)


def test_the_next_request_obeys(house: rig.Gateway) -> None:
    admin(house, "POST", "/admin/users", {"name": "carol"}, 201)
    made = admin(house, "POST", "/admin/keys", {"user_name": "carol"}, 201)
    key = made["api_key"]
    assert chat(house, key)[0] == 403, "no permission yet"
    granted = admin(house, "POST", "/admin/permissions", {"user_name": "carol", "model_pattern": "sim-*"}, 201)
    assert chat(house, key)[0] == 200
    admin(
        house, "POST", "/admin/aliases", {"alias": "sim-alias", "provider_name": "main", "model_id": "sim-model"}, 201
    )
    assert chat(house, key, "sim-alias")[0] == 200
    admin(house, "PATCH", "/admin/aliases/sim-alias", {"enabled": False})
    assert chat(house, key, "sim-alias")[0] == 404
    admin(house, "PATCH", f"/admin/permissions/{granted['id']}", {"model_pattern": "other-*"})
    assert chat(house, key)[0] == 403
    admin(house, "PATCH", f"/admin/permissions/{granted['id']}", {"model_pattern": "*"})
    admin(house, "PATCH", "/admin/providers/main", {"enabled": False})
    assert chat(house, key)[0] == 404
    admin(house, "PATCH", "/admin/providers/main", {"enabled": True})
    assert chat(house, key)[0] == 200
    admin(house, "POST", "/admin/quotas", {"user_name": "carol", "quota": 0}, 201)
    assert chat(house, key)[0] == 402
    admin(house, "DELETE", "/admin/quotas/carol", status=204)
    assert chat(house, key)[0] == 200
    admin(house, "PATCH", f"/admin/keys/{made['id']}", {"enabled": False})
    assert chat(house, key)[0] == 401
    admin(house, "PATCH", f"/admin/keys/{made['id']}", {"enabled": True})
    assert chat(house, key)[0] == 200
    admin(house, "DELETE", "/admin/users/carol", status=204)
    assert chat(house, key)[0] == 401


def test_a_credential_is_tested_and_models_are_pulled_from_a_living_vendor(house: rig.Gateway) -> None:
    pool = admin(house, "GET", "/admin/credentials?provider_name=main")["items"]
    tested = admin(house, "POST", f"/admin/credentials/{pool[0]['id']}/test")
    assert (tested["ok"], tested["status"]) == (True, 200)
    assert tested["models"] > 0
    pulled = admin(house, "POST", "/admin/models/pull", {"provider_name": "other", "add": True})
    assert pulled["added"] == len([row for row in pulled["items"] if not row["known"]]) > 0
    again = admin(house, "POST", "/admin/models/pull", {"provider_name": "other", "add": True})
    assert again["added"] == 0
    assert all(row["known"] for row in again["items"])


def test_the_ledger_and_the_dashboard_tell_the_same(house: rig.Gateway) -> None:
    before = len(admin(house, "GET", "/admin/usages?user_name=alice&limit=1000")["items"])
    for _ in range(3):
        assert chat(house, rig.ALICE)[0] == 200
    deadline = time.monotonic() + 10
    while True:
        rows = admin(house, "GET", "/admin/usages?user_name=alice&limit=1000")["items"]
        if len(rows) == before + 3 or time.monotonic() > deadline:
            break
        threading.Event().wait(0.05)
    assert len(rows) == before + 3
    alice = admin(house, "GET", "/admin/users/alice")["id"]
    summary = admin(house, "GET", f"/admin/usages/summary?user_id={alice}")
    assert summary["attempts"] == len(rows)
    assert summary["cost_nano_usd"] == sum(row["cost_nano_usd"] for row in rows)
    top = admin(house, "GET", "/admin/dashboard/top?by=user_id&order=attempts")["items"]
    assert {row["name"]: row["attempts"] for row in top}["alice"] == len(rows)
    series = admin(house, "GET", f"/admin/dashboard/series?user_id={alice}")["points"]
    assert sum(point["attempts"] for point in series) == len(rows)
    overview = admin(house, "GET", "/admin/dashboard/overview")
    assert overview["attempts"] >= len(rows)
    assert sum(overview["credentials"].values()) == 3
    (row,) = admin(house, "GET", f"/admin/usages?request_id={rows[0]['request_id']}")["items"]
    assert admin(house, "GET", f"/admin/usages/{row['attempt_id']}") == row


def test_a_session_outlives_a_restart_and_a_drain_report_is_kept(folder: Path, vendor: rig.Vendor) -> None:
    with rig.gateway(folder, rig.seed(vendor.port, SEED)) as gateway:
        login = {"username": "root", "password": "correct horse battery staple"}
        code, _, content = gateway.request("POST", "/login", login, key=None)
        assert code == 200
        token = json.loads(content)["session_token"]
        assert gateway.stop() == 0
        gateway.start()
        code, _, content = gateway.request("GET", "/admin/shutdowns", key=token)
        assert code == 200
        (report,) = json.loads(content)["items"]
        assert (report["signal_name"], report["exit_code"]) == ("SIGTERM", 0)
        code, _, content = gateway.request("GET", f"/admin/shutdowns/{report['id']}", key=token)
        assert json.loads(content) == report
        assert gateway.stop() == 0


def test_reloads_under_load_fail_nobody(house: rig.Gateway) -> None:
    over = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        while not over.is_set():
            answers.append(chat(house, rig.ALICE)[0])

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    try:
        route = {"name": "best", "members": [{"provider_name": "main", "model_id": "sim-model"}]}
        admin(house, "POST", "/admin/routes", route, 201)
        for number in range(100):
            admin(house, "POST", "/admin/reload")
            admin(house, "PATCH", "/admin/routes/best", {"strategy": ("weighted", "failover")[number % 2]})
    finally:
        over.set()
        for asker in askers:
            asker.join()
    assert len(answers) > 50
    assert set(answers) == {200}


def test_a_start_does_not_pay_for_the_control_plane(folder: Path) -> None:
    with rig.gateway(folder, "") as quiet:
        if not Path("/proc/self/maps").exists():
            pytest.skip("no /proc here to look into")
        maps = Path(f"/proc/{quiet.popen.pid}/maps")
        assert quiet.request("GET", "/livez")[0] == 200
        assert "pydantic_core" not in maps.read_text()
        assert quiet.request("GET", "/user/me")[0] == 401
        assert "pydantic_core" in maps.read_text()


def test_the_ten_calls_of_the_page(folder: Path, vendor: rig.Vendor) -> None:
    rig.needed("curl", there=shutil.which("curl") is not None)
    page = (rig.ROOT / "docs" / "admin-api.md").read_text("utf-8")
    script = page.split("```sh\n")[1].split("```")[0]
    script = script.replace("https://api.openai.com", f"http://127.0.0.1:{vendor.port}")
    key = "sk-first-admin-0123456789"
    with rig.gateway(folder, "", env={"GPROXY_ADMIN_API_KEY": key}) as gateway:
        script = script.replace("http://localhost:8787", gateway.url).replace("sk-your-admin-key", key)
        done = subprocess.run(
            ["sh", "-eu", "-c", script], capture_output=True, text=True, timeout=60, check=False, env=os.environ
        )
        assert done.returncode == 0, done.stderr
        assert '"choices"' in done.stdout
        (row,) = gateway.rows(1)
        assert (row["user_name"], row["model_asked"], row["model_served"]) == ("alice", "fast", "gpt-4.1-mini")


@pytest.fixture(scope="module")
def document(house: rig.Gateway) -> Any:
    """The gateway's own OpenAPI document, with a caller who may do everything."""
    return document_of(house.url, ROOT)


def test_generated_requests_find_no_fault(document: Any) -> None:
    assert attack(document, 2).cases > 300
