"""What the console shows of the past and of what is to come, and its ways back, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.process import rig
from tests.process.browsing import PASSWORD, ROOT_KEY, Watched, root

pytestmark = pytest.mark.process

SEED = f"""
[[users]]
name = "root"
password = "{PASSWORD}"
is_admin = true
[[users.keys]]
api_key = "{ROOT_KEY}"
[[quotas]]
user_name = "alice"
quota = 0.01
[[routes]]
name = "best"
strategy = "failover"
members = [
  {{ provider_name = "main", model_id = "sim-model", tier = 0, weight = 1 }},
  {{ provider_name = "main", model_id = "gpt-4.1-mini", tier = 1, weight = 1 }},
]
[[providers]]
name = "weak"
channel = "custom"
settings = {{ base_url = "http://127.0.0.1:VENDOR/v1", dialect = "openai_chat" }}
credentials = [ {{ api_key = "sk-weak-0123456789" }} ]
[[routes]]
name = "shaky"
members = [
  {{ provider_name = "weak", model_id = "sim~status=503", tier = 0 }},
  {{ provider_name = "main", model_id = "sim-model", tier = 1 }},
]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(
        tmp_path_factory.mktemp("history"), rig.seed(vendor.port, SEED.replace("VENDOR", str(vendor.port)))
    ) as made:
        for _ in range(5):
            asked = {"model": "main/sim-model", "messages": [{"role": "user", "content": "hi"}]}
            assert made.request("POST", "/v1/chat/completions", asked)[0] == 200
        made.rows(5)
        yield made


@pytest.fixture
def watched(browser: Browser, house: rig.Gateway) -> Iterator[Watched]:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 1000})
    made = Watched(context, house)
    made.sign_in()
    yield made
    context.close()
    assert made.faults == []


def test_a_revision_is_read_and_gone_back_to(watched: Watched) -> None:
    house = watched.gateway
    made = root(
        house, "POST", "/admin/credentials", {"provider_name": "other", "fields": {"api_key": "sk-canary-before"}}, 201
    )
    path = f"/admin/credentials/{made['id']}"
    root(house, "PATCH", path, {"label": "renamed", "fields": {"api_key": "sk-canary-after"}}, 200)
    root(house, "PATCH", "/admin/providers/other", {"label": "a later change"}, 200)
    page = watched.open("revisions")
    page.locator("tbody tr").nth(1).get_by_role("button").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_text("+ renamed").wait_for()
    expect(sheet.get_by_text("+ …")).to_be_visible()  # the new secret, as dots
    assert "canary" not in page.content()
    sheet.get_by_role("button", name="Undo this and all since…").click()
    sheet.get_by_text("these 2 rows change").wait_for()
    watched.accessible("the way back")
    assert "canary" not in page.content()
    sheet.get_by_role("button", name="Change it back").click()
    page.get_by_text("The configuration is as after revision").wait_for()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert root(house, "GET", path)["label"] is None
    assert root(house, "GET", "/admin/providers/other")["label"] is None
    assert root(house, "POST", f"{path}/reveal")["fields"] == {"api_key": "sk-canary-before"}
    expect(page.locator("tbody tr").first).to_contain_text("rollback")


def test_members_change_tiers_by_keyboard_and_by_dragging(watched: Watched) -> None:
    page = watched.open("models")
    page.get_by_role("tab", name="Routes").click()
    page.locator("tbody tr", has_text="best").get_by_role("button", name="Edit").click()
    sheet = page.get_by_role("dialog")
    second = sheet.get_by_role("button", name="main/gpt-4.1-mini, tier 1")
    watched.accessible("members of a route")
    second.focus()
    page.keyboard.press("ArrowUp")
    moved = sheet.get_by_role("button", name="main/gpt-4.1-mini, tier 0")
    expect(moved).to_be_focused()
    expect(sheet.get_by_role("status").filter(has_text="is in tier 0 now")).to_have_count(1)
    expect(sheet.get_by_test_id("tier-1")).to_have_count(0)
    page.keyboard.press("ArrowDown")
    expect(sheet.get_by_test_id("tier-1")).to_contain_text("main/gpt-4.1-mini")
    # Alone in the last tier, one step further would only give it another number.
    page.keyboard.press("ArrowDown")
    expect(sheet.get_by_test_id("tier-2")).to_have_count(0)
    sheet.get_by_test_id("tier-0").get_by_text("main/sim-model").drag_to(sheet.get_by_test_id("tier-1"))
    expect(sheet.get_by_test_id("tier-0")).to_have_count(0)
    expect(sheet.get_by_test_id("tier-1")).to_contain_text("main/sim-model")
    sheet.locator('[name="hedge_percentile"]').fill("95")
    sheet.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_text("hedged from p95").wait_for()
    members = root(watched.gateway, "GET", "/admin/routes/best")["members"]
    assert isinstance(members, list)
    assert [(each["model_id"], each["tier"]) for each in members] == [("sim-model", 1), ("gpt-4.1-mini", 1)]


