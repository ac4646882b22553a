"""The bytes of every misbehaviour. Each function says how the answer ended, for the count.

Faults fall into three families: instead of a head (`before_head`), odd heads (`odd_headers`, `interim`), and broken
or absurd bodies (`broken_body`, `absurd_body`). Broken streams are cut by `server` through `cut_stream`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from gproxy.vendor.attempt import Attempt
from gproxy.vendor.sending import Coder, Delivery, Header, head
from gproxy.vendor.tally import How
from gproxy.vendor.voice import Frame

BEFORE_HEAD: Final = frozenset({"reset_before", "close_before", "half_head", "garbage", "hang"})
BODY: Final = frozenset(
    {"reset_head", "reset_mid", "reset_utf8", "close_mid", "hang_mid", "error_mid", "truncate", "bad_chunk"}
)
ABSURD: Final = frozenset({"html", "error_200", "empty_200", "redirect", "bomb", "huge_line", "empty_events"})
_BLOCK: Final = 1 << 20
HTML: Final = b"<!doctype html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"


async def silence() -> None:
    """Nothing, for ever; ends when the client leaves or the vendor stops, by cancellation."""
    await asyncio.get_running_loop().create_future()


async def before_head(attempt: Attempt) -> How:
    """Faults that come instead of an answer."""
    connection = attempt.connection
    attempt.keep = False
    match attempt.wish.fail:
        case "reset_before":
            connection.reset()
        case "close_before":
            connection.close()
        case "half_head":
            connection.write(b"HTTP/1.1 200 OK\r\ncontent-type: applica")
            connection.close()
        case "garbage":
            connection.write(b"\x16\x03\x01\x00\x2a this is not HTTP\r\n\r\n")
            connection.close()
        case _:
            await silence()
    return "cut"


def odd_headers(attempt: Attempt) -> list[Header]:
    """Response headers that a gateway must not pass on."""
    match attempt.wish.fail:
        case "headers_crlf":
            return [(b"x-odd", b"one\rx-injected: yes")]
        case "headers_huge":
            return [(b"x-huge", b"h" * 1_000_000)]
        case "headers_many":
            return [(b"x-many-%d" % index, b"v") for index in range(10_000)]
        case "headers_cookie":
            return [(b"set-cookie", b"vendor=1; Path=/"), (b"set-cookie", b"second=2")]
        case "headers_hop":
            return [
                (b"connection", b"keep-alive, x-private"),
                (b"x-private", b"for this hop only"),
                (b"keep-alive", b"timeout=5"),
                (b"proxy-authenticate", b"Basic"),
                (b"upgrade", b"h2c"),
                (b"trailer", b"x-late"),
            ]
        case _:
            return []


async def interim(attempt: Attempt) -> None:
    """1xx answers before the real one (RFC 9110 section 15.2)."""
    connection = attempt.connection
    if attempt.wish.fail == "early_hints":
        connection.write(b"HTTP/1.1 103 Early Hints\r\nlink: </x.css>; rel=preload\r\n\r\n")
    elif attempt.wish.fail == "storm_1xx":
        left = min(attempt.wish.size, 100_000)
        while left > 0:
            connection.write(b"HTTP/1.1 102 Processing\r\n\r\n" * min(left, 1000))
            await connection.drain()
            left -= 1000


def inside_code_point(data: bytes) -> int | None:
    """Where a cut falls inside a UTF-8 code point: after the first lead byte outside ASCII."""
    return next((at + 1 for at, byte in enumerate(data) if byte >= 0xC0), None)


async def broken_body(attempt: Attempt, status: int, headers: list[Header], body: bytes) -> How:
    """A buffered answer that breaks."""
    connection, wish = attempt.connection, attempt.wish
    attempt.keep = False
    half = max(1, len(body) // 2)
    framed = [*headers, (b"content-length", b"%d" % len(body))]
    match wish.fail:
        case "reset_head":
            connection.write(head(status, framed))
            await connection.drain()
            connection.reset()
        case "reset_mid":
            connection.write(head(status, framed) + body[:half])
            await connection.drain()
            connection.reset()
        case "reset_utf8":
            connection.write(head(status, framed) + body[: inside_code_point(body) or half])
            await connection.drain()
            connection.reset()
        case "hang_mid":
            connection.write(head(status, framed) + body[:half])
            await silence()
        case "bad_chunk":
            chunk = b"%x\r\n%b\r\nzz\r\n" % (half, body[:half])
            connection.write(head(status, [*headers, (b"transfer-encoding", b"chunked")]) + chunk)
            connection.close()
        case _:
            connection.write(head(status, framed) + body[:half])
            await connection.drain()
            connection.close()
    return "cut"


async def raw_lengths(attempt: Attempt, status: int, headers: list[Header], body: bytes) -> How:
    """Framing that lies about the body's length, or says nothing about it."""
    connection = attempt.connection
    attempt.keep = False
    size = len(body)
    match attempt.wish.fail:
        case "length_long":
            connection.write(head(status, [*headers, (b"content-length", b"%d" % (size + 50))]) + body)
        case "length_short":
            # The connection stays open: what is left over looks like the next answer.
            connection.write(head(status, [*headers, (b"content-length", b"%d" % max(1, size - 10))]) + body)
            await connection.drain()
            await silence()
        case "until_close":
            connection.write(head(status, [*headers, (b"connection", b"close")]) + body)
            await connection.drain()
            connection.close()
            return "complete"
        case _:
            both = [(b"content-length", b"%d" % size), (b"transfer-encoding", b"chunked")]
            connection.write(head(status, [*headers, *both]) + b"%x\r\n%b\r\n0\r\n\r\n" % (size, body))
    await connection.drain()
    connection.close()
    return "cut"


