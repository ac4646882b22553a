"""Service accounts and applications end to end: one token for all who wait, renewed once when the vendor refuses it."""

from __future__ import annotations

import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.process import rig
from tests.transport.certificates import Authority

pytestmark = pytest.mark.process
ADMIN = "sk-admin-0123456789abcdef"


class TokenEndpoint(ThreadingHTTPServer):
    """Grants the tokens it was given, the last one again and again; None is a refusal."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Grant)
        self.tokens: list[str | None] = ["good"]
        self.expects = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}
        self.paths: set[str] = set()
        self.asked = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"

    @classmethod
    @contextmanager
    def running(cls, tls: ssl.SSLContext | None = None) -> Iterator[TokenEndpoint]:
        server = cls()
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Door(socketserver.ThreadingTCPServer):
    """A SOCKS5 proxy behind which some addresses are other ones (RFC 1928): a name of the internet becomes a local port."""

    daemon_threads = True

    def __init__(self, behind: dict[tuple[str, int], int]) -> None:
        super().__init__(("127.0.0.1", 0), _Through)
        self.behind = behind
        self.went: set[tuple[str, int]] = set()


class _Through(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Door)
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(b"\x05\x00")
        _, _, _, kind = self.rfile.read(4)
        host = self.rfile.read(self.rfile.read(1)[0]).decode() if kind == 3 else socket.inet_ntoa(self.rfile.read(4))
        port = int.from_bytes(self.rfile.read(2), "big")
        server.went.add((host, port))
        with socket.create_connection(("127.0.0.1", server.behind.get((host, port), port))) as far:
            self.wfile.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            back = threading.Thread(target=_pump, args=(far, self.connection), daemon=True)
            back.start()
            _pump(self.connection, far)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


class _Grant(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, TokenEndpoint)
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        assert form.items() >= server.expects.items()
        server.paths.add(self.path)
        server.asked += 1
        token = server.tokens.pop(0) if len(server.tokens) > 1 else server.tokens[0]
        content: dict[str, Any] = {"access_token": token, "expires_in": 3600} if token else {"error": "invalid_grant"}
        body = json.dumps(content).encode()
        self.send_response(200 if token else 400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Silent."""


@pytest.fixture
def endpoint() -> Iterator[TokenEndpoint]:
    with TokenEndpoint.running() as server:
        yield server


def service_account(token_uri: str, project: str) -> str:
    """A key file as it is written into a seed: a text that holds JSON."""
    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_file = {
        "type": "service_account", "client_email": "gproxy@example.iam.gserviceaccount.com",
        "private_key": pem.decode(), "token_uri": token_uri, "project_id": project,
    }  # fmt: skip
    return json.dumps(json.dumps(key_file))


def seed(vendor: int, endpoint: TokenEndpoint, accounts: int = 1) -> str:
    files = [service_account(endpoint.uri, f"demo-{number}") for number in range(accounts)]
    extra = f"""
[[providers]]
name = "google"
channel = "vertex"
settings = {{ base_url = "http://127.0.0.1:{vendor}" }}
credentials = [ {", ".join(f"{{ service_account = {one} }}" for one in files)} ]
"""
    return rig.seed(vendor, extra)


def ask(gateway: rig.Gateway) -> int:
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    status, _, _ = gateway.request("POST", "/google/v1beta/models/sim-model:generateContent", body)
    return status


def test_one_token_serves_all(folder: Path, vendor: rig.Vendor, endpoint: TokenEndpoint) -> None:
    with rig.gateway(folder, seed(vendor.port, endpoint)) as gateway, ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: ask(gateway), range(40))) == {200}
        assert endpoint.asked == 1
        assert {row["outcome"] for row in gateway.rows(40)} == {"complete"}


