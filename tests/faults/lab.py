"""One experiment: a vendor, a database, perhaps a broken network between, and a real gateway process.

The vendor and the clients live in the experiment's own loop, so that gates and counts are at hand without waiting
for them; the gateway is a process of its own that is signalled, killed and judged from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gproxy.vendor.server import VendorServer
from tests.faults import engines
from tests.faults.engines import Place
from tests.faults.proxy import FaultProxy
from tests.process import rig
from tests.vendor import load
from tests.vendor.count import Counted, read_count
from tests.vendor.reconcile import per_million, reconcile, table

DRAIN: Final = 4.0
WORKER: Final = 5.0
PRICE: Final = per_million(prompt=1.0, output=2.0, cache_read=0.5)
PATIENCE: Final = 30.0
"""Seconds after which something that should come counts as not coming."""
HUNG: Final = 60.0
"""Seconds beyond its bound after which a process counts as hung and is killed."""


@dataclass
class Exit:
    """How a gateway ended: its code, and the seconds since the (first) stop signal."""

    code: int
    seconds: float


class Gateway(rig.Gateway):
    """A gateway whose exit is timed exactly and waited for without a thread of the test's own."""

    ended_at = 0.0

    def _await_end(self) -> None:
        # A thread of its own takes the time: the loop may be busy with other experiments. The child is left to `wait`.
        if self.popen.returncode is None:
            os.waitid(os.P_PID, self.popen.pid, os.WEXITED | os.WNOWAIT)
        self.ended_at = time.monotonic()

    async def up(self) -> None:
        await asyncio.to_thread(self.start)

    async def ended(self, timeout: float) -> int:
        """Its exit code; it is killed when it does not come. `ended_at` is the moment."""
        over = asyncio.ensure_future(asyncio.to_thread(self._await_end))
        done, _ = await asyncio.wait({over}, timeout=timeout)
        if not done:
            self.popen.kill()
            await over
            raise AssertionError(f"the gateway hung for {timeout:.1f} s:\n{self.text}")
        return await asyncio.to_thread(self.wait)


