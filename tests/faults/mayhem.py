"""Signals at random moments under a load that never pauses, over and over, and one verdict at the end.

`make soak` runs it long, the tests run a few rounds. Everything random comes from the seed, except what the machine
itself adds: when a signal strikes is drawn, what it strikes is chance, and that is the point.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from gproxy.vendor.tally import Figures
from tests.faults.engines import Row
from tests.faults.lab import PRICE, Lab, lab, until
from tests.process import rig
from tests.vendor import load
from tests.vendor.count import Counted
from tests.vendor.reconcile import Violation, reconcile


@dataclass
class Tally:
    """What happened, in figures. They add up over several runs."""

    signals: int = 0
    requests: int = 0
    streams: int = 0
    complete: int = 0
    refused: int = 0
    """Connections that nobody accepted, between an end and the next start."""
    attempts: int = 0
    rows: int = 0
    interrupted: int = 0
    lost: int = 0
    doubled: int = 0
    other: int = 0
    cost_difference: int = 0
    """Nano-USD: what the ledger charged against what the vendor declared, and budgets against the sum of their rows."""
    exits: list[float] = field(default_factory=list)
    """Seconds from the signal to the end of the process."""
    starts: list[float] = field(default_factory=list)
    """Seconds from the start to the ready line."""
    late: int = 0
    """Ends beyond the promised bound."""
    codes: Counter[int] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    odd_codes: int = 0

    def add(self, other: Tally) -> None:
        """Put another run's figures on top."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Counter):
                mine.update(theirs)
            else:
                setattr(self, each.name, mine + theirs)

    @property
    def clean(self) -> bool:
        """Every promise was kept."""
        return not (self.violations or self.cost_difference or self.late or self.odd_codes)


async def mayhem(
    folder: Path,
    engine: str,
    number: signal.Signals,
    rounds: int,
    seed: int,
    *,
    longest: float = 0.6,
    concurrency: int = 12,
    durability: str = "process",
) -> Tally:
    """`rounds` signals on one gateway and one database, then a clean stop and the judge."""
    dice = random.Random(seed)
    tally = Tally()
    async with lab(folder, engine, number=number) as made:
        made.drain = 3.0
        gateway = await made.start(f"--durability={durability}")
        gateway.keep_port()
        over = asyncio.Event()
        plan = made.plan(
            None, "", stream=True, concurrency=concurrency, stream_share=0.6, abort_share=0.05, tokens=(3, 20),
            delay=0.004, seed=seed,
        )  # fmt: skip
        async with made.loading(plan, over):
            for _ in range(rounds):
                tally.starts.append(gateway.ready_after)
                # The moment is the point; there is no event to wait for.
                await asyncio.sleep(dice.uniform(0.0, longest))
                await _strike(made, tally)
                await made.restart()
            over.set()
        made.signalled_at = None
        made.signal(signal.SIGTERM)
        assert await gateway.ended(made.bound + 30) == 0, made.story()
        rows, quotas = await made.place.ledger()
        await _judge(made, tally, rows, quotas, killed=number is signal.SIGKILL)
    return tally


async def upgrades(folder: Path, engine: str, count: int, seed: int, *, concurrency: int = 40) -> Tally:
    """Upgrades in place, one after the other, under tight keep-alive load: nobody is refused, nothing is cut."""
    tally = Tally()
    async with lab(folder, engine) as made:
        made.drain = 10.0
        gateway = await made.start()
        family = [gateway.popen.pid]
        over = asyncio.Event()
        plan = made.plan(
            None, "", stream=True, concurrency=concurrency, stream_share=0.3, tokens=(2, 12), delay=0.003, seed=seed
        )
        try:
            async with made.loading(plan, over):
                for _ in range(count):
                    struck = time.monotonic()
                    await _upgrade(made, family)
                    tally.signals += 1
                    tally.exits.append(time.monotonic() - struck)
                over.set()
            os.kill(family[-1], signal.SIGTERM)
            await until(lambda: _gone(made, family[-1]), lambda: f"the end of the last one:\n{made.story()}")
        finally:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        rows, quotas = await made.place.ledger()
        await _judge(made, tally, rows, quotas, killed=True)
        broken = [call for call in made.calls if call.broken or not call.complete]
        tally.violations += [Violation("CLIENT", f"{call.status} {call.broken}", call.nonce) for call in broken]
        tally.other += len(broken)
    return tally


