"""Bytes of a segment: whatever happens to them, what is believed is what was written."""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.ledger import frames
from gproxy.ledger.record import Closed, Opened, Progress
from tests.ledger.records import closed, opened, progress

SALT = b"saltsalt"
SEED = frames.seed(SALT, 1)


def segment(payloads: Any, size: Any = None, number: Any = 1) -> Any:
    data = bytearray(frames.Header(number, size or 65536, SALT).packed())
    places = []
    for payload in payloads:
        start = len(data)
        data += frames.frame(payload, start, frames.seed(SALT, number))
        places.append((start, len(data)))
    return bytes(data).ljust(size or len(data), b"\0"), places


def believed(data: Any) -> Any:
    return [(f.at, f.payload) for f in frames.scan(data, SEED) if isinstance(f, frames.Frame)]


@pytest.mark.parametrize("record", [opened("a"), progress("a"), closed("a"), frames.Sealed(7)])
def test_records_come_back(record: Any) -> None:
    assert frames.decode(frames.encode(record)) == record


def test_a_record_of_an_earlier_version_has_defaults_for_what_came_later() -> None:
    payload = frames.encode(opened("a"))
    import msgspec

    short = msgspec.msgpack.decode(payload)[:20]
    record = frames.decode(msgspec.msgpack.encode(short))
    assert isinstance(record, Opened)
    assert record.reserved_nano_usd == 0


def test_header_round_trip_and_refusals() -> None:
    packed = frames.Header(3, 4096, SALT).packed()
    assert frames.Header.parse(packed) == frames.Header(3, 4096, SALT)
    assert len(packed) == frames.HEADER.size
    for index in range(len(packed)):
        spoiled = bytearray(packed)
        spoiled[index] ^= 0x10
        with pytest.raises(frames.DamagedHeader):
            frames.Header.parse(bytes(spoiled))
    with pytest.raises(frames.DamagedHeader):
        frames.Header.parse(packed[:-1])
    newer = packed[:8] + struct.pack("<H", 2) + packed[10:-4]
    with pytest.raises(frames.NewerFormat):
        frames.Header.parse(newer + struct.pack("<I", zlib.crc32(newer)))


def test_clean_segments_scan_clean() -> None:
    data, places = segment([b"one", b"two", b"x" * 500], 4096)
    found = list(frames.scan(data, SEED))
    assert [(f.at, f.end) for f in found if isinstance(f, frames.Frame)] == places
    assert found[-1] == frames.CleanEnd(places[-1][1])
    assert list(frames.scan(segment([])[0], SEED)) == [frames.CleanEnd(frames.HEADER.size)]


def test_what_follows_damage_is_found_again() -> None:
    data, places = segment([b"one", b"two", b"three", b"four"], 4096)
    spoiled = bytearray(data)
    spoiled[places[1][0] + 9] ^= 1
    found = list(frames.scan(bytes(spoiled), SEED))
    assert found[1] == frames.Damage(places[1][0], places[1][1], tail=False)
    assert [p for _, p in believed(bytes(spoiled))] == [b"one", b"three", b"four"]


def test_a_torn_tail_is_damage_at_the_end() -> None:
    data, places = segment([b"one", b"two-two-two"])
    torn = data[: places[1][0] + 11].ljust(4096, b"\0")
    found = list(frames.scan(torn, SEED))
    assert found[0] == frames.Frame(places[0][0], places[0][1], b"one")
    assert isinstance(found[1], frames.Damage)
    assert found[1].tail
    assert len(found) == 2


def test_a_frame_smuggled_into_a_record_is_not_believed() -> None:
    """Whoever controls a model name controls bytes of the file, and may know the format but not the salt."""
    for guess in (b"\0" * 8, b"12345678"):
        at = frames.HEADER.size
        prefix = b"model:"
        inside = at + frames.FRAME_OVERHEAD + len(prefix)
        forged = frames.frame(b"forged", inside, frames.seed(guess, 1))
        data, places = segment([prefix + forged + b"tail", b"next"], 4096)
        spoiled = bytearray(data)
        spoiled[places[0][0]] ^= 0xFF
        assert [p for _, p in believed(bytes(spoiled))] == [b"next"]


