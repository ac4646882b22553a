"""Recorded exchanges of one dialect, as the tests of these rooms read them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tests.shared import require_shared, shared_dir

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (1, 7, 64, 1_000_000)


@dataclass(frozen=True)
class Exchange:
    name: str
    status: int
    path: Path
    request: bytes | None
    response: bytes
    sse: bool


@lru_cache
def exchanges(folder: str) -> list[Exchange]:
    """Every exchange of a fixtures folder; skips (fails in CI) when the fixtures are not there."""
    found = []
    for case in sorted((require_shared() / "fixtures" / folder).iterdir()):
        meta = json.loads((case / "meta.json").read_bytes())
        request, answers = case / "request.json", list(case.glob("response.*"))
        found.append(
            Exchange(
                name=f"{folder}/{case.name}",
                status=meta["status"],
                path=case,
                request=request.read_bytes() if request.exists() else None,
                response=answers[0].read_bytes(),
                sse=answers[0].suffix == ".sse",
            )
        )
    return found


def frames(text: bytes) -> list[Any]:
    """The JSON payloads of an event stream, by the plainest possible reading."""
    out = []
    for line in text.replace(b"\r\n", b"\n").split(b"\n"):
        if line.startswith(b"data:"):
            try:
                out.append(json.loads(line[5:]))
            except ValueError:
                continue
    return out


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[i : i + size] for i in range(0, len(text), size)]


__all__ = ["SIZES", "Exchange", "cut", "exchanges", "frames", "shared_dir"]
