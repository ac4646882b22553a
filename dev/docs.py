"""Writes the pages that are made from the code; `--check` only compares, and `make check` runs that.

docs/settings.md comes from the settings table, so that a setting is described once.
"""

from __future__ import annotations

import argparse
import sys
from itertools import groupby
from pathlib import Path
from typing import Final

from dev.translation import translation_page
from gproxy.config.settings import Setting, all_settings

ROOT: Final = Path(__file__).resolve().parents[1]

SETTINGS_HEAD: Final = """\
# Settings

<!-- Made by `make docs` from src/gproxy/config/settings.py. Do not edit by hand. -->

What an operator says before the gateway runs. Providers, models, users and keys are not settings: they live in
the database and start from the [seed file](configuration.md).

A **flag** goes before its **variable**, the variable before what is stored in the database, that before the
**default**. An empty variable counts as not set. `gproxy serve --help` shows every setting with the value in
force and where it came from; a value that cannot be used is refused at the start with the flag, the variable and
the fix.

- **Durations**: `20` or `20s` (seconds), `500ms`, `2m`, `1h`.
- **Sizes**: `65536` (bytes), `64KiB`, `50MiB`, `1GiB`; `KB`, `MB`, `GB` are decimal.
- **Secrets** belong into variables rather than flags: other users of a machine can read the command line.
- Under Kubernetes, a service called `gproxy` sets `GPROXY_PORT=tcp://…` in every pod; such a value is ignored.
"""

SETTINGS_TAIL: Final = """\
## Exit codes

| code | meaning |
| --- | --- |
| 0 | done; for `serve`: stopped, and everything that happened is in the database |
| 1 | refused or invalid: a broken seed file, a database that cannot be used, a port that is taken |
| 2 | usage: an unknown flag, a setting that cannot be used |
| 70 | `serve`: a fault of gproxy itself |
| 75 | `serve`: a worker was late or usage records are left in the journal; the next start takes them over, nothing is lost |
"""


def row(setting: Setting) -> str:
    """One line of a table."""
    names = f"`{setting.flag}`<br>`{setting.env}`" if setting.flag else f"`{setting.env}`"
    text = setting.text.replace("|", "\\|") + (f" Not yet: {setting.missing}." if setting.missing else "")
    return f"| {names} | `{setting.default_text}` | {text} |"


def settings_page() -> str:
    """docs/settings.md."""
    parts = [SETTINGS_HEAD]
    for group, members in groupby(all_settings(), key=lambda setting: setting.group):
        lines = [f"## {group.value}", "", "| flag, variable | default | meaning |", "| --- | --- | --- |"]
        parts.append("\n".join([*lines, *(row(setting) for setting in members)]) + "\n")
    parts.append(SETTINGS_TAIL)
    return "\n".join(parts)


DECISIONS_HEAD: Final = """\
# Decisions

<!-- Made by `make docs` from the files beside it. Do not edit by hand. -->

What was decided, why, and what was refused. Numbered, short, never rewritten: a decision that changes gets a new
number and the old one says so. [dependencies](dependencies.md) has one line for each library.
"""


def decisions_page() -> str:
    """docs/decisions/README.md."""
    lines = []
    for path in sorted((ROOT / "docs/decisions").glob("[0-9]*.md")):
        title = path.read_text("utf-8").partition("\n")[0].lstrip("# ").strip()
        lines.append(f"- [{path.name[:4]}]({path.name}) {title.removeprefix(path.name[:4]).strip()}")
    return "\n".join([DECISIONS_HEAD, *lines]) + "\n"


PAGES: Final = {
    "docs/decisions/README.md": decisions_page,
    "docs/settings.md": settings_page,
    "docs/translation.md": translation_page,
}


def main() -> int:
    """Write or compare every page."""
    parser = argparse.ArgumentParser(prog="dev/docs.py", description="Write the generated pages.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when a page is out of date")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path = ROOT / name
        text = page()
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if not check:
            path.write_text(text, "utf-8")
            print(f"wrote {name}")
    if check and stale:
        print(f"out of date, run `make docs`: {', '.join(stale)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
