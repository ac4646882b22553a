"""From an empty gateway to its shutdown, all of it in the console: the way a new administrator goes."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.process import rig
from tests.process.browsing import PASSWORD, Watched, add

pytestmark = pytest.mark.process

SEED = f"""
[[users]]
name = "root"
password = "{PASSWORD}"
is_admin = true
"""


class Journey:
    """One administrator at one gateway, step by step."""

    def __init__(self, seen: Watched, vendor: rig.Vendor) -> None:
        self.seen = seen
        self.page = seen.page
        self.vendor = vendor
        self.key = ""

    def go(self, name: str) -> None:
        """Through the navigation, as a person does."""
        self.page.get_by_role("navigation", name="Main").get_by_role("link", name=name, exact=True).click()
        self.page.locator("main#main h1").wait_for()

    def provider(self, name: str, key: str) -> None:
        """A provider, its credential, a test of it, and the vendor's models."""
        page = self.page
        self.go("Providers")
        base = {"settings.base_url": f"http://127.0.0.1:{self.vendor.port}/v1"}
        add(page, "Add provider", channel="custom", name=name, **base)
        page.get_by_role("heading", name=name, exact=True).wait_for()
        add(page, "Add credential", label=f"{name} one", **{"fields.api_key": key})
        page.get_by_role("button", name="Test", exact=True).click()
        page.get_by_text("Works:").wait_for()
        page.get_by_role("tab", name="Models").click()
        page.get_by_role("button", name="Pull models").click()
        sheet = page.get_by_role("dialog")
        sheet.get_by_role("button", name="Select all").click()
        sheet.get_by_role("button", name=re.compile(r"^Add [1-9]")).click()
        page.get_by_text("models added").first.wait_for()
        expect(sheet).to_have_count(0)

    def price(self, model: str) -> None:
        """What a model costs, USD per million tokens."""
        page = self.page
        page.get_by_label("Search").fill(model)
        rows = page.get_by_role("region", name="Models").locator("tbody tr")
        expect(rows).to_have_count(1)
        rows.get_by_role("button", name="Edit").click()
        sheet = page.get_by_role("dialog")
        sheet.locator('[name="pricing.input"]').fill("10")
        sheet.locator('[name="pricing.output"]').fill("20")
        sheet.get_by_role("button", name="Save").click()
        expect(rows).to_contain_text("$10 / $20")

    def user(self, name: str) -> None:
        """A user with a key, a permission and a budget."""
        page = self.page
        self.go("Users")
        add(page, "Add user", name=name)
        page.get_by_role("heading", name=name, exact=True).wait_for()
        add(page, "Create key", label="laptop")
        self.key = page.get_by_test_id("secret").inner_text()
        page.get_by_role("button", name="I have kept it").click()
        page.get_by_role("tab", name="Permissions").click()
        add(page, "Add permission", model_pattern="*")
        page.locator("code", has_text="*").wait_for()
        self.budget("Set a budget", "5")

    def budget(self, opener: str, usd: str) -> None:
        """Give the user whose page is open this much."""
        self.page.get_by_role("button", name=opener).click()
        sheet = self.page.get_by_role("dialog")
        sheet.locator('[name="quota"]').fill(usd)
        sheet.get_by_role("button", name=re.compile("Create|Save")).click()
        expect(self.page.get_by_role("dialog")).to_have_count(0)

    def send(self, model: str, prompt: str = "hello") -> Page:
        """A request in the playground; it runs on."""
        self.go("Playground")
        page = self.page
        page.get_by_label("Key").fill(self.key)
        page.get_by_label("Model").fill(model)
        page.get_by_label("Prompt").fill(prompt)
        page.get_by_role("button", name="Send", exact=True).click()
        return page

    def refused(self, house: rig.Gateway, why: str) -> None:
        """Its story says at which step and what was left. It has no line in the ledger, but an id to ask by."""
        page = self.page
        request_id = page.locator("main dl dd").first.inner_text().split()[0]
        trail = f"SELECT 1 FROM request_trails WHERE request_id = '{request_id}'"
        rig.await_that(lambda: house.query(trail) or None, house, "the trail of a refusal")
        page.get_by_role("button", name="What happened").click()
        story = page.get_by_role("dialog")
        expect(story.locator("li", has_text="reserve").first).to_be_visible()
        expect(story.locator("dl")).to_contain_text(why)
        page.keyboard.press("Escape")
        self.go("Requests")
        page.get_by_label("Request id").fill(request_id)
        page.get_by_role("button", name="A refused request has no line here").click()
        expect(page.get_by_role("dialog").locator("dl")).to_contain_text(why)
        page.keyboard.press("Escape")

    def answered(self) -> Page:
        """It has ended, and well."""
        self.page.get_by_text(re.compile("^total ")).wait_for()
        expect(self.page.get_by_role("alert")).to_have_count(0)
        return self.page