@dataclass
class Lab:
    """What an experiment works with."""

    folder: Path
    engine: str
    place: Place
    vendor: VendorServer
    count_file: Path
    number: signal.Signals = signal.SIGTERM
    proxy: FaultProxy | None = None
    gateway: Gateway = field(init=False)
    calls: list[load.Call] = field(default_factory=list)
    signalled_at: float | None = None
    drain: float = DRAIN
    worker: float = WORKER
    delay: float = 0.0
    _extra: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _starved_before: float = 0.0

    # -- the gateway ----------------------------------------------------------------------------------------

    def make(
        self,
        *flags: str,
        extra: str = "",
        env: Mapping[str, str] | None = None,
        name: str = "gateway",
        through: bool = True,
        seed: str | None = None,
        program: Sequence[str] = rig.PROGRAM,
    ) -> Gateway:
        """A gateway that is not started yet; `through` the proxy where the experiment has one."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        place = self.place.via(self.proxy.port) if self.proxy is not None and through else self.place
        bounds = [
            f"--drain-timeout={self.drain:g}s", f"--worker-timeout={self.worker:g}s",
            f"--shutdown-delay={self.delay:g}s", f"--dsn={place.dsn}",
        ]  # fmt: skip
        return Gateway(folder, seed or rig.seed(self.vendor.port, extra), *bounds, *flags, env=env, program=program)

    async def start(self, *flags: str, **options: Any) -> Gateway:
        """The experiment's gateway, ready."""
        self.gateway = self.make(*flags, **options)
        await self.gateway.up()
        return self.gateway

    async def restart(self) -> None:
        """The same again, on the same data folder."""
        self.signalled_at = None
        await self.gateway.up()

    def signal(self, number: signal.Signals | None = None) -> None:
        """A stop signal; the clock of the bound runs from the first one."""
        if self.signalled_at is None:
            self.signalled_at = time.monotonic()
            self._starved_before = starved()
        self.gateway.signal(number or self.number)

    @property
    def bound(self) -> float:
        """The product's promise: by when the process is over, counted from the signal."""
        return self.delay + self.drain + self.worker + 0.5

    async def exit(self) -> Exit:
        """Wait for the end and hold it against the promise."""
        assert self.signalled_at is not None
        code = await self.gateway.ended(self.bound + HUNG)
        took = self.gateway.ended_at - self.signalled_at
        # On a machine that had no processor to give nobody keeps a time; the soak, on a machine of its own, allows nothing.
        allowed = min(2.0, starved() - self._starved_before)
        assert took <= self.bound + allowed, f"{took:.2f} s instead of {self.bound:.2f} s:\n{self.story()}"
        assert "Traceback" not in self.gateway.text, self.story()
        assert rig.VENDOR_KEY not in self.gateway.text
        return Exit(code, took)

    async def stop(self, expect: int = 0) -> Exit:
        """Signal, wait, and check the code."""
        self.signal()
        found = await self.exit()
        assert found.code == expect, f"exit code {found.code}:\n{self.story()}"
        return found

    async def kill(self) -> None:
        """kill -9."""
        self.gateway.signal(signal.SIGKILL)
        assert await self.gateway.ended(HUNG) == -signal.SIGKILL

    async def told(self, *marks: str) -> None:
        """Until a log line with all these marks has come."""
        await until(lambda: bool(self.gateway.lines(*marks)), lambda: f"a log line with {marks}:\n{self.story()}")

    async def state(self, name: str) -> None:
        """Until the log says that this phase of the shutdown has begun."""
        await self.told("shutdown", f'"state":"{name}"')

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """A health page."""
        status, _, content = await asyncio.to_thread(self.gateway.request, "GET", path)
        return status, json.loads(content)

    async def chat(self, script: str = "tokens=3", **fields: Any) -> tuple[int, dict[str, str], bytes]:
        """One buffered request, not part of the clients' log."""
        self._extra += 1
        body = {
            "model": "sim-model",
            "messages": [{"role": "user", "content": f"nonce:x{self._extra} hello [[sim {script}]]"}],
            **fields,
        }
        return await asyncio.to_thread(self.gateway.request, "POST", "/main/v1/chat/completions", body)

    # -- load ----------------------------------------------------------------------------------------------

    def plan(self, count: int | None, script: str, *, stream: bool, **fields: Any) -> load.Plan:
        """A load on this gateway; every call at once unless `concurrency` says otherwise."""
        given: dict[str, Any] = {
            "port": self.gateway.port, "key": rig.ALICE, "prefix": "/main", "model": "sim-model", "count": count,
            "concurrency": count or 16, "stream_share": float(stream), "tokens": (5, 5), "max_output": None,
            "unique_input": True, "script": script, "seed": len(self.calls) + 1, "timeout": 90.0,
        }  # fmt: skip
        return load.Plan(**{**given, **fields})

    @asynccontextmanager
    async def loading(self, plan: load.Plan, stop: asyncio.Event | None = None) -> AsyncIterator[asyncio.Task[Any]]:
        """The load under way; its log is kept for the judge."""
        work = asyncio.ensure_future(load.run(plan, stop=stop, on_call=self._called))
        try:
            yield work
            await work
        finally:
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    def _called(self, call: load.Call) -> None:
        self.calls.append(call)
        self._news.set()

    async def answered(self, count: int) -> None:
        """Until the clients have so many calls behind them."""
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < count:
                self._news.clear()
                await self._news.wait()

    async def run(
        self, count: int, script: str = "tokens=3", *, stream: bool = False, **fields: Any
    ) -> list[load.Call]:
        """A load from begin to end; its calls."""
        before = len(self.calls)
        async with self.loading(self.plan(count, script, stream=stream, **fields)) as work:
            await work
        return self.calls[before:]

    async def seen(self, count: int) -> None:
        """Until the vendor has read so many requests."""
        await until(lambda: self.vendor.tally.seen_count >= count, lambda: f"{count} requests at the vendor")

    async def left(self, count: int) -> None:
        """Until so many of the vendor's answers have ended, one way or the other."""
        async with asyncio.timeout(PATIENCE):
            await self.vendor.wait_ended(count)

    @property
    def attempts(self) -> list[Counted]:
        """The vendor's count."""
        return read_count(self.count_file).attempts

    def story(self) -> str:
        """What the gateway said, without its lines about requests."""
        return "\n".join(line for line in self.gateway.text.splitlines() if '"event":"request"' not in line)[-4000:]

    # -- the verdict ---------------------------------------------------------------------------------------

    async def judge(self, **options: Any) -> list[engines.Row]:
        """Hold the ledger against the vendor's count; the rows."""
        rows, quotas = await self.place.ledger()
        calls: Sequence[load.Call] = options.pop("calls", self.calls)
        # Off the loop: the clients of other experiments run in it, and a long verdict would make them late.
        found = await asyncio.to_thread(reconcile, self.count_file, rows, quotas, price=PRICE, calls=calls, **options)
        assert not found, table(found) + "\n" + self.story()
        return rows

    async def landed(self, count: int) -> None:
        """Until so many rows are in the ledger."""
        await until_async(lambda: self._at_least(count), lambda: f"{count} rows:\n{self.story()}")

    async def _at_least(self, count: int) -> bool:
        return await self.place.count() >= count

    def journals(self) -> list[Path]:
        """Journal directories that are left on disk."""
        root = self.gateway.data / "journal"
        return [path for path in root.iterdir() if path.is_dir() and path.name != "set-aside"] if root.is_dir() else []

    async def report(self) -> dict[str, Any]:
        """The last drain report in the database."""
        rows = await self.place.query("SELECT * FROM shutdowns ORDER BY at DESC")
        return engines.report_of(rows[0])


