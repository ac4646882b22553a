"""The journal: the promise that nothing is forgotten, kept by appending to a local file.

`open` and `close` hand their record to the operating system before they return, so what they promised outlives
this process, however it ends. Room for the `close` of every open attempt is set aside before an attempt may open:
a full disk refuses new requests and never loses the end of a running one.

A segment is self-contained: when a new one begins, the attempts that are open are written into it again. So a
segment can go once the database has every row closed in it, no matter how long some stream has been running.

One journal belongs to one process and one event loop; a forked child must make its own.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import msgspec

from gproxy.clock import Clock
from gproxy.errors import Failure, Kind, Refused
from gproxy.ledger import directory as directories
from gproxy.ledger import frames
from gproxy.ledger.directory import Directory
from gproxy.ledger.intake import Intake, Waiting
from gproxy.ledger.record import Closed, Opened, Progress, UsageRow, row_of
from gproxy.ledger.segment import SEAL_ROOM, Segment
from gproxy.ledger.store import Position
from gproxy.ledger.syncer import Syncer

SEGMENT_BYTES: Final = 16 * 1024 * 1024
MAX_BYTES: Final = 1024 * 1024 * 1024
MIN_SEGMENT_BYTES: Final = 64 * 1024
CLOSE_ROOM: Final = 768
"""The most a `Closed` frame takes; a longer served model name is cut to fit."""
RETRY_SECONDS: Final = 0.25
"""How long after a failed try to make a segment the next one may be made."""

_SERVED_CHARS: Final = 128
_TEXT_CHARS: Final = 512
_INT_MAX: Final = 2**63 - 1


class _Live(msgspec.Struct):
    """An open attempt, with what has to be written again when a new segment begins."""

    record: Opened
    opened: bytes
    progress: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Held:
    """A closed record that could not be written. `row` is set when it has not been passed on either."""

    live: _Live
    payload: bytes
    row: UsageRow | None


@dataclass(frozen=True, slots=True)
class JournalState:
    """A look at the journal for readiness, metrics and people. Bytes are those allocated on disk."""

    id: str
    waiting: int
    open_attempts: int
    segments: int
    bytes: int
    held: int
    """Closed records that the disk refused and that are retried; lost if the process dies first."""
    refusing: str | None
    """Why new attempts are refused, if they are."""
    strays: int
    """`close` calls for attempts that were not open: a bug in the caller, counted."""


class Journal:
    """Implements `pipeline.ports.JournalPort`; `intake` is what the usage sink drains."""

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        power: bool = False,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        intake: Intake | None = None,
    ) -> None:
        assert directory.salt is not None
        self.id: Final = directory.id
        """The first part of every position."""
        self._directory = directory
        self._salt = directory.salt
        self._clock = clock
        self._max_bytes = max_bytes
        self._segment_bytes = max(MIN_SEGMENT_BYTES, min(segment_bytes, max_bytes // 4))
        self._syncer = Syncer() if power else None
        self._segment: Segment | None = None
        self._sizes: dict[int, int] = {}
        self._last_close: dict[int, int] = {}
        self._number = 0
        self._buffer = bytearray()
        self._buffered = 0
        self._flush_due = False
        self._live: dict[str, _Live] = {}
        self._held: list[_Held] = []
        self._retry_at = 0.0
        self._refusing: str | None = None
        self._ended = False
        self._strays = 0
        self.intake = Intake() if intake is None else intake
        _journals.add(self)

    @classmethod
    def create(
        cls,
        root: Path,
        clock: Clock,
        *,
        power: bool = False,
        max_bytes: int = MAX_BYTES,
        segment_bytes: int = SEGMENT_BYTES,
        intake: Intake | None = None,
    ) -> Journal:
        """A journal in a new directory under `root` (`<data_dir>/journal`).

        Raises `OSError` when not even the directory can be made; a disk too full for the first segment is no error, it
        refuses until there is room.
        """
        directory = directories.create(root)
        journal = cls(directory, clock, power=power, max_bytes=max_bytes, segment_bytes=segment_bytes, intake=intake)
        with suppress(Refused):
            journal._begin_segment(0)
        return journal

    # -- what a request calls ------------------------------------------------------------------------------

    def open(self, record: Opened) -> None:
        """Promise that this attempt will have a row.

        Raises `Refused(ledger_unavailable)` when that cannot be promised; then nothing may be sent upstream.
        """
        if self._ended:
            self._refuse("the ledger is closing")
        record, payload = _opened(record)
        if self._held:
            self._write_held()
        need = len(payload) + frames.FRAME_OVERHEAD + (len(self._live) + len(self._held) + 1) * CLOSE_ROOM
        segment = self._segment
        if segment is None or segment.room() - len(self._buffer) < need:
            segment = self._begin_segment(need)
        try:
            self._append(segment, payload)
        except OSError as error:
            self._retry_at = 0.0
            try:
                self._append(self._begin_segment(need), payload)
            except OSError:
                self._refuse(f"the journal cannot be written: {error.strerror}")
        if self._refusing is not None:
            self._refusing = None
        self._live[record.attempt_id] = _Live(record, payload)

    def progress(self, record: Progress) -> None:
        """Note how far a stream has come.

        Goes out with the next write, at the latest at the end of this turn of the loop. Never uses the room set aside
        for closes: without other room it is kept in memory only.
        """
        live = self._live.get(record.attempt_id)
        if live is None:
            return
        _, payload = _encoded(record, CLOSE_ROOM - frames.FRAME_OVERHEAD, _SERVED_CHARS)
        live.progress = payload
        segment = self._segment
        if segment is None:
            return
        need = len(payload) + frames.FRAME_OVERHEAD + len(self._live) * CLOSE_ROOM
        if segment.room() - len(self._buffer) < need:
            with suppress(Refused):
                self._begin_segment(need)
            return
        self._buffer += frames.frame(payload, segment.at + len(self._buffer), segment.seed)
        self._buffered += 1
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def close(self, record: Closed) -> None:
        """Write down how the attempt ended and pass its row on.

        Never fails: what the disk refuses is held and retried, and the row goes to the database all the same. A second
        close of an attempt changes nothing.
        """
        live = self._live.pop(record.attempt_id, None)
        if live is None:
            self._strays += 1
            return
        record, payload = _encoded(record, CLOSE_ROOM - frames.FRAME_OVERHEAD, _SERVED_CHARS)
        row = row_of(live.record, record)
        segment = self._segment
        assert segment is not None  # an attempt is open, so there was one, and there is no way back to none
        if not self._held:
            try:
                end = self._append(segment, payload)
            except OSError:
                pass
            else:
                self._pass_on(row, segment, end, end - len(payload) - frames.FRAME_OVERHEAD, live)
                return
        self._hold(row, payload, live)

    async def durable(self) -> None:
        """Wait until all that was appended so far would survive a power failure; at once unless asked for that.

        Raises `Refused(ledger_unavailable)` when the disk says it could not keep it.
        """
        if self._syncer is None or self._segment is None:
            return
        self._flush()
        try:
            await self._syncer.synced(self._segment.fd, asyncio.get_running_loop())
        except OSError as error:
            self._segment_is_suspect()
            self._refuse(f"the journal cannot be synced: {error.strerror}")

    # -- what the sink and the runtime call ----------------------------------------------------------------

    def landed(self, count: int) -> None:
        """The first `count` rows of the intake are in the database: forget them and what only they needed."""
        if not count:
            return
        position = self.intake.peek(count)[-1].position
        self.intake.landed(count)
        self._trim(position)

    def close_intake(self) -> None:
        """No more attempts may open; those that are open may still close."""
        self._ended = True

    def state(self) -> JournalState:
        """How it stands."""
        return JournalState(
            id=self.id,
            waiting=len(self.intake),
            open_attempts=len(self._live),
            segments=len(self._sizes),
            bytes=sum(self._sizes.values()),
            held=len(self._held),
            refusing=self._refusing,
            strays=self._strays,
        )

    def end(self) -> int:
        """Close the files and give up the lock.

        When nothing is left the directory goes, else it stays for the next start to adopt. Returns how many rows and
        open attempts are left in it. Safe to call twice.
        """
        left = len(self.intake) + len(self._live) + sum(held.row is not None for held in self._held)
        if self._directory.lock_fd < 0:
            return left
        self._ended = True
        self._flush()
        if self._held:
            self._write_held()
        segment, self._segment = self._segment, None
        if segment is not None and left:
            segment.seal()
        if self._syncer is not None:
            self._syncer.stop(segment.fd if segment is not None else None)
        elif segment is not None:
            os.close(segment.fd)
        if not left:
            # What the disk does not let go holds no row: the next start finds it and tries again.
            with suppress(OSError):
                self._directory.remove()
        self._directory.unlock()
        return left

    # -- writing -------------------------------------------------------------------------------------------

    def _append(self, segment: Segment, payload: bytes) -> int:
        """Write what is buffered and this record in one go; the offset of its end. Raises `OSError`."""
        if not self._buffer:
            segment.write(frames.frame(payload, segment.at, segment.seed), 1)
            return segment.at
        data = bytes(self._buffer) + frames.frame(payload, segment.at + len(self._buffer), segment.seed)
        count = self._buffered + 1
        self._buffer.clear()
        self._buffered = 0
        segment.write(data, count)
        return segment.at

    def _flush(self) -> None:
        self._flush_due = False
        if self._buffer and self._segment is not None:
            data, count = bytes(self._buffer), self._buffered
            self._buffer.clear()
            self._buffered = 0
            # Progress that cannot be written is no loss of a promise: the attempt stays open in the journal.
            with suppress(OSError):
                self._segment.write(data, count)

    def _hold(self, row: UsageRow, payload: bytes, live: _Live) -> None:
        segment = self._segment
        assert segment is not None
        # The file holds nothing behind `at`, so landing this row claims no more than what came before it.
        pushed = not self.intake.spilling
        if pushed:
            self.intake.push(Waiting(row, (self.id, segment.number, segment.at), self._clock.monotonic()))
        self._held.append(_Held(live, payload, None if pushed else row))
        self._retry_held()

    def _retry_held(self) -> None:
        """Try the held records where they belong, then in a new segment, then again in a while."""
        if self._held:
            self._write_held()
        if self._held:
            with suppress(Refused):
                self._begin_segment(0)
        if self._held and not self._ended:
            with suppress(RuntimeError):  # no loop: the next call of the journal tries again
                asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry_held)

    def _write_held(self) -> None:
        segment = self._segment
        while self._held and segment is not None:
            held = self._held[0]
            try:
                end = self._append(segment, held.payload)
            except OSError:
                return
            del self._held[0]
            self._last_close[segment.number] = end
            if held.row is not None:
                self._pass_on(held.row, segment, end, end - len(held.payload) - frames.FRAME_OVERHEAD, held.live)

    def _pass_on(self, row: UsageRow, segment: Segment, end: int, start: int, live: _Live) -> None:
        self._last_close[segment.number] = end
        intake = self.intake
        if intake.spilling:
            intake.left_on_disk()
        elif intake.full:
            opens = {attempt: other.record for attempt, other in self._live.items()}
            opens[live.record.attempt_id] = live.record
            intake.spill(self._read_on(segment.number, start, opens))
            intake.left_on_disk()
        else:
            intake.push(Waiting(row, (self.id, segment.number, end), self._clock.monotonic()))

    def _begin_segment(self, need: int) -> Segment:
        """Start a new segment with every open attempt in it, and seal the old one. Raises `Refused`."""
        now = self._clock.monotonic()
        if now < self._retry_at:
            self._refuse(self._refusing or "the journal has no room")
        lives = [*(held.live for held in self._held), *self._live.values()]
        carried = [p for live in lives for p in (live.opened, live.progress) if p is not None]
        extra = sum(len(p) + frames.FRAME_OVERHEAD for p in carried)
        least = frames.HEADER.size + SEAL_ROOM + extra + len(lives) * CLOSE_ROOM + need
        # Twice what is carried: the next segment must not be full again at once.
        size = max(self._segment_bytes, 2 * least)
        if sum(self._sizes.values()) + size > self._max_bytes and self._sizes:
            self._retry_at = now + RETRY_SECONDS
            self._refuse("journal_max_bytes is reached: the database has not taken its rows")
        number = self._number + 1
        try:
            segment = Segment.create(self._directory.segment(number), number, size, self._salt, carried)
        except OSError as error:
            self._retry_at = now + RETRY_SECONDS
            self._refuse(f"the journal cannot grow: {error.strerror}")
        self._retire(self._segment)
        self._number, self._segment = number, segment
        self._sizes[number] = size
        self._last_close[number] = 0
        if self._syncer is not None:
            self._syncer.directory = self._directory.path
        if self._held:
            self._write_held()
        return segment

    def _retire(self, old: Segment | None) -> None:
        self._buffer.clear()  # progress only, and it has just been carried over
        self._buffered = 0
        if old is None:
            return
        self._sizes[old.number] = old.seal()
        if self._syncer is not None:
            self._syncer.retire(old.fd)
        else:
            os.close(old.fd)

    def _segment_is_suspect(self) -> None:
        # After a failed fsync the kernel may have dropped the pages: nothing more is entrusted to that file.
        self._retry_at = 0.0
        with suppress(Refused):
            self._begin_segment(0)

    def _trim(self, landed: Position) -> None:
        """Delete finished segments whose closed records have all landed. In order: a gap would look like loss."""
        for number in sorted(self._sizes):
            last = self._last_close[number]
            if number == self._number or (last and (number, last) > landed[1:]):
                return
            try:
                self._directory.segment(number).unlink(missing_ok=True)
            except OSError:
                return
            del self._sizes[number], self._last_close[number]
            self._retry_at = 0.0

    def _read_on(self, number: int, at: int, opens: dict[str, Opened]) -> Iterator[Waiting]:
        """Rows closed at or after a place in the segments, until there are no more; loads one segment at a time."""
        while True:
            current = self._segment
            if current is None:
                return
            finished = number != current.number
            if finished:
                with self._directory.segment(number).open("rb") as file:
                    file.seek(at)
                    data = file.read()
            elif at < current.at:
                data = os.pread(current.fd, current.at - at, at)
            else:
                return
            base = at
            for found in frames.scan(data, frames.seed(self._salt, number), base, base):
                record = frames.decode(found.payload) if isinstance(found, frames.Frame) else None
                if isinstance(record, Opened):
                    opens[record.attempt_id] = record
                elif isinstance(record, Closed) and isinstance(found, frames.Frame):
                    opened = opens.pop(record.attempt_id, None)
                    if opened is not None:
                        yield Waiting(row_of(opened, record), (self.id, number, found.end), 0.0)
            at = base + len(data)
            if finished:
                number, at = number + 1, frames.HEADER.size

    def _refuse(self, why: str) -> NoReturn:
        self._refusing = why
        raise Refused(Failure(Kind.LEDGER_UNAVAILABLE, f"{why}; nothing was sent", retry_after=1.0))

    def _forget_after_fork(self) -> None:
        """In a forked child.

        This is the parent's journal. Close our copies, so that the lock stays the parent's alone, and refuse
        everything.
        """
        self._ended = True
        segment, self._segment = self._segment, None
        if segment is not None:
            with suppress(OSError):
                os.close(segment.fd)
        self._live.clear()
        self._held.clear()
        self._directory.unlock()


_journals: weakref.WeakSet[Journal] = weakref.WeakSet()


def _after_fork() -> None:
    for journal in list(_journals):
        journal._forget_after_fork()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_after_fork)


_R = TypeVar("_R", Opened, Progress, Closed)


def _opened(record: Opened) -> tuple[Opened, bytes]:
    record, payload = _encoded(record, frames.MAX_PAYLOAD, _TEXT_CHARS)
    if len(payload) > frames.MAX_PAYLOAD:
        raise Refused(Failure(Kind.LEDGER_UNAVAILABLE, "the model's price table is too large to be recorded"))
    return record, payload


def _encoded(record: _R, most: int, chars: int) -> tuple[_R, bytes]:
    """The record and its bytes.

    Where it does not fit the journal (lone surrogates, numbers beyond 64 bits, texts without end), the nearest record
    that does. A record is never refused for what a caller or vendor put in it.
    """
    try:
        payload = frames.encode(record)
        if len(payload) <= most:
            return record, payload
    except (UnicodeEncodeError, OverflowError):
        pass
    changes: dict[str, object] = {}
    for name in record.__struct_fields__:
        value = getattr(record, name)
        if isinstance(value, str) and not isinstance(value, Enum):
            changes[name] = value.encode("utf-8", "replace").decode()[:chars]
        elif isinstance(value, int):
            changes[name] = max(-_INT_MAX, min(value, _INT_MAX))
    washed = msgspec.structs.replace(record, **changes)
    return washed, frames.encode(washed)
