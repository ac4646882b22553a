"""kill -9 at random moments: what was acknowledged has a row, each attempt exactly one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from gproxy.ledger.recovery import recover
from tests.ledger.sqlite_store import SqliteStore

ROOT = Path(__file__).resolve().parents[2]
WRITER = ROOT / "tests/ledger/crashing_writer.py"


def write_and_kill(root: Path, seed: int, lines: int, mode: str) -> dict[str, set[str]]:
    """Run the writer, kill it at once after it has said so many things, and return what it said by kind."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    child = subprocess.Popen(
        [sys.executable, str(WRITER), str(root), str(seed), mode], stdout=subprocess.PIPE, env=environment, cwd=ROOT
    )
    assert child.stdout is not None
    said = []
    for line in child.stdout:
        said.append(line)
        if len(said) >= lines:
            child.send_signal(signal.SIGKILL)
            break
    said += child.stdout.readlines()  # what was in the pipe was acknowledged too
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    told: dict[str, set[str]] = defaultdict(set)
    for line in said:
        if line.endswith(b"\n"):
            told[line[:1].decode()].add(line[2:].strip().decode())
    return told


@pytest.mark.parametrize("seed", range(24))
async def test_nothing_acknowledged_is_lost(tmp_path: Path, seed: Any) -> None:
    dice = random.Random(seed)
    root = tmp_path / "journal"
    mode = "power" if seed % 6 == 5 else "process"
    told = write_and_kill(root, seed, dice.randrange(1, 1500 if mode == "process" else 200), mode)
    store = SqliteStore()
    report = await recover(root, store)
    assert not report.left
    assert report.orphans == 0
    assert report.damaged == []
    outcomes = store.outcomes()
    assert len(store.ids()) == len(set(store.ids()))
    # Rows that had landed before the kill were the old store's; every other acknowledged attempt is here.
    acknowledged = told["o"] - told["l"]
    assert acknowledged <= outcomes.keys()
    # At most the one call that was under way is unannounced.
    assert len(outcomes.keys() - told["o"]) <= 1
    for attempt in told["c"] - told["l"]:
        assert outcomes[attempt] == "complete"
    still_open = told["o"] - told["c"]
    assert sum(outcomes[a] != "interrupted" for a in still_open & outcomes.keys()) <= 1
    store.check()
    assert list(root.iterdir()) == []
