"""The long proof: signals at random moments under load, on every engine, and one table at the end.

    make soak                                   1,000 SIGTERM and 1,000 SIGKILL on SQLite, 200 each on the two servers
    make soak ARGS="--kills 50 --terms 50 --engines sqlite"
    make soak ARGS="--starts 500"               SIGTERM at a random moment of the start, as often
    make soak ARGS="--upgrades 50"              upgrades in place under tight keep-alive load
    make prove                                  a cut of it that takes about five minutes
    make soak ARGS="--matrix"                   every cell of the fault lab first, on all engines, with both signals

Exits 0 when every promise was kept, 1 otherwise; then the first violations are printed with the seed that repeats them.
PostgreSQL and MariaDB are those of the machine (GPROXY_TEST_POSTGRES, GPROXY_TEST_MYSQL); databases are made and dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.engines import ENGINES
from tests.faults.lab import lab
from tests.faults.mayhem import Tally, mayhem, upgrades

CHUNK = 25
"""Signals per database: a judge that looks often names the seed that failed more narrowly."""
WORDS = {signal.SIGTERM: "SIGTERM", signal.SIGKILL: "SIGKILL"}


@dataclass(frozen=True)
class Job:
    """One chunk of signals."""

    engine: str
    number: signal.Signals
    rounds: int
    seed: int
    durability: str


@dataclass
class Sum:
    """One line of the table."""

    tally: Tally = field(default_factory=Tally)
    failed: list[Job] = field(default_factory=list)


def jobs(options: argparse.Namespace) -> list[Job]:
    """The chunks in the order they run: engines and signals take turns, so that an early end has seen all of them."""
    made: list[list[Job]] = []
    for engine in options.engines:
        few = engine != "sqlite" and options.server_share < 1
        for number, count in ((signal.SIGKILL, options.kills), (signal.SIGTERM, options.terms)):
            left = round(count * options.server_share) if few else count
            chunks: list[Job] = []
            while left > 0:
                seed = options.seed * 1_000_000 + len(made) * 10_000 + len(chunks)
                chunks.append(Job(engine, number, min(CHUNK, left), seed, options.durability))
                left -= CHUNK
            made.append(chunks)
    return [chunks[at] for at in range(max(map(len, made), default=0)) for chunks in made if at < len(chunks)]


async def run(work: list[Job], lanes: int, until: float | None) -> dict[tuple[str, str], Sum]:
    """All jobs, a few at a time; after `until` (monotonic) no new one begins."""
    sums: dict[tuple[str, str], Sum] = {}
    waiting = iter(work)
    done = 0

    async def lane() -> None:
        nonlocal done
        for job in waiting:
            if until is not None and time.monotonic() > until:
                return
            line = sums.setdefault((job.engine, WORDS[job.number]), Sum())
            with tempfile.TemporaryDirectory(prefix="soak-") as folder:
                try:
                    tally = await mayhem(
                        Path(folder), job.engine, job.number, job.rounds, job.seed, durability=job.durability
                    )
                except Exception as error:
                    print(f"{job}: {type(error).__name__}: {error}", file=sys.stderr)
                    line.failed.append(job)
                    continue
            line.tally.add(tally)
            if not tally.clean:
                line.failed.append(job)
            done += job.rounds
            print(f"{done} signals, {sum(len(one.failed) for one in sums.values())} chunks failed", file=sys.stderr)

    await asyncio.gather(*(lane() for _ in range(lanes)))
    return sums


async def interrupted_starts(count: int, seed: int) -> tuple[list[float], int, int]:
    """SIGTERM at a random moment between exec and ready. Seconds to the end, ends beyond two seconds, failed checks."""
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    times: list[float] = []
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        async with lab(Path(folder)) as made:
            for _ in range(count):
                made.gateway = made.make()
                made.gateway.start(ready=False)
                await asyncio.sleep(dice.uniform(0.0, 0.8))  # the moment is the point
                made.gateway.signal(signal.SIGTERM)
                struck = time.monotonic()
                code = await made.gateway.ended(30)
                times.append(made.gateway.ended_at - struck)
                # Before the interpreter has come to our handler the signal's default ends it: nothing had begun.
                wrong += code not in {0, -signal.SIGTERM}
            await made.restart()
            made.signal()
            wrong += await made.gateway.ended(30) != 0
    return times, sum(took > 2.0 for took in times), wrong


def table(sums: dict[tuple[str, str], Sum]) -> str:
    """The figures as Markdown, so that the page about shutdown can take them as they are."""
    heads = (
        "engine", "signal", "signals", "requests", "streams", "vendor attempts", "rows", "of them interrupted", "lost",
        "doubled", "other violations", "cost difference (nano-USD)", "exit p50 (s)", "exit max (s)", "beyond the bound",
        "start p50 (s)", "connections refused",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for (engine, number), one in sorted(sums.items()):
        tally = one.tally
        cells: Iterable[object] = (
            engine, number, tally.signals, tally.requests, tally.streams, tally.attempts, tally.rows, tally.interrupted,
            tally.lost, tally.doubled, tally.other, tally.cost_difference, f"{_median(tally.exits):.3f}",
            f"{max(tally.exits, default=0):.3f}", tally.late, f"{_median(tally.starts):.2f}", tally.refused,
        )  # fmt: skip
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0


def matrix() -> int:
    """Every cell of the fault lab, also those that are too long for each commit."""
    command = [sys.executable, "-m", "pytest", "tests/faults", "tests/process", "-q"]
    return subprocess.run(command, env={**os.environ, "GPROXY_SOAK": "1"}, check=False).returncode


def main() -> int:
    """Run what was asked for and print the table."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kills", type=int, default=1000, help="SIGKILLs on SQLite")
    parser.add_argument("--terms", type=int, default=1000, help="SIGTERMs on SQLite")
    parser.add_argument("--server-share", type=float, default=0.2, help="of these on PostgreSQL and MariaDB each")
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    parser.add_argument("--starts", type=int, default=0, help="starts to be ended by SIGTERM at a random moment")
    parser.add_argument("--upgrades", type=int, default=0, help="upgrades in place (SIGUSR2) under load")
    parser.add_argument("--lanes", type=int, default=2, help="gateways at once")
    parser.add_argument("--minutes", type=float, default=None, help="begin nothing new after so long")
    parser.add_argument("--durability", choices=("process", "power"), default="process")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--matrix", action="store_true", help="run every cell of the fault lab first")
    options = parser.parse_args()
    unknown = set(options.engines) - set(ENGINES)
    if unknown:
        parser.error(f"unknown engine {', '.join(sorted(unknown))}: {', '.join(ENGINES)}")
    bad = matrix() != 0 if options.matrix else False
    began = time.monotonic()
    until = None if options.minutes is None else began + 60 * options.minutes
    sums = asyncio.run(run(jobs(options), options.lanes, until))
    print(table(sums))
    print(
        f"\n{time.monotonic() - began:.0f} s, seed {options.seed}, durability {options.durability}, {options.lanes} lanes"
    )
    if options.starts:
        times, late, wrong = asyncio.run(interrupted_starts(options.starts, options.seed))
        told = f"median {_median(times):.3f} s, longest {max(times):.3f} s, beyond 2 s: {late}, failed checks: {wrong}"
        print(f"{options.starts} starts ended by SIGTERM: {told}")
        bad = bad or bool(late or wrong)
    if options.upgrades:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            found = asyncio.run(upgrades(Path(folder), "sqlite", options.upgrades, options.seed))
        told = f"{found.requests:,} requests, {found.streams:,} streams, {found.refused} refused, {found.other} broken"
        print(f"{found.signals} upgrades in place: {told}, {found.lost} rows lost, {found.doubled} doubled")
        bad = bad or not found.clean or found.refused > 0
        sums["sqlite", "SIGUSR2"] = Sum(found)
    for (engine, number), one in sums.items():
        for job in one.failed:
            bad = True
            print(f"FAILED: {engine} {number} seed {job.seed}, {job.rounds} signals", file=sys.stderr)
        for violation in one.tally.violations[:20]:
            print(f"  {violation}", file=sys.stderr)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
