"""The console in a real browser, against a real gateway and the simulated vendor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.process import rig
from tests.process.browsing import PASSWORD, ROOT_KEY, Watched, add, root

pytestmark = pytest.mark.process

SEED = f"""
[[users]]
name = "root"
password = "{PASSWORD}"
is_admin = true
[[users.keys]]
api_key = "{ROOT_KEY}"
[[permissions]]
user_name = "root"
model_pattern = "*"
[[rate_limits]]
user_name = "alice"
model_pattern = "*"
rpm = 600
[[quotas]]
user_name = "alice"
quota = 5
[[routes]]
name = "best"
strategy = "failover"
members = [
  {{ provider_name = "main", model_id = "sim-model", tier = 0, weight = 1 }},
  {{ provider_name = "main", model_id = "gpt-4.1-mini", tier = 1, weight = 1 }},
]
"""
PAGES = (
    "overview", "live", "providers", "providers/main", "models", "users", "users/alice", "requests", "usage",
    "playground", "shutdowns", "audit", "revisions", "settings", "account",
)  # fmt: skip
CORPUS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'-alert(3)-'",
    "<svg/onload=alert(4)>",
    "javascript:alert(5)",
    "{{constructor.constructor('alert(6)')()}}",
    "</textarea><iframe srcdoc='<script>parent.alert(7)</script>'>",
    "\u202e\u2066<b>bold</b>",
    "x" * 180,
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, vendor: rig.Vendor) -> Iterator[rig.Gateway]:
    with rig.gateway(tmp_path_factory.mktemp("console"), rig.seed(vendor.port, SEED)) as made:
        for model in ("main/sim-model", "fast", "main/no-such-model"):
            made.request(
                "POST", "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}]}
            )
        made.rows(2)
        yield made


@pytest.fixture
def watched(browser: Browser, house: rig.Gateway) -> Iterator[Watched]:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    made = Watched(context, house)
    yield made
    context.close()
    assert made.faults == []


def test_from_an_empty_provider_to_a_first_request(watched: Watched, vendor: rig.Vendor) -> None:
    page = watched.sign_in()
    page.get_by_role("link", name="Providers").click()
    add(
        page,
        "Add provider",
        channel="custom",
        name="fresh",
        **{"settings.base_url": f"http://127.0.0.1:{vendor.port}/v1"},
    )
    page.get_by_role("heading", name="fresh", exact=True).wait_for()
    add(page, "Add credential", label="first", **{"fields.api_key": f"{rig.VENDOR_KEY}-9"})
    page.get_by_role("region", name="Credentials").get_by_text("first", exact=True).wait_for()
    page.get_by_role("button", name="Test", exact=True).click()
    page.get_by_text("Works:").wait_for()

    page.get_by_role("tab", name="Models").click()
    page.get_by_role("button", name="Pull models").click()
    page.get_by_role("dialog").get_by_text("The vendor lists").wait_for()
    page.keyboard.press("Escape")
    add(page, "Add model", model_id="sim-fresh", **{"pricing.input": "1", "pricing.output": "2"})
    page.get_by_text("$1 / $2").wait_for()

    page.get_by_role("link", name="Users").click()
    add(page, "Add user", name="newcomer")
    page.get_by_role("heading", name="newcomer", exact=True).wait_for()
    add(page, "Create key", label="laptop")
    key = page.get_by_test_id("secret").inner_text()
    page.get_by_role("button", name="I have kept it").click()
    expect(page.get_by_text(key)).to_have_count(0)
    page.get_by_role("tab", name="Permissions").click()
    add(page, "Add permission", model_pattern="*")
    page.locator("code", has_text="*").wait_for()

    page.get_by_role("link", name="Playground").click()
    page.get_by_label("Key").fill(key)
    page.get_by_label("Model").fill("fresh/sim-fresh")
    for dialect in ("openai_chat", "anthropic_messages", "gemini", "openai_responses"):
        page.get_by_label("Dialect").select_option(dialect)
        page.get_by_role("button", name="Send", exact=True).click()
        page.get_by_text("total").wait_for()
        assert len(page.get_by_test_id("answer").inner_text().split()) >= 8, dialect
        assert page.get_by_role("alert").count() == 0

    page.get_by_role("link", name="Requests").click()
    page.get_by_label("User").select_option("newcomer")
    rows = page.locator("tbody tr")
    expect(rows.first).to_contain_text("fresh/sim-fresh")
    expect(rows).to_have_count(4)
    rows.first.get_by_role("button").click()
    page.get_by_role("dialog").get_by_text("price_version").wait_for()
    page.get_by_role("dialog").get_by_role("heading", name="What happened").wait_for()


def test_what_others_wrote_is_only_text(watched: Watched) -> None:
    house = watched.gateway
    for number, text in enumerate(CORPUS):
        root(house, "POST", "/admin/users", {"name": f"u{number} {text}"})
        root(house, "POST", "/admin/models", {"provider_name": "main", "model_id": text, "display_name": text})
        root(house, "POST", "/admin/aliases", {"alias": f"a{number} {text}", "provider_name": "main", "model_id": text})
        root(house, "POST", "/admin/keys", {"user_name": "alice", "label": text})
        root(
            house,
            "POST",
            "/admin/credentials",
            {"provider_name": "other", "label": text, "fields": {"api_key": f"x{number}"}},
        )
        # The name a client asks for lands in the ledger, the vendor's words in its error.
        said = {
            "model": f"main/{text}",
            "messages": [{"role": "user", "content": f"[[sim status=400,message={text}]]"}],
        }
        house.request("POST", "/v1/chat/completions", said)
    page = watched.sign_in()
    for path in (
        "overview",
        "models",
        "users",
        "users/alice",
        "providers/other",
        "requests",
        "audit",
        "revisions",
        "usage",
    ):
        watched.open(path)
    watched.open("users/" + "u1%20%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert(2)%3E")
    page.get_by_role("heading", name='"><img src=x').wait_for()
    watched.open("playground")
    page.get_by_label("Key").fill(rig.ALICE)
    page.get_by_label("Model").fill("main/sim-model")
    page.get_by_label("Prompt").fill("[[sim status=400,message=<img src=x onerror=alert(9)>]]")
    page.get_by_role("button", name="Send", exact=True).click()
    page.get_by_role("alert").wait_for()
    assert page.locator("img").count() == 0


def test_a_session_that_ends_keeps_the_form(watched: Watched) -> None:
    page = watched.sign_in()
    page.get_by_role("link", name="Users").click()
    page.get_by_role("button", name="Add user").click()
    page.get_by_role("dialog").locator('[name="name"]').fill("kept")
    page.context.clear_cookies(name="gproxy_session")
    page.get_by_role("dialog").get_by_role("button", name="Create").click()
    door = page.get_by_role("dialog", name="Your session has ended")
    door.get_by_label("Password").fill(PASSWORD)
    door.get_by_role("button", name="Sign in").click()
    expect(door).to_have_count(0)
    sheet = page.get_by_role("dialog", name="Add user")
    expect(sheet.locator('[name="name"]')).to_have_value("kept")
    sheet.get_by_role("button", name="Create").click()
    page.get_by_role("heading", name="kept", exact=True).wait_for()


def test_two_administrators_at_one_row_get_a_choice(watched: Watched) -> None:
    page = watched.sign_in()
    watched.open("providers/other")
    page.get_by_role("button", name="Edit", exact=True).first.click()
    sheet = page.get_by_role("dialog")
    sheet.locator('[name="label"]').fill("mine")
    root(watched.gateway, "PATCH", "/admin/providers/other", {"label": "theirs"}, status=200)
    sheet.get_by_role("button", name="Save").click()
    sheet.get_by_text("Somebody else has changed this row").wait_for()
    sheet.get_by_label("Theirs: theirs").check()
    sheet.get_by_label("Mine: mine").check()
    sheet.get_by_role("button", name="Save this choice").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert root(watched.gateway, "GET", "/admin/providers/other")["label"] == "mine"


def test_refusals_land_on_their_fields_and_deleting_asks_for_the_name(watched: Watched) -> None:
    page = watched.sign_in()
    watched.open("providers")
    page.get_by_role("button", name="Add provider").first.click()
    sheet = page.get_by_role("dialog")
    sheet.locator('[name="name"]').fill("main")
    sheet.get_by_role("button", name="Create").click()
    expect(sheet.locator('[name="name"]')).to_have_attribute("aria-invalid", "true")
    sheet.locator('[name="name"]').fill("doomed")
    sheet.get_by_role("button", name="Create").click()
    page.get_by_role("heading", name="doomed", exact=True).wait_for()
    page.get_by_role("button", name="Delete", exact=True).click()
    ask = page.get_by_role("dialog")
    expect(ask.get_by_role("button", name="Delete provider")).to_be_disabled()
    ask.get_by_role("textbox").fill("doomed")
    ask.get_by_role("button", name="Delete provider").click()
    page.get_by_role("heading", name="Providers", exact=True).wait_for()
    assert watched.gateway.request("GET", "/admin/providers/doomed", key=ROOT_KEY)[0] == 404


def test_the_keyboard_goes_everywhere_and_the_language_changes(watched: Watched) -> None:
    page = watched.sign_in()
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to").fill("alice")
    page.get_by_role("option", name="alice").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="alice", exact=True).wait_for()
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="切换到中文").click()
    page.get_by_role("link", name="提供商").wait_for()
    assert page.locator("html").get_attribute("lang") == "zh-CN"


def test_a_user_without_rights_sees_their_own_things_only(watched: Watched) -> None:
    page = watched.sign_in("alice")
    page.get_by_role("heading", name="My account").wait_for()
    expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_text(["Playground", "My account"])
    page.get_by_text("of $5.00 used").wait_for()
    page.goto(f"{watched.gateway.url}/console/users")
    page.get_by_role("heading", name="My account").wait_for()
    add(page, "Create key", label="own")
    page.get_by_test_id("secret").wait_for()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_reads_well_at_every_width(browser: Browser, house: rig.Gateway, theme: str) -> None:
    context = browser.new_context(locale="en-US", color_scheme="dark" if theme == "dark" else "light")
    seen = Watched(context, house)
    page = seen.sign_in()
    for path in PAGES:
        seen.open(path)
        for width in (1280, 768, 390):
            page.set_viewport_size({"width": width, "height": 844})
            page.wait_for_function("document.documentElement.scrollWidth <= innerWidth", timeout=2000)
            if width != 768 and (width, theme) != (390, "dark"):
                seen.accessible(f"{path} {width}")
    context.close()
    assert seen.faults == []
