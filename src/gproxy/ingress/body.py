"""The request body: read under a cap, its coding removed under the same cap."""

from __future__ import annotations

import sys
import zlib
from typing import Final

import brotli

from gproxy.errors import Failure, Kind, Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_PIECE: Final = 64 * 1024


def decode(body: bytes, coding: bytes | None, limit: int) -> bytes:
    """Remove a content coding (RFC 9110 section 8.4); the result may be as large as a plain body may be.

    Raises `Refused`: 415 for a coding we do not know or more than one, 413 when the content grows beyond
    `limit` bytes (it is not inflated any further), 400 when it is damaged.
    """
    name = (coding or b"identity").strip().lower()
    if name in {b"identity", b""}:
        return body
    if name in {b"gzip", b"x-gzip"}:
        return _inflate(body, limit, 31)
    if name == b"deflate":
        # RFC 9110 means the zlib format; some clients send the bare one. The first byte tells them apart.
        return _inflate(body, limit, 15 if body[:1] and body[0] & 0x0F == 8 else -15)
    if name == b"br":
        return _brotli(body, limit)
    if name == b"zstd":
        return _zstd(body, limit)
    shown = name.decode("latin-1")[:40]
    raise Refused(
        Failure(
            Kind.UNSUPPORTED_MEDIA_TYPE,
            f"content-encoding {shown!r} is not supported: send gzip, deflate, br, zstd or no coding",
            param="content-encoding",
        )
    )


def _too_large(limit: int) -> Refused:
    return Refused(Failure(Kind.PAYLOAD_TOO_LARGE, f"the decoded request body is larger than {limit} bytes"))


def _damaged(name: str) -> Refused:
    return Refused(
        Failure(Kind.INVALID_REQUEST, f"the request body is not valid {name} data", param="content-encoding")
    )


def _inflate(body: bytes, limit: int, window: int) -> bytes:
    machine = zlib.decompressobj(window)
    try:
        out = machine.decompress(body, limit + 1)
    except zlib.error:
        raise _damaged("gzip" if window == 31 else "deflate") from None
    if len(out) > limit:
        raise _too_large(limit)
    if not machine.eof or machine.unused_data:
        raise _damaged("gzip" if window == 31 else "deflate")
    return out


def _brotli(body: bytes, limit: int) -> bytes:
    machine = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    try:
        piece = machine.process(body, output_buffer_limit=_PIECE)
        while True:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            if machine.is_finished():
                break
            if machine.can_accept_more_data() and not piece:
                raise _damaged("brotli")
            piece = machine.process(b"", output_buffer_limit=_PIECE)
    except brotli.error:
        raise _damaged("brotli") from None
    return b"".join(pieces)


def _zstd(body: bytes, limit: int) -> bytes:
    machine = zstd.ZstdDecompressor()
    try:
        out = bytes(machine.decompress(body, limit + 1))
    except zstd.ZstdError:
        raise _damaged("zstd") from None
    if len(out) > limit:
        raise _too_large(limit)
    if not machine.eof or machine.unused_data:
        raise _damaged("zstd")
    return out
