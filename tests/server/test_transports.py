"""The same listener behind TLS and on a Unix socket."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from typing import TYPE_CHECKING, TypeAlias

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gproxy.server.exchange import Request, Responder
from gproxy.server.listener import Listener, ListenerConfig, bind
from tests.server.rig import Client, echo, get, post, render, serving, until

if TYPE_CHECKING:
    from pathlib import Path


_Contexts: TypeAlias = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "all.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


async def test_tls(contexts: _Contexts) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        assert request.scheme == "https"
        await echo(request, responder)

    server, client_tls = contexts
    async with serving(handler, server_tls=server, client_tls=client_tls) as rig:
        client = await rig.connect()
        assert (await client.ask(post(b"x" * 300_000))).body == b"POST /  " + b"x" * 300_000
        answer = await client.ask(get("/", "Connection: close"))
        assert answer.header("connection") == "close"
        assert await client.rest() == b""


async def test_tls_clients_that_leave_are_noticed(contexts: _Contexts) -> None:
    gone = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        responder.on_gone(gone.set)
        await gone.wait()

    server, client_tls = contexts
    async with serving(handler, server_tls=server, client_tls=client_tls) as rig:
        client = await rig.connect()
        await client.send(get())
        await rig.until(lambda: rig.listener.in_flight == 1)
        await client.close()
        await asyncio.wait_for(gone.wait(), 5)


async def test_tls_an_early_answer_is_not_lost(contexts: _Contexts) -> None:
    async def handler(request: Request, responder: Responder) -> None:
        await request.body(1000)

    server, client_tls = contexts
    async with serving(handler, server_tls=server, client_tls=client_tls, linger=0.5) as rig:
        client = await rig.connect()
        await client.send(post(b"x" * 2_000_000))
        assert (await client.answer()).status == 413
        assert await client.rest() == b""


async def test_tls_stop(contexts: _Contexts) -> None:
    server, client_tls = contexts
    async with serving(echo, server_tls=server, client_tls=client_tls) as rig:
        idle = await rig.connect()
        assert (await idle.ask(get())).status == 200
        rig.listener.announce_close()
        await rig.listener.stop_accepting(exclusive=True)
        await rig.listener.close_idle(0.05)
        assert await idle.rest() == b""


async def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listener = Listener(echo, ListenerConfig(), render_error=render, on_unhandled=print)
    await listener.start(bind("", 0, uds=path))
    client = Client(*await asyncio.open_unix_connection(path))
    assert (await client.ask(get("/x"))).body == b"GET /x  "
    await listener.stop_accepting(exclusive=True)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_unix_connection(path)
    await listener.close_idle(0.01)
    assert await client.rest() == b""
    await client.close()
    listener.abort_all()
    await until(lambda: not listener.connections)


async def test_leaving_a_unix_socket_is_noticed(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def handler(request: Request, responder: Responder) -> None:
        assert request.peer is None
        responder.on_gone(gone.set)
        await gone.wait()

    path = str(tmp_path / "s")
    listener = Listener(handler, ListenerConfig(), render_error=render, on_unhandled=print)
    await listener.start(bind("", 0, uds=path))
    client = Client(*await asyncio.open_unix_connection(path))
    await client.send(get())
    await until(lambda: listener.in_flight)
    await client.close()
    await asyncio.wait_for(gone.wait(), 5)
    listener.abort_all()
    await until(lambda: not (listener.connections or listener.in_flight))
