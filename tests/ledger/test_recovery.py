"""Recovery: everything lands once, however often and wherever it is cut short; damage is seen and set aside."""

from __future__ import annotations

import asyncio
import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

from gproxy.canonical.usage import Source
from gproxy.ledger import frames
from gproxy.ledger.directory import adopt
from gproxy.ledger.journal import Journal
from gproxy.ledger.pricing import RateCard
from gproxy.ledger.recovery import interrupted_row, recover, rows_left
from gproxy.ledger.segment import unfinished
from gproxy.ledger.store import StoreUnavailable
from tests.ledger.records import HandClock, closed, opened, progress
from tests.ledger.sqlite_store import SqliteStore

SMALL = 64 * 1024


def left_behind(root: Path, finished: int = 250, still_open: int = 5) -> Journal:
    """A journal whose owner is gone: finished attempts, and open ones, the first of which were seen streaming."""
    one = Journal.create(root, HandClock(), segment_bytes=SMALL)

    async def work() -> None:
        for n in range(still_open):
            one.open(opened(f"open-{n}"))
        for n in range(finished):
            one.open(opened(f"done-{n:04d}"))
            if n < still_open // 2:
                one.progress(progress(f"open-{n}", output_tokens=n))
            one.close(closed(f"done-{n:04d}"))
        await asyncio.sleep(0)

    asyncio.run(work())
    assert one._segment is not None
    os.close(one._segment.fd)
    one._directory.unlock()
    return one


def recovered(root: Path, store: SqliteStore, **more: Any) -> Any:
    return asyncio.run(recover(root, store, **more))


def expected(finished: int = 250, still_open: int = 5) -> dict[str, str]:
    return {f"done-{n:04d}": "complete" for n in range(finished)} | {
        f"open-{n}": "interrupted" for n in range(still_open)
    }


def test_rows_land_and_the_directory_goes(tmp_path: Path) -> None:
    left_behind(tmp_path)
    store = SqliteStore()
    told = []
    report = recovered(tmp_path, store, tell=lambda r: told.append(r.rows))
    assert store.outcomes() == expected()
    assert (report.rows, report.interrupted, report.new) == (250, 5, 255)
    assert report.damaged == []
    assert report.left == []
    assert told == sorted(told)
    assert max(store.batches) <= 100
    store.check()
    assert list(tmp_path.iterdir()) == []
    assert recovered(tmp_path, store).adopted == []


def test_a_journal_in_use_is_not_touched(tmp_path: Path) -> None:
    live = Journal.create(tmp_path, HandClock(), segment_bytes=SMALL)
    live.open(opened("live"))
    left_behind(tmp_path, 3, 0)
    store = SqliteStore()
    report = recovered(tmp_path, store, own=live.id)
    assert len(report.adopted) == 1
    assert store.outcomes() == expected(3, 0)
    live.close(closed("live"))
    live.landed(1)
    assert live.end() == 0


def test_stored_positions_skip_what_has_landed(tmp_path: Path) -> None:
    one = left_behind(tmp_path)
    batch = one.intake.peek(120)
    store = SqliteStore()
    asyncio.run(store.insert_usages([w.row for w in batch], batch[-1].position))
    position = store.position(one.id)
    assert position is not None
    report = recovered(tmp_path, store, landed={one.id: position})
    assert report.rows == 130
    assert report.new == 135
    assert store.outcomes() == expected()
    store.check()


def test_without_positions_nothing_doubles(tmp_path: Path) -> None:
    one = left_behind(tmp_path)
    batch = one.intake.peek(120)
    store = SqliteStore()
    asyncio.run(store.insert_usages([w.row for w in batch], None))
    report = recovered(tmp_path, store)
    assert report.rows == 250
    assert report.new == 135
    assert store.outcomes() == expected()
    store.check()


