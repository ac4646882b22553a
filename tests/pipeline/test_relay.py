"""When a stream begins for its client, and what is still a failed attempt."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from gproxy.canonical.operation import Dialect, Operation
from gproxy.errors import Phase, UpstreamFault
from gproxy.ledger.record import Closed, Opened, Outcome
from gproxy.pipeline.exchange import Call, Cause, Exchange, Interrupted
from gproxy.pipeline.pulse import KEEP_ALIVE_AFTER, Pulse
from gproxy.pipeline.relay import Relay
from gproxy.pipeline.settle import Attempt
from gproxy.snapshot import Snapshot
from gproxy.translate.passthrough import Passthrough
from gproxy.translate.translator import Names
from gproxy.transport.replay import Answer, Part, ScriptedReply

CHAT, RESPONSES, MESSAGES, GEMINI = (
    Dialect.OPENAI_CHAT,
    Dialect.OPENAI_RESPONSES,
    Dialect.ANTHROPIC_MESSAGES,
    Dialect.GEMINI,
)
ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
ERROR = b'data: {"error":{"message":"boom"}}\n\n'
DONE = b"data: [DONE]\n\n"
COMMENT = b": still here\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
BROKEN = UpstreamFault(Phase.BODY, "connection reset")


@dataclass
class Client:
    """Hears what it is told."""

    heard: list[bytes] = field(default_factory=list)
    started: bool = False
    ended: bool = False
    gone: bool = False
    stuffed: bool = False

    def start(self, status: int, headers: Any) -> None:
        assert not self.started
        self.started = True
        self.heard.append(b"%d" % status)

    def write(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        if data:
            self.heard.append(data)

    def end(self) -> None:
        self.ended = True


@dataclass
class Journal:
    """Keeps what is closed."""

    closed: list[Closed] = field(default_factory=list)

    def close(self, record: Closed) -> None:
        self.closed.append(record)

    def progress(self, record: Any) -> None:
        """Not of interest."""


@dataclass
class Clock:
    """Wound by hand."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def now_us(self) -> int:
        return int(self.now * 1e6)


class Scene:
    """One stream on its way."""

    def __init__(self, dialect: Dialect, *parts: Part) -> None:
        self.client, self.journal, self.clock = Client(), Journal(), Clock()
        self.pulse = Pulse(cast("Any", self.journal))
        self.relay = Relay(journal=cast("Any", self.journal), pulse=self.pulse, clock=self.clock)
        self.reply = ScriptedReply(Answer(parts))
        self.translator = Passthrough(dialect, Names("m", "m"), streams=True, include_usage=True)
        self.heads = 0
        opened = Opened(
            attempt_id="a", request_id="r", at=0, user_id="u", user_name="u", key_id="k", provider_name="p",
            credential_id="c", channel="custom", dialect_in="", dialect_out="", operation="", model_asked="m",
            model_upstream="m", route_name=None, attempt_no=1, streamed=True, price_version="", rates=b"",
            service_tier=None, reserved_nano_usd=0, estimated_input=0,
        )  # fmt: skip
        self.attempt = Attempt(opened, None, 0.0)
        self.x = Exchange(
            request_id="r",
            call=Call(Operation.STREAM, dialect, None, None, "", []),
            client=cast("Any", self.client),
            snapshot=Snapshot(1, b"", {}, {}, {}, {}, {}, {}),
            started_at=0.0,
            started_us=0,
            method="POST",
            path="/",
            peer=None,
        )

    def head(self) -> list[Any]:
        self.heads += 1
        return []

    async def run(self) -> bool:
        self.x.owner = asyncio.current_task()
        return await self.relay.stream(self.x, self.attempt, self.reply, self.translator, self.head)

    def outcomes(self) -> list[Outcome]:
        return [record.outcome for record in self.journal.closed]


@pytest.mark.parametrize(
    ("dialect", "parts"),
    [
        (CHAT, [ERROR]),
        (CHAT, [COMMENT, b'event: error\ndata: {"message":"boom"}\n\n']),
        (CHAT, [COMMENT + ERROR, ROLE]),
        (CHAT, [b'data: {"error":{"message":"boom"}}']),  # nobody ended the line
        (CHAT, [ERROR + ROLE]),
        (RESPONSES, [b'event: error\ndata: {"type":"error","message":"boom"}\n\n']),
        (MESSAGES, [PING, b'event: error\ndata: {"type":"error","error":{"type":"x","message":"boom"}}\n\n']),
        (GEMINI, [ERROR]),
        (GEMINI, [b"[", b'{"error":{"code":503,', b'"message":"boom"}}', b"]"]),
        (GEMINI, [b'{\n\n"error": {"code":503,', b'"message":"boom"}}']),
    ],
)
async def test_an_error_before_anything_was_said_is_a_failed_attempt(dialect: Dialect, parts: list[Part]) -> None:
    scene = Scene(dialect, *parts)
    assert not await scene.run()
    assert scene.translator.error is not None
    assert scene.translator.error.message == "boom"
    assert (scene.client.heard, scene.heads, scene.outcomes()) == ([], 0, [])
    assert scene.reply.aborted or scene.reply.finished


