"""Measures what admission costs: who is calling, may they, does the budget cover it, do the limits let it through.

`make bench` prints microseconds of CPU per request in memory, the best of several rounds, over 1,000 users with 5,000
rows between them (a budget, two permissions and two rate limits each). A request is identified by its key, permitted,
bounded, held against its budget and counted against every limit that matches; what its end costs (the charge, the
correction) is told beside it. Reading the head and peeking at the body are not part of it. It judges nothing.

    .venv/bin/python dev/bench_admission.py [--rounds 5] [--requests 5000] [--profile]
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dev.bench_pipeline import MODEL, one_model_world
from gproxy.access.counters import MemoryCounters
from gproxy.access.keys import digest_of
from gproxy.access.permissions import compile_glob
from gproxy.access.principal import Permission, Principal, RateLimit
from gproxy.canonical.operation import Dialect, Operation
from gproxy.clock import SystemClock
from gproxy.ids import KeyId, UserId, new_id
from gproxy.pipeline.admit import identify, permit
from gproxy.pipeline.exchange import Call, Exchange
from gproxy.pipeline.reserve import Granted, reserve
from gproxy.routing.route import Resolution, resolve
from gproxy.secret import Secret
from gproxy.wire.peek import peek

if TYPE_CHECKING:
    from gproxy.snapshot import Snapshot

USERS: Final = 1_000
BUDGET: Final = 10**15
"""Nano-USD: large enough that nobody is refused, whatever the number of rounds."""

_TEXT: Final = "The quick brown fox jumps over the lazy dog. "
_BODIES: Final[dict[str, dict[str, Any]]] = {
    "1 KB": {"messages": [{"role": "user", "content": _TEXT * 20}]},
    "32 KB": {"messages": [{"role": "user", "content": [{"type": "text", "text": _TEXT * 12}]} for _ in range(60)]},
}


def crowd() -> Snapshot:
    """A world of one model and a thousand users."""
    world = one_model_world()
    keys = {digest_of(Secret(_key(number)), world.digest_key): _principal(number) for number in range(USERS)}
    return replace(world, keys=keys)


def _key(number: int) -> str:
    return f"sk-bench-{number:04}"


def _principal(number: int) -> Principal:
    return Principal(
        user_id=UserId(new_id()),
        user_name=f"user-{number}",
        is_admin=False,
        key_id=KeyId(new_id()),
        key_label=None,
        expires_at=None,
        permissions=(Permission("other", "*", compile_glob("*")), Permission(None, "gpt-*", compile_glob("gpt-*"))),
        rate_limits=(
            RateLimit(new_id(), "o?-*", compile_glob("o?-*"), rpm=10),
            RateLimit(new_id(), "gpt-4*", compile_glob("gpt-4*"), rpm=10**9, rpd=10**9, total_tokens=10**15),
        ),
        file_providers=frozenset(),
        quota_nano_usd=BUDGET,
    )


class Bench:
    """Requests of all users in turn, each admitted and ended."""

    def __init__(self, snapshot: Snapshot, body: dict[str, Any]) -> None:
        self._snapshot = snapshot
        self._body = json.dumps({"model": MODEL, "max_tokens": 256, **body}).encode()
        self._asked = peek(self._body)
        self._headers = [[(b"authorization", f"Bearer {_key(number)}".encode())] for number in range(USERS)]
        self._counters = MemoryCounters(SystemClock)
        found = resolve(snapshot, MODEL, None)
        assert isinstance(found, Resolution), found
        self._resolution = found

    def arrivals(self, count: int) -> list[Exchange]:
        """Requests whose bodies have been read."""
        return [self._arrival(number % USERS) for number in range(count)]

    def _arrival(self, number: int) -> Exchange:
        x = Exchange(
            request_id=new_id(),
            call=Call(Operation.GENERATE, Dialect.OPENAI_CHAT, None, None, "", self._headers[number]),
            client=cast("Any", None),
            snapshot=self._snapshot,
            started_at=0.0,
            started_us=0,
            method="POST",
            path="/v1/chat/completions",
            peer=None,
        )
        x.body, x.model_asked = self._body, MODEL
        return x

    async def admit(self, x: Exchange) -> Granted:
        """From the key to the grant."""
        principal = x.principal = identify(x.snapshot, x.call.headers, x.call.query, x.started_us)
        permit(principal, x.model_asked, None)
        granted = await reserve(x, self._counters, self._resolution, self._asked)
        assert granted is not None
        return granted

    @staticmethod
    def end(x: Exchange, granted: Granted) -> None:
        """An attempt was charged, the request is over."""
        granted.sent = True
        granted.charge(x.request_id, 89_100)
        granted.finish(306)

    async def round(self, count: int) -> tuple[float, float]:
        """Microseconds of CPU per request: admitted, ended."""
        waiting = self.arrivals(count)
        began = time.process_time()
        granted = [await self.admit(x) for x in waiting]
        between = time.process_time()
        for x, one in zip(waiting, granted, strict=True):
            self.end(x, one)
        over = time.process_time()
        self._counters.landed([(x.request_id, cast("Principal", x.principal).user_id, 89_100, True) for x in waiting])
        return (between - began) / count * 1e6, (over - between) / count * 1e6


async def run(arguments: argparse.Namespace) -> None:
    snapshot = crowd()
    for name, body in _BODIES.items():
        bench = Bench(snapshot, body)
        await bench.round(arguments.requests)
        if arguments.profile:
            await profiled(bench, arguments.requests)
            return
        rounds = [await bench.round(arguments.requests) for _ in range(arguments.rounds)]
        print(f"admission, {name:>5} body {min(one for one, _ in rounds):7.1f} us CPU")
        print(f"its end               {min(one for _, one in rounds):7.1f} us CPU")


async def profiled(bench: Bench, count: int) -> None:
    profile = cProfile.Profile()
    profile.enable()
    await bench.round(count)
    profile.disable()
    pstats.Stats(profile).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--profile", action="store_true")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
