"""The tool as tests use it: its own process, its own event loop (uvloop), TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gproxy.vendor.server import VendorServer
from tests.vendor.count import read_count
from tests.vendor.legal import judge
from tests.vendor.load import DIALECTS, Plan, run
from tests.vendor_selftest.wire import ask, request

pytestmark = pytest.mark.process


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[VendorServer]:
    command = [sys.executable, "-m", "tests.vendor", "--count-file", str(tmp_path / "count")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    far = VendorServer()  # only its port matters to the clients
    far.port = int(json.loads(process.stdout.readline())["port"])
    yield far
    process.terminate()
    assert process.wait(10) == 0
    process.stdout.close()


async def test_faults_are_the_same_on_the_tools_loop(tool: VendorServer, tmp_path: Path) -> None:
    ends = {"reset_before": "rst", "reset_head": "rst", "reset_mid": "rst", "reset_utf8": "rst", "close_mid": "fin"}
    for fail, ended in ends.items():
        heard = await ask(tool, "anthropic_messages", f"sim/fail={fail}", stream=True)
        assert heard.ended == ended, fail
        if fail not in {"reset_before", "reset_head"}:
            assert heard.chunks()[0][0].startswith(b"event: message_start"), fail
    assert [one.how for one in read_count(tmp_path / "count").attempts] == ["cut"] * len(ends)


async def test_a_client_that_leaves_is_seen_at_once(tool: VendorServer, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", tool.port)
    writer.write(request("openai_chat", "sim/fail=hang_mid,at=2", stream=True))
    await reader.readuntil(b"\n\n")
    writer.transport.abort()
    control, control_writer = await asyncio.open_connection("127.0.0.1", tool.port)
    control_writer.write(b"GET /_vendor/attempts?ended=1 HTTP/1.1\r\nhost: v\r\nconnection: close\r\n\r\n")
    assert b'"how":"client_closed"' in await control.read()
    control_writer.close()
    assert read_count(tmp_path / "count").attempts[0].tokens_sent == 1


async def test_a_large_load_loses_nothing(tool: VendorServer, tmp_path: Path) -> None:
    calls = await run(Plan(port=tool.port, dialects=DIALECTS, count=600, concurrency=60, seed=2))
    assert all(call.complete and call.legal for call in calls)
    count = read_count(tmp_path / "count")
    assert (len(count.attempts), count.problems, count.open) == (600, [], [])
    assert {one.nonce for one in count.attempts} == {call.nonce for call in calls}
    by_nonce = {call.nonce: call for call in calls}
    assert all(one.tokens_sent == by_nonce[one.nonce or ""].tokens for one in count.attempts)


async def test_it_speaks_tls(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (tmp_path / "cert").write_bytes(pem)
    (tmp_path / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    server = VendorServer()
    await server.start(tls=tls)
    trust = ssl.create_default_context(cadata=pem.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=trust, server_hostname="localhost")
    writer.write(request("gemini", "sim~tokens=3", stream=True))
    raw = await reader.readuntil(b"\r\n0\r\n\r\n")
    assert b'"finishReason":"STOP"' in raw
    body = b"".join(line + b"\r\n\r\n" for line in raw.split(b"\r\n") if line.startswith(b"data: "))
    assert judge("gemini", stream=True, body=body).tokens == 3
    writer.close()
    await server.close()
