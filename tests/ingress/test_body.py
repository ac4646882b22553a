from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.errors import Kind, Refused
from gproxy.ingress.body import decode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b'{"model":"m","messages":[]}' * 40
LIMIT = 10_000


def bare_deflate(data: bytes) -> bytes:
    machine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return machine.compress(data) + machine.flush()


CODINGS = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"GZIP": gzip.compress,
    b" br ": brotli.compress,
}


@pytest.mark.parametrize("coding", CODINGS, ids=str)
def test_every_coding_is_removed(coding: bytes) -> None:
    assert decode(CODINGS[coding](TEXT), coding, LIMIT) == TEXT


@pytest.mark.parametrize("coding", [None, b"", b"identity"])
def test_without_a_coding_the_bytes_are_the_same_object(coding: bytes | None) -> None:
    assert decode(TEXT, coding, LIMIT) is TEXT


def test_the_bare_form_of_deflate_is_understood() -> None:
    assert decode(bare_deflate(TEXT), b"deflate", LIMIT) == TEXT


@pytest.mark.parametrize("coding", [b"compress", b"gzip, br", b"gzip,gzip", b"nonsense"])
def test_an_unknown_or_stacked_coding_is_415(coding: bytes) -> None:
    with pytest.raises(Refused) as told:
        decode(TEXT, coding, LIMIT)
    assert told.value.failure.kind is Kind.UNSUPPORTED_MEDIA_TYPE
    assert "gzip, deflate, br, zstd" in told.value.failure.text


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"], ids=str)
@pytest.mark.parametrize("damage", ["cut", "flipped", "trailing", "empty"])
def test_damaged_content_is_400(coding: bytes, damage: str) -> None:
    body = CODINGS[coding](TEXT)
    body = {
        "cut": body[:-3],
        "flipped": body[:3] + bytes([body[3] ^ 0xFF]) + body[4:][::-1],
        "trailing": body + b"garbage",
        "empty": b"",
    }[damage]
    with pytest.raises(Refused) as told:
        decode(body, coding, LIMIT)
    assert told.value.failure.kind is Kind.INVALID_REQUEST
    assert told.value.failure.param == "content-encoding"


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"], ids=str)
def test_a_bomb_is_413_and_is_not_inflated(coding: bytes) -> None:
    bomb = CODINGS[coding](b" " * 200_000_000) if coding != b"br" else brotli.compress(b" " * 200_000_000, quality=1)
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as told:
            decode(bomb, coding, 1_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert told.value.failure.kind is Kind.PAYLOAD_TOO_LARGE
    assert peak < 16_000_000


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"], ids=str)
def test_exactly_the_limit_still_fits(coding: bytes) -> None:
    body = b"x" * LIMIT
    assert decode(CODINGS[coding](body), coding, LIMIT) == body
    with pytest.raises(Refused):
        decode(CODINGS[coding](body + b"x"), coding, LIMIT)


@given(st.binary(max_size=400), st.sampled_from([b"gzip", b"deflate", b"br", b"zstd"]))
def test_garbage_is_refused_or_decoded_and_never_breaks(body: bytes, coding: bytes) -> None:
    try:
        size, status = len(decode(body, coding, LIMIT)), 200
    except Refused as refusal:
        size, status = 0, refusal.failure.status
    assert size <= LIMIT
    assert status in {200, 400, 413}
