"""Taking over journals whose owner is gone: their rows land, their open attempts become `interrupted` rows.

Everything here may be killed at any point and begun again: rows are inserted if absent, the directory goes last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gproxy.canonical.usage import Source, Usage
from gproxy.ledger.batch import MAX_ROWS
from gproxy.ledger.directory import Directory, adopt, others
from gproxy.ledger.intake import Waiting
from gproxy.ledger.landing import land
from gproxy.ledger.pricing import PriceError, RateCard
from gproxy.ledger.reader import SegmentReader, SegmentReport, salts_of
from gproxy.ledger.record import Closed, Opened, Outcome, Progress, UsageRow, close_of, row_of
from gproxy.ledger.store import StoreUnavailable, UsageStore


@dataclass(slots=True)
class RecoveryReport:
    """What recovery did, for the log and for `gproxy journal replay`."""

    adopted: list[str] = field(default_factory=list)
    rows: int = 0
    """Rows of finished attempts that are in the database now (new or already there)."""
    interrupted: int = 0
    new: int = 0
    quarantined: int = 0
    orphans: int = 0
    """Closed records whose opening was destroyed: no row can be made of them; the segment is set aside."""
    damaged: list[SegmentReport] = field(default_factory=list)
    set_aside: list[Path] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Journals that could not be finished: the database is unavailable, or a newer version wrote them."""


@dataclass(slots=True)
class _Attempt:
    opened: Opened
    progress: Progress | None = None


async def recover(
    root: Path,
    store: UsageStore,
    *,
    own: str | None = None,
    landed: Mapping[str, tuple[int, int]] | None = None,
    tell: Callable[[RecoveryReport], None] | None = None,
    forget: Callable[[str], Awaitable[None]] | None = None,
) -> RecoveryReport:
    """Adopt and empty every journal under `root` that nobody holds.

    `own` is the id of the caller's own journal. `landed` gives stored positions by journal id, to skip what the
    database has already; without it those rows are offered again and change nothing. `tell` is called after every batch
    with the report so far; `forget` when a journal is gone, to drop its stored position. Never raises for an unavailable database: the journal stays, see `left`.
    """
    report = RecoveryReport()
    for path in others(root):
        if path.name == own:
            continue
        directory = adopt(path)
        if directory is None:
            continue
        try:
            report.adopted.append(directory.id)
            recovery = _Recovery(directory, store, report, (landed or {}).get(directory.id, (0, 0)), tell)
            if not await recovery.run():
                report.left.append(directory.id)
            elif forget is not None:
                await forget(directory.id)
        except (StoreUnavailable, OSError):
            report.left.append(directory.id)
        finally:
            directory.unlock()
    return report


def rows_left(
    root: Path,
    *,
    own: str | None = None,
    landed: Mapping[str, tuple[int, int]] | None = None,
    enough: int | None = None,
) -> int:
    """How many rows wait in the journals under `root` that nobody holds (attempts that nobody finished included).

    Looks no further once there are `enough`. Without `landed` (see `recover`) rows count that the database may have.
    A journal of a newer version counts as one row: it waits, whatever is in it.
    """
    found = 0
    for path in others(root):
        if path.name == own or (enough is not None and found >= enough):
            continue
        directory = adopt(path)
        if directory is not None:
            try:
                found += _left_in(directory, (landed or {}).get(directory.id, (0, 0)), enough)
            except OSError:
                found += 1  # it cannot be read, so nobody can say that it is empty
            finally:
                directory.unlock()
    return found


def _left_in(directory: Directory, landed: tuple[int, int], enough: int | None) -> int:
    opened: set[str] = set()
    closed = 0
    salts = salts_of(directory.path, directory.salt)
    for number, path in directory.segments():
        reader = SegmentReader(path, number, salts)
        for end, record in reader:
            if isinstance(record, Opened):
                opened.add(record.attempt_id)
            elif isinstance(record, Closed) and record.attempt_id in opened:
                opened.remove(record.attempt_id)
                closed += (number, end) > landed
            if enough is not None and closed >= enough:
                return closed
        if reader.report.newer:
            return closed + len(opened) + 1
    return closed + len(opened)


