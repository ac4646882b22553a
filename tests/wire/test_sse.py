"""Server-sent events at every boundary, against a plain reading of the whole text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.wire.sse import Blocks, Decoder, Event, FrameTooLong, comment, encode, parse, split


def decode(chunks: list[bytes], max_frame: int = 1 << 20) -> list[Event]:
    decoder = Decoder(max_frame)
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()


def cut(text: bytes, size: int) -> list[bytes]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def oracle(text: bytes) -> list[tuple[bytes, str]]:
    """The standard's algorithm, line by line over the whole text, without its dropping of the last event."""
    events: list[tuple[bytes, str]] = []
    data: list[bytes] = []
    name = b""
    for line in [*re.split(rb"\r\n|\n|\r", text.removeprefix(b"\xef\xbb\xbf")), b""]:
        if not line:
            if data:
                events.append((b"\n".join(data), name.decode(errors="replace")))
            data, name = [], b""
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return events


CASES: list[tuple[bytes, list[tuple[bytes, str]]]] = [
    (b"data: a\n\ndata: b\n\n", [(b"a", ""), (b"b", "")]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"a", ""), (b"b", "")]),
    (b"data: a\r\rdata: b\r\r", [(b"a", ""), (b"b", "")]),
    (b"data: a\n\r\ndata: b\r\n\n", [(b"a", ""), (b"b", "")]),
    (b"data:a\n\n", [(b"a", "")]),
    (b"data:  a \n\n", [(b" a ", "")]),
    (b"data\n\n", [(b"", "")]),
    (b"data:\n\n", [(b"", "")]),
    (b"data: a\ndata: b\ndata:\n\n", [(b"a\nb\n", "")]),
    (b"event: ping\ndata: {}\n\n", [(b"{}", "ping")]),
    (b"event: ping\n\n", []),
    (b": comment\n\n: another\ndata: a\n\n", [(b"a", "")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(b"a", "")]),
    (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [(b"a", "")]),
    (b"data: a\n\ndata: b", [(b"a", ""), (b"b", "")]),
    (b"data: a\n\ndata: b\n", [(b"a", ""), (b"b", "")]),
    (b"data: a\n\nevent: x\r\ndata: b\r\n\r", [(b"a", ""), (b"b", "x")]),
    (b"\n\n\ndata: a\n\n\n\n", [(b"a", "")]),
    (b"\ndata: a\n\n", [(b"a", "")]),
    (b"data: a\0b\nid: x\0y\n\n", [(b"a\0b", "")]),
    (b"data: \xff\xfe\n\n", [(b"\xff\xfe", "")]),
    (b"database: no\nDATA: no\n data: no\n\n", []),
    ("data: é\u2028ü\u0085\n\n".encode(), [("é\u2028ü\u0085".encode(), "")]),
    (b"", []),
    (b"\r", []),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_events_whole_and_at_every_boundary(text: bytes, expected: list[tuple[bytes, str]]) -> None:
    assert oracle(text) == expected
    for size in range(1, len(text) + 1):
        assert [(e.data, e.name) for e in decode(cut(text, size))] == expected
    for at in range(len(text)):
        assert [(e.data, e.name) for e in decode([text[:at], text[at:]])] == expected


def test_id_and_retry() -> None:
    assert decode([b"id: 7\nretry: 250\ndata: a\n\nretry: x1\nid\ndata: b\n\n"]) == [
        Event(b"a", "", "7", 250),
        Event(b"b", "", "", None),
    ]


PIECES = st.sampled_from(
    [
        b"data: ",
        b"data:",
        b"event: e",
        b": c",
        b"x",
        b"\n",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"\r\n\r\n",
        b"\xef\xbb\xbf",
        b"\xc3\xa9",
    ]
)


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=20), st.lists(st.integers(1, 9), max_size=30))
def test_any_stream_at_any_boundaries_reads_like_the_standard(pieces: list[bytes], sizes: list[int]) -> None:
    text = b"".join(pieces)
    chunks, at = [], 0
    for size in sizes:
        chunks.append(text[at : at + size])
        at += size
    chunks.append(text[at:])
    assert [(e.data, e.name) for e in decode(chunks)] == oracle(text)
    blocks = Blocks()
    out = [block for chunk in chunks if (block := blocks.feed(chunk))]
    rest = blocks.take()
    assert b"".join(out) + rest == text
    for block in out:
        assert b"".join(split(block)) == block


def test_a_chunk_of_whole_frames_is_passed_on_as_the_same_object() -> None:
    blocks = Blocks()
    for chunk in (b"data: a\n\ndata: b\n\n", b": c\r\n\r\n"):
        assert blocks.feed(chunk) is chunk


def test_a_frame_beyond_the_limit_is_an_error_and_nothing_is_lost() -> None:
    blocks = Blocks(max_frame=100)
    assert blocks.feed(b"data: a\n\ndata: " + b"x" * 200) == b"data: a\n\n"
    with pytest.raises(FrameTooLong):
        blocks.feed(b"y")
    assert blocks.take() == b"data: " + b"x" * 200
    with pytest.raises(FrameTooLong):
        decode([b"x" * 60] * 3, max_frame=100)


def test_a_ten_megabyte_line_in_small_chunks() -> None:
    line = b"data: " + b"x" * 10_000_000
    assert [len(e.data) for e in decode(cut(line + b"\n\n", 1000), max_frame=1 << 24)] == [10_000_000]


def test_a_million_empty_events() -> None:
    assert decode([b"\n\n" * 1_000_000]) == []
    assert len(decode(cut(b"data:\n\n" * 100_000, 7))) == 100_000


@given(st.binary(max_size=60).filter(lambda b: b"\r" not in b), st.sampled_from(["", "ping"]))
def test_what_is_written_is_read_back(data: bytes, name: str) -> None:
    assert decode([encode(data, name)]) == [Event(data, name)]


def test_a_comment_means_nothing() -> None:
    assert parse(comment("keep-alive")) is None
    assert decode([comment(), encode(b"a")]) == [Event(b"a")]