@pytest.mark.parametrize("when", [1, 2, 3])
def test_an_unavailable_database_leaves_the_journal(tmp_path: Path, when: Any) -> None:
    one = left_behind(tmp_path)
    store = SqliteStore()
    calls = iter(range(1, 100))

    def trouble() -> None:
        if next(calls) >= when:
            raise StoreUnavailable("locked")

    store.trouble = trouble
    report = recovered(tmp_path, store)
    assert report.left == [one.id]
    store.trouble = lambda: None
    assert recovered(tmp_path, store).left == []
    assert store.outcomes() == expected()
    store.check()


def test_poison_is_quarantined_alone(tmp_path: Path) -> None:
    left_behind(tmp_path)
    store = SqliteStore()
    store.poison = lambda row: row.attempt_id in {"done-0042", "open-3"}
    report = recovered(tmp_path, store)
    assert report.quarantined == 2
    assert sorted(store.quarantined()) == ["done-0042", "open-3"]
    assert len(store.ids()) == 253
    assert list(tmp_path.iterdir()) == []


def killed_at(step: int, root: Path, database: Path) -> bool:
    """Recover in a forked child that dies, without any cleaning up, at its n-th step; whether it died."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) in {0, 9}
        return os.waitstatus_to_exitcode(status) == 9
    taken = 0

    def deadly(function: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == step:
                os._exit(9)
            return function(*args, **more)

        return call

    for name in ("rename", "unlink", "rmdir", "read_bytes", "mkdir"):
        setattr(Path, name, deadly(getattr(Path, name)))
    store = SqliteStore(database)
    store.insert_usages = deadly(store.insert_usages)  # type: ignore[method-assign]
    store.quarantine = deadly(store.quarantine)  # type: ignore[method-assign]
    store.db.set_progress_handler(deadly(lambda: 0), 2000)
    recovered(root, store)
    os._exit(0)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_every_step_and_begun_again(tmp_path: Path) -> None:
    """Nested: each recovery is cut one step later than the one before, on what that one left."""
    database = tmp_path / "db"
    root = tmp_path / "journal"
    left_behind(root, 230, 7)
    spoil(min(root.glob("*/*.seg")), 30_000)
    step = 1
    while killed_at(step, root, database):
        step += 1
        assert step < 500
    assert step > 10
    store = SqliteStore(database)
    found = store.outcomes()
    lost = expected(230, 7).keys() - found.keys()
    assert len(lost) <= 1, "one flipped byte costs at most one record"
    store.check()
    assert [p.name for p in root.iterdir()] == ["set-aside"]
    assert len(list((root / "set-aside").iterdir())) == 1


def spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def test_a_flipped_byte_costs_one_record_and_is_reported(tmp_path: Path) -> None:
    dice = random.Random(7)
    for n in range(30):
        root = tmp_path / str(n)
        left_behind(root, 200, 2)
        path = dice.choice(sorted(root.glob("*/*.seg")))
        used = len(path.read_bytes().rstrip(b"\0"))
        spoil(path, dice.randrange(used))
        store = SqliteStore()
        report = recovered(root, store)
        assert len(report.damaged) == 1
        assert report.damaged[0].damage
        (kept,) = report.set_aside
        assert kept.exists()
        assert kept.name.endswith(".seg.bad")
        found = store.outcomes()
        assert len(expected(200, 2).keys() - found.keys()) <= 1
        wrong = {a for a in found if found[a] != expected(200, 2)[a]}
        assert len(wrong) <= 1, "a destroyed close leaves one interrupted row"
        assert all(found[a] == "interrupted" for a in wrong)
        store.check()


def header_gone(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[: frames.HEADER.size] = bytes(frames.HEADER.size)
    path.write_bytes(data)


@pytest.mark.parametrize("written", [0, 1 << 16])
def test_a_segment_whose_making_was_cut_short_is_no_damage(tmp_path: Path, written: int) -> None:
    left_behind(tmp_path, 50, 1)
    last = max(tmp_path.glob("*/*.seg"))
    unfinished(last.with_name("00000099.seg")).write_bytes(bytes(written))
    store = SqliteStore()
    report = recovered(tmp_path, store)
    assert store.outcomes() == expected(50, 1)
    assert (report.damaged, report.set_aside) == ([], [])
    assert list(tmp_path.iterdir()) == []


def test_a_ruined_header_costs_nothing(tmp_path: Path) -> None:
    left_behind(tmp_path, 50, 1)
    header_gone(next(tmp_path.glob("*/*.seg")))
    store = SqliteStore()
    report = recovered(tmp_path, store)
    assert store.outcomes() == expected(50, 1)
    assert len(report.damaged) == 1


def test_a_ruined_header_and_lock_cost_nothing_while_another_segment_is_whole(tmp_path: Path) -> None:
    left_behind(tmp_path, 300, 1)
    first, *rest = sorted(tmp_path.glob("*/*.seg"))
    assert rest
    header_gone(first)
    next(tmp_path.glob("*/LOCK")).write_bytes(b"")
    store = SqliteStore()
    recovered(tmp_path, store)
    assert store.outcomes() == expected(300, 1)


def test_a_ruined_only_header_and_lock_is_set_aside_whole(tmp_path: Path) -> None:
    left_behind(tmp_path, 20, 0)
    segment = next(tmp_path.glob("*/*.seg"))
    header_gone(segment)
    next(tmp_path.glob("*/LOCK")).write_bytes(b"")
    report = recovered(tmp_path, SqliteStore())
    assert any("nothing believable" in what for _, _, what in report.damaged[0].damage)
    assert len(report.set_aside) == 1


@pytest.mark.parametrize("size", [0, 5, 35, 36, 40, 1000])
def test_truncated_segments(tmp_path: Path, size: Any) -> None:
    left_behind(tmp_path, 20, 0)
    path = next(tmp_path.glob("*/*.seg"))
    path.write_bytes(path.read_bytes()[:size])
    store = SqliteStore()
    report = recovered(tmp_path, store)
    assert report.damaged[0].damage
    assert store.outcomes().keys() <= expected(20, 0).keys()
    assert list(store.outcomes().values()).count("interrupted") <= 1
    assert [p.name for p in tmp_path.iterdir()] == ["set-aside"]


def test_a_sealed_segment_cut_at_a_record_is_noticed(tmp_path: Path) -> None:
    left_behind(tmp_path, 300, 0)
    path = min(tmp_path.glob("*/*.seg"))
    data = path.read_bytes()
    header = frames.Header.parse(data)
    found = [f for f in frames.scan(data, frames.seed(header.salt, header.number)) if isinstance(f, frames.Frame)]
    path.write_bytes(data[: found[-3].at])
    report = recovered(tmp_path, SqliteStore())
    assert [what for _, _, what in report.damaged[0].damage] == ["cut short"]


def test_foreign_files_and_renamed_segments_are_set_aside(tmp_path: Path) -> None:
    one = left_behind(tmp_path, 20, 0)
    (tmp_path / one.id / "core").write_bytes(b"dump")
    (tmp_path / one.id / "00000007.seg").write_bytes((tmp_path / one.id / "00000001.seg").read_bytes())
    store = SqliteStore()
    report = recovered(tmp_path, store)
    assert store.outcomes() == expected(20, 0)
    assert sorted(p.name for p in report.set_aside) == [f"{one.id}-00000007.seg.bad", f"{one.id}-core.bad"]


def test_a_journal_of_a_newer_version_is_left_for_it(tmp_path: Path) -> None:
    one = left_behind(tmp_path, 5, 0)
    path = tmp_path / one.id / "00000001.seg"
    data = bytearray(path.read_bytes())
    data[8] = 2
    end = frames.HEADER.size
    data[end - 4 : end] = zlib.crc32(data[: end - 4]).to_bytes(4, "little")
    path.write_bytes(data)
    report = recovered(tmp_path, SqliteStore())
    assert report.left == [one.id]
    assert rows_left(tmp_path) == 1
    assert path.read_bytes() == bytes(data)


def test_a_close_whose_opening_was_destroyed_is_counted_and_kept(tmp_path: Path) -> None:
    left_behind(tmp_path, 3, 0)
    path = next(tmp_path.glob("*/*.seg"))
    spoil(path, frames.HEADER.size + 20)
    store = SqliteStore()
    report = recovered(tmp_path, store)
    assert report.orphans == 1
    assert len(store.ids()) == 2
    assert len(report.set_aside) == 1


INTERRUPTED = [
    # (opened, progress) changes -> (input, output, cost, source)
    ({}, None, (None, None, 0, Source.ESTIMATED)),
    ({"estimated_input": 50}, None, (None, None, 0, Source.ESTIMATED)),
    ({}, {}, (10, 20, 50_000, Source.PARTIAL)),
    ({}, {"source": Source.ESTIMATED}, (10, 20, 50_000, Source.ESTIMATED)),
    ({"estimated_input": 50}, {"input_tokens": None}, (50, 20, 90_000, Source.ESTIMATED)),
    ({"estimated_input": 50}, {"input_tokens": None, "cache_read_tokens": 45}, (5, 20, 90_000, Source.ESTIMATED)),
    ({"estimated_input": 50}, {"input_tokens": None, "output_tokens": None}, (None, None, 0, Source.PARTIAL)),
    ({"rates": b""}, {}, (10, 20, 0, Source.PARTIAL)),
    ({"rates": b"junk"}, {}, (10, 20, 0, Source.PARTIAL)),
]


@pytest.mark.parametrize(("start", "seen", "want"), INTERRUPTED)
def test_interrupted_rows(start: Any, seen: Any, want: Any) -> None:
    row = interrupted_row(opened("a", **start), None if seen is None else progress("a", **seen))
    assert (row.input_tokens, row.output_tokens, row.cost_nano_usd, row.source) == want
    assert row.outcome == "interrupted"
    assert row.at == 1_700_000_000_000_000
    assert row.total_ms == (0 if seen is None else 1500)
    assert row.model_served == ("gpt-4.1-mini" if seen is None else "gpt-4.1-mini-2025-04-14")
    assert row.excess_nano_usd == 0


def test_interrupted_rows_use_the_rates_they_began_with_and_show_the_excess() -> None:
    card = RateCard.from_fields({"price": {"output": 100}, "priority_price_tiers": [{"price_output_tokens": 500}]})
    row = interrupted_row(
        opened(
            "a", rates=card.packed(), price_version=card.version, service_tier="priority", reserved_nano_usd=4_000_000
        ),
        progress("a", audio_output_tokens=3),
    )
    assert row.cost_nano_usd == 20 * 500_000
    assert row.excess_nano_usd == 6_000_000
    assert row.audio_tokens == 3
    assert row.price_version == card.version


@pytest.mark.parametrize(
    ("finished", "still_open", "enough", "want"), [(0, 0, None, 0), (7, 3, None, 10), (7, 3, 2, 2), (0, 3, 1, 3)]
)
def test_what_waits_is_counted_without_touching_it(
    tmp_path: Path, finished: int, still_open: int, enough: int | None, want: int
) -> None:
    left_behind(tmp_path, finished, still_open)
    before = sorted(tmp_path.rglob("*"))
    assert rows_left(tmp_path, enough=enough) == want
    assert sorted(tmp_path.rglob("*")) == before


def test_what_has_landed_and_what_somebody_holds_does_not_wait(tmp_path: Path) -> None:
    one = left_behind(tmp_path, 7, 3)
    assert rows_left(tmp_path, landed={one.id: (1, 1 << 40)}) == 3
    assert rows_left(tmp_path, own=one.id) == 0
    owner = adopt(tmp_path / one.id)
    assert owner is not None
    assert rows_left(tmp_path) == 0
    owner.unlock()
    assert rows_left(tmp_path) == 10
