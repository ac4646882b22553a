"""A process that writes attempts to a journal as fast as it can and says what was acknowledged, until killed.

Each line on stdout is written after the call returned: `o <id>` opened, `c <id>` closed. Some attempts stay open.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.ledger.journal import Journal
from tests.ledger.records import closed, opened, progress


async def main(root: str, seed: str, power: str) -> None:
    dice = random.Random(int(seed))
    journal = Journal.create(Path(root), SystemClock(), segment_bytes=64 * 1024, power=power == "power")
    live: list[str] = []
    while True:
        attempt = new_id()
        journal.open(opened(attempt))
        await journal.durable()
        os.write(1, f"o {attempt}\n".encode())
        live.append(attempt)
        for name in live:
            if dice.random() < 0.2:
                journal.progress(progress(name, output_tokens=dice.randrange(1000)))
        await asyncio.sleep(0)
        while len(live) > dice.randrange(1, 12):
            name = live.pop(dice.randrange(len(live)))
            journal.close(closed(name))
            os.write(1, f"c {name}\n".encode())
        while len(journal.intake) > 50:
            # As a sink would: rows land, old segments go. What landed is known to the test by its line.
            some = journal.intake.peek(20)
            os.write(1, b"".join(f"l {w.row.attempt_id}\n".encode() for w in some))
            journal.landed(len(some))


asyncio.run(main(*sys.argv[1:]))