def test_a_credential_shows_how_it_has_been(watched: Watched) -> None:
    house = watched.gateway
    made = root(
        house, "POST", "/admin/credentials",
        {"provider_name": "other", "label": "moody", "rpm": 7, "fields": {"api_key": "sk-moody"}}, 201,
    )  # fmt: skip
    path = f"/admin/health/{made['id']}"

    def known(count: int) -> bool | None:
        items = root(house, "GET", f"{path}/history")["items"]
        assert isinstance(items, list)
        return len(items) == count or None

    root(house, "PATCH", path, {"state": "disabled", "reason": "leaked in a screenshot"}, 200)
    rig.await_that(lambda: known(1), house, "the first change of health")
    root(house, "PATCH", path, {"state": "healthy"}, 200)
    rig.await_that(lambda: known(2), house, "the second change of health")
    page = watched.open("providers/other")
    page.get_by_text("0 / 7").wait_for()
    bar = page.get_by_role("img", name="moody: healthy")
    expect(bar.get_by_test_id("stretch-disabled")).to_have_count(1)
    page.get_by_text("2 changes").click()
    page.locator("li", has_text="leaked in a screenshot").last.wait_for()
    watched.accessible("how a credential has been")
    page.get_by_role("button", name="7 days").click()
    expect(page.get_by_role("img", name="moody: healthy").get_by_test_id("stretch-disabled")).to_have_count(1)


def test_latencies_are_a_picture(watched: Watched) -> None:
    page = watched.open("overview")
    page.get_by_role("img", name="Latency: First byte p50").wait_for()
    page.get_by_role("button", name="Heat map").click()
    picture = page.get_by_role("img", name="Total of 5 answers: p50")
    assert picture.get_by_test_id("heat-cell").count() >= 1
    watched.accessible("the heat map")
    page.get_by_role("button", name="First byte", exact=True).click()
    page.get_by_role("img", name="First byte of 5 answers: p50").wait_for()
    page.get_by_label("Provider").select_option("other")
    page.get_by_text("Nothing in this range").first.wait_for()


def test_usage_is_grouped_by_key_and_by_anything_else(watched: Watched) -> None:
    page = watched.open("usage")
    group = page.get_by_label("Group by")
    group.select_option("key_id")
    rows = page.get_by_role("region", name="Sums").locator("tbody tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("alice / ")
    page.get_by_role("img", name="Usage").wait_for()
    expect(page.get_by_label("Provider", exact=True)).to_be_disabled()
    watched.accessible("usage by key")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    head, row, *_ = download.value.path().read_text("utf-8").splitlines()
    assert head.startswith('"starts_at","key","key_id","attempts"')
    assert '"alice / ' in row
    for by, shown in (("route_name", "no route"), ("outcome", "complete"), ("streamed", "no")):
        group.select_option(by)
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(shown)
    group.select_option("credential_id")
    expect(rows.first).to_contain_text("main / ")
    group.select_option("provider_name")
    expect(page.get_by_label("Provider", exact=True)).to_be_enabled()


def test_a_budget_tells_when_it_ends(watched: Watched) -> None:
    page = watched.open("users/alice")
    page.get_by_test_id("burn-down").get_by_text("it is used up in").wait_for()
    watched.page.get_by_role("button", name="Sign out").click()
    watched.sign_in("alice")
    page.get_by_test_id("burn-down").get_by_text("it is used up in").wait_for()


def test_a_deleted_permission_comes_back(watched: Watched) -> None:
    page = watched.open("users/alice")
    page.get_by_role("tab", name="Permissions").click()
    page.get_by_role("region", name="Permissions").get_by_role("button", name="Delete").click()
    page.get_by_text("every call is answered 403").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.locator("code", has_text="*").wait_for()
    asked = {"model": "main/sim-model", "messages": [{"role": "user", "content": "hi"}]}
    assert watched.gateway.request("POST", "/v1/chat/completions", asked)[0] == 200


def test_an_import_shows_every_row_before_and_after(watched: Watched) -> None:
    page = watched.open("settings")
    page.get_by_role("tab", name="Import").click()
    page.get_by_label("Document").fill(
        '[[users]]\nname = "alice"\nenabled = false\n[[users.keys]]\napi_key = "sk-canary-imported-0123"\n'
    )
    page.get_by_role("button", name="Show what would change").click()
    rows = page.get_by_role("list", name="Rows")
    expect(rows).to_contain_text("alice")
    changed = rows.locator("details", has_text="users").locator("li", has_text="enabled")
    expect(changed).to_contain_text("− 1")
    expect(changed).to_contain_text("+ 0")
    watched.accessible("an import, before it is done")
    assert "canary" not in rows.inner_text()
    user = root(watched.gateway, "GET", "/admin/users/alice")
    assert user["enabled"] is True


def test_the_trail_of_a_failover_tells_every_decision(watched: Watched) -> None:
    house = watched.gateway
    asked = {"model": "shaky", "messages": [{"role": "user", "content": "hi"}]}
    status, headers, _ = house.request("POST", "/v1/chat/completions", asked)
    assert (status, headers["x-gproxy-attempts"]) == (200, "2")
    request_id = headers["x-request-id"]
    trail = f"SELECT 1 FROM request_trails WHERE request_id = '{request_id}'"
    rig.await_that(lambda: house.query(trail) or None, house, "the trail of a request")
    page = watched.open("requests")
    page.get_by_label("Request id").fill(request_id)
    rows = page.get_by_role("region", name="Requests").locator("tbody tr")
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button").click()
    sheet = page.get_by_role("dialog")
    sheet.get_by_role("heading", name="Route shaky").wait_for()
    expect(sheet.locator("li", has_text="attempt 1: overloaded")).to_contain_text("weak/sim~status=503")
    expect(sheet.locator("li", has_text="attempt 2: ok")).to_contain_text("main/sim-model")
    expect(sheet.locator("dl", has_text="Budget")).to_contain_text("left before")
    watched.accessible("the story of a request")
