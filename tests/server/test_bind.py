from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gproxy.server.bind import BindError, bind


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_port_zero_picks_one() -> None:
    sockets = bind("127.0.0.1", 0)
    try:
        (sock,) = sockets
        assert sock.getsockname()[1] > 0
        assert not sock.getblocking()
        with socket.create_connection(sock.getsockname()):
            pass
    finally:
        _close(sockets)


def test_all_addresses_of_a_name_share_the_port() -> None:
    sockets = bind("localhost", 0)
    try:
        assert len({sock.getsockname()[1] for sock in sockets}) == 1
    finally:
        _close(sockets)


def test_a_taken_port_is_named() -> None:
    sockets = bind("127.0.0.1", 0)
    try:
        port = sockets[0].getsockname()[1]
        with pytest.raises(BindError, match=rf"127\.0\.0\.1:{port}: it is taken by another process"):
            bind("127.0.0.1", port)
    finally:
        _close(sockets)


def test_a_foreign_address_and_an_unknown_name() -> None:
    with pytest.raises(BindError, match=r"192\.0\.2\.1:0: this machine has no such address"):
        bind("192.0.2.1", 0)
    with pytest.raises(BindError, match="does not resolve"):
        bind("no.such.host.invalid", 0)


def test_unix_sockets_replace_stale_files_only(tmp_path: Path) -> None:
    path = tmp_path / "s"
    (first,) = bind("", 0, uds=str(path))
    with pytest.raises(BindError, match="taken by another process"):
        bind("", 0, uds=str(path))
    first.close()
    (second,) = bind("", 0, uds=str(path))
    second.close()
    other = tmp_path / "file"
    other.write_text("precious")
    with pytest.raises(BindError, match="no socket is in the way"):
        bind("", 0, uds=str(other))
    assert other.read_text() == "precious"
    with pytest.raises(BindError, match="cannot listen"):
        bind("", 0, uds=str(tmp_path / "missing" / "s"))
