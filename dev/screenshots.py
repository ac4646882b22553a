"""Takes the pictures of the console that the pages show: every page in light, dark and at the width of a phone.

`make screenshots` starts a gateway and the simulated vendor, fills them with a team's work of a month, and writes
`docs/images/console/<page>-<light|dark|phone>.webp`. Two runs differ in their times of day; nothing compares them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import signal
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dev import ledger_rows
from gproxy.storage.engine import connect
from gproxy.storage.health import CredentialStatus, save_statuses
from tests.process import rig
from tests.process.browsing import PASSWORD, ROOT_KEY, Watched, chromium, root

if TYPE_CHECKING:
    from playwright.sync_api import Page

OUT: Final = Path(__file__).resolve().parents[1] / "docs" / "images" / "console"
PAGES: Final = (
    ("overview", "overview"),
    ("live", "live"),
    ("providers", "providers"),
    ("provider", "providers/openai-main"),
    ("models", "models"),
    ("routes", "models"),
    ("users", "users"),
    ("user", "users/bert"),
    ("requests", "requests"),
    ("request", "requests"),
    ("usage", "usage"),
    ("playground", "playground"),
    ("shutdowns", "shutdowns"),
    ("audit", "audit"),
    ("revisions", "revisions"),
    ("settings", "settings"),
    ("account", "account"),
)
LOOKS: Final = (("light", 1280, 900), ("dark", 1280, 900), ("phone", 390, 844))
PEOPLE: Final = ("ada", "bert", "chen", "dora", "emil")
_QUALITY: Final = 72
_STILL: Final = """
() => Promise.allSettled(document.getAnimations().filter((each) => each.effect.getTiming().iterations !== Infinity).map((each) => each.finished))
"""

_SEED: Final = """
[[users]]
name = "root"
password = "{password}"
is_admin = true
[[users.keys]]
api_key = "{key}"
[[permissions]]
user_name = "root"
model_pattern = "*"
[[model_aliases]]
alias = "fast"
provider_name = "openai-main"
model_id = "gpt-4.1-mini"
[[routes]]
name = "best"
strategy = "failover"
members = [
  {{ provider_name = "anthropic", model_id = "claude-sonnet-4-5", tier = 0, weight = 3 }},
  {{ provider_name = "openai-main", model_id = "gpt-4.1", tier = 0, weight = 1 }},
  {{ provider_name = "in-house", model_id = "qwen3-32b", tier = 1, weight = 1 }},
]
"""


def seed(port: int) -> str:
    """A small team, its vendors (all of them the simulated one) and what everybody may do."""
    parts = [_SEED.format(password=PASSWORD, key=ROOT_KEY)]
    channels = {offer.provider: offer.channel for offer in ledger_rows.OFFERS}
    for name, channel in channels.items():
        keys = ", ".join(
            f'{{ label = "{label}", api_key = "sk-{name}-{label}-0123456789" }}' for label in ("team-a", "team-b")
        )
        parts.append(
            f'[[providers]]\nname = "{name}"\nchannel = "{channel}"\n'
            f'settings = {{ base_url = "http://127.0.0.1:{port}" }}\ncredentials = [ {keys} ]\n'
        )
    for offer in ledger_rows.OFFERS:
        price = f"input = {offer.input_nano / 1000}, output = {offer.output_nano / 1000}"
        parts.append(
            f'[[models]]\nprovider_name = "{offer.provider}"\nmodel_id = "{offer.model}"\nprice = {{ {price} }}\n'
        )
    for number, name in enumerate(PEOPLE):
        parts.append(
            f'[[users]]\nname = "{name}"\npassword = "{PASSWORD}"\n[[users.keys]]\napi_key = "sk-{name}-0123456789abc"\n'
            f'label = "laptop"\n[[permissions]]\nuser_name = "{name}"\nmodel_pattern = "*"\n'
            f'[[rate_limits]]\nuser_name = "{name}"\nmodel_pattern = "*"\nrpm = 60\n'
            f'[[quotas]]\nuser_name = "{name}"\nquota = {(60, 25, 20, 60, 50)[number]}\n'
        )
    return "\n".join(parts)


async def past(house: rig.Gateway) -> None:
    """A month of work, and a day in which a credential was not always well."""
    now = time.time_ns() // 1000
    people = [
        (row["id"], row["name"]) for row in house.query("SELECT id, name FROM users WHERE name <> 'root' ORDER BY name")
    ]
    dsn = f"sqlite:///{house.data}/gproxy.db"
    await ledger_rows.land(dsn, ledger_rows.rows(24_000, 30, now, people))
    one, two = [row["id"] for row in house.query("SELECT id FROM credentials ORDER BY id")][:2]
    hour, minute = ledger_rows.HOUR_US, ledger_rows.HOUR_US // 60
    db = await connect(dsn)
    try:
        for at, credential, state, until, reason in (
            (now - 20 * hour, one, "cooldown", now - 20 * hour + 25 * minute, "429: rate limit reached"),
            (now - 19 * hour, one, "healthy", None, None),
            (now - 9 * hour, one, "cooldown", now - 9 * hour + 50 * minute, "503: overloaded"),
            (now - 8 * hour, one, "healthy", None, None),
            (now - 14 * hour, two, "disabled", None, "401: incorrect API key provided"),
            (now - 11 * hour, two, "healthy", None, None),
        ):
            await save_statuses(db, [CredentialStatus(credential, "", state, until, reason, 0, at)])
    finally:
        await db.close()


def present(house: rig.Gateway) -> list[threading.Thread]:
    """Some changes, some requests that have ended, and some streams that are running."""
    root(house, "PATCH", "/admin/routes/best", {"strategy": "failover", "enabled": True}, 200)
    root(house, "POST", "/admin/aliases", {"alias": "smart", "provider_name": "anthropic", "model_id": "claude-sonnet-4-5"}, 201)  # fmt: skip
    root(house, "PATCH", "/admin/quotas/bert", {"quota": "30"}, 200)
    root(house, "PATCH", "/admin/settings/enable_downstream_log", {"value": True}, 200)
    root(house, "PATCH", "/admin/settings/trail_share", {"value": 1}, 200)

    def ask(name: str, model: str, script: str, *, stream: bool) -> None:
        said = [{"role": "user", "content": f"Tell me more. [[sim {script}]]"}]
        key = f"sk-{name}-0123456789abc"
        with suppress(OSError, http.client.HTTPException):  # the streams are cut when there are enough pictures
            house.request("POST", "/v1/chat/completions", {"model": model, "messages": said, "stream": stream}, key=key)

    for name, model in (
        ("ada", "fast"),
        ("bert", "best"),
        ("chen", "smart"),
        ("ada", "no-such-model"),
        ("dora", "best"),
    ):
        ask(name, model, "tokens=40,first=0.6,delay=0.01", stream=False)
    streams = [
        threading.Thread(target=ask, args=(name, model, f"tokens=4000,first=0.4,delay={delay}"), kwargs={"stream": True}, daemon=True)
        for name, model, delay in (("ada", "fast", 0.05), ("bert", "best", 0.08), ("chen", "smart", 0.03))
    ]  # fmt: skip
    for stream in streams:
        stream.start()
    return streams


def settle(page: Page, name: str) -> None:
    """What is to be seen on a page beyond opening it."""
    if name == "overview":
        page.get_by_role("button", name="7 days").click()
        page.get_by_role("button", name="Heat map").click()
        page.get_by_role("img", name="Total of").wait_for()
    if name == "routes":
        page.get_by_role("tab", name="Routes").click()
        page.get_by_role("button", name="Edit", exact=True).first.click()
        page.get_by_test_id("tier-1").wait_for()
    if name == "request":
        page.locator("tbody tr", has_text="best").first.get_by_role("button").click()
        page.get_by_role("heading", name="Limits and budget").wait_for()
    if name == "live":
        page.get_by_text("streaming", exact=True).first.wait_for()
    if name == "playground":
        page.get_by_label("Key").fill("sk-ada-0123456789abc")
        page.get_by_label("Model").fill("best")
        page.get_by_label("Prompt").fill("Say hello. [[sim tokens=13,first=0.3,delay=0.02]]")
        page.get_by_role("button", name="Send", exact=True).click()
        page.locator("main dl").wait_for()
        page.get_by_text("total ").wait_for()
    if name == "revisions":
        page.locator("tbody tr").first.get_by_role("button").click()
        page.get_by_role("dialog").locator("details").first.wait_for()


def picture(page: Page, path: Path) -> None:
    """What is in the window, as WebP: a quarter of the size of a PNG."""
    page.evaluate("scrollTo(0, 0)")
    page.evaluate(_STILL)
    session = page.context.new_cdp_session(page)
    taken: dict[str, Any] = session.send("Page.captureScreenshot", {"format": "webp", "quality": _QUALITY})
    session.detach()
    path.write_bytes(base64.b64decode(taken["data"]))


def take(house: rig.Gateway, out: Path) -> None:
    """All of them."""
    with chromium() as browser:
        for look, width, height in LOOKS:
            context = browser.new_context(
                locale="en-US",
                color_scheme="dark" if look == "dark" else "light",
                viewport={"width": width, "height": height},
            )
            seen = Watched(context, house)
            page = seen.sign_in()
            for name, path in PAGES:
                if name == "account":
                    context.clear_cookies()
                    seen.sign_in("bert")
                seen.open(path)
                settle(page, name)
                picture(page, out / f"{name}-{look}.webp")
            context.clear_cookies()
            page.goto(f"{house.url}/console/")
            page.get_by_role("button", name="Sign in").wait_for()
            picture(page, out / f"sign-in-{look}.webp")
            context.close()
        house.signal(signal.SIGTERM)
        for look, width, height in LOOKS:
            context = browser.new_context(
                locale="en-US",
                color_scheme="dark" if look == "dark" else "light",
                viewport={"width": width, "height": height},
            )
            seen = Watched(context, house)
            seen.sign_in()
            seen.open("live").get_by_test_id("drain").get_by_role("timer").wait_for()
            picture(seen.page, out / f"drain-{look}.webp")
            context.close()


def main() -> None:
    """Fill, start, take."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--out", type=Path, default=OUT)
    out: Path = reader.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, rig.vendor(Path(name)) as vendor:
        # Long enough to look at the drain, which still answers while it only stops being ready.
        house = rig.Gateway(Path(name), seed(vendor.port), "--shutdown-delay", "30s", "--drain-timeout", "60s")
        house.start()
        house.signal(signal.SIGTERM)
        house.stop()
        asyncio.run(past(house))
        house.start()
        try:
            present(house)
            take(house, out)
        finally:
            house.end()
    for path in sorted(out.glob("*.webp")):
        print(f"{path.name:<28}{path.stat().st_size / 1024:>8.0f} KB")


if __name__ == "__main__":
    main()
