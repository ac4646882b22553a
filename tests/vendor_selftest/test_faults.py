"""Each misbehaviour does on the wire what its name says."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import brotli
import pytest

from gproxy.vendor.server import VendorServer
from tests.vendor.legal import events_of, judge
from tests.vendor_selftest.wire import Heard, ask, count_of, request, talk

DIALECTS = ["openai_chat", "openai_responses", "anthropic_messages", "gemini"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fail", "ended"), [("reset_before", "rst"), ("close_before", "fin")])
async def test_nothing_comes(vendor: VendorServer, fail: str, ended: str, *, stream: bool) -> None:
    heard = await ask(vendor, "openai_chat", f"sim/fail={fail}", stream=stream)
    assert (heard.raw, heard.ended) == (b"", ended)
    assert count_of(vendor).attempts[0].how == "cut"


async def test_half_a_head_and_no_http(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=half_head")
    assert heard.raw.startswith(b"HTTP/1.1 200")
    assert b"\r\n\r\n" not in heard.raw
    assert not (await ask(vendor, "openai_chat", "sim/fail=garbage")).raw.startswith(b"HTTP")


async def test_it_never_answers_and_notices_that_the_client_left(vendor: VendorServer) -> None:
    data = request("openai_chat", "sim/fail=hang,gate=g")
    gate = vendor.gate("g")

    async def leave() -> None:
        await gate.arrived(1)
        await gate.release()

    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(data)
    await leave()
    writer.close()
    await vendor.wait_ended(1)
    assert await reader.read() == b""
    assert count_of(vendor).attempts[0].how == "client_closed"


@pytest.mark.parametrize("dialect", DIALECTS)
class TestStreams:
    async def test_reset_head(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=reset_head", stream=True)
        assert (heard.status, heard.after_head, heard.ended) == (200, b"", "rst")

    async def test_reset_mid_stops_inside_an_event(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=reset_mid,at=4", stream=True)
        pieces, last = heard.chunks()
        assert (len(pieces), last, heard.ended) == (5, False, "rst")
        assert not pieces[-1].endswith(b"\n")
        counted = count_of(vendor).attempts[0]
        assert counted.how == "cut"
        assert counted.declared is not None
        assert counted.tokens_sent == _tokens(dialect, pieces[:-1])
        assert counted.tokens_sent < counted.declared.output

    async def test_reset_utf8_stops_inside_a_code_point(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=reset_utf8,at=2", stream=True)
        with pytest.raises(UnicodeDecodeError, match="unexpected end of data"):
            heard.body.decode()
        assert heard.ended == "rst"

    async def test_close_mid_lacks_the_last_chunk(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=close_mid,at=4", stream=True)
        pieces, last = heard.chunks()
        assert (len(pieces), last, heard.ended) == (4, False, "fin")

    async def test_truncate_stops_inside_a_chunk(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=truncate,at=4", stream=True)
        pieces, last = heard.chunks()
        whole = sum(len(b"%x\r\n%b\r\n" % (len(piece), piece)) for piece in pieces)
        assert (len(pieces), last, heard.ended) == (4, False, "fin")
        assert len(heard.after_head) > whole

    async def test_bad_chunk_size(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=bad_chunk,at=2", stream=True)
        assert b"\r\nzz\r\n" in heard.after_head

    async def test_error_mid_is_the_dialects_own_error_and_a_proper_end(
        self, vendor: VendorServer, dialect: str
    ) -> None:
        heard = await ask(vendor, dialect, "sim/fail=error_mid", stream=True)
        verdict = judge(dialect, stream=True, body=heard.body)
        assert verdict.error is not None
        assert verdict.legal
        assert not verdict.complete
        assert heard.chunks()[1]

    async def test_no_end_lacks_the_terminal_event_only(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/fail=no_end", stream=True)
        assert heard.chunks()[1]
        verdict = judge(dialect, stream=True, body=heard.body)
        assert (verdict.complete, verdict.tokens) == (False, 16)

    async def test_short_streams_break_too(self, vendor: VendorServer, dialect: str) -> None:
        heard = await ask(vendor, dialect, "sim/tokens=1,fail=close_mid,at=99", stream=True)
        assert heard.chunks()[1] is False

    @pytest.mark.parametrize("framing", ["lf", "crlf", "cr", "bom", "nul", "nospace", "comments", "multiline"])
    async def test_every_framing_reads_the_same(self, vendor: VendorServer, dialect: str, framing: str) -> None:
        heard = await ask(vendor, dialect, f"sim/framing={framing}", stream=True)
        verdict = judge(dialect, stream=True, body=heard.body)
        assert verdict.legal, verdict
        assert verdict.tokens == 16
        marks = {
            "crlf": b"\r\n\r\n",
            "cr": b"\r\r",
            "bom": b"\xef\xbb\xbf",
            "nul": b"\x00",
            "nospace": b'data:{"',
            "comments": b": keep-alive\n\n",
            "multiline": b"{\ndata: ",
        }
        assert marks.get(framing, b"data: ") in heard.body
        if framing == "cr":
            assert b"\n" not in heard.body


def _tokens(dialect: str, pieces: list[bytes]) -> int:
    return judge(dialect, stream=True, body=b"".join(pieces)).tokens


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("fail", ["reset_mid", "reset_utf8", "close_mid", "truncate"])
async def test_buffered_answers_break_before_their_length(vendor: VendorServer, dialect: str, fail: str) -> None:
    heard = await ask(vendor, dialect, f"sim/fail={fail}")
    length = int(dict(heard.headers)[b"content-length"])
    assert 0 < len(heard.after_head) < length
    assert heard.ended == ("rst" if fail.startswith("reset") else "fin")
    counted = count_of(vendor).attempts[0]
    assert (counted.how, counted.usage_sent, counted.tokens_sent) == ("cut", False, 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_end_of_the_connection_may_be_the_end(vendor: VendorServer, *, stream: bool) -> None:
    heard = await ask(vendor, "anthropic_messages", "sim/fail=until_close", stream=stream)
    assert not {b"content-length", b"transfer-encoding"} & set(dict(heard.headers))
    assert judge("anthropic_messages", stream=stream, body=heard.after_head).complete
    assert heard.ended == "fin"
    counted = count_of(vendor).attempts[0]
    assert (counted.how, counted.usage_sent, counted.tokens_sent) == ("complete", True, 16)


async def test_lengths_that_lie(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=length_long")
    assert int(dict(heard.headers)[b"content-length"]) == len(heard.after_head) + 50
    data = request("openai_chat", "sim/fail=length_short")
    heard = await talk(vendor, data, wait_close=False, limit=900)
    assert int(dict(heard.headers)[b"content-length"]) == len(heard.after_head) - 10
    heard = await ask(vendor, "openai_chat", "sim/fail=cl_and_te", stream=True)
    names = [name for name, _ in heard.headers]
    assert b"content-length" in names
    assert b"transfer-encoding" in names


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_with_200_that_are_none(vendor: VendorServer, *, stream: bool) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=html", stream=stream)
    assert (heard.status, heard.body[:15]) == (200, b"<!doctype html>")
    heard = await ask(vendor, "openai_chat", "sim/fail=error_200", stream=stream)
    assert (heard.status, "error" in heard.json()) == (200, True)
    heard = await ask(vendor, "openai_chat", "sim/fail=empty_200", stream=stream)
    assert (heard.status, heard.body) == (200, b"")
    heard = await ask(vendor, "openai_chat", "sim/fail=redirect,location=http://127.0.0.2:1/x", stream=stream)
    assert (heard.status, dict(heard.headers)[b"location"]) == (302, b"http://127.0.0.2:1/x")
    assert {one.declared for one in count_of(vendor).attempts} == {None}


@pytest.mark.parametrize(
    ("coding", "size"), [("gzip", 3_000_000), ("br", 3_000_000), ("zstd", 3_000_000), ("gzip+gzip", 3_000_000)]
)
async def test_bombs_are_small_on_the_wire(vendor: VendorServer, coding: str, size: int) -> None:
    heard = await ask(vendor, "openai_chat", f"sim/fail=bomb,encoding={coding},size={size}")
    assert dict(heard.headers)[b"content-encoding"] == coding.replace("+", ", ").encode()
    assert len(heard.body) < size // 100
    match coding:
        case "gzip":
            assert len(gzip.decompress(heard.body)) == size
        case "gzip+gzip":
            assert len(gzip.decompress(gzip.decompress(heard.body))) == size
        case "br":
            assert len(brotli.decompress(heard.body)) == size
        case _:
            from backports import zstd

            assert len(zstd.decompress(heard.body)) == size


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_coded_streams_can_be_read_as_they_come(vendor: VendorServer, coding: str) -> None:
    heard = await ask(vendor, "anthropic_messages", f"sim/encoding={coding}", stream=True)
    pieces, last = heard.chunks()
    assert last
    if coding in {"gzip", "deflate"}:
        unpack = zlib.decompressobj(31 if coding == "gzip" else 15)
        first = unpack.decompress(pieces[0])
        assert first.startswith(b"event: message_start")
        assert first.endswith(b"\n\n")
        plain = first + b"".join(unpack.decompress(piece) for piece in pieces[1:])
    elif coding == "br":
        plain = brotli.decompress(heard.body)
    else:
        from backports import zstd

        plain = zstd.decompress(heard.body)
    assert judge("anthropic_messages", stream=True, body=plain).tokens == 16


async def test_floods(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=huge_line,size=2000000", stream=True)
    assert b"\n" not in heard.body
    assert len(heard.body) > 2_000_000
    heard = await ask(vendor, "openai_chat", "sim/fail=empty_events,size=50000", stream=True)
    assert heard.body == b": \n\n" * 50_000
    assert events_of(heard.body) == []


async def test_an_endless_answer_goes_on_until_someone_leaves(vendor: VendorServer) -> None:
    data = request("openai_chat", "sim/fail=endless,delay=0.001", stream=True)
    heard = await talk(vendor, data, wait_close=False, limit=20_000)
    await vendor.wait_ended(1)
    received = judge("openai_chat", stream=True, body=b"".join(heard.chunks()[0]))
    (counted,) = count_of(vendor).attempts
    assert counted.how == "client_closed"
    assert counted.declared is not None
    assert counted.declared.output == counted.tokens_sent >= received.tokens > 10


async def test_gates_hold_an_answer_and_a_stream(vendor: VendorServer) -> None:
    waiting = asyncio.get_running_loop().create_task(ask(vendor, "openai_chat", "sim/gate=door"), name="held")
    await vendor.gate("door").arrived(1)
    assert count_of(vendor).attempts[0].how is None
    await vendor.gate("door").release()
    assert (await waiting).status == 200

    reader, writer = await asyncio.open_connection("127.0.0.1", vendor.port)
    writer.write(request("openai_chat", "sim/tokens=9,gate_mid=mid,at=4", stream=True))
    await vendor.gate("mid").arrived(1)
    # The events before the gate are on the wire while it is shut: the role and three words.
    before = b""
    while before.count(b"\n\n") < 4:
        before += await reader.read(4096)
    assert judge("openai_chat", stream=True, body=Heard(before, "open").body).tokens == 3
    await vendor.gate("mid").release()
    while b"[DONE]" not in before:
        before += await reader.read(4096)
    writer.transport.abort()


async def test_odd_heads(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=storm_1xx,size=50")
    assert heard.raw.count(b"HTTP/1.1 102 Processing\r\n\r\n") == 50
    heard = await ask(vendor, "openai_chat", "sim/fail=early_hints")
    assert heard.raw.startswith(b"HTTP/1.1 103 ")
    assert b"HTTP/1.1 200 OK" in heard.raw
    heard = await ask(vendor, "openai_chat", "sim/fail=headers_crlf")
    assert b"one\rx-injected: yes\r\n" in heard.head
    heard = await ask(vendor, "openai_chat", "sim/fail=headers_many", stream=True)
    assert len(heard.headers) > 10_000
    heard = await ask(vendor, "openai_chat", "sim/fail=headers_huge")
    assert len(heard.head) > 1_000_000
    heard = await ask(vendor, "openai_chat", "sim/fail=headers_cookie")
    assert [name for name, _ in heard.headers].count(b"set-cookie") == 2
    heard = await ask(vendor, "openai_chat", "sim/fail=headers_hop", stream=True)
    assert (b"connection", b"keep-alive, x-private") in heard.headers


async def test_drop_after_closes_a_connection_that_promised_to_stay(vendor: VendorServer) -> None:
    heard = await ask(vendor, "openai_chat", "sim/fail=drop_after")
    assert (heard.status, heard.ended) == (200, "fin")
    assert b"connection" not in dict(heard.headers)
    assert b'"connections"' not in heard.raw
    assert len(count_of(vendor).attempts) == 1


@pytest.mark.parametrize("value", ["7", "1e9", "-3", "soon", "Wed,_21_Oct_2026_07:28:00_GMT"])
async def test_retry_after_travels_as_it_stands(vendor: VendorServer, value: str) -> None:
    vendor.script({"status": 429, "retry_after": value.replace("_", " ")})
    heard = await ask(vendor, "openai_chat", "sim")
    assert dict(heard.headers)[b"retry-after"].decode() == value.replace("_", " ")


async def test_bodies_of_errors(vendor: VendorServer) -> None:
    for body, start in (("html", b"<!doctype"), ("text", b"Simulated"), ("empty", b""), ("dialect", b'{"error"')):
        heard = await ask(vendor, "openai_chat", f"sim/status=503,body={body}", stream=True)
        assert heard.status == 503
        assert heard.body.startswith(start)


async def test_a_queue_is_used_up_in_order_and_only_by_those_it_names(vendor: VendorServer) -> None:
    vendor.script("status=500", model="gpt-*", times=2)
    vendor.script("status=503", credential="*", times=1)
    statuses = [(await ask(vendor, "openai_chat", model)).status for model in ("other", "gpt-1", "gpt-2", "gpt-3")]
    assert statuses == [503, 500, 500, 200]
