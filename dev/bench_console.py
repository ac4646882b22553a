"""Measures how long the console's overview and usage take to be drawn over a large ledger, in a real browser.

`make bench-console` fills an SQLite database (a million rows over 90 days unless told otherwise), opens the pages in
the system's Chromium, and prints the milliseconds from the click or the call of the page to the last picture, the
median and the worst of some runs. The budget is one second. It judges nothing: a busy machine is no regression.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dev import ledger_rows
from tests.process import rig
from tests.process.browsing import PASSWORD, Watched, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

BUDGET_MS: Final = 1000
PEOPLE: Final = 50
RANGES: Final = ("24h", "7d", "30d", "90d")
_SEED: Final = """
[[users]]
name = "root"
password = "{password}"
is_admin = true
""" + "".join(f'[[users]]\nname = "user-{number:02}"\n' for number in range(PEOPLE))

# Calls back with the moment of the paint after everything asked for has been drawn.
_DRAWN: Final = """
(pictures) => new Promise((done) => {
  const look = () => {
    const drawn = document.querySelectorAll('main svg[role=img]').length >= pictures && !document.querySelector('.skeleton');
    if (drawn) requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now())));
    else requestAnimationFrame(look);
  };
  look();
})
"""


def opened(page: Page, url: str, pictures: int) -> float:
    """Milliseconds from calling a page to its last picture; the browser has the files already, as on most days."""
    page.goto(url)
    return float(page.evaluate(_DRAWN, pictures))


def switched(page: Page, range_: str, pictures: int) -> float:
    """Milliseconds from choosing a range to the last picture."""
    choice = page.locator("main select").first
    begin = f"""
    async (pictures) => {{
      const begin = performance.now();
      const button = [...document.querySelectorAll('main [role=group] button')][{RANGES.index(range_)}];
      const select = document.querySelector('main select');
      if (select.querySelector('option[value="{range_}"]')) {{
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(select, '{range_}');
        select.dispatchEvent(new Event('change', {{ bubbles: true }}));
      }} else button.click();
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return (await ({_DRAWN})(pictures)) - begin;
    }}
    """
    choice.wait_for()
    return float(page.evaluate(begin, pictures))


def line(what: str, runs: list[float]) -> None:
    """One row of the table."""
    print(f"{what:<42}{statistics.median(runs):>10.0f}{max(runs):>10.0f}{BUDGET_MS:>10}", flush=True)


def measure(house: rig.Gateway, runs: int) -> None:
    """Print the table."""
    with chromium() as browser:
        context = browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
        page = Watched(context, house).sign_in()
        print(f"{'milliseconds to the last picture':<42}{'median':>10}{'worst':>10}{'budget':>10}")
        for name, pictures in (("overview", 3), ("usage", 1)):
            url = f"{house.url}/console/{name}"
            opened(page, url, pictures)
            line(f"{name}: called", [opened(page, url, pictures) for _ in range(runs)])
            for range_ in RANGES:
                times = []
                for _ in range(runs):
                    opened(page, url, pictures)
                    times.append(switched(page, range_, pictures))
                line(f"{name}: {range_} chosen", times)
        context.close()


def main() -> None:
    """Fill, start, measure."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--rows", type=int, default=1_000_000)
    reader.add_argument("--days", type=int, default=90)
    reader.add_argument("--runs", type=int, default=5)
    given = reader.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        house = rig.Gateway(folder, _SEED.format(password=PASSWORD))
        house.start()
        people = [(row["id"], row["name"]) for row in house.query("SELECT id, name FROM users ORDER BY name")]
        house.stop()
        begun = time.monotonic()
        made = ledger_rows.rows(given.rows, given.days, time.time_ns() // 1000, people)
        landed = asyncio.run(ledger_rows.land(f"sqlite:///{house.data}/gproxy.db", made))
        sums = house.query(
            "SELECT (SELECT COUNT(*) FROM usage_rollups) AS sums, (SELECT COUNT(*) FROM latency_rollups) AS latencies"
        )
        print(f"{landed:,} rows landed in {time.monotonic() - begun:.0f} s: {dict(sums[0])}", flush=True)
        house.start()
        try:
            measure(house, given.runs)
        finally:
            house.stop()


if __name__ == "__main__":
    main()