def interrupted_row(opened: Opened, progress: Progress | None) -> UsageRow:
    """The row of an attempt that nobody closed, priced with the rates it began with from what was last seen.

    Nothing seen: no figures, cost 0, `estimated`. Output seen but no input figure: the vendor has read the prompt, so
    the counted input stands in for it. Figures of the vendor's are `partial`, our own stay `estimated`.
    """
    if progress is None:
        usage, source = Usage(), Source.ESTIMATED
    else:
        usage = Usage(
            input=progress.input_tokens,
            output=progress.output_tokens,
            cache_read=progress.cache_read_tokens,
            cache_write_5m=progress.cache_write_5m_tokens,
            cache_write_1h=progress.cache_write_1h_tokens,
            reasoning=progress.reasoning_tokens,
            audio_input=progress.audio_input_tokens,
            audio_output=progress.audio_output_tokens,
        )
        source = Source.ESTIMATED if progress.source is Source.ESTIMATED else Source.PARTIAL
        if usage.input is None and usage.output and opened.estimated_input > 0:
            cached = (usage.cache_read or 0) + (usage.cache_write_5m or 0) + (usage.cache_write_1h or 0)
            usage = msgspec.structs.replace(usage, input=max(0, opened.estimated_input - cached))
            source = Source.ESTIMATED
    try:
        cost = RateCard.unpack(opened.rates).cost(usage, opened.service_tier) if usage.known else 0
    except PriceError:
        cost = 0  # cannot happen to a record whose checksum fits; a row without a price beats no row
    last = opened.at if progress is None else progress.at
    closed = close_of(
        opened,
        usage,
        cost,
        at=last,
        model_served=progress.model_served if progress else None,
        source=source,
        outcome=Outcome.INTERRUPTED,
        status=0,
        first_byte_ms=progress.first_byte_ms if progress else None,
        total_ms=max(0, (last - opened.at) // 1000),
    )
    return row_of(opened, closed)


class _Recovery:
    """Empties one adopted journal."""

    def __init__(
        self,
        directory: Directory,
        store: UsageStore,
        report: RecoveryReport,
        landed: tuple[int, int],
        tell: Callable[[RecoveryReport], None] | None,
    ) -> None:
        self._directory = directory
        self._store = store
        self._report = report
        self._landed = landed
        self._tell = tell
        self._open: dict[str, _Attempt] = {}
        self._batch: list[Waiting] = []
        self._orphans = 0

    async def run(self) -> bool:
        """Land everything, then clear the directory away; False when it has to stay."""
        keep: list[Path] = []
        salts = salts_of(self._directory.path, self._directory.salt)
        for number, path in self._directory.segments():
            reader = SegmentReader(path, number, salts)
            before = self._orphans
            for end, record in reader:
                self._take(number, end, record)
                if len(self._batch) >= MAX_ROWS:
                    await self._land()
            if reader.report.newer:
                return False
            if reader.report.damage:
                self._report.damaged.append(reader.report)
            if reader.report.damage or self._orphans > before:
                keep.append(path)
            await asyncio.sleep(0)
        await self._land()
        await self._interrupt()
        # From here on nothing is only in this directory. What people may want to look at is moved, the rest goes.
        for path in [*keep, *self._directory.foreign()]:
            self._report.set_aside.append(self._directory.set_aside(path))
        self._report.orphans += self._orphans
        self._directory.remove()
        return True

    def _take(self, number: int, end: int, record: Opened | Progress | Closed) -> None:
        match record:
            case Opened():
                known = self._open.get(record.attempt_id)
                self._open[record.attempt_id] = _Attempt(record, known.progress if known else None)
            case Progress():
                attempt = self._open.get(record.attempt_id)
                if attempt is not None:
                    attempt.progress = record
            case Closed():
                attempt = self._open.pop(record.attempt_id, None)
                if attempt is None:
                    self._orphans += (number, end) > self._landed
                elif (number, end) > self._landed:
                    row = row_of(attempt.opened, record)
                    self._batch.append(Waiting(row, (self._directory.id, number, end), 0.0))

    async def _land(self) -> None:
        if self._batch:
            done = await land(self._store, self._batch)
            self._report.rows += done.rows
            self._count(done.new, done.quarantined)
            self._batch = []

    async def _interrupt(self) -> None:
        attempts = list(self._open.values())
        for start in range(0, len(attempts), MAX_ROWS):
            some = attempts[start : start + MAX_ROWS]
            rows = [interrupted_row(attempt.opened, attempt.progress) for attempt in some]
            waiting = [Waiting(row, (self._directory.id, 0, 0), 0.0) for row in rows]
            done = await land(self._store, waiting, with_position=False)
            self._report.interrupted += done.rows
            self._count(done.new, done.quarantined)

    def _count(self, new: int, quarantined: int) -> None:
        self._report.new += new
        self._report.quarantined += quarantined
        if self._tell is not None:
            self._tell(self._report)
