"""Opening a connection: names, addresses, TCP, proxies, TLS. The slow way, walked once per connection.

Every failure leaves as an `UpstreamFault` with `unprocessed=True`: nothing of a request is written here. Deadlines
are the caller's: it cancels, and whatever was open is closed.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from gproxy.errors import Phase, UpstreamFault
from gproxy.transport.egress import is_metadata_address, is_metadata_name
from gproxy.transport.proxy import Dialogue, Proxy, http_connect, socks_connect
from gproxy.transport.tls import client_context, tls_fault

if TYPE_CHECKING:
    from gproxy.transport.config import TransportConfig
    from gproxy.transport.connection import Connection
    from gproxy.wire.http import Origin

Address: TypeAlias = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]

_P = TypeVar("_P", bound=asyncio.Protocol)

# RFC 8305 section 5 recommends 250 ms between attempts.
_STAGGER: Final = 0.25
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]{1,255}")
_REASONS: Final[dict[int, str]] = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connect timeout",
    errno.EMFILE: "out of file descriptors",
    errno.ENFILE: "out of file descriptors",
    errno.EADDRNOTAVAIL: "out of local ports",
}


class Dial:
    """One attempt to connect. `phase` tells how far it has come, for whoever has to report a deadline."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: TransportConfig,
        origin: Origin,
        proxy: Proxy | None,
        make: Callable[[], Connection],
    ) -> None:
        self._loop = loop
        self._config = config
        self._origin = origin
        self._proxy = proxy
        self._make = make
        self.phase = Phase.CONNECT

    async def run(self) -> Connection:
        """A connection ready for its first request."""
        origin, proxy = self._origin, self._proxy
        if not _HOST.fullmatch(origin.host):
            raise UpstreamFault(Phase.CONNECT, "host name is not valid", unprocessed=True)
        if proxy is None:
            sock = await self._tcp(origin.host, origin.port)
            return await self._over_socket(sock, self._make, origin.host if origin.scheme == "https" else None)
        self._judge_name(origin.host)
        target = origin.host
        if not proxy.resolves:
            target = (await self._resolve(origin.host, origin.port))[0][1][0]
        sock = await self._tcp(proxy.host, proxy.port)
        secure = proxy.host if proxy.scheme == "https" else None
        if proxy.is_http and origin.scheme == "http":
            return await self._over_socket(sock, self._make, secure)
        talk = await self._over_socket(sock, lambda: Dialogue(self._loop), secure)
        try:
            return await self._through(talk, proxy, target)
        except BaseException:
            talk.drop()
            raise

    async def _through(self, talk: Dialogue, proxy: Proxy, target: str) -> Connection:
        self.phase = Phase.CONNECT
        if proxy.is_http:
            await http_connect(talk, proxy, self._origin)
        else:
            await socks_connect(talk, proxy, target, self._origin.port)
        transport = talk.hand_over()
        connection = self._make()
        if self._origin.scheme == "https":
            self.phase = Phase.TLS
            context = client_context(self._config.ca_file)
            try:
                upgraded = await self._loop.start_tls(transport, connection, context, server_hostname=self._origin.host)
            except (OSError, ValueError) as error:
                raise tls_fault(error) from error
            if upgraded is None:
                raise tls_fault(ConnectionResetError())
            transport = upgraded
        else:
            transport.set_protocol(connection)
        connection.connection_made(transport)
        return connection

    async def _over_socket(self, sock: socket.socket, make: Callable[[], _P], secure: str | None) -> _P:
        """The socket as a transport, with TLS when `secure` names whose certificate it must be."""
        try:
            if secure is None:
                _, protocol = await self._loop.create_connection(make, sock=sock)
                return protocol
            self.phase = Phase.TLS
            context = client_context(self._config.ca_file)
            try:
                _, protocol = await self._loop.create_connection(make, sock=sock, ssl=context, server_hostname=secure)
            except (OSError, ValueError) as error:
                raise tls_fault(error) from error
        except BaseException:
            sock.close()
            raise
        return protocol

    async def _tcp(self, host: str, port: int) -> socket.socket:
        addresses = await self._resolve(host, port)
        try:
            if len(addresses) == 1:
                return await self._connect(addresses[0])
            return await self._race(addresses)
        except OSError as error:
            raise _connect_fault(error) from error

    async def _resolve(self, host: str, port: int) -> list[Address]:
        """The addresses of a name, families taking turns (RFC 8305 section 4), each judged before anyone connects."""
        if not _HOST.fullmatch(host):
            raise UpstreamFault(Phase.CONNECT, "host name is not valid", unprocessed=True)
        try:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UpstreamFault(Phase.CONNECT, "host name not resolved", unprocessed=True) from error
        # An address of two integers is what an interpreter built without IPv6 makes of one.
        inet: list[Address] = [(family, at) for family, _, _, _, at in found if isinstance(at[0], str)]
        if not inet:
            raise UpstreamFault(Phase.CONNECT, "host name not resolved", unprocessed=True)
        if self._config.forbid_metadata_addresses and any(is_metadata_address(str(address[0])) for _, address in inet):
            raise UpstreamFault(Phase.CONNECT, "address is a cloud metadata service", unprocessed=True)
        first = [entry for entry in inet if entry[0] == inet[0][0]]
        other = [entry for entry in inet if entry[0] != inet[0][0]]
        turns: list[Address] = []
        for at in range(max(len(first), len(other))):
            turns += first[at : at + 1] + other[at : at + 1]
        return turns

    def _judge_name(self, host: str) -> None:
        """A proxy will resolve this name where we cannot see it."""
        if self._config.forbid_metadata_addresses and is_metadata_name(host):
            raise UpstreamFault(Phase.CONNECT, "address is a cloud metadata service", unprocessed=True)

    async def _race(self, addresses: list[Address]) -> socket.socket:
        """Happy eyeballs: the next address gets its chance when the last one failed or let 250 ms pass."""
        waiting = deque(addresses)
        running: set[asyncio.Task[socket.socket]] = set()
        won: socket.socket | None = None
        last: OSError = OSError(errno.EHOSTUNREACH, "no address")
        try:
            while won is None and (waiting or running):
                if waiting:
                    running.add(self._loop.create_task(self._connect(waiting.popleft()), name="dial"))
                done, running = await asyncio.wait(
                    running, timeout=_STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    error = task.exception()
                    if error is None and won is None:
                        won = task.result()
                    elif error is None:
                        task.result().close()
                    elif isinstance(error, OSError):
                        last = error
                    else:
                        raise error
        except BaseException:
            if won is not None:
                won.close()
            raise
        finally:
            for task in running:
                task.add_done_callback(_close_late)
                task.cancel()
        if won is None:
            raise last
        return won

    async def _connect(self, address: Address) -> socket.socket:
        family, where = address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A stream may be silent for minutes; keep-alive probes stop a NAT on the way from forgetting it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_KEEPIDLE"):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 30)
            await self._loop.sock_connect(sock, where)
        except BaseException:
            sock.close()
            raise
        return sock


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    """An attempt that lost the race at the very moment it succeeded."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _connect_fault(error: OSError) -> UpstreamFault:
    reason = _REASONS.get(error.errno or 0, "connect failed")
    timeout = error.errno == errno.ETIMEDOUT
    return UpstreamFault(Phase.CONNECT, reason, timeout=timeout, unprocessed=True)
