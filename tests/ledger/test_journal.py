"""The journal: what it promised is on disk, what it cannot promise it refuses."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from gproxy.canonical.usage import Source
from gproxy.errors import Kind, Refused
from gproxy.ledger import frames
from gproxy.ledger import journal as module
from gproxy.ledger.directory import adopt
from gproxy.ledger.intake import Intake
from gproxy.ledger.journal import Journal
from gproxy.ledger.reader import SegmentReader, inspect
from gproxy.ledger.record import Closed, Opened, Progress
from gproxy.ledger.segment import Segment
from tests.ledger.records import HandClock, closed, opened, progress

SMALL = 64 * 1024


CLOCK = HandClock()


def journal(root: Path, **settings: Any) -> Journal:
    return Journal.create(root, CLOCK, **{"segment_bytes": SMALL, **settings})


def writing_to(one: Journal) -> Segment:
    assert one._segment is not None
    return one._segment


def on_disk(root: Path) -> list[Opened | Progress | Closed]:
    found = []
    for directory in sorted(p for p in root.iterdir() if p.name != "set-aside"):
        for path in sorted(directory.glob("*.seg")):
            reader = SegmentReader(path, int(path.stem))
            found += [record for _, record in reader]
            assert reader.report.damage == []
    return found


def rows(one: Journal, most: int = 1000) -> list[str]:
    return [waiting.row.attempt_id for waiting in one.intake.peek(most)]


def test_open_and_close_are_on_disk_when_they_return(tmp_path: Path) -> None:
    one = journal(tmp_path)
    first, end = opened("a"), closed("a")
    one.open(first)
    assert on_disk(tmp_path) == [first]
    one.close(end)
    assert on_disk(tmp_path) == [first, end]
    (waiting,) = one.intake.peek(10)
    assert waiting.row.attempt_id == "a"
    assert waiting.row.cost_nano_usd == 500_000
    assert waiting.position[0] == one.id
    one.landed(1)
    assert one.end() == 0
    assert list(tmp_path.iterdir()) == []


def test_files_are_private(tmp_path: Path) -> None:
    root = tmp_path / "data" / "journal"
    one = journal(root)
    directory = root / one.id
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    one.end()


async def test_progress_goes_out_with_the_next_write_or_at_the_end_of_the_turn(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    one.progress(progress("a", output_tokens=1))
    one.progress(progress("a", output_tokens=2))
    assert len(on_disk(tmp_path)) == 1
    await asyncio.sleep(0)
    assert [getattr(r, "output_tokens", None) for r in on_disk(tmp_path)[1:]] == [1, 2]
    one.progress(progress("a", output_tokens=3))
    one.close(closed("a"))
    assert [type(r) for r in on_disk(tmp_path)] == [Opened, Progress, Progress, Progress, Closed]
    one.progress(progress("a", output_tokens=4))
    one.progress(progress("never opened"))
    await asyncio.sleep(0)
    assert len(on_disk(tmp_path)) == 5
    one.end()


def test_a_second_close_and_a_close_without_open_change_nothing(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    one.close(closed("a"))
    one.close(closed("a", cost_nano_usd=1))
    one.close(closed("b"))
    assert rows(one) == ["a"]
    assert one.state().strays == 2
    assert len(on_disk(tmp_path)) == 2
    one.end()


async def test_rotation_carries_open_attempts_and_old_segments_go_when_landed(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("long"))
    one.progress(progress("long", output_tokens=77))
    for n in range(900):
        one.open(opened(f"a{n}"))
        one.close(closed(f"a{n}"))
    state = one.state()
    assert state.segments > 3
    assert len(list((tmp_path / one.id).glob("*.seg"))) == state.segments
    assert rows(one) == [f"a{n}" for n in range(900)]
    for path in sorted((tmp_path / one.id).glob("*.seg"))[1:]:
        first, second, *_ = [record for _, record in SegmentReader(path, int(path.stem))]
        assert isinstance(first, Opened)
        assert isinstance(second, Progress)
        assert (first.attempt_id, second.output_tokens) == ("long", 77)
    one.landed(899)
    assert one.state().segments <= 2
    one.landed(1)
    assert one.state().segments == 1
    one.close(closed("long"))
    assert rows(one) == ["long"]
    one.landed(1)
    assert one.end() == 0


def test_sealed_segments_are_short_and_sealed(tmp_path: Path) -> None:
    one = journal(tmp_path)
    for n in range(600):
        one.open(opened(f"a{n}"))
        one.close(closed(f"a{n}"))
    reports = inspect(tmp_path / one.id)
    assert all(report.damage == [] for report in reports)
    assert [report.sealed for report in reports] == [True] * (len(reports) - 1) + [False]
    assert reports[-1].size == SMALL
    assert sum(report.closed for report in reports) == 600
    assert sum(report.size for report in reports) == one.state().bytes
    one.end()


def test_what_is_left_stays_for_the_next(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    one.open(opened("b"))
    one.close(closed("b"))
    assert adopt(tmp_path / one.id) is None, "a live journal cannot be adopted"
    assert one.end() == 2
    assert one.end() == 2
    taken = adopt(tmp_path / one.id)
    assert taken is not None
    assert adopt(tmp_path / one.id) is None, "adopted once"
    taken.unlock()
    with pytest.raises(Refused):
        one.open(opened("c"))


def test_a_disk_that_lets_nothing_go_does_not_fail_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    one.close(closed("a"))
    one.landed(1)

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", refused)
        assert one.end() == 0
    taken = adopt(tmp_path / one.id)
    assert taken is not None
    taken.remove()
    assert list(tmp_path.iterdir()) == []


def test_after_close_intake_attempts_may_only_close(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    one.close_intake()
    with pytest.raises(Refused) as caught:
        one.open(opened("b"))
    assert caught.value.failure.kind is Kind.LEDGER_UNAVAILABLE
    one.close(closed("a"))
    assert rows(one) == ["a"]
    one.end()


def test_the_limit_refuses_before_dispatch_keeps_room_for_closes_and_recovers(tmp_path: Path) -> None:
    clock = HandClock()
    one = Journal.create(tmp_path, clock, max_bytes=4 * SMALL, segment_bytes=SMALL)
    waiting_to_close: list[str] = []

    def use() -> None:
        for n in range(10_000):
            one.open(opened(f"a{n}"))
            waiting_to_close.append(f"a{n}")
            if len(waiting_to_close) > 20:
                one.close(closed(waiting_to_close.pop(0)))

    with pytest.raises(Refused) as caught:
        use()
    failure = caught.value.failure
    assert failure.kind is Kind.LEDGER_UNAVAILABLE
    assert failure.retry_after
    assert "journal_max_bytes" in failure.text
    assert one.state().refusing is not None
    assert one.state().bytes <= 4 * SMALL
    for attempt in waiting_to_close:
        one.close(closed(attempt))
    assert one.state().held == 0
    before = {r.attempt_id for r in on_disk(tmp_path) if isinstance(r, Closed)}
    assert before >= set(waiting_to_close)
    one.landed(len(one.intake))
    one.open(opened("again"))
    assert one.state().refusing is None
    one.close(closed("again"))
    one.end()


def test_refusing_is_cheap_and_tries_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    one = Journal.create(tmp_path, clock, segment_bytes=SMALL)
    tries = []

    def no_space(fd: Any, offset: Any, length: Any) -> None:
        tries.append(length)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", no_space)
    writing_to(one).at = writing_to(one).size  # as good as full
    for n in range(100):
        with pytest.raises(Refused):
            one.open(opened(f"a{n}"))
    assert len(tries) == 1
    clock.now += module.RETRY_SECONDS
    with pytest.raises(Refused):
        one.open(opened("b"))
    assert len(tries) == 2
    monkeypatch.undo()
    clock.now += module.RETRY_SECONDS
    one.open(opened("c"))
    one.end()


def test_a_disk_full_at_the_first_segment_refuses_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    clock = HandClock()
    monkeypatch.setattr(os, "posix_fallocate", no_space)
    one = Journal.create(tmp_path, clock, segment_bytes=SMALL)
    with pytest.raises(Refused):
        one.open(opened("a"))
    assert list((tmp_path / one.id).glob("*.seg")) == []
    monkeypatch.undo()
    clock.now += 1
    one.open(opened("a"))
    assert len(on_disk(tmp_path)) == 1
    one.end()


class FailingWrites:
    """Stands in for `os.pwrite`: fails or shortens the writes it is told to, and lets the others through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plan: Any) -> None:
        self.real = os.pwrite
        self.plan = list(plan)
        monkeypatch.setattr(os, "pwrite", self)

    def __call__(self, fd: Any, data: Any, at: Any) -> Any:
        action = self.plan.pop(0) if self.plan else "ok"
        if action == "fail":
            raise OSError(errno.EIO, "Input/output error")
        if action == "short":
            return self.real(fd, data[: len(data) // 2], at)
        return self.real(fd, data, at)


@pytest.mark.parametrize(
    "plan",
    [
        ["fail"],
        ["short"],
        ["short", "fail"],  # the blanking fails too
        ["short", "fail", "short", "fail"],
        ["fail", "fail", "fail"],
    ],
)
def test_a_failed_open_leaves_no_trace_in_front_of_later_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Any
) -> None:
    one = journal(tmp_path)
    one.open(opened("before"))
    writes = FailingWrites(monkeypatch, plan)
    told = []
    for n in range(4):
        try:
            one.open(opened(f"a{n}"))
            told.append(f"a{n}")
        except Refused:
            pass
        CLOCK.now += 1
    assert not writes.plan
    one.close(closed("before"))
    kept = on_disk(tmp_path)
    # Carried copies may repeat an opening; a refused one must not be there at all.
    assert {r.attempt_id for r in kept if isinstance(r, Opened)} == {"before", *told}
    assert [r.attempt_id for r in kept if isinstance(r, Closed)] == ["before"]
    one.end()


@pytest.mark.parametrize("plan", [["fail"], ["short", "fail"], ["fail"] * 4, ["short", "fail", "fail", "fail"]])
async def test_a_close_the_disk_refuses_is_held_passed_on_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: Any
) -> None:
    one = journal(tmp_path)
    for name in "abc":
        one.open(opened(name))
    writes = FailingWrites(monkeypatch, plan)
    one.close(closed("a"))
    one.close(closed("b"))
    assert sorted(rows(one)) == ["a", "b"]
    while writes.plan or one.state().held:
        CLOCK.now += 1
        one._retry_held()
    assert {r.attempt_id for r in on_disk(tmp_path) if isinstance(r, Closed)} == {"a", "b"}
    segments = sorted((tmp_path / one.id).glob("*.seg"))
    newest = [record for _, record in SegmentReader(segments[-1], int(segments[-1].stem))]
    closes = {r.attempt_id for r in newest if isinstance(r, Closed)}
    assert closes <= {r.attempt_id for r in newest if isinstance(r, Opened)}, "each segment stands alone"
    one.close(closed("c"))
    one.landed(3)
    assert one.end() == 0


