from __future__ import annotations

import asyncio
import base64
import contextlib

import pytest

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.client import UpstreamClient
from gproxy.transport.proxy import parse_proxy
from gproxy.wire.http import Deadlines, Origin, UpstreamRequest
from tests.transport.certificates import Authority
from tests.transport.peer import OK, Gone, Line, Peer, answering

BASIC = b"Basic " + base64.b64encode(b"us er:p@ss")


async def tunnel(line: Line, port: int) -> None:
    """Bytes both ways between a client and a server on this machine, until either leaves."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(line.reader, writer), name="up")
            group.create_task(copy(reader, line.writer), name="down")
    finally:
        writer.close()


class HttpProxy:
    """CONNECT and absolute-form. Everything it is asked for leads to `port`."""

    def __init__(self, port: int, status: bytes = b"200 OK", extra: bytes = b"") -> None:
        self.port = port
        self.status = status
        self.extra = extra
        self.heads: list[tuple[bytes, bytes | None]] = []

    async def __call__(self, line: Line) -> None:
        while True:
            head = await line.head()
            self.heads.append((head.line, head.header(b"proxy-authorization")))
            if head.line.startswith(b"CONNECT "):
                await line.write(b"HTTP/1.1 %b\r\nvia: test\r\n\r\n%b" % (self.status, self.extra))
                if self.status.startswith(b"2"):
                    await tunnel(line, self.port)
                return
            await line.reader.readexactly(int(head.header(b"content-length") or 0))
            await line.write(OK)


class SocksProxy:
    """RFC 1928 with or without RFC 1929. Everything it is asked for leads to `port`."""

    def __init__(
        self, port: int, *, login: tuple[bytes, bytes] | None = None, reply: int = 0, bound: bytes = b"\1\0\0\0\0\0\0"
    ) -> None:
        self.port = port
        self.login = login
        self.reply = reply
        self.bound = bound
        self.asked: list[tuple[int, bytes, int]] = []

    async def __call__(self, line: Line) -> None:
        try:
            await self._serve(line)
        except asyncio.IncompleteReadError as error:
            raise Gone from error

    async def _serve(self, line: Line) -> None:
        version, count = await line.reader.readexactly(2)
        assert version == 5
        methods = await line.reader.readexactly(count)
        if self.login is None:
            await line.write(b"\5\0")
        elif 2 in methods:
            await line.write(b"\5\2")
            assert await line.reader.readexactly(1) == b"\1"
            user = await line.reader.readexactly((await line.reader.readexactly(1))[0])
            password = await line.reader.readexactly((await line.reader.readexactly(1))[0])
            good = (user, password) == self.login
            await line.write(b"\1\0" if good else b"\1\1")
            if not good:
                return
        else:
            await line.write(b"\5\xff")
            return
        assert await line.reader.readexactly(3) == b"\5\1\0"
        kind = (await line.reader.readexactly(1))[0]
        length = {1: 4, 4: 16}.get(kind) or (await line.reader.readexactly(1))[0]
        host = await line.reader.readexactly(length)
        port = int.from_bytes(await line.reader.readexactly(2), "big")
        self.asked.append((kind, host, port))
        await line.write(bytes((5, self.reply, 0)) + self.bound)
        if self.reply == 0:
            await tunnel(line, self.port)


async def whole(client: UpstreamClient, request: UpstreamRequest) -> bytes:
    return await (await client.send(request)).read(1 << 20)


async def fault_of(client: UpstreamClient, request: UpstreamRequest) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await client.send(request)
    assert caught.value.unprocessed
    return caught.value


class TestHttpProxy:
    async def test_plain_origin_in_absolute_form(self, client: UpstreamClient) -> None:
        proxy = HttpProxy(0)
        async with Peer(proxy) as at:
            url = f"http://us%20er:p%40ss@127.0.0.1:{at.port}"
            request = UpstreamRequest(
                b"POST", Origin("http", "vendor.example", 80), b"/v1?x=1", [], b"{}", Deadlines(), url
            )
            assert await whole(client, request) == b"ok"
            assert await whole(client, request) == b"ok"
            assert proxy.heads == [(b"POST http://vendor.example/v1?x=1 HTTP/1.1", BASIC)] * 2
            assert at.accepted == 1

    @pytest.mark.parametrize("secure", [False, True])
    async def test_tunnel_to_a_tls_origin(self, tls_client: UpstreamClient, authority: Authority, secure: bool) -> None:
        async with Peer(answering(OK), tls=authority.server(), host="localhost") as vendor:
            proxy = HttpProxy(vendor.port)
            async with Peer(proxy, tls=authority.server() if secure else None) as at:
                url = f"{'https' if secure else 'http'}://us%20er:p%40ss@127.0.0.1:{at.port}"
                request = vendor.ask(b"x" * 700_000, proxy=url)
                assert await whole(tls_client, request) == b"ok"
                assert await whole(tls_client, request) == b"ok"
                assert proxy.heads == [(b"CONNECT localhost:%d HTTP/1.1" % vendor.port, BASIC)]
                assert [len(seen.body) for seen in vendor.requests] == [700_000] * 2
                # what was for the proxy stays with the proxy
                assert all(seen.header(b"proxy-authorization") is None for seen in vendor.requests)

    async def test_a_direct_connection_is_not_reused_for_a_proxied_request(
        self, tls_client: UpstreamClient, authority: Authority
    ) -> None:
        async with Peer(answering(OK), tls=authority.server(), host="localhost") as vendor:
            proxy = HttpProxy(vendor.port)
            async with Peer(proxy) as at:
                assert await whole(tls_client, vendor.ask()) == b"ok"
                assert await whole(tls_client, vendor.ask(proxy=f"http://127.0.0.1:{at.port}")) == b"ok"
                assert len(proxy.heads) == 1

    @pytest.mark.parametrize(
        ("status", "extra", "reason"),
        [
            (b"407 Proxy Authentication Required", b"", "proxy wants other credentials"),
            (b"403 Forbidden", b"", "proxy refused the connection (status 403)"),
            (b"302 Found", b"", "proxy refused the connection (status 302)"),
            (b"200 OK", b"early", "proxy answered more than asked"),
            (b"twohundred", b"", "proxy does not speak HTTP"),
        ],
    )
    async def test_refusals(self, tls_client: UpstreamClient, status: bytes, extra: bytes, reason: str) -> None:
        async with Peer(HttpProxy(9, status, extra)) as at:
            url = f"http://user:canary@127.0.0.1:{at.port}"
            request = UpstreamRequest(b"GET", Origin("https", "vendor.example", 443), b"/", [], b"", Deadlines(), url)
            fault = await fault_of(tls_client, request)
        assert (fault.phase, fault.reason) == (Phase.CONNECT, reason)
        assert "canary" not in repr(fault) + repr(parse_proxy(url))

    async def test_an_endless_answer(self, tls_client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.head()
            await line.write(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 20_000)
            await line.gone()
            gone.set()

        async with Peer(script) as at:
            origin, url = Origin("https", "vendor.example", 443), f"http://127.0.0.1:{at.port}"
            request = UpstreamRequest(b"GET", origin, b"/", [], b"", Deadlines(), url)
            assert (await fault_of(tls_client, request)).reason == "proxy broke the connection off"
            await gone.wait()

    async def test_a_silent_proxy(self, tls_client: UpstreamClient) -> None:
        gone = asyncio.Event()

        async def script(line: Line) -> None:
            await line.gone()
            gone.set()

        async with Peer(script) as at:
            request = UpstreamRequest(
                b"GET",
                Origin("https", "vendor.example", 443),
                b"/",
                [],
                b"",
                Deadlines(connect=0.05),
                f"http://127.0.0.1:{at.port}",
            )
            fault = await fault_of(tls_client, request)
            assert (fault.phase, fault.reason, fault.timeout) == (Phase.CONNECT, "connect timeout", True)
            await gone.wait()

    async def test_the_vendors_certificate_is_checked_through_the_tunnel(
        self, tls_client: UpstreamClient, authority: Authority
    ) -> None:
        async with (
            Peer(answering(OK), tls=authority.server("elsewhere.example"), host="localhost") as vendor,
            Peer(HttpProxy(vendor.port)) as at,
        ):
            fault = await fault_of(tls_client, vendor.ask(proxy=f"http://127.0.0.1:{at.port}"))
            assert (fault.phase, fault.reason) == (Phase.TLS, "certificate is for another host")
            assert not vendor.requests

    async def test_the_proxys_certificate_is_checked(self, tls_client: UpstreamClient, authority: Authority) -> None:
        proxy = HttpProxy(9)
        async with Peer(proxy, tls=authority.server("elsewhere.example")) as at:
            request = UpstreamRequest(
                b"GET",
                Origin("https", "vendor.example", 443),
                b"/",
                [],
                b"",
                Deadlines(),
                f"https://127.0.0.1:{at.port}",
            )
            assert (await fault_of(tls_client, request)).phase is Phase.TLS
            assert not proxy.heads

    @pytest.mark.parametrize("host", ["metadata.google.internal", "169.254.169.254", "0xa9fea9fe"])
    async def test_no_proxy_leads_to_a_metadata_service(self, client: UpstreamClient, host: str) -> None:
        proxy = HttpProxy(9)
        async with Peer(proxy) as at:
            for scheme in ("http", "socks5h"):
                request = UpstreamRequest(
                    b"GET", Origin("http", host, 80), b"/", [], b"", Deadlines(), f"{scheme}://127.0.0.1:{at.port}"
                )
                assert (await fault_of(client, request)).reason == "address is a cloud metadata service"
            assert at.accepted == 0


class TestSocks:
    @pytest.mark.parametrize("secure", [False, True])
    @pytest.mark.parametrize("login", [None, (b"us er", b"p@ss")])
    async def test_remote_name(
        self, tls_client: UpstreamClient, authority: Authority, secure: bool, login: tuple[bytes, bytes] | None
    ) -> None:
        async with Peer(answering(OK), tls=authority.server() if secure else None, host="localhost") as vendor:
            proxy = SocksProxy(vendor.port, login=login)
            async with Peer(proxy) as at:
                user = "us%20er:p%40ss@" if login else ""
                for _ in range(2):
                    request = vendor.ask(proxy=f"socks5h://{user}127.0.0.1:{at.port}")
                    assert await whole(tls_client, request) == b"ok"
                assert proxy.asked == [(3, b"localhost", vendor.port)]

    async def test_local_name(self, client: UpstreamClient) -> None:
        async with Peer(answering(OK), host="127.0.0.1") as vendor:
            proxy = SocksProxy(vendor.port)
            async with Peer(proxy) as at:
                assert await whole(client, vendor.ask(proxy=f"socks5://127.0.0.1:{at.port}")) == b"ok"
            assert proxy.asked == [(1, b"\x7f\0\0\1", vendor.port)]

    @pytest.mark.parametrize("bound", [b"\1\0\0\0\0\0\0", b"\4" + bytes(18), b"\3\4name\0\0"])
    async def test_every_kind_of_bound_address(self, client: UpstreamClient, bound: bytes) -> None:
        async with Peer(answering(OK)) as vendor, Peer(SocksProxy(vendor.port, bound=bound)) as at:
            assert await whole(client, vendor.ask(proxy=f"socks5h://127.0.0.1:{at.port}")) == b"ok"

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (1, "proxy failed"),
            (2, "proxy refused the connection by its rules"),
            (4, "host unreachable from the proxy"),
            (5, "connection refused behind the proxy"),
            (77, "proxy failed"),
        ],
    )
    async def test_refusals(self, client: UpstreamClient, reply: int, reason: str) -> None:
        async with Peer(answering(OK)) as vendor, Peer(SocksProxy(vendor.port, reply=reply)) as at:
            fault = await fault_of(client, vendor.ask(proxy=f"socks5h://127.0.0.1:{at.port}"))
        assert (fault.phase, fault.reason) == (Phase.CONNECT, reason)

    @pytest.mark.parametrize("user", ["", "a:wrong@"])
    async def test_wrong_login(self, client: UpstreamClient, user: str) -> None:
        async with Peer(answering(OK)) as vendor, Peer(SocksProxy(vendor.port, login=(b"a", b"b"))) as at:
            fault = await fault_of(client, vendor.ask(proxy=f"socks5h://{user}127.0.0.1:{at.port}"))
        assert fault.reason == "proxy wants other credentials"

    async def test_something_else_listens_there(self, client: UpstreamClient) -> None:
        async def script(line: Line) -> None:
            await line.reader.read(3)
            await line.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with Peer(script) as at:
            fault = await fault_of(client, at.ask(proxy=f"socks5h://127.0.0.1:{at.port}"))
        assert fault.reason == "proxy does not speak SOCKS5"


def test_a_proxy_url_taken_apart() -> None:
    proxy = parse_proxy("socks5h://us%20er:p%40ss@[::1]:1081")
    assert (proxy.scheme, proxy.host, proxy.port, proxy.user, proxy.password) == (
        "socks5h",
        "::1",
        1081,
        "us er",
        "p@ss",
    )
    assert [parse_proxy(f"{scheme}://h").port for scheme in ("http", "https", "socks5", "socks5h")] == [
        80,
        443,
        1080,
        1080,
    ]
    assert "p@ss" not in repr(proxy)
    assert "us er" not in repr(proxy)


@pytest.mark.parametrize(
    "url", ["", "h:1", "ftp://h", "http://", "http://u:canary@h:99999", "http://u:canary@h:x", "http://u:canary@h/path",
            "http://[::1"],
)  # fmt: skip
def test_no_proxy_url(url: str) -> None:
    with pytest.raises(UpstreamFault, match="proxy URL is not valid") as caught:
        parse_proxy(url)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None
