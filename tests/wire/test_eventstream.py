"""AWS event streams: known bytes, round trips at every boundary, every flipped bit noticed."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.wire.eventstream import BadMessage, Decoder, Message, encode

# From the public test vectors of AWS's SDKs ("all_headers", "payload_no_headers", "empty_message").
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
PLAIN = bytes.fromhex("0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936")

HEADERS = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.binary(max_size=20)
    | st.text(max_size=20)
    | st.binary(min_size=16, max_size=16).map(lambda raw: UUID(bytes=raw)),
    max_size=4,
)
MESSAGES = st.builds(Message, HEADERS, st.binary(max_size=60))


def read_all(raw: bytes) -> list[Message]:
    decoder = Decoder()
    found = decoder.feed(raw)
    decoder.end()
    return found


def test_known_bytes() -> None:
    assert encode(Message()) == EMPTY
    assert encode(Message({}, b"{'foo':'bar'}")) == PLAIN
    assert Decoder().feed(EMPTY + PLAIN) == [Message(), Message({}, b"{'foo':'bar'}")]


def test_text_headers() -> None:
    message = Message({":event-type": "chunk", "n": 1})
    assert (message.text(":event-type"), message.text("n"), message.text("x")) == ("chunk", "", "")


@settings(max_examples=80)
@given(st.lists(MESSAGES, max_size=4), st.integers(1, 50))
def test_round_trip_at_any_boundary(messages: list[Message], size: int) -> None:
    text = b"".join(map(encode, messages))
    decoder = Decoder()
    out = [m for i in range(0, len(text), size) for m in decoder.feed(text[i : i + size])]
    decoder.end()
    assert out == messages


@settings(max_examples=80)
@given(MESSAGES, st.data())
def test_a_flipped_bit_is_noticed(message: Message, data: st.DataObject) -> None:
    raw = bytearray(encode(message))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadMessage):
        read_all(bytes(raw))


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_came_before_a_bad_message_is_not_lost(size: int) -> None:
    raw, decoder = PLAIN + EMPTY + PLAIN[:-1] + b"!", Decoder()
    found: list[Message] = []

    def read() -> None:
        for i in range(0, len(raw), size):
            found.extend(decoder.messages(raw[i : i + size]))

    with pytest.raises(BadMessage):
        read()
    assert found == [Message({}, b"{'foo':'bar'}"), Message()]


def test_a_cut_stream_and_impossible_lengths() -> None:
    decoder = Decoder()
    assert decoder.feed(PLAIN[:-1]) == []
    with pytest.raises(BadMessage, match="inside"):
        decoder.end()
    with pytest.raises(BadMessage, match="a message of"):
        Decoder(max_message=20).feed(PLAIN)


@given(st.binary(max_size=80))
def test_garbage_is_refused_or_waited_for(raw: bytes) -> None:
    try:
        Decoder().feed(raw)
    except BadMessage as problem:
        assert str(problem)  # noqa: PT017 - garbage shorter than a prelude raises nothing