def test_a_frame_copied_to_another_place_or_segment_is_not_believed() -> None:
    data, places = segment([b"first--", b"second-"], 4096)
    start, end = places[0]
    moved = data[:end] + data[start:end] + bytes(100)
    assert [p for _, p in believed(moved)] == [b"first--"]
    other, _ = segment([b"first--"], 4096, number=2)
    assert believed(other) == []


def test_a_long_run_of_zeros_in_the_middle_is_searched_fast() -> None:
    data, places = segment([b"one", b"y" * 60_000, b"three"])
    spoiled = bytearray(data)
    spoiled[places[1][0] : places[1][1]] = bytes(places[1][1] - places[1][0])
    assert [p for _, p in believed(bytes(spoiled))] == [b"one", b"three"]


def test_reading_from_the_middle() -> None:
    data, places = segment([b"one", b"two", b"three"])
    base = places[1][0]
    found = list(frames.scan(data[base:], SEED, base, base))
    assert [f.payload for f in found if isinstance(f, frames.Frame)] == [b"two", b"three"]


@given(st.binary(max_size=300))
def test_noise_is_never_believed(noise: Any) -> None:
    data = frames.Header(1, 4096, SALT).packed() + noise
    assert believed(data) == []


def test_ten_thousand_mutations_are_all_seen_and_never_believed() -> None:
    """Flips, truncations, zeroed ranges and overwritten ranges of a live segment and a sealed one."""
    dice = random.Random(20261124)
    records: list[Opened | Progress | Closed] = []
    for n in range(12):
        records += [opened(f"attempt-{n:04d}"), progress(f"attempt-{n:04d}"), closed(f"attempt-{n:04d}")]
    live, places = segment([frames.encode(record) for record in records], 16384)
    payloads = {at: frames.encode(record) for (at, _), record in zip(places, records, strict=True)}
    used = places[-1][1]
    boundaries = {frames.HEADER.size, *(end for _, end in places)}
    mutations = 0
    while mutations < 10_000:
        spoiled = bytearray(live)
        match dice.randrange(4):
            case 0:
                spoiled[dice.randrange(frames.HEADER.size, len(live))] ^= 1 << dice.randrange(8)
            case 1:
                del spoiled[dice.randrange(frames.HEADER.size, len(live)) :]
            case 2:
                start = dice.randrange(frames.HEADER.size, used)
                length = dice.choice([1, 8, 100, 512, 4096])
                spoiled[start : start + length] = bytes(len(spoiled[start : start + length]))
            case _:
                start = dice.randrange(frames.HEADER.size, used)
                noise = dice.randbytes(dice.choice([1, 4, 64, 700]))
                spoiled[start : start + len(noise)] = noise
        changed = next((at for at in range(len(spoiled)) if spoiled[at] != live[at]), len(spoiled))
        if changed == len(live) or (changed in boundaries and len(spoiled) == len(live) and not any(spoiled[changed:])):
            continue  # the same, or like a journal that ended earlier: nothing could tell (see frames.py)
        mutations += 1
        found = list(frames.scan(bytes(spoiled), SEED))
        whole = [f for f in found if isinstance(f, frames.Frame)]
        for frame in whole:
            assert payloads[frame.at] == frame.payload
            assert isinstance(frames.decode(frame.payload), Opened | Progress | Closed)
        seen = any(isinstance(f, frames.Damage) for f in found) or len(spoiled) < 16384
        assert seen, "the mutation went unnoticed"
        # Everything that was not touched is still there.
        intact = [at for at, end in places if spoiled[at:end] == live[at:end] and len(spoiled) >= end]
        assert [frame.at for frame in whole] == intact
