from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.server.head import BadHead, Head, Scout, parse_head

_TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_RESERVED = {"host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "proxy-connection"}


def _parse(text: str, max_headers: int = 100) -> Head:
    return parse_head(text.replace("\n", "\r\n").encode("latin-1"), max_headers)


def test_everything_a_handler_needs() -> None:
    head = _parse("POST /v1/chat%20x?alpha=1&b?c HTTP/1.1\nHost: a:80\nX-One:  1 \t\nx-one: 2\nContent-Length: 7\n\n")
    assert (head.method, head.target) == ("POST", b"/v1/chat%20x?alpha=1&b?c")
    assert (head.path, head.query) == ("/v1/chat%20x", "alpha=1&b?c")
    assert head.headers == [(b"host", b"a:80"), (b"x-one", b"1"), (b"x-one", b"2"), (b"content-length", b"7")]
    assert (head.length, head.chunked, head.keep_alive, head.http11) == (7, False, True, True)


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", None, True),
        ("1.1", "keep-alive", True),
        ("1.1", "Close", False),
        ("1.1", "foo, close", False),
        ("1.1", "keep-alive, close", False),
        ("1.1", "closed", True),
        ("1.0", None, False),
        ("1.0", "Keep-Alive", True),
        ("1.0", "x , keep-alive", True),
        ("1.0", "close", False),
    ],
)
def test_who_keeps_the_connection(version: str, connection: str | None, keeps: bool) -> None:
    line = f"Connection: {connection}\n" if connection else ""
    assert _parse(f"GET / HTTP/{version}\nHost: a\n{line}\n").keep_alive is keeps


def test_close_wins_over_keep_alive_in_two_lines() -> None:
    assert not _parse("GET / HTTP/1.1\nHost: a\nConnection: close\nConnection: keep-alive\n\n").keep_alive


def test_http10_needs_no_host_and_knows_no_expectation() -> None:
    head = _parse("GET / HTTP/1.0\nExpect: 100-continue\n\n")
    assert not head.http11
    assert not head.expects


def test_expectation() -> None:
    assert _parse("PUT / HTTP/1.1\nHost: a\nExpect: 100-Continue\nContent-Length: 1\n\n").expects


def test_too_many_headers() -> None:
    text = "GET / HTTP/1.1\nHost: a\n" + "X: y\n" * 9 + "\n"
    assert len(_parse(text, 10).headers) == 10
    with pytest.raises(BadHead) as caught:
        _parse(text, 9)
    assert caught.value.status == 431


@given(
    st.lists(
        st.tuples(
            st.text(_TOKEN, min_size=1, max_size=12).filter(lambda name: name.lower() not in _RESERVED),
            st.text(
                st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12
            ).filter(lambda value: not any(0x7F <= ord(c) < 0x80 for c in value)),
        ),
        max_size=12,
    )
)
def test_legal_headers_come_through_in_order(headers: list[tuple[str, str]]) -> None:
    text = "GET /x HTTP/1.1\nHost: a\n" + "".join(f"{name}: {value}\n" for name, value in headers) + "\n"
    expected = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    assert _parse(text).headers[1:] == expected


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(junk: bytes) -> None:
    for raw in (
        junk + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + junk + b"\r\n\r\n",
        b"GET /" + junk + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        with contextlib.suppress(BadHead):
            head = parse_head(raw, 100)
            assert head.path.startswith("/")
            assert raw.startswith(head.method.encode() + b" ")


@given(st.data())
def test_a_scout_never_refuses_what_is_legal(data: st.DataObject) -> None:
    raw = b"POST /a?b HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 50 + b"\r\nContent-Length: 3\r\n"
    scout, at = Scout(), 0
    while at < len(raw):
        step = data.draw(st.integers(1, 40))
        scout.look(raw[at : at + step])
        at += step
