"""Request smuggling, as data: bytes that must be refused, and odd but legal ones that must be served in step.

Sources: RFC 9112 sections 2.2, 3, 5, 6, 7 and 11.2; the families of desync published for CL.TE, TE.CL, TE.TE, obs-fold, bare
LF/CR, chunk extensions (CVE-2023-39326, CVE-2025-43859) and BadHost. Each attack is followed on the wire by a second request
to `/poison`, which must never be answered.
"""

from __future__ import annotations

from typing import NamedTuple

_HOST = b"Host: a\r\n"


class Attack(NamedTuple):
    name: str
    data: bytes
    status: int = 400


def _get(lines: bytes, first: bytes = b"GET / HTTP/1.1\r\n", host: bytes = _HOST) -> bytes:
    return first + host + lines + b"\r\n"


def _post(lines: bytes, body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\n" + _HOST + lines + b"\r\n" + body


def _line(first: bytes) -> bytes:
    return first + b"\r\n" + _HOST + b"\r\n"


def _host(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_ABC = b"3\r\nabc\r\n0\r\n\r\n"

HEADS: list[Attack] = [
    # Two framings
    Attack("CL.TE", _post(b"Content-Length: 13\r\n" + _CHUNKED, b"0\r\n\r\nSMUGGLED")),
    Attack("TE.CL", _post(_CHUNKED + b"Content-Length: 3\r\n", b"8\r\nSMUGGLED\r\n0\r\n\r\n")),
    Attack("CL twice, different", _post(b"Content-Length: 3\r\nContent-Length: 0\r\n", b"abc")),
    Attack("CL twice, equal", _post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc")),
    Attack("CL list", _post(b"Content-Length: 3, 3\r\n", b"abc")),
    Attack("TE twice", _post(_CHUNKED + _CHUNKED, _ABC)),
    Attack("TE.TE identity after", _post(_CHUNKED + b"Transfer-Encoding: identity\r\n", _ABC)),
    Attack("TE.TE identity before", _post(b"Transfer-Encoding: identity\r\n" + _CHUNKED, _ABC)),
    # Content-Length that is no number
    Attack("CL plus", _post(b"Content-Length: +3\r\n", b"abc")),
    Attack("CL minus", _post(b"Content-Length: -3\r\n", b"abc")),
    Attack("CL hex", _post(b"Content-Length: 0x3\r\n", b"abc")),
    Attack("CL inner space", _post(b"Content-Length: 3 0\r\n", b"abc")),
    Attack("CL empty", _post(b"Content-Length:\r\n", b"abc")),
    Attack("CL underscore", _post(b"Content-Length: 1_0\r\n", b"abc")),
    Attack("CL float", _post(b"Content-Length: 3.0\r\n", b"abc")),
    Attack("CL overflow 64", _post(b"Content-Length: 18446744073709551619\r\n", b"abc")),
    Attack("CL above 63 bits", _post(b"Content-Length: 9223372036854775808\r\n", b"abc")),
    Attack("CL arabic digits", _post("Content-Length: ٣\r\n".encode(), b"abc")),
    Attack("CL semicolon", _post(b"Content-Length: 3;\r\n", b"abc")),
    Attack("CL vertical tab", _post(b"Content-Length: \x0b3\r\n", b"abc")),
    # Transfer-Encoding in disguise
    Attack("TE x", _post(b"Transfer-Encoding: xchunked\r\n", _ABC)),
    Attack("TE chunk", _post(b"Transfer-Encoding: chunk\r\n", _ABC)),
    Attack("TE quoted", _post(b'Transfer-Encoding: "chunked"\r\n', _ABC)),
    Attack("TE identity", _post(b"Transfer-Encoding: identity\r\n", _ABC)),
    Attack("TE gzip, chunked", _post(b"Transfer-Encoding: gzip, chunked\r\n", _ABC)),
    Attack("TE chunked, gzip", _post(b"Transfer-Encoding: chunked, gzip\r\n", _ABC)),
    Attack("TE chunked, chunked", _post(b"Transfer-Encoding: chunked, chunked\r\n", _ABC)),
    Attack("TE chunked, identity", _post(b"Transfer-Encoding: chunked, identity\r\n", _ABC)),
    Attack("TE parameter", _post(b"Transfer-Encoding: chunked;q=1\r\n", _ABC)),
    Attack("TE vertical tab", _post(b"Transfer-Encoding: \x0bchunked\r\n", _ABC)),
    Attack("TE trailing comma", _post(b"Transfer-Encoding: chunked,\r\n", _ABC)),
    Attack("TE empty", _post(b"Transfer-Encoding:\r\n", _ABC)),
    Attack("TE folded", _post(b"Transfer-Encoding:\r\n chunked\r\n", _ABC)),
    Attack("TE with a NUL", _post(b"Transfer-Encoding: chunked\0\r\n", _ABC)),
    Attack("TE in HTTP/1.0", b"POST / HTTP/1.0\r\n" + _HOST + _CHUNKED + b"\r\n" + _ABC),
    Attack("TE space before colon", _post(b"Transfer-Encoding : chunked\r\nContent-Length: 3\r\n", b"abc")),
    Attack("TE tab before colon", _post(b"Transfer-Encoding\t: chunked\r\nContent-Length: 3\r\n", b"abc")),
    Attack("TE upgrade", _post(b"Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: xchunked\r\n", _ABC)),
    Attack("CL.TE upgrade", _post(b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n" + _CHUNKED, b"abc")),
    # Lines
    Attack("bare LF everywhere", b"GET / HTTP/1.1\nHost: a\n\n"),
    Attack("bare LF after request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    Attack("bare LF after header", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    Attack("bare LF ends head", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    Attack("LF before request", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Attack("bare CR in value", _get(b"X: a\rTransfer-Encoding: chunked\r\n")),
    Attack("bare CR in name", _get(b"X\r: a\r\n")),
    Attack("bare CR in request line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
    Attack("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    Attack("two empty lines before request", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    Attack("obs-fold space", _get(b"X: a\r\n b\r\n")),
    Attack("obs-fold tab", _get(b"X: a\r\n\tb\r\n")),
    Attack("fold in the first header", b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n"),
    Attack("NUL in value", _get(b"X: a\0b\r\n")),
    Attack("NUL in name", _get(b"X\0: a\r\n")),
    Attack("control in value", _get(b"X: a\x01b\r\n")),
    Attack("DEL in value", _get(b"X: a\x7fb\r\n")),
    Attack("space before colon", _get(b"X : a\r\n")),
    Attack("space in name", _get(b"X Y: a\r\n")),
    Attack("empty name", _get(b": a\r\n")),
    Attack("no colon", _get(b"X\r\n")),
    Attack("parenthesis in name", _get(b"X(y): a\r\n")),
    Attack("high byte in name", _get(b"X\xff: a\r\n")),
    # Request line
    Attack("two spaces before target", _line(b"GET  / HTTP/1.1")),
    Attack("two spaces before version", _line(b"GET /  HTTP/1.1")),
    Attack("tab in request line", _line(b"GET\t/ HTTP/1.1")),
    Attack("space after version", _line(b"GET / HTTP/1.1 ")),
    Attack("space before method", _line(b" GET / HTTP/1.1")),
    Attack("space in target", _line(b"GET /a b HTTP/1.1")),
    Attack("lower-case method", _line(b"get / HTTP/1.1")),
    Attack("unknown method", _line(b"SMUGGLE / HTTP/1.1")),
    Attack("lower-case protocol", _line(b"GET / http/1.1")),
    Attack("HTTP/1.2", _line(b"GET / HTTP/1.2")),
    Attack("HTTP/01.1", _line(b"GET / HTTP/01.1")),
    Attack("HTTP/2.0", _line(b"GET / HTTP/2.0"), 505),
    Attack("HTTP/0.9 with version", _line(b"GET / HTTP/0.9"), 505),
    Attack("HTTP/0.9 simple", b"GET /\r\n"),
    Attack("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Attack("RTSP", _line(b"DESCRIBE / RTSP/1.0")),
    Attack("ICE", _line(b"SOURCE / ICE/1.0")),
    Attack("TLS on the plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # Target
    Attack("authority-form", _line(b"CONNECT a:443 HTTP/1.1"), 405),
    Attack("relative target", _line(b"GET admin HTTP/1.1")),
    Attack("asterisk", _line(b"OPTIONS * HTTP/1.1")),
    Attack("asterisk with GET", _line(b"GET * HTTP/1.1")),
    Attack("fragment", _line(b"GET /a#b HTTP/1.1")),
    Attack("high bytes in target", _line("GET /é HTTP/1.1".encode())),
    Attack("unicode slash in target", _line("GET /\u2215admin HTTP/1.1".encode())),
    Attack("NUL in target", _line(b"GET /\0 HTTP/1.1")),
    Attack("control in target", _line(b"GET /\x01 HTTP/1.1")),
    Attack("other scheme", _line(b"GET ftp://a/ HTTP/1.1")),
    Attack("absolute-form, other host", _line(b"GET http://b/ HTTP/1.1")),
    Attack("absolute-form, userinfo", _line(b"GET http://a@b/ HTTP/1.1")),
    Attack("absolute-form, no authority", _line(b"GET http:///x HTTP/1.1")),
    # Host
    Attack("no Host", b"GET / HTTP/1.1\r\n\r\n"),
    Attack("two Hosts", _get(b"Host: b\r\n")),
    Attack("two equal Hosts", _get(_HOST)),
    Attack("two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    Attack("empty Host", _host(b"")),
    Attack("Host with path", _host(b"a/?x=")),
    Attack("Host with userinfo", _host(b"a@b")),
    Attack("Host list", _host(b"a, b")),
    Attack("Host with space", _host(b"a b")),
    Attack("Host with scheme", _host(b"http://a")),
    Attack("Host with fragment", _host(b"a#b")),
    Attack("Host port no number", _host(b"a:b")),
    Attack("Host high byte", _host(b"\xe9")),
    Attack("Host open bracket", _host(b"[::1")),
    # Expectations
    Attack("unknown expectation", _get(b"Expect: 200-ok\r\n"), 417),
]

CHUNKS: list[Attack] = [
    Attack(name, b"POST / HTTP/1.1\r\n" + _HOST + _CHUNKED + b"\r\n" + body)
    for name, body in [
        ("size empty", b"\r\nabc\r\n0\r\n\r\n"),
        ("size not hex", b"g\r\nabc\r\n0\r\n\r\n"),
        ("size 0x", b"0x3\r\nabc\r\n0\r\n\r\n"),
        ("size plus", b"+3\r\nabc\r\n0\r\n\r\n"),
        ("size minus", b"-3\r\nabc\r\n0\r\n\r\n"),
        ("size underscore", b"0_3\r\nabc\r\n0\r\n\r\n"),
        ("size space before", b" 3\r\nabc\r\n0\r\n\r\n"),
        ("size space after", b"3 \r\nabc\r\n0\r\n\r\n"),
        ("size space before extension", b"3 ;a\r\nabc\r\n0\r\n\r\n"),
        ("size overflow", b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("size above 63 bits", b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        ("size many zeros", b"00000000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("size ends in LF", b"3\nabc\r\n0\r\n\r\n"),
        ("size ends in CR", b"3\rabc\r\n0\r\n\r\n"),
        ("size with NUL", b"3\0\r\nabc\r\n0\r\n\r\n"),
        ("extension holds LF", b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("extension holds CR", b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("extension too long", b"3;" + b"a" * 2000 + b"\r\nabc\r\n0\r\n\r\n"),
        ("extensions too long in sum", b"".join(b"1;" + b"a" * 1000 + b"\r\nx\r\n" for _ in range(20)) + b"0\r\n\r\n"),
        ("data longer than its size", b"3\r\nabcd\r\n0\r\n\r\n"),
        ("data ends in LF", b"3\r\nabc\n0\r\n\r\n"),
        ("data ends in CR", b"3\r\nabc\r0\r\n\r\n"),
        ("data ends in two other bytes (CVE-2025-43859)", b"3\r\nabcXX0\r\n\r\n"),
        ("last chunk ends in LF", b"3\r\nabc\r\n0\n\r\n"),
        ("trailers end in LF", b"3\r\nabc\r\n0\r\n\n"),
        ("trailer without colon", b"3\r\nabc\r\n0\r\nX\r\n\r\n"),
        ("trailer folded", b"3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n"),
        ("trailer space before colon", b"3\r\nabc\r\n0\r\nX : a\r\n\r\n"),
        ("trailer Content-Length", b"3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n"),
        ("trailer Transfer-Encoding", b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("trailers too large", b"3\r\nabc\r\n0\r\n" + b"X: aaaaaaaaaaaaaaaa\r\n" * 600 + b"\r\n"),
    ]
]

LEGAL: list[tuple[str, bytes, bytes]] = [
    ("one empty line before", b"\r\n" + _get(b""), b"GET /  "),
    ("no space after colon", _get(b"X:a\r\n"), b"GET /  "),
    ("blanks around a length", _post(b"Content-Length: \t 3 \t \r\n", b"abc"), b"POST /  abc"),
    ("leading zeros of a length", _post(b"Content-Length: 0003\r\n", b"abc"), b"POST /  abc"),
    ("TE in capitals", _post(b"Transfer-Encoding: Chunked\r\n", _ABC), b"POST /  abc"),
    ("names in capitals", _post(b"CONTENT-LENGTH: 3\r\n", b"abc"), b"POST /  abc"),
    ("obs-text in a value", _get(b"X: \xe9\r\n"), b"GET /  "),
    ("GET with a body", _get(b"Content-Length: 3\r\n") + b"abc", b"GET /  abc"),
    ("chunk extension", _post(_CHUNKED, b"3;a=b;c\r\nabc\r\n0;d\r\n\r\n"), b"POST /  abc"),
    ("trailers", _post(_CHUNKED, b"3\r\nabc\r\n0\r\nX: y\r\nZ:\r\n\r\n"), b"POST /  abc"),
    ("upper-case size with zeros", _post(_CHUNKED, b"00A\r\n0123456789\r\n0\r\n\r\n"), b"POST /  0123456789"),
    ("absolute-form", _line(b"GET http://A/x?y HTTP/1.1"), b"GET /x y "),
    ("absolute-form without path", _line(b"GET http://a?y HTTP/1.1"), b"GET / y "),
    ("two slashes", _line(b"GET //b/c HTTP/1.1"), b"GET //b/c  "),
    ("dot segments and escapes stay raw", _line(b"GET /a/../%2e%2E/;b HTTP/1.1"), b"GET /a/../%2e%2E/;b  "),
    ("second question mark", _line(b"GET /a?b?c HTTP/1.1"), b"GET /a b?c "),
    ("Host with port", _host(b"a.example:8787"), b"GET /  "),
    ("Host IPv6", _host(b"[::1]:8787"), b"GET /  "),
    (
        "Upgrade is a wish",
        _post(b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n", b"abc"),
        b"POST /  abc",
    ),
]