async def test_held_closes_are_retried_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    one = journal(tmp_path)
    one.open(opened("a"))
    writes = FailingWrites(monkeypatch, ["fail"] * 6)
    one.close(closed("a"))
    assert one.state().held == 1
    while one.state().held:
        CLOCK.now += 1
        await asyncio.sleep(0.001)
    assert not writes.plan
    assert [r.attempt_id for r in on_disk(tmp_path) if isinstance(r, Closed)] == ["a"]
    one.end()


NASTY = [
    "\ud800 lone",
    "nul \0 byte",
    "x" * 10_000_000,
    "😀" * 5000,
]


@pytest.mark.parametrize("text", NASTY)
def test_records_are_never_refused_for_what_is_in_them(tmp_path: Path, text: Any) -> None:
    one = journal(tmp_path)
    one.open(opened("a", model_asked=text, user_name=text, route_name=text))
    one.close(closed("a", model_served=text, input_tokens=10**30, cost_nano_usd=5))
    first, last = on_disk(tmp_path)
    assert isinstance(first, Opened)
    assert isinstance(last, Closed)
    (waiting,) = one.intake.peek(1)
    assert waiting.row.attempt_id == first.attempt_id == last.attempt_id == "a"
    assert waiting.row.cost_nano_usd == 5
    assert waiting.row.input_tokens == 2**63 - 1
    assert waiting.row.model_served == last.model_served.replace("\0", "\ufffd")
    assert first.rates == opened("a").rates
    assert first.streamed is True
    assert last.source is Source.REPORTED
    one.end()


