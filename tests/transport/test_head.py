from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.head import request_head
from gproxy.wire.http import Deadlines, Header, Origin, UpstreamRequest

ORIGIN = Origin("https", "api.example", 443)


def ask(
    method: bytes = b"POST", target: bytes = b"/v1", headers: Sequence[Header] = (), body: bytes = b""
) -> UpstreamRequest:
    return UpstreamRequest(method, ORIGIN, target, list(headers), body, Deadlines())


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        (b"POST", b"abc", b"content-length: 3\r\n"),
        (b"POST", b"", b"content-length: 0\r\n"),
        (b"GET", b"", b""),
        (b"DELETE", b"", b""),
        (b"GET", b"x", b"content-length: 1\r\n"),
    ],
)
def test_length(method: bytes, body: bytes, length: bytes) -> None:
    head = request_head(ask(method, body=body), b"api.example")
    assert head == method + b" /v1 HTTP/1.1\r\nhost: api.example\r\naccept-encoding: identity\r\n" + length + b"\r\n"


def test_a_callers_coding_stands() -> None:
    head = request_head(ask(headers=[(b"accept-encoding", b"br")]), b"h")
    assert head.count(b"accept-encoding") == 1


@pytest.mark.parametrize(
    "name", [b"transfer-encoding", b"content-length", b"host", b"connection", b"te", b"upgrade", b"proxy-authorization"]
)
def test_framing_is_ours_alone(name: Any) -> None:
    head = request_head(ask(headers=[(name, b"canary"), (b"x", b"y")]), b"h")
    assert b"canary" not in head
    assert b"x: y\r\n" in head


@pytest.mark.parametrize(
    "broken",
    [
        {"headers": [(b"x", b"a\r\nevil: 1")]},
        {"headers": [(b"x", b"a\nevil: 1")]},
        {"headers": [(b"x", b"a\rb")]},
        {"headers": [(b"x\r\n", b"a")]},
        {"headers": [(b"x", b"a\0b")]},
        {"target": b"/v1\r\nevil: 1"},
        {"target": b"/v1 HTTP/1.1"},
        {"target": b"http://elsewhere/"},
        {"target": b""},
        {"method": b"GET /"},
    ],
)
def test_what_could_break_the_framing_never_leaves(broken: dict[str, Any]) -> None:
    with pytest.raises(UpstreamFault) as caught:
        request_head(ask(**broken), b"h")
    assert caught.value.phase is Phase.SEND
    assert caught.value.unprocessed
    assert "evil" not in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.binary(max_size=20)), max_size=8))
def test_either_every_header_stands_alone_or_nothing_is_sent(headers: list[Header]) -> None:
    try:
        head = request_head(ask(headers=headers), b"h")
    except UpstreamFault:
        assert any(set(value) & set(b"\r\n\0") for _, value in headers)
        return
    assert head[:-4].split(b"\r\n")[2:-2] == [b"%b: %b" % pair for pair in headers]
