"""The journal's bytes: what a segment file looks like, and how damage in one is told from its end. Pure.

    segment  = header, frame*, then zeros up to the size it was allocated with
    header   = magic 8 · version u16 · flags u16 · number u32 · size u64 · salt 8 · crc32 u32       (little endian)
    frame    = length u32 · crc32 u32 · payload (one ledger record as MessagePack)

A frame's checksum also covers the segment's salt and number and the frame's own offset. The salt is random and
never leaves the machine, so a caller who gets bytes into a record (a model name) cannot forge a frame inside it
that a search after damage would believe; and a frame copied elsewhere, or left over from an older file, is not
believed either. The salt is in every header and in the directory's lock file: a ruined header costs no records.

What cannot be told apart: a live segment whose last whole frames are replaced by zeros looks like one that ended
earlier. A finished segment ends with a seal, so there even that is seen.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from gproxy.ledger.record import Closed, Opened, Progress

MAGIC: Final = b"GPXYJNL\n"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sHHIQ8sI")
_FRAME: Final = struct.Struct("<II")
FRAME_OVERHEAD: Final = _FRAME.size
_PLACE: Final = struct.Struct("<QI")

MAX_PAYLOAD: Final = 64 * 1024
"""Records are a few hundred bytes; what is larger is cut before it is written. Bounds a search after damage."""

SALT_SIZE: Final = 8
_NONZERO: Final = re.compile(rb"[^\x00]")


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """The last frame of a finished segment: nothing follows it. `frames` counts those before it."""

    frames: int


Record: TypeAlias = Opened | Progress | Closed | Sealed

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Opened | Progress | Closed | Sealed)


class DamagedHeader(ValueError):  # noqa: N818 - it says what was found
    """The header is not one of ours, or not whole."""


class NewerFormat(ValueError):  # noqa: N818 - it says what was found
    """The segment was written by a later version of the product and must be left to it."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a segment says about itself. `size` is what the file was allocated with, in bytes."""

    number: int
    size: int
    salt: bytes

    def packed(self) -> bytes:
        """The header as it stands in the file."""
        body = HEADER.pack(MAGIC, VERSION, 0, self.number, self.size, self.salt, 0)[:-4]
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def parse(cls, data: bytes) -> Header:
        """Raises `DamagedHeader` or `NewerFormat`."""
        if len(data) < HEADER.size:
            raise DamagedHeader("shorter than a header")
        magic, version, _, number, size, salt, crc = HEADER.unpack_from(data)
        if magic != MAGIC or zlib.crc32(data[: HEADER.size - 4]) != crc:
            raise DamagedHeader("checksum or magic does not fit")
        if version > VERSION:
            raise NewerFormat(f"segment format {version}, this version reads up to {VERSION}")
        return cls(number, size, salt)


def seed(salt: bytes, number: int) -> int:
    """Where the checksums of a segment start from."""
    return zlib.crc32(struct.pack("<I", number), zlib.crc32(salt))


def encode(record: Record) -> bytes:
    """A record as payload. Raises `UnicodeEncodeError` or `OverflowError` on what MessagePack cannot hold."""
    return _encoder.encode(record)


def decode(payload: bytes) -> Record:
    """The record of a payload. Raises `msgspec.DecodeError` (of which `ValidationError` is one)."""
    record: Record = _decoder.decode(payload)
    return record


def frame(payload: bytes, offset: int, start: int) -> bytes:
    """The frame of a payload for exactly this offset; `start` is the segment's `seed`."""
    size = len(payload)
    return _FRAME.pack(size, zlib.crc32(payload, zlib.crc32(_PLACE.pack(offset, size), start))) + payload


@dataclass(frozen=True, slots=True)
class Frame:
    """One believable frame: its bytes in the file are `[at, end)`."""

    at: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes `[at, end)` that are no frames. `tail` when nothing believable follows."""

    at: int
    end: int
    tail: bool


@dataclass(frozen=True, slots=True)
class CleanEnd:
    """Only zeros follow."""

    at: int


def scan(data: bytes, start: int, at: int = HEADER.size, base: int = 0) -> Iterator[Frame | Damage | CleanEnd]:
    """What is in a segment's bytes, from offset `at` on; ends with `CleanEnd` or a `Damage` that is the tail.

    `data` holds the file from offset `base`. Frames after damage are found again: a search tries every byte, and
    believes only a checksum that fits that very offset.
    """
    end = base + len(data)
    while at < end:
        found = _at(data, at, start, base)
        if found is not None:
            yield found
            at = found.end
            continue
        if data[at - base] == 0 and _NONZERO.search(data, at - base) is None:
            break
        resumed = _search(data, at + 1, start, base)
        if resumed is None:
            yield Damage(at, _last_nonzero(data) + base, tail=True)
            return
        yield Damage(at, resumed, tail=False)
        at = resumed
    yield CleanEnd(at)


def _at(data: bytes, at: int, start: int, base: int) -> Frame | None:
    position = at - base
    body = position + FRAME_OVERHEAD
    if body > len(data):
        return None
    size, crc = _FRAME.unpack_from(data, position)
    if not 0 < size <= MAX_PAYLOAD or body + size > len(data):
        return None
    payload = data[body : body + size]
    if zlib.crc32(payload, zlib.crc32(_PLACE.pack(at, size), start)) != crc:
        return None
    return Frame(at, at + FRAME_OVERHEAD + size, payload)


def _search(data: bytes, at: int, start: int, base: int) -> int | None:
    last = base + len(data) - FRAME_OVERHEAD
    while at < last:
        # A length is never zero, so a run of zeros is skipped to three bytes before its end.
        nonzero = _NONZERO.search(data, at - base)
        if nonzero is None:
            return None
        at = max(at, nonzero.start() + base - 3)
        if data[at - base + 3] == 0 and _at(data, at, start, base) is not None:
            return at
        at += 1
    return None


def _last_nonzero(data: bytes) -> int:
    return len(data.rstrip(b"\x00"))
