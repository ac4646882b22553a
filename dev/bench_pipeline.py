"""Measures what one request costs inside the process: listener, pipeline, journal, upstream client; no sockets.

`make bench` prints microseconds of CPU for a buffered request, for one chunk of a stream, and for the journal's open
and close, the best of several rounds. Both ends of the network are memory: the real protocol objects, with transports
that swallow what they are given. What the kernel and the usage sink cost comes on top. It judges nothing.

    .venv/bin/python dev/bench_pipeline.py [--rounds 5] [--requests 2000] [--profile request|stream]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import uvloop

from gproxy.access.counters import MemoryCounters
from gproxy.access.keys import digest_of
from gproxy.access.permissions import compile_glob
from gproxy.access.principal import Permission, Principal
from gproxy.canonical.usage import Source
from gproxy.channels.loader import catalog
from gproxy.clock import SystemClock
from gproxy.ids import CredentialId, KeyId, ProviderId, UserId, new_id
from gproxy.ingress.app import Ingress
from gproxy.ledger.journal import Journal
from gproxy.ledger.pricing import RateCard
from gproxy.ledger.record import Closed, Opened, Outcome
from gproxy.pipeline.attempt import Attempts
from gproxy.pipeline.elsewhere import Elsewhere
from gproxy.pipeline.in_flight import InFlight
from gproxy.pipeline.pulse import Pulse
from gproxy.pipeline.relay import Relay
from gproxy.pipeline.run import Gateway
from gproxy.pipeline.warmth import Warmth
from gproxy.routing.budget import RetryBudgets
from gproxy.routing.health import HealthBoard
from gproxy.routing.plan import Board
from gproxy.routing.provider import Credential, assemble
from gproxy.routing.selection import Load
from gproxy.runtime.keeper import ResponseKeeper
from gproxy.secret import Secret
from gproxy.server.connection import Connection as ClientSide
from gproxy.server.hub import Hub
from gproxy.server.limits import ListenerConfig
from gproxy.snapshot import Model, Snapshot
from gproxy.transport.config import TransportConfig
from gproxy.transport.connection import Connection as VendorSide
from gproxy.transport.head import request_head
from gproxy.wire.http import Deadlines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gproxy.storage.engine import Database
    from gproxy.transport.reply import Reply
    from gproxy.wire.http import UpstreamRequest

KEY: Final = "sk-bench"
MODEL: Final = "gpt-4o-mini"
CHUNKS: Final = 200

_TEXT: Final = "The quick brown fox jumps over the lazy dog. "
_ASK: Final = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "You are terse."}, {"role": "user", "content": _TEXT * 20}],
    "temperature": 0.2,
    "max_tokens": 256,
}
_USAGE: Final = {
    "prompt_tokens": 210,
    "completion_tokens": 96,
    "total_tokens": 306,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
_ANSWER: Final = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_764_000_000,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": _TEXT * 14}, "finish_reason": "stop"}],
    "usage": _USAGE,
}


def _asked(*, stream: bool) -> bytes:
    body = json.dumps(_ASK | ({"stream": True, "stream_options": {"include_usage": True}} if stream else {})).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8787\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\naccept: */*\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _answered() -> bytes:
    body = json.dumps(_ANSWER).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _streamed(count: int) -> list[bytes]:
    """The reads of a stream: its head, `count` chunks, the figures, the end."""
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_764_000_000, "model": MODEL}
    delta = [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]
    stop = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    events = [common | {"choices": delta, "usage": None}] * count
    events += [common | {"choices": stop, "usage": None}, common | {"choices": [], "usage": _USAGE}]
    pieces = [b"data: %b\n\n" % json.dumps(event).encode() for event in events] + [b"data: [DONE]\n\n"]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [head, *(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


class Wire:
    """A transport that is always ready. What is written to it goes to `sent`."""

    def __init__(self, sent: Callable[[bytes], object]) -> None:
        self.write = sent

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.write(b"".join(pieces))

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 40_000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass

    pause_reading = resume_reading = close = write_eof = abort


class Vendor:
    """An upstream of one kept connection whose answers are read the moment a request was written."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connection = VendorSide(loop, TransportConfig(), self)
        self._connection.connection_made(cast("Any", Wire(self._asked)))
        self.reads: list[bytes] = []

    async def send(self, request: UpstreamRequest) -> Reply:
        head = request_head(request, b"vendor.example")
        at = self._loop.time() + request.deadlines.total
        reply = self._connection.begin(request.method, head, request.body, deadlines=request.deadlines, total_at=at)
        reply.waiter = self._loop.create_future()
        await reply.waiter
        return reply

    def _asked(self, _: bytes) -> None:
        """The answer: one read per turn of the loop, as a paced stream comes."""
        reads = iter(self.reads)

        def one() -> None:
            data = next(reads, None)
            if data is not None:
                self._connection.data_received(data)
                self._loop.call_soon(one)

        self._loop.call_soon(one)

    def released(self, connection: VendorSide) -> None:
        pass

    gone = lost = released


