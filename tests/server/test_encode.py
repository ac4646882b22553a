from __future__ import annotations

import pytest

from gproxy.server.encode import date_line, encode_head


def test_a_head_in_order() -> None:
    assert encode_head(200, [(b"a", b"1"), (b"set-cookie", b"x"), (b"set-cookie", b"y")]) == (
        b"HTTP/1.1 200 OK\r\na: 1\r\nset-cookie: x\r\nset-cookie: y\r\n"
    )


def test_framing_and_connection_are_ours() -> None:
    owned = [b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"date", b"trailer"]
    assert encode_head(204, [(name, b"1") for name in owned]) == b"HTTP/1.1 204 No Content\r\n"


def test_unknown_status_has_an_empty_phrase() -> None:
    assert encode_head(529, []) == b"HTTP/1.1 529 \r\n"


@pytest.mark.parametrize("status", [100, 101, 199, 99, 1000])
def test_only_final_statuses(status: int) -> None:
    with pytest.raises(ValueError, match="not the status"):
        encode_head(status, [])


@pytest.mark.parametrize("bad", [b"a\r\nb: c", b"a\nb", b"a\rb", b"a\0"])
def test_no_header_breaks_out_of_its_line(bad: bytes) -> None:
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        encode_head(200, [(b"x", bad)])
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        encode_head(200, [(bad, b"x")])


def test_the_date() -> None:
    assert date_line(784_111_777_000_000) == b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