def test_a_refused_token_is_renewed_once(folder: Path, vendor: rig.Vendor, endpoint: TokenEndpoint) -> None:
    endpoint.tokens = ["bad-one", "good"]
    with rig.gateway(folder, seed(vendor.port, endpoint)) as gateway, ThreadPoolExecutor(12) as pool:
        assert set(pool.map(lambda _: ask(gateway), range(12))) == {200}
        assert endpoint.asked == 2
        numbers = {(row["attempt_no"], row["outcome"]) for row in gateway.rows(13)}
        assert {(1, "failed"), (2, "complete")} <= numbers


def test_a_refused_grant_disables_the_credential(folder: Path, vendor: rig.Vendor, endpoint: TokenEndpoint) -> None:
    endpoint.tokens = [None]
    flags = ("--admin-api-key", ADMIN)
    with rig.gateway(folder, seed(vendor.port, endpoint), *flags) as gateway:
        assert [ask(gateway) for _ in range(3)] == [503, 503, 503]
        assert endpoint.asked == 1
        endpoint.tokens = ["good"]
        (provider,) = gateway.query("SELECT id FROM providers WHERE name = 'google'")
        (credential,) = gateway.query(f"SELECT id FROM credentials WHERE provider_id = '{provider['id']}'")
        status, _, body = gateway.request("POST", f"/admin/credentials/{credential['id']}/test", {}, key=ADMIN)
        assert (status, json.loads(body)["ok"]) == (200, True), body
        assert ask(gateway) == 200
        assert endpoint.asked == 2


def test_an_account_without_a_grant_is_passed_over(folder: Path, vendor: rig.Vendor, endpoint: TokenEndpoint) -> None:
    endpoint.tokens = [None, "good"]
    with rig.gateway(folder, seed(vendor.port, endpoint, accounts=2)) as gateway:
        assert [ask(gateway) for _ in range(3)] == [200, 200, 200]
        assert endpoint.asked == 2
        # What was never sent has no row, so the rows of a request still count from 1.
        assert [(row["attempt_no"], row["outcome"]) for row in gateway.rows(3)] == [(1, "complete")] * 3


def test_an_entra_application_on_azure(folder: Path, vendor: rig.Vendor) -> None:
    """The token comes from where it always comes from; a proxy leads there, as in a closed network."""
    authority, login = Authority(folder), "login.microsoftonline.com"
    with TokenEndpoint.running(authority.server(login)) as endpoint:
        endpoint.tokens = ["bad-one", "good"]
        endpoint.expects = {
            "grant_type": "client_credentials", "client_id": "app-7", "client_secret": "hidden-0123456789",
            "scope": "https://cognitiveservices.azure.com/.default",
        }  # fmt: skip
        door = Door({(login, 443): endpoint.server_port})
        thread = threading.Thread(target=door.serve_forever, daemon=True)
        thread.start()
        extra = f"""
[[providers]]
name = "azure"
channel = "azure_openai"
settings = {{ base_url = "http://127.0.0.1:{vendor.port}", proxy = "socks5h://127.0.0.1:{door.server_address[1]}" }}
credentials = [ {{ tenant_id = "tenant-7", client_id = "app-7", client_secret = "hidden-0123456789" }} ]
"""
        env = {"SSL_CERT_FILE": str(authority.ca_file)}
        try:
            with rig.gateway(folder, rig.seed(vendor.port, extra), env=env) as gateway:
                body = {"model": "my-deployment", "messages": [{"role": "user", "content": "hello"}]}
                for _ in range(3):
                    status, _, told = gateway.request("POST", "/azure/v1/chat/completions", body)
                    assert status == 200, told
                rows = gateway.rows(4)
        finally:
            door.shutdown()
            door.server_close()
            thread.join()
    assert endpoint.paths == {"/tenant-7/oauth2/v2.0/token"}
    assert endpoint.asked == 2, "the first token was refused and renewed, the second served all"
    assert sorted((row["attempt_no"], row["outcome"]) for row in rows) == [
        (1, "complete"),
        (1, "complete"),
        (1, "failed"),
        (2, "complete"),
    ]
    assert door.went == {(login, 443), ("127.0.0.1", vendor.port)}
