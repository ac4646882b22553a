"""What tests prepare beforehand: behaviours queued for coming requests, and gates that hold an answer back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from gproxy.vendor.behaviour import BadScript, Behaviour, build

MATCHABLE = ("model", "credential", "path", "nonce", "dialect", "operation", "tools", "results")
"""`tools` are the names of the tools that are offered, between blanks; `results` is what tools gave back last."""


@dataclass(slots=True)
class Script:
    """A behaviour for the next `times` requests that match (globs on the names in `MATCHABLE`)."""

    number: int
    match: dict[str, str]
    fields: dict[str, Any]
    times: int


class Gate:
    """Holds answers until it is opened; tells how many are waiting. An open gate lets everyone through."""

    def __init__(self) -> None:
        self.waiting = 0
        self.passed = 0
        self.open = False
        self._changed = asyncio.Condition()

    async def wait(self) -> None:
        """Stand at the gate until it opens."""
        async with self._changed:
            self.waiting += 1
            self._changed.notify_all()
            try:
                await self._changed.wait_for(lambda: self.open)
                self.passed += 1
            finally:
                self.waiting -= 1
                self._changed.notify_all()

    async def arrived(self, number: int) -> None:
        """Wait until so many stand at the gate."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.waiting >= number)

    async def release(self) -> None:
        """Open it for good."""
        async with self._changed:
            self.open = True
            self._changed.notify_all()


@dataclass(slots=True)
class Scripts:
    """The queue and the gates."""

    queued: list[Script] = field(default_factory=list)
    gates: dict[str, Gate] = field(default_factory=dict)
    made: int = 0

    def add(self, fields: dict[str, Any], *, times: int = 1, **match: str) -> Script:
        """Queue a behaviour. Raises `BadScript` for an unknown field or match."""
        unknown = set(match) - set(MATCHABLE)
        if unknown:
            raise BadScript(f"cannot match on {', '.join(sorted(unknown))}")
        build(Behaviour(), fields)
        self.made += 1
        script = Script(self.made, match, fields, times)
        self.queued.append(script)
        return script

    def take(self, facts: dict[str, str]) -> dict[str, Any]:
        """The first queued behaviour that matches, used up by one; empty when none does."""
        for script in self.queued:
            if all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in script.match.items()):
                script.times -= 1
                if script.times <= 0:
                    self.queued.remove(script)
                return script.fields
        return {}

    def gate(self, name: str) -> Gate:
        """The gate of that name, made when first asked for."""
        return self.gates.setdefault(name, Gate())
