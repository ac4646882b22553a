"""AWS's binary event stream (`application/vnd.amazon.eventstream`): bytes in, messages out, and back.

    | total length | headers length | CRC of these | headers … | payload … | CRC of everything before |
      4 bytes        4 bytes          4 bytes                                4 bytes

Integers are big-endian, checksums CRC-32 (AWS SDKs, "Event stream encoding"). What the headers mean
(`:event-type`, `:message-type`, `:exception-type`) is not known here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias
from uuid import UUID

MAX_MESSAGE: Final = 24 * 1024 * 1024
"""The largest message accepted, in bytes; AWS itself stops at 16 MiB of payload and 128 KiB of headers."""
MAX_HEADERS: Final = 128 * 1024

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_OVERHEAD: Final = _PRELUDE.size + _CRC.size

HeaderValue: TypeAlias = bool | int | bytes | str | UUID


class BadMessage(Exception):  # noqa: N818 - it names what arrived
    """The stream is not what it claims to be; it cannot be read on."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message. Timestamps are integers, in milliseconds since the epoch."""

    headers: dict[str, HeaderValue] = field(default_factory=dict)
    payload: bytes = b""

    def text(self, name: str) -> str:
        """A header that is text; empty when it is absent or something else."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class Decoder:
    """Messages from any chunks. Raises `BadMessage` on a wrong checksum, an impossible length or a broken header."""

    __slots__ = ("_held", "_limit", "_need")

    def __init__(self, max_message: int = MAX_MESSAGE) -> None:
        self._held = bytearray()
        self._limit = max_message
        self._need = _PRELUDE.size

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages this chunk completes."""
        return list(self.messages(chunk))

    def messages(self, chunk: bytes) -> Iterator[Message]:
        """The same, one by one, so that what came before a bad message is not lost. To be read to its end."""
        held = self._held
        held += chunk
        at = 0
        try:
            while len(held) - at >= self._need:
                if self._need == _PRELUDE.size:
                    self._need = self._total(held, at)
                    continue
                whole = bytes(held[at : at + self._need])
                at += self._need
                self._need = _PRELUDE.size
                yield _message(whole)
        finally:
            if at:
                del held[:at]

    def end(self) -> None:
        """At the end of the stream: raises `BadMessage` when it broke off inside a message."""
        if self._held:
            raise BadMessage("the event stream ends inside a message")

    def _total(self, held: bytearray, at: int) -> int:
        total, headers, checksum = _PRELUDE.unpack_from(held, at)
        if zlib.crc32(held[at : at + 8]) != checksum:
            raise BadMessage("the checksum of a message's prelude is wrong")
        if not _OVERHEAD + headers <= total <= self._limit or headers > MAX_HEADERS:
            raise BadMessage(f"a message of {total} bytes with {headers} bytes of headers")
        return int(total)


def encode(message: Message) -> bytes:
    """One message as bytes."""
    headers = b"".join(_header(name, value) for name, value in message.headers.items())
    prelude = struct.pack(">II", _OVERHEAD + len(headers) + len(message.payload), len(headers))
    whole = b"".join((prelude, _CRC.pack(zlib.crc32(prelude)), headers, message.payload))
    return whole + _CRC.pack(zlib.crc32(whole))


def _message(raw: bytes) -> Message:
    (checksum,) = _CRC.unpack_from(raw, len(raw) - 4)
    if zlib.crc32(raw[:-4]) != checksum:
        raise BadMessage("the checksum of a message is wrong")
    headers_end = _PRELUDE.size + _PRELUDE.unpack_from(raw)[1]
    try:
        headers = _headers(raw[_PRELUDE.size : headers_end])
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise BadMessage("a message's headers are broken") from error
    return Message(headers, raw[headers_end:-4])


_NUMBERS: Final = {
    2: struct.Struct(">b"),
    3: struct.Struct(">h"),
    4: struct.Struct(">i"),
    5: struct.Struct(">q"),
    8: struct.Struct(">q"),
}
_LENGTH: Final = struct.Struct(">H")


def _headers(raw: bytes) -> dict[str, HeaderValue]:
    found: dict[str, HeaderValue] = {}
    at = 0
    while at < len(raw):
        name_end = at + 1 + raw[at]
        name, kind = raw[at + 1 : name_end].decode(), raw[name_end]
        at = name_end + 1
        if kind in (0, 1):
            found[name] = kind == 0
        elif kind in _NUMBERS:
            (found[name],) = _NUMBERS[kind].unpack_from(raw, at)
            at += _NUMBERS[kind].size
        elif kind in (6, 7):
            start = at + 2
            at = start + _LENGTH.unpack_from(raw, at)[0]
            if at > len(raw):
                raise ValueError(name)
            found[name] = raw[start:at] if kind == 6 else raw[start:at].decode()
        elif kind == 9:
            found[name] = UUID(bytes=raw[at : at + 16])
            at += 16
        else:
            raise ValueError(name)
    return found


def _header(name: str, value: HeaderValue) -> bytes:
    key = name.encode()
    head = bytes([len(key)]) + key
    match value:
        case bool():
            return head + (b"\x00" if value else b"\x01")
        case int():
            return head + b"\x05" + _NUMBERS[5].pack(value)
        case bytes():
            return head + b"\x06" + _LENGTH.pack(len(value)) + value
        case str():
            text = value.encode()
            return head + b"\x07" + _LENGTH.pack(len(text)) + text
        case UUID():
            return head + b"\x09" + value.bytes
