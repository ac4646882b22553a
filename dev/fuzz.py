"""Feeds spoiled bytes to every reader for a while: `make fuzz`, ten minutes in all.

    make fuzz ARGS="--seconds 60"                 shorter
    make fuzz ARGS="--target 'stream-*'"          only some of the targets (tests/fuzz/targets.py says what they hold)
    make fuzz ARGS="--seed 7"                     other bytes; the same seed draws the same ones

Exits 1 when a target does not hold: what was drawn is printed, made as small as it could be, and the seed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from fnmatch import fnmatchcase

from tests.fuzz.running import run
from tests.fuzz.targets import TARGETS

ROUND = 200
"""Examples between two looks at the clock."""


def main() -> int:
    """Run every target for its share of the time."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--target", default="*", help="a glob on names of targets")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    chosen = [name for name in TARGETS if fnmatchcase(name, asked.target)]
    failed = 0
    for name in chosen:
        until = time.monotonic() + asked.seconds / len(chosen)
        ran = rounds = 0
        broken = False
        while not broken and time.monotonic() < until:
            number = asked.seed * 1_000_000 + rounds
            rounds += 1
            try:
                ran += run(name, ROUND, number)
            except Exception:
                broken = True
                failed += 1
                traceback.print_exc()
                print(f"the draw of {name} with seed {number} does not hold", file=sys.stderr)
        print(f"{name:28} {ran:8} examples  {'BROKEN' if broken else 'holds'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
