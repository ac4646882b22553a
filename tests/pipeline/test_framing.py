from __future__ import annotations

import base64
import json

import pytest

from gproxy.canonical.operation import Dialect
from gproxy.errors import UpstreamFault
from gproxy.pipeline.framing import unframed
from gproxy.transport.replay import Answer, ScriptedReply
from gproxy.wire.eventstream import Message, encode

MESSAGES = Dialect.ANTHROPIC_MESSAGES
FRAMED = [(b"content-type", b"application/vnd.amazon.eventstream"), (b"x", b"y")]


def chunk(value: object) -> bytes:
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(value).encode()).decode(), "p": "abc"}).encode()
    return encode(Message({":message-type": "event", ":event-type": "chunk"}, payload))


def exception(kind: str, payload: bytes) -> bytes:
    return encode(Message({":message-type": "exception", ":exception-type": kind}, payload))


START, STOP = {"type": "message_start"}, {"type": "message_stop", "amazon-bedrock-invocationMetrics": {}}
WANTED = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (START, STOP))


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_events_are_taken_out_of_their_frames(size: int) -> None:
    raw = chunk(START) + chunk(STOP)
    reply = unframed(
        ScriptedReply(Answer([raw[i : i + size] for i in range(0, len(raw), size)], 200, FRAMED)), MESSAGES
    )
    assert reply.headers == [(b"content-type", b"text/event-stream"), (b"x", b"y")]
    assert reply.status == 200
    out = b""
    while piece := await reply.next():
        out += piece
    assert out == WANTED
    assert await unframed(ScriptedReply(Answer([raw], 200, FRAMED)), MESSAGES).read(10_000) == WANTED


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b'{"message":"slow down"}', "slow down"), (b"oops", "throttlingException"), (b"{}", "throttlingException")],
)
async def test_an_exception_is_an_error_event(payload: bytes, text: str) -> None:
    reply = unframed(ScriptedReply(Answer([exception("throttlingException", payload)], 200, FRAMED)), MESSAGES)
    assert await reply.read(10_000) == (
        b'event: error\ndata: {"type":"error","error":{"type":"throttlingException","message":"%b"}}\n\n'
        % text.encode()
    )


@pytest.mark.parametrize(
    "raw",
    [
        chunk(START)[:-1],
        chunk(START)[:-4] + b"\0\0\0\0",
        encode(Message({":message-type": "event"}, b'{"bytes": "a"}')),
        encode(Message({":message-type": "event"}, b"[]")),
    ],
)
async def test_a_broken_stream_never_looks_finished(raw: bytes) -> None:
    reply = unframed(ScriptedReply(Answer([raw], 200, FRAMED)), MESSAGES)
    with pytest.raises(UpstreamFault):
        await reply.read(10_000)


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_what_came_before_a_fault_is_passed_on(size: int) -> None:
    raw = chunk(START) + b"\xff" * 20
    reply = unframed(
        ScriptedReply(Answer([raw[i : i + size] for i in range(0, len(raw), size)], 200, FRAMED)), MESSAGES
    )
    assert await reply.next() == WANTED[: WANTED.index(b"\n\n") + 2]
    for _ in range(2):
        with pytest.raises(UpstreamFault, match="checksum"):
            await reply.next()


async def test_limits_and_aborts_hold() -> None:
    inner = ScriptedReply(Answer([chunk(START), chunk(STOP)], 200, FRAMED))
    reply = unframed(inner, MESSAGES)
    with pytest.raises(UpstreamFault):
        await reply.read(10)
    reply.abort()
    assert inner.aborted


def test_other_bodies_are_left_alone() -> None:
    reply = ScriptedReply(Answer([], 200, [(b"content-type", b"application/json")]))
    assert unframed(reply, MESSAGES) is reply


def test_a_dialect_made_of_such_frames_reads_them_itself() -> None:
    reply = ScriptedReply(Answer([chunk(START)], 200, FRAMED))
    assert unframed(reply, Dialect.BEDROCK_CONVERSE) is reply
