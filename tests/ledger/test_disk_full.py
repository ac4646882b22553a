"""A really full disk: refuse before dispatch, keep every promise already made, go on when there is room."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gproxy.errors import Kind, Refused
from gproxy.ledger.journal import Journal
from gproxy.ledger.reader import SegmentReader
from gproxy.ledger.record import Closed
from tests.ledger.records import HandClock, closed, opened

SMALL = 64 * 1024


def use_until_refused(one: Journal) -> list[str]:
    """Open and close attempts until one is refused; the attempts that are open then."""
    live: list[str] = []
    for n in range(100_000):
        try:
            one.open(opened(f"a{n}"))
        except Refused as refused:
            return live if refused.failure.kind is Kind.LEDGER_UNAVAILABLE else []
        live.append(f"a{n}")
        if len(live) > 30:
            one.close(closed(live.pop(0)))
    raise AssertionError("never refused")


def closes_on_disk(root: Path) -> set[str]:
    found = set()
    for path in root.glob("*/*.seg"):
        reader = SegmentReader(path, int(path.stem))
        found |= {record.attempt_id for _, record in reader if isinstance(record, Closed)}
        assert reader.report.damage == []
    return found


def promises_are_kept(root: Path, one: Journal, clock: HandClock, make_room: Any) -> None:
    live = use_until_refused(one)
    assert len(live) == 30
    for attempt in live:
        one.close(closed(attempt))
    assert one.state().held == 0
    assert set(live) <= closes_on_disk(root)
    make_room()
    clock.now += 1
    one.open(opened("again"))
    one.close(closed("again"))
    assert "again" in closes_on_disk(root)
    one.landed(len(one.intake))
    assert one.end() == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Any]:
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs here; the file size limit test covers the same path")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_on_a_full_file_system(small_disk: Path) -> None:
    root = small_disk / "journal"
    clock = HandClock()
    one = Journal.create(root, clock, segment_bytes=SMALL)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    promises_are_kept(root, one, clock, filler.unlink)


def test_beyond_the_file_size_limit(tmp_path: Path) -> None:
    clock = HandClock()
    one = Journal.create(tmp_path, clock, segment_bytes=SMALL)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    one._segment_bytes = 2 * SMALL  # the next one does not fit
    try:
        promises_are_kept(tmp_path, one, clock, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
