"""The power fails at every step of a journal's life, in every way that the disk may lose what was not synced."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from gproxy.ledger import directory, journal, segment, syncer
from gproxy.ledger.recovery import recover
from tests.ledger.disk import Disk, Mark
from tests.ledger.records import HandClock, closed, opened, progress
from tests.ledger.sqlite_store import SqliteStore

SOAK = os.environ.get("GPROXY_SOAK") == "1"
KEEPS = (0.0, 1.0, 0.5, *((0.1, 0.9, 0.3, 0.7) if SOAK else ()))
EVERY = 1 if SOAK else 6
"""Each moment with each way of losing things in the soak; else each sixth pair of them."""


async def recorded(root: Path, patch: pytest.MonkeyPatch, seed: int, *, power: bool) -> Disk:
    """A journal's life: attempts that end and that do not, several segments, rows that land, and what was promised when."""
    dice = random.Random(seed)
    disk = Disk(root)
    with patch.context() as watched:
        disk.watch(watched, [directory, journal, segment, syncer])
        made = journal.Journal.create(root / "journal", HandClock(), power=power, segment_bytes=64 * 1024)
        live: list[str] = []
        for number in range(150):
            name = f"a-{number:03d}"
            made.open(opened(name, model_asked="m" * 500, user_name="u" * 500))  # long, so that segments fill up
            await made.durable()
            disk.mark("opened", name)
            live.append(name)
            if dice.random() < 0.3:
                made.progress(progress(dice.choice(live), output_tokens=number))
            while len(live) > dice.randrange(1, 9):
                name = live.pop(dice.randrange(len(live)))
                made.close(closed(name))
                if number % 3 == 0:
                    await made.durable()
                    disk.mark("closed", name)
            if len(made.intake) > 30:
                some = made.intake.peek(25)
                for waiting in some:
                    disk.mark("landed", waiting.row.attempt_id)
                made.landed(len(some))
        made.end()
    return disk


def promised(disk: Disk, moment: int, word: str) -> set[str]:
    return {step.attempt for step in disk.steps[:moment] if isinstance(step, Mark) and step.word == word}


@pytest.mark.parametrize("power", [True, False])
async def test_what_was_promised_survives_every_way_the_power_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, power: bool
) -> None:
    disk = await recorded(tmp_path / "disk", monkeypatch, 20261125, power=power)
    segments = [step for step in disk.steps if getattr(step, "what", "") == "create"]
    assert len(segments) > 3
    count = 0
    for moment in range(len(disk.steps) + 1):
        # Without syncs nothing is promised against the power: there only the process dies, and the kernel keeps it all.
        for way, keep in enumerate(KEEPS if power else (1.0,)):
            if (moment + way) % EVERY:
                continue
            count += 1
            folder = tmp_path / f"image-{count}"
            folder.mkdir()
            disk.image(moment, random.Random(count), keep, folder)
            await judged(disk, moment, folder)
    assert count >= len(disk.steps) // EVERY


async def judged(disk: Disk, moment: int, folder: Path) -> None:
    store = SqliteStore()
    report = await recover(folder / "journal", store)
    assert report.left == []
    found = store.outcomes()
    landed = promised(disk, moment, "landed")
    lost = promised(disk, moment, "opened") - landed - found.keys()
    assert not lost, (moment, lost)
    for name in promised(disk, moment, "closed") - landed:
        assert found[name] == "complete", (moment, name)
    store.check()
    store.db.close()
    # Whatever is left of it, a second recovery finds nothing more to do.
    again = await recover(folder / "journal", SqliteStore())
    assert (again.rows, again.interrupted) == (0, 0)