def starved() -> float:
    """Seconds in which somebody on this machine waited for a processor (Linux's own account of it; else nothing)."""
    with contextlib.suppress(OSError):
        some = Path("/proc/pressure/cpu").read_text(encoding="ascii").splitlines()[0]
        return int(some.rpartition("total=")[2]) / 1e6
    return 0.0


async def until(probe: Callable[[], bool], what: Callable[[], str], timeout: float = PATIENCE) -> None:
    """Ask until it is so. Another process has no event to offer; the pause only spares the processor."""
    end = time.monotonic() + timeout
    while not probe():
        assert time.monotonic() < end, f"this did not come within {timeout:g} s: {what()}"
        await asyncio.sleep(0.01)


async def until_async(probe: Callable[[], Any], what: Callable[[], str], timeout: float = PATIENCE) -> None:
    """The same with a question that has to wait for its answer."""
    end = time.monotonic() + timeout
    while not await probe():
        assert time.monotonic() < end, f"this did not come within {timeout:g} s: {what()}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def lab(
    folder: Path,
    engine: str = "sqlite",
    *,
    number: signal.Signals = signal.SIGTERM,
    proxied: bool = False,
    server: str | None = None,
) -> AsyncIterator[Lab]:
    """Everything but the gateway; whatever was started is gone at the end."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    count_file = folder / "count.jsonl"
    async with contextlib.AsyncExitStack() as stack:
        place = await stack.enter_async_context(engines.database(engine, folder, server))
        proxy = await stack.enter_async_context(FaultProxy(*place.address)) if proxied and engine != "sqlite" else None
        vendor = VendorServer(count_file=count_file, control=True)
        await vendor.start()
        stack.push_async_callback(vendor.close)
        made = Lab(folder, engine, place, vendor, count_file, number, proxy)
        try:
            yield made
        finally:
            if hasattr(made, "gateway"):
                await asyncio.to_thread(made.gateway.end)
