"""How the vendor speaks one dialect: the shape every dialect file fills in, and the frames it speaks in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from gproxy.canonical.operation import Dialect
from gproxy.canonical.usage import Usage
from gproxy.vendor.answer import Answer
from gproxy.vendor.ask import Ask

UsageMode = Literal["normal", "none", "twice", "shrink", "early", "every"]
SHRINK_BY = 100

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Frame:
    """One whole event of a stream, and what it tells.

    `tokens` are the output tokens it carries; `usage` says that it holds the figures the vendor bills; `end` marks
    the dialect's terminal event (OpenAI's `[DONE]` included).
    """

    data: bytes
    tokens: int = 0
    usage: bool = False
    end: bool = False


def _no_headers(status: int, code: str | None, message: str) -> list[tuple[bytes, bytes]]:  # noqa: ARG001 - the shape of every voice
    return []


@dataclass(frozen=True, slots=True)
class Voice:
    """One dialect.

    `whole(ask, answer, mode)` is the buffered body and whether the billed figures are in it; `stream(…)` the frames;
    `error(status, code, message, param)` a body in the dialect's own shape; `error_frame` the same inside a stream.
    """

    dialect: Dialect
    whole: Callable[[Ask, Answer, UsageMode, int], tuple[bytes, bool]]
    stream: Callable[[Ask, Answer, UsageMode, int], Iterator[Frame]]
    error: Callable[[int, str | None, str, str | None, int], bytes]
    error_frame: Callable[[int, str | None, str], Frame]
    headers: Callable[[int], list[tuple[bytes, bytes]]]
    stream_type: bytes = b"text/event-stream; charset=utf-8"
    """The content type of its streams."""
    error_headers: Callable[[int, str | None, str], list[tuple[bytes, bytes]]] = _no_headers
    """What stands in the head of an error beside its body: `(status, code, message)`."""


def sse(data: bytes, event: str | None = None) -> bytes:
    """One server-sent event with LF endings; other framings are made from it later."""
    return b"data: " + data + b"\n\n" if event is None else b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


def shrunk(usage: Usage) -> Usage:
    """Figures that are too high, sent before the right ones by `usage=shrink`."""
    return msgspec.structs.replace(usage, output=(usage.output or 0) + SHRINK_BY)


def so_far(usage: Usage, output: int) -> Usage:
    """The same prompt with only so much output."""
    return msgspec.structs.replace(usage, output=output, reasoning=min(usage.reasoning or 0, output))