async def absurd_body(attempt: Attempt) -> How:
    """A complete answer that makes no sense, or too much of it."""
    connection, wish, voice = attempt.connection, attempt.wish, attempt.voice
    stream = attempt.ask is not None and attempt.ask.stream
    kind = b"text/event-stream" if stream else b"application/json"
    attempt.status = 200
    match wish.fail:
        case "html":
            kind, body = b"text/html; charset=utf-8", HTML
        case "error_200":
            body = voice.error(500, wish.code, wish.message or "The server had an error.", None, attempt.number)
            kind = b"application/json"
        case "empty_200":
            body = b""
        case "redirect":
            attempt.status = 302
            where = (wish.location or "http://127.0.0.1:9/elsewhere").encode("latin-1")
            connection.write(head(302, [(b"location", where), (b"content-length", b"0")]))
            await connection.drain()
            return "complete"
        case _:
            return await _flood(attempt, kind)
    lines = [(b"content-type", kind), *voice.headers(attempt.number), (b"content-length", b"%d" % len(body))]
    connection.write(head(200, lines) + body)
    await connection.drain()
    return "complete"


async def _flood(attempt: Attempt, kind: bytes) -> How:
    connection, wish = attempt.connection, attempt.wish
    spec = wish.encoding or ("gzip" if wish.fail == "bomb" else None)
    coder = Coder(spec)
    lines = [(b"content-type", kind), (b"transfer-encoding", b"chunked")]
    if coder.names:
        lines.append((b"content-encoding", ", ".join(coder.names).encode()))
    connection.write(head(200, lines))
    unit = b": \n\n" if wish.fail == "empty_events" else b" "
    if wish.fail == "huge_line":
        connection.write(_chunk(coder.feed(b'data: {"x":"')))
        unit = b"x"
    total = wish.size * len(unit)
    block = unit * (_BLOCK // len(unit))
    while total > 0:
        connection.write(_chunk(coder.feed(block if total >= len(block) else block[:total])))
        total -= len(block)
        await connection.drain()
        await asyncio.sleep(0)
    connection.write(_chunk(coder.end() if coder.names else b"") + b"0\r\n\r\n")
    await connection.drain()
    return "complete"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


async def cut_stream(attempt: Attempt, delivery: Delivery, frame: Frame) -> How | None:
    """A stream that breaks at this event. None: not here, go on (a cut inside a code point waits for one)."""
    connection, wish = attempt.connection, attempt.wish
    data = delivery.frame_bytes(frame)
    half = max(1, len(data) // 2)
    if wish.fail == "reset_utf8":
        at = inside_code_point(data)
        if at is None and not frame.end:
            return None
        half = at or half
    attempt.keep = False
    match wish.fail:
        case "reset_mid" | "reset_utf8":
            await delivery.part(data[:half])
            connection.reset()
        case "hang_mid":
            await delivery.settle()
            await silence()
        case "close_mid":
            await delivery.settle()
            connection.close()
        case "truncate":
            await delivery.settle()
            connection.write(b"%x\r\n%b" % (len(data), data[:half]))
            connection.close()
        case "bad_chunk":
            await delivery.settle()
            connection.write(b"zz\r\n" + data)
            connection.close()
        case _:
            text = wish.message or "The server had an error while processing your request."
            await delivery.send(attempt.voice.error_frame(wish.status if wish.status >= 400 else 500, wish.code, text))
            await delivery.finish()
            attempt.keep = attempt.request.keep_alive
    return "cut"
