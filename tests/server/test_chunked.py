from __future__ import annotations

import itertools
from typing import TypeAlias

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.server.chunked import BadChunk, ChunkedDecoder

_HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

chunk = st.tuples(
    st.binary(min_size=1, max_size=40), st.sampled_from([b"", b";a", b";a=b", b';q="x y"']), st.booleans()
)


_Chunks: TypeAlias = list[tuple[bytes, bytes, bool]]


def _encode(chunks: _Chunks, trailers: bytes = b"") -> bytes:
    body = b"".join(
        (b"%X" if upper else b"0%x") % len(data) + extension + b"\r\n" + data + b"\r\n"
        for data, extension, upper in chunks
    )
    return body + b"0\r\n" + trailers + b"\r\n"


def _split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(st.lists(chunk, max_size=8), st.binary(max_size=20), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cut_gives_the_same_content_and_the_same_end(chunks: _Chunks, behind: bytes, cuts: list[int]) -> None:
    raw = _encode(chunks, b"X: y\r\n")
    decoder = ChunkedDecoder()
    content, consumed = b"", 0
    for piece in _split(raw + behind, cuts):
        if decoder.done:
            break
        prefix = b"#" * 3  # the offset must be honoured
        pieces, used = decoder.feed(prefix + piece, 3)
        content += b"".join(pieces)
        consumed += used - 3
    assert decoder.done
    assert content == b"".join(data for data, _, _ in chunks)
    assert consumed == len(raw)


@given(st.lists(chunk, max_size=8))
def test_byte_by_byte(chunks: _Chunks) -> None:
    decoder = ChunkedDecoder()
    content = b""
    for byte in _encode(chunks):
        assert not decoder.done
        content += b"".join(decoder.feed(bytes([byte]))[0])
    assert decoder.done
    assert content == b"".join(data for data, _, _ in chunks)


class _Oracle:
    """llhttp, which the heads go through."""

    def __init__(self) -> None:
        self.body = b""
        self.done = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.done = True


def _llhttp(raw: bytes) -> bytes | None:
    oracle = _Oracle()
    try:
        httptools.HttpRequestParser(oracle).feed_data(_HEAD + raw)
    except httptools.HttpParserError:
        return None
    return oracle.body if oracle.done else None


mutation = st.tuples(
    st.integers(0, 10_000), st.sampled_from([b"", b"\n", b"\r", b" ", b";", b"0", b"g", b"\0", b"\r\n", b"-", b"x"])
)


@given(st.lists(chunk, min_size=1, max_size=4), mutation)
def test_what_we_accept_llhttp_reads_the_same_way(chunks: _Chunks, change: tuple[int, bytes]) -> None:
    """Strictness: no byte string is a complete body for us and something else for the other parser."""
    raw = _encode(chunks)
    place, new = change
    place %= len(raw)
    broken = raw[:place] + new + raw[place + 1 :]
    decoder = ChunkedDecoder()
    try:
        pieces, used = decoder.feed(broken)
    except BadChunk:
        return
    if decoder.done:
        assert _llhttp(broken[:used]) == b"".join(pieces)


@pytest.mark.parametrize("endless", [b"1" * 5000, b"1;" + b"a" * 5000, b"0\r\n" + b"X" * 20_000])
def test_a_line_without_end_is_not_kept(endless: bytes) -> None:
    decoder = ChunkedDecoder()

    def feed_all() -> None:
        for at in range(0, len(endless), 7):
            decoder.feed(endless[at : at + 7])

    with pytest.raises(BadChunk):
        feed_all()