async def _upgrade(made: Lab, family: list[int]) -> None:
    """One upgrade: the last of the family makes a successor and leaves."""
    gateway, mark, made_before, old = made.gateway, len(made.calls), len(family) - 1, family[-1]
    await made.answered(mark + 51)
    os.kill(old, signal.SIGUSR2)
    await until(lambda: len(gateway.successors()) > made_before, lambda: f"a successor:\n{made.story()}")
    family.append(gateway.successors()[made_before])
    await until(lambda: _gone(made, old), lambda: f"the end of the old one:\n{made.story()}")


def _gone(made: Lab, pid: int) -> bool:
    if pid == made.gateway.popen.pid:
        return made.gateway.popen.poll() is not None
    return not rig.alive(pid)


async def _strike(made: Lab, tally: Tally) -> None:
    gateway, killed = made.gateway, made.number is signal.SIGKILL
    struck = time.monotonic()
    gateway.signal(made.number)
    code = await gateway.ended(made.bound + 30)
    took = gateway.ended_at - struck
    tally.signals += 1
    tally.exits.append(took)
    tally.codes[code] += 1
    tally.late += took > made.bound
    tally.odd_codes += code != (-signal.SIGKILL if killed else 0)
    if not killed and "Traceback" in gateway.text:
        tally.violations.append(Violation("CRASH", made.story()))


async def _judge(made: Lab, tally: Tally, rows: Sequence[Row], quotas: Sequence[Row], *, killed: bool) -> None:
    calls = made.calls
    # A connection that came too late for the old process and too early for the new one was promised nothing.
    served = calls if killed else [call for call in calls if call.sent and not (call.broken and not call.request_id)]
    # Off the loop, in which another lane's clients run.
    found = await asyncio.to_thread(reconcile, made.count_file, rows, quotas, price=PRICE, calls=served, killed=killed)
    attempts = made.attempts
    tally.requests += sum(call.sent for call in calls)
    tally.streams += sum(call.sent and call.stream for call in calls)
    tally.complete += sum(call.complete for call in calls)
    tally.refused += sum(not call.sent for call in calls)
    tally.attempts += len(attempts)
    tally.rows += len(rows)
    tally.interrupted += sum(row["outcome"] == "interrupted" for row in rows)
    kinds = Counter(violation.kind for violation in found)
    tally.lost += kinds["LOST"]
    tally.doubled += kinds["DOUBLED"]
    tally.other += sum(kinds.values()) - kinds["LOST"] - kinds["DOUBLED"]
    tally.violations += found
    tally.cost_difference += _cost_difference(calls, attempts, rows, quotas)


def _cost_difference(
    calls: Sequence[load.Call], attempts: Sequence[Counted], rows: Sequence[Row], quotas: Sequence[Row]
) -> int:
    """Answers that ended well cost what the vendor declared, and budgets moved by exactly the sum of the rows."""
    declared = {attempt.nonce: attempt for attempt in attempts if attempt.how == "complete"}
    row_of = {row["request_id"]: row for row in rows}
    difference = 0
    for call in calls:
        row, attempt = row_of.get(call.request_id), declared.get(call.nonce)
        if row is not None and attempt is not None and row["source"] == "reported":
            difference += abs(row["cost_nano_usd"] - PRICE(row, attempt.declared or Figures()))
    spent = sum(quota["cost_used_nano_usd"] for quota in quotas)
    return int(difference + abs(spent - sum(row["cost_nano_usd"] for row in rows)))