def test_the_whole_way(browser: Browser, tmp_path: Path, vendor: rig.Vendor) -> None:
    context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 1000})
    flags = ("--shutdown-delay", "4s", "--drain-timeout", "30s")
    with rig.gateway(tmp_path, SEED, *flags) as house:
        house.keep_port()
        seen = Watched(context, house)
        page = seen.sign_in()
        expect(page.get_by_role("heading", name="First steps")).to_be_visible()
        way = Journey(seen, vendor)
        way.provider("near", f"{rig.VENDOR_KEY}-1")
        way.price("sim-large")
        way.provider("far", f"{rig.VENDOR_KEY}-2")
        way.user("newcomer")

        # A slow stream, seen by a second pair of eyes while it runs.
        way.send("near/sim-large", "[[sim tokens=60,delay=0.1]]")
        onlooker = Watched(context, house)
        live = onlooker.open("live")
        row = live.get_by_role("region", name="Live").locator("tbody tr", has_text="newcomer")
        expect(row).to_contain_text("streaming")
        expect(row.locator("td").nth(5)).to_have_text(re.compile("^[1-9]"))
        assert len(way.answered().get_by_test_id("answer").inner_text().split()) == 60

        way.go("Requests")
        rows = page.get_by_role("region", name="Requests").locator("tbody tr")
        expect(rows).to_have_count(1)
        rows.get_by_role("button").click()
        story = page.get_by_role("dialog")
        story.get_by_role("heading", name="What happened").wait_for()
        expect(story).to_contain_text("near/sim-large")
        page.keyboard.press("Escape")
        way.go("Usage")
        sums = page.get_by_role("region", name="Sums").locator("tbody tr")
        expect(sums).to_have_count(1)
        expect(sums).to_contain_text("sim-large")
        expect(sums.locator("td").nth(1)).to_have_text(re.compile(r"^\$0\.00\d*[1-9]$"))

        # A limit, and why it refused.
        way.go("Users")
        page.get_by_role("button", name="newcomer", exact=True).click()
        page.get_by_role("tab", name="Rate limits").click()
        add(page, "Add limit", model_pattern="*", rpm="1")
        page.get_by_role("region", name="Rate limits").locator("tbody tr").wait_for()
        way.send("near/sim-large")
        way.answered()
        way.send("near/sim-large").get_by_role("alert").wait_for()
        expect(page.get_by_text("rate_limited")).to_be_visible()
        expect(page.locator("dl", has_text="x-gproxy-limit")).to_contain_text("rpm")
        way.refused(house, "rpm")

        # A budget that is too small, and why it refused.
        way.go("Users")
        page.get_by_role("button", name="newcomer", exact=True).click()
        page.get_by_role("tab", name="Rate limits").click()
        page.get_by_role("region", name="Rate limits").get_by_role("button", name="Delete").click()
        page.get_by_text("No rate limits").wait_for()
        way.budget("Change", "0.000001")
        way.send("near/sim-large").get_by_role("alert").wait_for()
        expect(page.get_by_text("quota_exceeded")).to_be_visible()
        way.refused(house, "$0.00")
        way.go("Users")
        page.get_by_role("button", name="newcomer", exact=True).click()
        expect(page.get_by_test_id("burn-down")).to_contain_text("It is used up")
        way.budget("Change", "5")

        # A route over both; a credential that is switched off is passed over.
        way.go("Models and routes")
        page.get_by_role("tab", name="Routes").click()
        page.get_by_role("button", name="Add route").first.click()
        sheet = page.get_by_role("dialog")
        sheet.locator('[name="name"]').fill("both")
        members = sheet.get_by_label("Add a model…")
        for name in ("near/sim-large", "far/sim-large"):
            members.select_option(label=name)
        grip = sheet.get_by_role("button", name="far/sim-large, tier 0")
        grip.focus()
        page.keyboard.press("ArrowDown")
        sheet.get_by_role("button", name="Create", exact=True).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        way.send("both")
        expect(way.answered().locator("dl")).to_contain_text("near")
        way.go("Providers")
        page.get_by_role("button", name="near", exact=True).click()
        page.get_by_role("switch", name="Enabled: near one").click()
        expect(page.get_by_role("switch", name="Enabled: near one")).not_to_be_checked()
        way.send("both")
        expect(way.answered().locator("dl")).to_contain_text("far")

        # The end: counted down while a stream runs on, and told of afterwards.
        way.send("far/sim-large", "[[sim tokens=70,delay=0.1]]")
        expect(page.get_by_test_id("answer")).to_have_text(re.compile(r"\w"))
        house.signal(signal.SIGTERM)
        countdown = live.get_by_test_id("drain")
        expect(countdown).to_contain_text("The server is shutting down")
        expect(countdown.get_by_role("timer")).to_contain_text(re.compile(r"still takes requests for [1-4] s"))
        expect(countdown.get_by_role("timer")).to_contain_text(re.compile(r"At most \d+ s until it ends · 1 in flight"))
        expect(countdown).to_contain_text("The server takes no new connections")
        expect(countdown.get_by_role("timer")).to_contain_text(re.compile(r"have \d+ s to finish"))
        assert len(way.answered().get_by_test_id("answer").inner_text().split()) == 70
        assert house.wait() == 0
        house.start()
        expect(live.get_by_test_id("drain")).to_have_count(0)
        report = seen.open("shutdowns").locator("tbody tr")
        expect(report).to_contain_text("SIGTERM")
        report.get_by_role("button").click()
        page.get_by_role("dialog").get_by_text("Everything that happened is in the database.").wait_for()
        # Readiness says 503 while it stops, as it should; nothing else may have failed.
        assert [fault for fault in (*seen.faults, *onlooker.faults) if "/readyz" not in fault] == []
    context.close()
