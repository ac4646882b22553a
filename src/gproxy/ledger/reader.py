"""Reading segments: what is believable in them, and an account of what is not.

Used by recovery, by the sink's way back from disk, and by `gproxy journal inspect`. Reading changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from gproxy.ledger import frames
from gproxy.ledger.directory import LOCK_NAME, lock_salt, segments
from gproxy.ledger.record import Closed, Opened, Progress

_FRAMED = frames.HEADER.size


@dataclass(slots=True)
class SegmentReport:
    """What was found in one segment. `damage` holds (from, to, what) in bytes; empty means all is as written."""

    path: Path
    number: int
    size: int = 0
    opened: int = 0
    progress: int = 0
    closed: int = 0
    sealed: bool = False
    newer: bool = False
    damage: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def records(self) -> int:
        """Believable records."""
        return self.opened + self.progress + self.closed


class SegmentReader:
    """Iterates over the believable records of one segment as (end offset, record); `report` fills meanwhile.

    Every record before damage is given, and every record after it that proves itself (see `frames.scan`). `salts` are
    what the header is replaced by when it is ruined.
    """

    def __init__(self, path: Path, number: int, salts: tuple[bytes, ...] = ()) -> None:
        self.report = SegmentReport(path, number)
        self._salts = salts

    def __iter__(self) -> Iterator[tuple[int, Opened | Progress | Closed]]:
        report = self.report
        data = report.path.read_bytes()
        report.size = len(data)
        try:
            header = frames.Header.parse(data[:_FRAMED])
        except frames.NewerFormat as error:
            report.newer = True
            report.damage.append((0, len(data), str(error)))
            return
        except frames.DamagedHeader as error:
            report.damage.append((0, min(_FRAMED, len(data)), f"header: {error}"))
            header = None
        if header is not None and header.number != report.number:
            report.damage.append((0, len(data), f"is segment {header.number} under another name"))
            return
        start = frames.seed(header.salt, header.number) if header else self._seed_that_fits(data)
        if start is not None:
            yield from self._records(data, start)
        elif len(data) > _FRAMED:
            report.damage.append((_FRAMED, len(data), "nothing believable in it"))
        if header is not None and not report.sealed and len(data) < header.size:
            report.damage.append((len(data), header.size, "cut short"))

    def _records(self, data: bytes, start: int) -> Iterator[tuple[int, Opened | Progress | Closed]]:
        report, count, seal = self.report, 0, 0
        for found in frames.scan(data, start):
            match found:
                case frames.CleanEnd():
                    if report.sealed and found.at < len(data):
                        report.damage.append((found.at, len(data), "bytes after the seal"))
                case frames.Damage(at, end, tail):
                    report.damage.append((at, end, "torn or damaged end" if tail else "damaged"))
                case frames.Frame(at, end, payload):
                    if report.sealed:
                        report.damage.append((at, end, "a record after the seal"))
                    try:
                        record = frames.decode(payload)
                    except (msgspec.DecodeError, UnicodeDecodeError) as error:
                        report.damage.append((at, end, f"unreadable record: {error}"))
                        count += 1
                        continue
                    if isinstance(record, frames.Sealed):
                        report.sealed, seal = True, record.frames
                        continue
                    count += 1
                    self._tally(record)
                    yield end, record
        if report.sealed and seal != count and not report.damage:
            report.damage.append((0, len(data), f"sealed with {seal} records, {count} are there"))

    def _tally(self, record: Opened | Progress | Closed) -> None:
        match record:
            case Opened():
                self.report.opened += 1
            case Progress():
                self.report.progress += 1
            case Closed():
                self.report.closed += 1

    def _seed_that_fits(self, data: bytes) -> int | None:
        for salt in self._salts:
            start = frames.seed(salt, self.report.number)
            if any(isinstance(found, frames.Frame) for found in frames.scan(data, start)):
                return start
        return None


def salts_of(path: Path, from_lock: bytes | None) -> tuple[bytes, ...]:
    """The salts to try on a segment with a ruined header: the lock file's, then those of its siblings."""
    found = [] if from_lock is None else [from_lock]
    for _, segment in segments(path):
        with segment.open("rb") as file:
            head = file.read(_FRAMED)
        try:
            salt = frames.Header.parse(head).salt
        except (frames.DamagedHeader, frames.NewerFormat):
            continue
        if salt not in found:
            found.append(salt)
    return tuple(found)


def inspect(path: Path) -> list[SegmentReport]:
    """A report on every segment of a journal directory, whoever holds its lock. For people; changes nothing."""
    salts = salts_of(path, lock_salt(path / LOCK_NAME))
    reports = []
    for number, segment in segments(path):
        reader = SegmentReader(segment, number, salts)
        for _ in reader:
            pass
        reports.append(reader.report)
    return reports