def _no_database() -> Database:
    raise AssertionError("nothing here goes on from a kept answer")


class Bench:
    """A gateway in memory: one user, one key, one priced model."""

    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        clock = SystemClock()
        self.journal = Journal.create(folder, clock)
        self.vendor = Vendor(loop)
        board = Board(HealthBoard(), Load(), RetryBudgets())
        keeper = ResponseKeeper(_no_database, clock, lambda *_: None, most=1 << 20)
        attempts = Attempts(
            upstream=self.vendor,
            journal=self.journal,
            relay=Relay(journal=self.journal, pulse=Pulse(self.journal), clock=clock),
            load=board.load,
            clock=clock,
            dice=random.random,
            health_changed=lambda: None,
            keeper=keeper,
        )
        snapshot = one_model_world()
        ingress = Ingress(
            snapshot=lambda: snapshot,
            gateway=Gateway(
                attempts=attempts,
                board=board,
                counters=MemoryCounters(clock),
                max_attempts=6,
                warmth=Warmth(b"bench"),
                keeper=keeper,
                clock=clock,
            ),
            keeper=keeper,
            elsewhere=Elsewhere(upstream=self.vendor, tokens=attempts.tokens, clock=clock),
            in_flight=InFlight(1024),
            clock=clock,
            max_body=1 << 20,
            pages={},
            mounts=(),
            on_done=lambda _: None,
        )
        hub = Hub(loop, ingress, ListenerConfig(), lambda *_: ([], b""), _fail, clock)
        self._client = ClientSide(hub, "http")
        self._answer: list[bytes] = []
        self._end = b""
        self._over: asyncio.Future[None] = loop.create_future()
        self._client.connection_made(cast("Any", Wire(self._got)))

    def _got(self, data: bytes) -> None:
        self._answer.append(data)
        if data.endswith(self._end):
            self._over.set_result(None)

    async def one(self, asked: bytes, end: bytes) -> bytes:
        self._answer.clear()
        self._end, self._over = end, asyncio.get_running_loop().create_future()
        self._client.data_received(asked)
        await self._over
        return b"".join(self._answer)

    async def buffered(self) -> None:
        await self.one(_ASKED, b"}")

    async def stream(self) -> None:
        await self.one(_ASKED_STREAM, b"0\r\n\r\n")

    def land(self) -> None:
        """What the usage sink does at the end: forget the rows."""
        self.journal.landed(len(self.journal.intake.peek(1 << 20)))


def _fail(error: BaseException) -> None:
    raise error


def one_model_world() -> Snapshot:
    """One user, one key, one priced model."""
    digest_key = b"k" * 32
    principal = Principal(
        user_id=UserId(new_id()),
        user_name="alice",
        is_admin=False,
        key_id=KeyId(new_id()),
        key_label=None,
        expires_at=None,
        permissions=(Permission(None, "*", compile_glob("*")),),
        rate_limits=(),
        file_providers=frozenset(),
        quota_nano_usd=None,
    )
    provider = assemble(
        provider_id=ProviderId(new_id()),
        name="main",
        label=None,
        enabled=True,
        vendor=catalog()["openai"],
        settings={"base_url": "http://127.0.0.1:1"},
        credentials=(Credential(CredentialId(new_id()), None, True, 1, {"api_key": Secret("sk-vendor")}),),
        deadlines=Deadlines(),
    )
    card = RateCard.from_fields({"price": {"input": 0.15, "output": 0.6, "cache_read": 0.075}})
    model = Model("main", MODEL, None, True, card)
    return Snapshot(
        revision=1,
        digest_key=digest_key,
        keys={digest_of(Secret(KEY), digest_key): principal},
        providers={"main": provider},
        models={("main", MODEL): model},
        model_names={MODEL: (model,)},
        aliases={},
        routes={},
    )


