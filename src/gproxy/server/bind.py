"""Listening sockets: made before anything else may fail, with a clear word when they cannot be."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

_BACKLOG = 2048  # until the listener says its own
_REASONS = {
    errno.EADDRINUSE: "it is taken by another process",
    errno.EACCES: "permission denied",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


class BindError(Exception):
    """The address cannot be listened on; the message says which one and why."""


def bind(host: str, port: int, *, uds: str | None = None) -> list[socket.socket]:
    """Listening, non-blocking sockets for a host name (one per address of it) or, with `uds`, for a Unix socket path.

    Port 0 picks a free one, the same for all addresses. An empty host means all addresses. Raises BindError.
    """
    if uds is not None:
        return [_bind_unix(uds)]
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise BindError(f"cannot listen on {host!r}: the name does not resolve ({error})") from error
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            wanted = (address[0], port or (sockets[0].getsockname()[1] if sockets else 0), *address[2:])
            try:
                sockets.append(_bind_one(family, wanted))
            except OSError as error:
                # `localhost` and the wildcard name both families; a machine may lack one of them.
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT} or len(found) == 1:
                    raise BindError(f"cannot listen on {_shown(wanted)}: {_reason(error)}") from error
                missing = error
        if not sockets:
            raise BindError(f"cannot listen on {host}:{port}: {_reason(missing)}") from missing
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name != "nt":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _keep_alive(sock)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _keep_alive(sock: socket.socket) -> None:
    """Let the kernel find peers that vanished without a word, within two minutes. Accepted sockets inherit it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4)):
        option = getattr(socket, name, None)  # not everywhere
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _bind_unix(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        _remove_stale(path)
        sock.bind(path)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise BindError(f"cannot listen on {path}: {_reason(error)}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket file of a server that is no more; a living one or any other file is left alone."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise BindError(f"cannot listen on {path}: a file that is no socket is in the way")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
    raise BindError(f"cannot listen on {path}: it is taken by another process")


def _shown(address: tuple[object, ...]) -> str:
    host, port = address[0], address[1]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _reason(error: OSError | None) -> str:
    if error is None:
        return "it has no address"
    return _REASONS.get(error.errno or 0) or error.strerror or str(error)