@pytest.mark.parametrize(
    "parts", [[], [COMMENT], [b"\n\n", PING], [b"<html>", b"</html>"], [ROLE[:20]], [b"data: \n\n"]]
)
async def test_a_stream_that_ends_before_it_said_anything_may_be_tried_elsewhere(parts: list[Part]) -> None:
    scene = Scene(CHAT, *parts)
    with pytest.raises(UpstreamFault) as fault:
        await scene.run()
    assert fault.value.phase is Phase.HEAD
    assert (scene.client.heard, scene.outcomes()) == ([], [])


async def test_a_stream_that_breaks_before_it_said_anything_is_not_begun() -> None:
    scene = Scene(CHAT, COMMENT, BROKEN)
    with pytest.raises(UpstreamFault):
        await scene.run()
    assert scene.client.heard == []


@pytest.mark.parametrize(
    ("dialect", "first"),
    [
        (CHAT, ROLE),
        (CHAT, b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n'),
        (CHAT, b"\xef\xbb\xbf" + ROLE),
        (RESPONSES, b'data: {"type":"response.created","response":{"error":null}}\n\n'),
        (MESSAGES, b'data: {"type":"message_start","message":{}}\n\n'),
        (GEMINI, b'data: {"candidates":[{}]}\r\n\r\n'),
        (GEMINI, b'[{"candidates":[{}]}'),
    ],
)
async def test_the_first_frame_that_says_something_is_not_held_back(dialect: Dialect, first: bytes) -> None:
    more = asyncio.Event()
    scene = Scene(dialect, first, more, BROKEN)
    running = asyncio.ensure_future(scene.run())
    await asyncio.sleep(0)
    assert scene.client.heard == [b"200", first]
    more.set()
    assert await running
    assert scene.client.ended
    assert scene.outcomes() == [Outcome.INTERRUPTED]


async def test_what_came_before_the_first_frame_goes_on_with_it() -> None:
    scene = Scene(CHAT, COMMENT, COMMENT, ROLE, DONE)
    assert await scene.run()
    assert scene.client.heard == [b"200", COMMENT + COMMENT + ROLE, DONE]
    assert (scene.client.ended, scene.heads, scene.outcomes()) == (True, 1, [Outcome.COMPLETE])


async def test_a_whole_stream_in_one_piece_is_settled_before_it_leaves() -> None:
    scene = Scene(CHAT, ROLE + DONE)
    write = scene.client.write

    def watched(data: bytes) -> None:
        assert scene.outcomes() == [Outcome.COMPLETE]
        write(data)

    scene.client.write = watched  # type: ignore[method-assign]
    assert await scene.run()
    assert scene.client.heard == [b"200", ROLE + DONE]


async def test_what_comes_first_does_not_depend_on_how_it_was_cut() -> None:
    for parts in ([ROLE + ERROR], [ROLE, ERROR], [COMMENT + ROLE + COMMENT + ERROR]):
        scene = Scene(CHAT, *parts)
        assert await scene.run()
        assert b"".join(scene.client.heard) == b"200" + b"".join(parts)
        assert scene.outcomes() == [Outcome.FAILED]


async def test_a_vendor_that_only_pings_begins_an_answer_after_a_while() -> None:
    more, rest = asyncio.Event(), asyncio.Event()
    scene = Scene(CHAT, COMMENT, more, COMMENT, rest, ERROR)
    running = asyncio.ensure_future(scene.run())
    await asyncio.sleep(0)
    scene.clock.now = KEEP_ALIVE_AFTER - 1
    scene.pulse.beat(scene.clock.now, 0)
    assert scene.client.heard == []
    scene.clock.now = KEEP_ALIVE_AFTER
    scene.pulse.beat(scene.clock.now, 0)
    assert scene.client.heard == [b"200", COMMENT]
    more.set()
    await asyncio.sleep(0)
    assert scene.client.heard == [b"200", COMMENT, COMMENT]
    scene.clock.now += KEEP_ALIVE_AFTER
    scene.pulse.beat(scene.clock.now, 0)
    assert len(scene.client.heard) == 4, "from then on the keep-alive is ours"
    rest.set()
    assert await running
    assert scene.client.heard[4:] == [ERROR], "it had begun: this is a stream's error, not a failed attempt"
    assert (scene.heads, scene.outcomes()) == (1, [Outcome.FAILED])


async def test_a_begun_answer_that_then_ends_without_a_word_is_ended_legally() -> None:
    more = asyncio.Event()
    scene = Scene(CHAT, more)
    running = asyncio.ensure_future(scene.run())
    await asyncio.sleep(0)
    scene.pulse.beat(KEEP_ALIVE_AFTER, 0)
    more.set()
    assert await running
    assert scene.client.heard[0] == b"200"
    assert b"error" in scene.client.heard[1]
    assert (scene.client.ended, scene.outcomes()) == (True, [Outcome.INTERRUPTED])


async def test_a_client_that_leaves_before_the_stream_began_ends_the_attempt() -> None:
    scene = Scene(CHAT, COMMENT, asyncio.Event())
    running = asyncio.ensure_future(scene.run())
    await asyncio.sleep(0)
    scene.x.interrupt(Cause.CLIENT_GONE)
    with pytest.raises(Interrupted):
        await running
    assert scene.reply.aborted
    assert scene.client.heard == []
