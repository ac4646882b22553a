"""Builds the web console (`web/` → `src/gproxy/console/static/`); `--check` proves that the two belong together.

The built files are committed, so that the gateway runs where there is no Node. `--check` needs none either: a list of
hashes, written by the build, names every source and every built file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
STATIC = ROOT / "src" / "gproxy" / "console" / "static"
LIST = ROOT / "src" / "gproxy" / "console" / "built.json"
SKIPPED = {"node_modules", "dist", "README.md"}


def hashes(folder: Path) -> dict[str, str]:
    """Every file that matters below a folder, by its path from there."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = ((path.relative_to(folder), path) for path in files)
    return {
        name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named
        if name.parts[0] not in SKIPPED
    }


def stale() -> list[str]:
    """What does not fit the list, in words."""
    if not LIST.is_file():
        return [f"{LIST.relative_to(ROOT)} is missing"]
    known = json.loads(LIST.read_text("utf-8"))
    told = []
    for part, folder in (("sources", WEB), ("built", STATIC)):
        now = hashes(folder)
        told += [
            f"{(folder / name).relative_to(ROOT)}: {'is new' if name not in known[part] else 'is gone' if name not in now else 'differs'}"
            for name in sorted(now.keys() | known[part].keys())
            if now.get(name) != known[part].get(name)
        ]
    return told


def build(out: Path) -> None:
    """Install what the lock file names and build into a folder. Raises when Node says no."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("building the console needs Node >= 20.19 with npm; running it needs neither")
    subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--silent"], cwd=WEB, check=True)
    subprocess.run([npm, "run", "build", "--silent"], cwd=WEB, check=True, env={**os.environ, "CONSOLE_OUT": str(out)})


def main() -> int:
    """Build and write the list, or compare."""
    if "--check" in sys.argv[1:]:
        told = stale()
        for line in told:
            print(f"console: {line}", file=sys.stderr)
        if told:
            print("console: run `make console` (needs Node) and commit what it writes", file=sys.stderr)
        return 1 if told else 0
    if "--list" not in sys.argv[1:]:
        build(STATIC)
    LIST.write_text(
        json.dumps({"sources": hashes(WEB), "built": hashes(STATIC)}, indent=1, sort_keys=True) + "\n", "utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
