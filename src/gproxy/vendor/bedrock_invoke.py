"""Anthropic Messages through Bedrock's InvokeModel, as the vendor speaks it: the same bodies, in AWS's frames.

Bedrock user guide, "Anthropic Claude Messages API"; API reference, "InvokeModelWithResponseStream".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.vendor import anthropic_messages, aws
from gproxy.vendor.answer import Answer
from gproxy.vendor.ask import Ask, BadAsk
from gproxy.vendor.voice import Frame, UsageMode, Voice, encode

_VERSION: Final = "bedrock-2023-05-31"


def read(body: dict[str, Any], model: str, *, stream: bool) -> Ask:
    """The request as the vendor understands it; the path says model and operation. Raises `BadAsk`."""
    if body.get("anthropic_version") != _VERSION:
        raise BadAsk(f"anthropic_version: must be {_VERSION}", "anthropic_version")
    for name in ("model", "stream"):
        if name in body:
            raise BadAsk(f"{name}: Extra inputs are not permitted", name)
    return replace(anthropic_messages.read(body, model=model, stream=stream), framed=True)


def stream(ask: Ask, answer: Answer, mode: UsageMode, now: int) -> Iterator[Frame]:
    """The events of a message, each in base64 inside a `chunk`. The invocation's figures stand in the last one."""
    for frame in anthropic_messages.stream(ask, answer, mode, now):
        held = encode({"bytes": base64.b64encode(_data(frame.data)).decode("ascii"), "p": "abcdefghijkl"})
        yield replace(frame, data=aws.event("chunk", held))


def _data(event: bytes) -> bytes:
    return event.partition(b"data: ")[2].rstrip(b"\n")


def error_frame(status: int, code: str | None, message: str) -> Frame:
    """An exception in the stream."""
    return Frame(aws.exception(status, code, message), end=True)


VOICE: Final = Voice(
    Dialect.ANTHROPIC_MESSAGES,
    anthropic_messages.whole,
    stream,
    aws.error,
    error_frame,
    aws.headers,
    aws.STREAM,
    aws.error_headers,
)
