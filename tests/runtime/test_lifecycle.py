"""The machine's order and bounds, with small honest parts on the real loop. Real signals are tests/process."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field

import pytest

from gproxy.clock import SystemClock
from gproxy.runtime.lifecycle import Bounds, Lifecycle, State, Stop
from gproxy.runtime.report import DrainReport


@dataclass
class Parts:
    """Requests are a number; they finish when told to, or when cut."""

    running: int = 0
    deaf: bool = False
    calls: list[str] = field(default_factory=list)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    announced: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if not self.running:
            self.idle.set()

    def finish(self) -> None:
        self.running = 0
        self.idle.set()

    def in_flight(self) -> int:
        return self.running

    def announce_close(self) -> None:
        self.calls.append("announce")
        self.announced.set()

    async def stop_accepting(self) -> None:
        self.calls.append("stop_accepting")

    async def close_idle(self, linger: float) -> None:
        self.calls.append("close_idle")

    async def wait_idle(self) -> None:
        self.draining.set()
        await self.idle.wait()

    def cut(self) -> int:
        self.calls.append("cut")
        count = self.running
        if not self.deaf:
            self.finish()
        return count

    def abort(self) -> None:
        self.calls.append("abort")

    async def flush(self, seconds: float, report: DrainReport) -> None:
        self.calls.append("flush")

    async def close(self, report: DrainReport) -> None:
        self.calls.append("close")


def machine() -> tuple[Lifecycle, list[str]]:
    third: list[str] = []
    return Lifecycle(SystemClock(), on_third=lambda: third.append("now")), third


def report() -> DrainReport:
    return DrainReport("id", "instance", "SIGTERM", 0)


async def nothing() -> None:
    return


async def ready() -> tuple[Lifecycle, list[str]]:
    life, third = machine()
    await life.start(nothing())
    assert life.state is State.READY
    return life, third


async def test_an_idle_process_goes_through_the_phases_in_order() -> None:
    life, _ = await ready()
    life.stop(signal.SIGTERM)
    assert life.state is State.LAME_DUCK
    parts, told = Parts(), report()
    await life.shutdown(parts, Bounds(0, 60, 5), told)
    assert parts.calls == ["announce", "stop_accepting", "close_idle", "close_idle", "abort", "flush", "close"]
    assert str(life.state) == "stopped"
    assert (told.cut, told.exit_code) == (0, 0)
    assert list(told.phases_ms) == ["lame_duck", "draining", "flushing", "closing"]


async def test_requests_that_finish_in_time_are_not_cut() -> None:
    life, _ = await ready()
    life.stop(signal.SIGTERM)
    parts, told = Parts(running=3), report()
    work = asyncio.ensure_future(life.shutdown(parts, Bounds(0, 60, 5), told))
    await parts.draining.wait()
    assert str(life.state) == "draining"
    parts.finish()
    await work
    assert "cut" not in parts.calls
    assert (told.in_flight_at_start, told.finished, told.cut) == (3, 3, 0)


async def test_what_is_left_at_the_deadline_is_cut_and_then_flushed() -> None:
    life, _ = await ready()
    life.stop(signal.SIGTERM)
    parts, told = Parts(running=2), report()
    await life.shutdown(parts, Bounds(0, 0.05, 5), told)
    assert parts.calls[-4:] == ["cut", "abort", "flush", "close"]
    assert (told.finished, told.cut) == (0, 2)


async def test_a_request_that_ignores_the_cut_does_not_hold_up_the_end() -> None:
    life, _ = await ready()
    life.stop(signal.SIGTERM)
    parts = Parts(running=1, deaf=True)
    await life.shutdown(parts, Bounds(0, 0.01, 5), report())
    assert parts.calls[-3:] == ["abort", "flush", "close"]


async def test_the_second_signal_ends_the_drain_and_never_the_flush() -> None:
    life, third = await ready()
    life.stop(signal.SIGTERM)
    parts, told = Parts(running=1), report()
    work = asyncio.ensure_future(life.shutdown(parts, Bounds(0, 3600, 5), told))
    await parts.draining.wait()
    life.stop(signal.SIGINT)
    await work
    assert parts.calls[-4:] == ["cut", "abort", "flush", "close"]
    assert (told.signals, third) == (2, [])


async def test_the_second_signal_also_ends_the_delay() -> None:
    life, _ = await ready()
    life.stop(signal.SIGTERM)
    parts = Parts()
    work = asyncio.ensure_future(life.shutdown(parts, Bounds(3600, 5, 5), report()))
    await parts.announced.wait()
    assert "stop_accepting" not in parts.calls
    life.stop(signal.SIGTERM)
    await work
    assert parts.calls[-1] == "close"


async def test_the_third_signal_exits_now() -> None:
    life, third = await ready()
    for _ in range(3):
        life.stop(signal.SIGTERM)
    assert third == ["now"]


async def test_a_signal_while_starting_ends_the_start() -> None:
    life, _ = machine()
    begun, undone = asyncio.Event(), asyncio.Event()

    async def start() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            undone.set()

    work = asyncio.ensure_future(life.start(start()))
    await begun.wait()
    life.stop(signal.SIGTERM)
    with pytest.raises(Stop):
        await work
    assert undone.is_set()


async def test_a_start_that_fails_says_so() -> None:
    life, _ = machine()

    async def start() -> None:
        raise OSError("no such device")

    with pytest.raises(OSError, match="no such device"):
        await life.start(start())


@pytest.mark.parametrize(
    ("late", "left", "code"), [([], 0, 0), (["usage_sink"], 0, 75), ([], 3, 75), (["usage_sink"], 3, 75)]
)
def test_the_exit_code_tells_whether_everything_is_in_the_database(late: list[str], left: int, code: int) -> None:
    told = report()
    told.late_workers, told.rows_left = late, left
    assert told.decide() == code
    assert told.fields()["exit_code"] == code
