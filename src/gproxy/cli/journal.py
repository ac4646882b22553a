"""`gproxy journal`: what the journal of usage records holds, and its replay without starting the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gproxy.cli.database import opened
from gproxy.cli.options import environment_settings
from gproxy.cli.terminal import Complaint, printed_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from gproxy.ledger.recovery import RecoveryReport


def journals(root: Path) -> list[Path]:
    """The journal folders under `root`, oldest first. Unlike a start, this clears nothing away."""
    from gproxy.ledger.directory import LOCK_NAME

    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if not path.name.startswith(".") and (path / LOCK_NAME).is_file())


def held(path: Path) -> bool:
    """Whether a running gateway owns it: the lock is the system's and ends with its owner."""
    import fcntl

    from gproxy.ledger.directory import LOCK_NAME

    with (path / LOCK_NAME).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def inspect(flags: Mapping[str, str], *, as_json: bool) -> int:
    """Tell what is there; exit 1 when something in it is damaged."""
    from gproxy.ledger.reader import inspect as read

    root = environment_settings(flags).journal_dir
    try:
        found = [(path, held(path), read(path)) for path in journals(root)]
    except OSError as error:
        raise Complaint(f"the journal in {root} cannot be read: {error.strerror or error}") from error
    damaged = any(report.damage for _, _, reports in found for report in reports)
    if as_json:
        told: list[dict[str, Any]] = [
            {
                "journal": path.name,
                "in_use": in_use,
                "segments": [{**asdict(report), "path": str(report.path)} for report in reports],
            }
            for path, in_use, reports in found
        ]
        print(json.dumps(told, indent=2))
        return int(damaged)
    if not found:
        print(f"{root}: no journals")
        return 0
    for path, in_use, reports in found:
        print(
            f"{path.name}: {'in use by a running gateway' if in_use else 'left behind; the next start takes it over'}"
        )
        rows = [("  segment", "bytes", "opened", "progress", "closed", "state")]
        for report in reports:
            state = "damaged" if report.damage else "sealed" if report.sealed else "open"
            counts = (str(report.size), str(report.opened), str(report.progress), str(report.closed))
            rows.append((f"  {report.path.name}", *counts, state))
        for line in printed_columns(rows):
            print(line)
        for report in reports:
            for start, end, what in report.damage:
                print(f"  {report.path.name}: bytes {start} to {end}: {what}")
    return int(damaged)


def replay(flags: Mapping[str, str]) -> int:
    """Land what journals without an owner hold, as every start does; exit 1 when something stays behind."""
    from gproxy.ledger.reader import inspect as read
    from gproxy.ledger.recovery import recover
    from gproxy.storage.migrate import ensure_schema
    from gproxy.storage.usage import SqlLedger

    settings = environment_settings(flags)
    root = settings.journal_dir
    try:
        free = [path for path in journals(root) if not held(path)]
        total = sum(report.closed for path in free for report in read(path))
    except OSError as error:
        raise Complaint(f"the journal in {root} cannot be read: {error.strerror or error}") from error
    if not free:
        print(f"{root}: nothing to replay")
        return 0

    async def work() -> RecoveryReport:
        async with opened(settings, create=True) as database:
            await ensure_schema(database)
            ledger = SqlLedger(database)
            with _progress(total) as tell:
                return await recover(root, ledger, landed=await ledger.positions(), tell=tell)

    report = asyncio.run(work())
    known = report.rows + report.interrupted - report.new
    print(f"{len(report.adopted)} journals: {report.new} rows written, {known} were there already")
    for count, what in (
        (report.interrupted, "attempts had no end and are rows with outcome interrupted"),
        (report.quarantined, "rows could not be stored and are in usage_quarantine"),
        (report.orphans, "records belong to attempts whose beginning is damaged"),
        (len(report.set_aside), f"damaged files were kept in {root / 'set-aside'}"),
    ):
        if count:
            print(f"{count} {what}")
    if report.left:
        raise Complaint(f"journals that are still there, try again: {', '.join(report.left)}")
    return 0


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[RecoveryReport], None] | None]:
    """A bar on a terminal; elsewhere the summary is enough."""
    if not sys.stdout.isatty():
        yield None
        return
    from rich.progress import Progress

    with Progress(transient=True) as bar:
        task = bar.add_task("replaying", total=total)
        yield lambda report: bar.update(task, completed=report.rows)