def test_many_open_attempts_grow_the_segment(tmp_path: Path) -> None:
    one = journal(tmp_path)
    for n in range(500):
        one.open(opened(f"a{n}"))
    for n in range(500):
        one.close(closed(f"a{n}"))
    assert one.state().held == 0
    assert len(one.intake) == 500
    assert {r.attempt_id for r in on_disk(tmp_path) if isinstance(r, Closed)} == {f"a{n}" for n in range(500)}
    one.end()


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_beyond_the_memory_limit_rows_are_read_back_in_order(tmp_path: Path, limit: Any) -> None:
    one = journal(tmp_path, intake=Intake(limit))
    one.open(opened("long"))
    written: list[str] = []

    def work(count: Any) -> None:
        for _ in range(count):
            name = f"a{len(written):05d}"
            one.open(opened(name))
            one.close(closed(name, input_tokens=len(written)))
            written.append(name)

    work(300)
    assert len(one.intake) == 300
    assert one.intake._read_on is not None
    assert len(one.intake._rows) <= limit
    seen = []
    while len(one.intake):
        some = one.intake.peek(13)
        seen += [w.row.attempt_id for w in some]
        assert all(w.row.input_tokens == int(w.row.attempt_id[1:]) for w in some)
        one.landed(len(some))
        if len(written) < 600:
            work(5)
    assert seen == written
    assert not one.intake.spilling
    assert one.state().segments <= 2
    one.close(closed("long"))
    assert rows(one) == ["long"]
    one.landed(1)
    assert one.end() == 0


