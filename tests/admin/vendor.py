"""A vendor that answers from a script; it keeps the upstream port and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gproxy.errors import UpstreamFault
from gproxy.wire.http import Header, UpstreamRequest


@dataclass
class Answer:
    status: int
    body: bytes
    headers: Sequence[Header] = ()

    async def next(self) -> bytes:
        raise NotImplementedError

    async def read(self, limit: int) -> bytes:
        assert len(self.body) <= limit
        return self.body

    def abort(self) -> None:
        """Nothing to drop."""


@dataclass
class ScriptedVendor:
    """Answers the next of its script; an exception is raised."""

    script: list[Answer | UpstreamFault] = field(default_factory=list)
    asked: list[UpstreamRequest] = field(default_factory=list)

    def will(self, status: int, document: Any) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.script.append(Answer(status, body))

    async def send(self, request: UpstreamRequest) -> Answer:
        self.asked.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, UpstreamFault):
            raise answer
        return answer
