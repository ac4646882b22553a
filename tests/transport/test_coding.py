from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.transport.coding import PIECE, CodingError, Decoder, codings, decoder_for


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


ENCODE: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": lambda data: brotli.compress(data, quality=4),
    b"zstd": zstd.compress,
}


def decoder(coding: bytes, ratio: int = 10**6, slack: int = 0) -> Decoder:
    made = decoder_for([coding], ratio=ratio, slack=slack)
    assert made is not None
    return made


def decode(coding: bytes, *parts: bytes) -> bytes:
    made = decoder(coding)
    out = b""
    for part in parts:
        made.feed(part)
        while piece := made.take():
            assert len(piece) <= PIECE
            out += piece
    made.end()
    return out


@pytest.mark.parametrize("coding", ENCODE)
@given(data=st.binary(max_size=2000), cuts=st.lists(st.integers(0, 2000), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_cut_gives_the_same(coding: bytes, data: bytes, cuts: list[int]) -> None:
    coded = ENCODE[coding](data)
    edges = sorted({0, len(coded), *(cut % (len(coded) + 1) for cut in cuts)})
    parts = [coded[a:b] for a, b in itertools.pairwise(edges)]
    assert decode(coding, *parts) == data


@pytest.mark.parametrize("coding", ENCODE)
def test_byte_by_byte_and_large(coding: bytes) -> None:
    text = b'data: {"delta": "hello"}\n\n' * 200
    coded = ENCODE[coding](text)
    assert decode(coding, *(coded[at : at + 1] for at in range(len(coded)))) == text
    big = bytes(range(256)) * 8192
    assert decode(coding, ENCODE[coding](big)) == big


@pytest.mark.parametrize("coding", ENCODE)
def test_truncated_and_garbled(coding: bytes) -> None:
    coded = ENCODE[coding](b"hello world, hello world, hello" * 10)
    with pytest.raises(CodingError, match="truncated"):
        decode(coding, coded[:-1])
    with pytest.raises(CodingError):
        decode(coding, b"\xff\xfe\xfd\xfc not a coded body at all" * 4)
    with pytest.raises(CodingError):
        decode(coding, coded + b"\xff\xfe\xfd\xfctrailing garbage")


@pytest.mark.parametrize("coding", ENCODE)
def test_nothing_at_all_is_an_empty_body(coding: bytes) -> None:
    assert decode(coding) == b""


def test_raw_deflate() -> None:
    assert decode(b"deflate", raw_deflate(b"hello" * 100)) == b"hello" * 100
    coded = raw_deflate(b"hello")
    assert decode(b"deflate", *(coded[at : at + 1] for at in range(len(coded)))) == b"hello"


def test_several_gzip_members_and_zstd_frames() -> None:
    for coding in (b"gzip", b"zstd"):
        parts = [ENCODE[coding](b"%d," % number) for number in range(2000)]
        assert decode(coding, b"".join(parts)) == b"".join(b"%d," % number for number in range(2000))


def flushing(coding: bytes) -> Callable[[bytes], bytes]:
    """What a streaming server does after each event: everything so far must come out at the other end."""
    if coding == b"gzip":
        deflate = zlib.compressobj(wbits=31)
        return lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    if coding == b"br":
        br = brotli.Compressor()
        return lambda data: bytes(br.process(data) + br.flush())
    zs = zstd.ZstdCompressor()
    return lambda data: zs.compress(data, zs.FLUSH_BLOCK)


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd"])
def test_a_flushed_stream_comes_out_as_it_goes_in(coding: bytes) -> None:
    flush = flushing(coding)
    made = decoder(coding)
    for number in range(5):
        made.feed(flush(b"data: %d\n\n" % number))
        assert made.take() == b"data: %d\n\n" % number
        assert made.take() == b""


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_is_bounded_piece_by_piece_and_stopped_at_the_ratio(coding: bytes) -> None:
    bomb = ENCODE[coding](b"\0" * 64_000_000)
    made = decoder(coding, ratio=100, slack=1_000_000)
    made.feed(bomb)
    pieces = 0

    def take_all() -> None:
        nonlocal pieces
        while made.take():
            pieces += 1

    with pytest.raises(CodingError, match="beyond the limit"):
        take_all()
    assert pieces * PIECE <= 1_000_000 + 100 * len(bomb)
    assert pieces < 64_000_000 // PIECE


def test_a_zstd_frame_that_wants_a_huge_window_is_refused() -> None:
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
    }
    engine = zstd.ZstdCompressor(options=options)
    coded = engine.compress(b"hello" * 1000, engine.FLUSH_BLOCK) + engine.flush()
    with pytest.raises(CodingError):
        decode(b"zstd", coded)


def test_which_codings_we_take_off() -> None:
    assert codings([b"gzip"]) == [b"gzip"]
    assert codings([b" GZip , identity", b"", b"identity"]) == [b"gzip"]
    assert decoder_for([], ratio=1, slack=1) is None
    for refused in ([b"gzip", b"br"], [b"compress"], [b"utf-8"]):
        with pytest.raises(CodingError, match="unsupported content encoding"):
            decoder_for(refused, ratio=1, slack=1)
