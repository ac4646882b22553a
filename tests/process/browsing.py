"""A browser at the console, and what must never be seen there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Response, expect, sync_playwright

from tests.process import rig

PASSWORD = "correct horse battery staple"
ROOT_KEY = "sk-root-0123456789abcdef"
_AT_REST: Final = """Promise.allSettled(document.getAnimations()
    .filter(each => Number.isFinite(each.effect.getComputedTiming().endTime)).map(each => each.finished))"""
AXE: Final = rig.ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own; nothing is fetched."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    rig.needed("chromium", there=path is not None)
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield made
        made.close()


class Watched:
    """A page, and everything on it that must not happen."""

    def __init__(self, context: BrowserContext, gateway: rig.Gateway) -> None:
        self.gateway = gateway
        self.faults: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(10_000)
        self.page.on("dialog", self._dialog)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda line: self._said(line.text))
        self.page.on("response", self._came)
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('POLICY ' + e.violatedDirective + ' ' + e.blockedURI))"
        )

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, text: str) -> None:
        if "POLICY" in text or "Content Security Policy" in text:
            self.faults.append(text)

    def _came(self, response: Response) -> None:
        if not response.url.startswith((self.gateway.url, "blob:")):
            self.faults.append(f"another host: {response.url}")
        if response.status >= 500:
            self.faults.append(f"{response.status} {response.url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.gateway.url}/console/{path}")
        self.page.locator("main#main h1").wait_for()
        expect(self.page.locator(".skeleton")).to_have_count(0)
        return self.page

    def accessible(self, where: str) -> None:
        """What is open now has no serious fault for those who cannot see it, or not well."""
        rig.needed("axe-core (npm ci in web/)", there=AXE.exists())
        self.page.evaluate(_AT_REST)  # what is still fading in has colours of the moment
        self.page.evaluate(AXE.read_text("utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        self.faults += [
            f"{where}: {each['id']} {each['nodes'][0]['html'][:200]}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
        ]

    def sign_in(self, name: str = "root") -> Page:
        page = self.page
        page.goto(f"{self.gateway.url}/")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.locator("main#main h1").wait_for()
        return page


def root(
    gateway: rig.Gateway, method: str, path: str, body: object = None, status: int | None = None
) -> dict[str, object]:
    code, _, content = gateway.request(method, path, body, key=ROOT_KEY)
    assert status is None or code == status, (path, code, content)
    found: dict[str, object] = json.loads(content) if content else {}
    return found


def add(page: Page, opener: str, **fields: str) -> None:
    """Open an editor, fill it by the names of its fields, and save."""
    page.get_by_role("button", name=opener, exact=True).first.click()
    sheet = page.get_by_role("dialog")
    for name, value in fields.items():
        control = sheet.locator(f'[name="{name}"]')
        if control.evaluate("(each) => each.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.fill(value)
    sheet.get_by_role("button", name="Create", exact=True).click()
