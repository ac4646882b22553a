"""One agent at work in a folder of its own: the vendor's scripts, the agent's process, what came of both."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from tests.agents.agents import BEFORE, OTHER, Agent
from tests.agents.guide import Guide, guide
from tests.agents.strays import Strays
from tests.process import rig

HOME: Final = rig.ROOT / ".tools" / "agents"
"""Where `make agents` installs them."""

LONGEST: Final = 100.0
"""Seconds a session may take; the slowest agent needs about ten."""


@dataclass
class World:
    """Who is there beside the agent."""

    vendor: rig.Vendor
    gateway: rig.Gateway
    strays: Strays

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the vendor's control endpoint."""
        connection = http.client.HTTPConnection("127.0.0.1", self.vendor.port, timeout=60)
        try:
            connection.request(method, f"/_vendor/{path}", None if body is None else json.dumps(body))
            answer = connection.getresponse()
            told = answer.read()
            assert answer.status < 300, told
            return json.loads(told)
        finally:
            connection.close()

    def script(self, fields: dict[str, Any], **match: str) -> None:
        """Queue one answer of the vendor's."""
        self.control("POST", "scripts", {"script": fields, "match": match})


@dataclass
class Outcome:
    """What an agent's run left behind."""

    code: int | None
    """None: it did not end in time."""
    said: str
    edited: str
    unused: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    strays: list[str]

    def __str__(self) -> str:
        rows = [{name: row[name] for name in ("dialect_out", "operation", "outcome", "status")} for row in self.rows]
        return (
            f"exit {self.code}\n{self.said[-4000:]}\nscripts left: {self.unused}\nrows: {rows}\nstrays: {self.strays}"
        )


def installed(agent: Agent) -> bool:
    """Whether `make agents` has brought it."""
    return any((folder / agent.command).exists() for folder in _BINARIES)


_BINARIES: Final = (HOME / "node_modules" / ".bin", HOME / "aider" / "bin")


def run(world: World, agent: Agent, upstream: str, folder: Path) -> Outcome:
    """Let the agent do its work with a model of a vendor that speaks `upstream`."""
    model = f"agent-{upstream}"
    work, home = folder / "work", folder / "home"
    work.mkdir()
    home.mkdir()
    file, other = work / "notes.txt", work / "other.txt"
    file.write_text(BEFORE, encoding="utf-8")
    other.write_text(OTHER, encoding="utf-8")
    rows, strays, seen = len(world.gateway.rows()), len(world.strays.asked), world.control("GET", "health")["seen"]
    world.control("DELETE", "scripts")
    for fields, match in agent.turns(file, other):
        world.script(fields, model=f"*{model}*", **match)
    told = guide(agent.section, url=world.gateway.url, key=rig.ALICE, model=model)
    code, said = _process(agent, told, work, _environment(world, home))
    unused = world.control("GET", "scripts")
    calls = world.control("GET", "health")["seen"] - seen
    found = world.gateway.rows(rows + calls)[rows:]
    asked = [
        line for line in world.strays.asked[strays:] if not any(fnmatchcase(line, known) for known in agent.strays)
    ]
    return Outcome(code, said, file.read_text(encoding="utf-8"), unused, found, asked)


def _environment(world: World, home: Path) -> dict[str, str]:
    """Nothing of ours but a way to the programs; every road but the loopback ends at a proxy that says no."""
    proxy = f"http://127.0.0.1:{world.strays.port}"
    path = [*map(str, (*_BINARIES, HOME / "node" / "bin")), "/usr/local/bin", "/usr/bin", "/bin"]
    roads = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"), proxy)
    loopback = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost")
    return {"PATH": os.pathsep.join(path), "HOME": str(home), "LANG": "C.UTF-8", "CI": "true", **roads, **loopback}


def _process(agent: Agent, told: Guide, work: Path, environment: dict[str, str]) -> tuple[int | None, str]:
    """Follow the page: write its files, run its script with the agent's arguments behind the last line."""
    for name, content in told.files.items():
        file = Path(environment["HOME"]) / name.removeprefix("~/") if name.startswith("~/") else work / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content.replace(*agent.swap) if all(agent.swap) else content, encoding="utf-8")
    script = f"set -e\n{told.shell.rstrip()} {agent.arguments}\n"
    process = subprocess.Popen(
        ["sh", "-c", script],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=LONGEST)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        code = None
        said = b""
    finally:
        _end_all(process)
    if code is None:
        said, _ = process.communicate()
    return code, said.decode("utf-8", "replace")


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """The agent and everybody it has started: they share a session of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