async def measured(
    once: Callable[[], Awaitable[object]], after: Callable[[], object], count: int, rounds: int
) -> float:
    """Microseconds of CPU per call; the best round, because noise only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        begun = time.process_time()
        for _ in range(count):
            await once()
        best = min(best, (time.process_time() - begun) / count)
        after()
    return best * 1e6


def journal_cost(journal: Journal, count: int, rounds: int) -> float:
    """Microseconds of CPU for one attempt's open and close."""
    opened = Opened(
        attempt_id="",
        request_id=new_id(),
        at=1_764_000_000_000_000,
        user_id=new_id(),
        user_name="alice",
        key_id=new_id(),
        provider_name="main",
        credential_id=new_id(),
        channel="openai",
        dialect_in="openai_chat",
        dialect_out="openai_chat",
        operation="generate",
        model_asked=MODEL,
        model_upstream=MODEL,
        route_name=None,
        attempt_no=1,
        streamed=False,
        price_version="0123456789ab",
        rates=b"x" * 40,
    )
    closed = Closed("", opened.at, MODEL, 210, 96, 0, None, None, 0, None, 89_100, Source.REPORTED, Outcome.COMPLETE, 200, 1, 2)  # fmt: skip
    best = float("inf")
    for _ in range(rounds):
        names = [new_id() for _ in range(count)]
        begins = [msgspec.structs.replace(opened, attempt_id=name) for name in names]
        ends = [msgspec.structs.replace(closed, attempt_id=name) for name in names]
        begun = time.process_time()
        for begin, end in zip(begins, ends, strict=True):
            journal.open(begin)
            journal.close(end)
        best = min(best, (time.process_time() - begun) / count)
        journal.landed(len(journal.intake.peek(1 << 20)))
    return best * 1e6


_ASKED: Final = _asked(stream=False)
_ASKED_STREAM: Final = _asked(stream=True)


async def run(arguments: argparse.Namespace, folder: Path) -> None:
    bench = Bench(folder)
    bench.vendor.reads = [_answered()]
    answer = await bench.one(_ASKED, b"}")
    assert b"x-gproxy-cost: 0.0000891" in answer, answer
    count, rounds = arguments.requests, arguments.rounds
    if arguments.profile:
        await profiled(bench, arguments.profile, count)
        return
    await measured(bench.buffered, bench.land, 300, 1)  # caches fill, the adaptive interpreter settles
    request = await measured(bench.buffered, bench.land, count, rounds)
    print(f"buffered request      {request:7.1f} us CPU")
    streams = max(count // CHUNKS * 2, 5)
    bench.vendor.reads = _streamed(0)
    short = await measured(bench.stream, bench.land, streams * 20, rounds)
    bench.vendor.reads = _streamed(CHUNKS)
    long = await measured(bench.stream, bench.land, streams, rounds)
    print(f"stream, its two ends  {short:7.1f} us CPU")
    print(f"stream, per chunk     {(long - short) / CHUNKS:7.2f} us CPU")
    print(f"journal, open + close {journal_cost(bench.journal, count, rounds):7.1f} us CPU")


async def profiled(bench: Bench, what: str, count: int) -> None:
    once = bench.buffered
    if what == "stream":
        bench.vendor.reads, once, count = _streamed(CHUNKS), bench.stream, max(count // 50, 1)
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(count):
        await once()
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(50)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--profile", choices=("request", "stream"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(arguments, Path(folder)))


if __name__ == "__main__":
    main()