def test_positions_never_go_back(tmp_path: Path) -> None:
    one = journal(tmp_path, intake=Intake(10))
    for n in range(400):
        one.open(opened(f"a{n}"))
        one.close(closed(f"a{n}"))
    places = []
    while len(one.intake):
        some = one.intake.peek(7)
        places += [w.position[1:] for w in some]
        one.landed(len(some))
    assert places == sorted(set(places))
    one.end()


def test_a_forked_child_lets_go_of_its_parents_journal(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            one.open(opened("child"))
        except Refused:
            os.write(write, b"refused")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"refused"
    os.close(read)
    os.close(write)
    one.close(closed("a"))
    assert [r.attempt_id for r in on_disk(tmp_path)] == ["a", "a"]
    one.end()


async def test_power_mode_syncs_before_it_says_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    real = os.fdatasync

    def counted(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", counted)
    one = journal(tmp_path, power=True)
    one.open(opened("a"))
    assert synced == []
    await one.durable()
    assert len(synced) == 1
    await asyncio.gather(*(one.durable() for _ in range(50)))
    assert len(synced) <= 3, "those who wait together share a sync"
    one.close(closed("a"))
    one.landed(1)
    assert one.end() == 0


async def test_power_mode_over_rotation_and_a_failing_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = journal(tmp_path, power=True)
    for n in range(400):
        one.open(opened(f"a{n}"))
        one.close(closed(f"a{n}"))
        if n % 50 == 0:
            await one.durable()
    before = one.state().segments

    def broken(fd: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    one.open(opened("live"))
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(Refused) as caught:
        await one.durable()
    assert caught.value.failure.kind is Kind.LEDGER_UNAVAILABLE
    monkeypatch.undo()
    assert one.state().segments == before + 1, "nothing more is entrusted to that file"
    await one.durable()
    one.open(opened("after"))
    assert one.state().refusing is None
    one.end()


async def test_process_mode_is_durable_at_once(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    await one.durable()
    one.end()


def test_the_salt_is_not_in_records(tmp_path: Path) -> None:
    one = journal(tmp_path)
    one.open(opened("a"))
    data = writing_to(one).path.read_bytes()
    assert data.count(one._salt) == 1
    assert data.index(one._salt) < frames.HEADER.size
    one.end()
