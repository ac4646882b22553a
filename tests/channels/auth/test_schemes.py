"""Each way of signing puts the secret where its vendor looks for it, and nowhere else."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from gproxy.channels.auth import gcp
from gproxy.channels.auth.scheme import Draft, Token, TokenNeeded
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.auth.tokens import read_token, refreshable
from gproxy.channels.vendor import AuthScheme
from gproxy.secret import Secret
from gproxy.wire.http import Origin

NOW_US = 1_790_000_000_000_000
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def sign(
    kind: str,
    fields: dict[str, str],
    token: Token | None = None,
    query: bytes = b"",
    params: dict[str, str] | None = None,
) -> Draft:
    draft = Draft(b"POST", Origin("https", "v.example", 443), b"/p", query, [], b"{}")
    secrets = {name: Secret(value) for name, value in fields.items()}
    SCHEMES[kind].sign(draft, AuthScheme(kind, tuple((params or {}).items())), secrets, NOW_US, token)
    return draft


@pytest.mark.parametrize(
    ("kind", "params", "expected"),
    [
        ("bearer", {}, [(b"authorization", b"Bearer k-1")]),
        ("header_key", {"header": "x-api-key"}, [(b"x-api-key", b"k-1")]),
        ("header_key", {"header": "authorization", "prefix": "Token "}, [(b"authorization", b"Token k-1")]),
        ("azure", {}, [(b"api-key", b"k-1")]),
        ("none", {}, []),
    ],
)
def test_headers(kind: str, params: dict[str, str], expected: list[tuple[bytes, bytes]]) -> None:
    assert sign(kind, {"api_key": "k-1"}, params=params).headers == expected


@pytest.mark.parametrize("kind", ["bearer", "header_key", "query_key", "none"])
def test_a_keyless_credential_adds_nothing(kind: str) -> None:
    draft = sign(kind, {})
    assert (draft.headers, draft.query) == ([], b"")


def test_query_key_is_encoded_and_appended() -> None:
    draft = sign("query_key", {"api_key": "a&b/c"}, query=b"alt=sse")
    assert (draft.query, draft.headers) == (b"alt=sse&key=a%26b%2Fc", [])


ENTRA = {"tenant_id": "t/1", "client_id": "c", "client_secret": "s&x"}


def test_entra_asks_for_a_token_and_then_uses_it() -> None:
    with pytest.raises(TokenNeeded) as asked:
        sign("azure", ENTRA)
    exchange = asked.value.exchange
    assert exchange.origin == Origin("https", "login.microsoftonline.com", 443)
    assert exchange.target == b"/t%2F1/oauth2/v2.0/token"
    form = parse_qs(exchange.body.decode())
    assert form["client_secret"] == ["s&x"]
    assert form["scope"] == ["https://cognitiveservices.azure.com/.default"]
    token = Token(Secret("tok"), NOW_US + 1)
    assert sign("azure", ENTRA, token).headers == [(b"authorization", b"Bearer tok")]


def key_file(**changes: str) -> str:
    whole = {
        "type": "service_account",
        "client_email": "a@p.iam.gserviceaccount.com",
        "private_key": PEM,
        "private_key_id": "kid-1",
        "project_id": "proj-1",
    }
    return json.dumps(whole | changes)


def test_a_service_account_signs_an_assertion_google_can_check() -> None:
    with pytest.raises(TokenNeeded) as asked:
        sign("gcp", {"service_account": key_file()})
    exchange = asked.value.exchange
    assert (exchange.origin.host, exchange.target) == ("oauth2.googleapis.com", b"/token")
    form = parse_qs(exchange.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    KEY.public_key().verify(_unb64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(_unb64(head)) == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    assert json.loads(_unb64(claims)) == {
        "iss": "a@p.iam.gserviceaccount.com",
        "scope": gcp.SCOPE,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": NOW_US // 1_000_000,
        "exp": NOW_US // 1_000_000 + 3600,
    }


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_parts_as_fields_and_spelled_out_line_breaks_work_too() -> None:
    fields = {"client_email": Secret("a@b"), "private_key": Secret(PEM.replace("\n", "\\n")), "project_id": Secret("p")}
    account = gcp.service_account(fields)
    gcp.check_key(account)
    assert (account.project_id, account.token_uri) == ("p", gcp.TOKEN_URI)
    assert PEM[30:60] not in repr(account)


def test_keys_that_cannot_sign_are_named_without_being_shown() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for bad in (other.decode(), "-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n", "canary"):
        with pytest.raises(ValueError, match="private key") as raised:
            gcp.check_key(gcp.service_account({"service_account": Secret(key_file(private_key=bad))}))
        assert "canary" not in str(raised.value)


def test_a_key_file_that_is_none_is_refused() -> None:
    for bad in ("{", "[]", '{"client_email": 1}', "canary"):
        with pytest.raises(ValueError, match="service account key file") as raised:
            gcp.service_account({"service_account": Secret(bad)})
        assert "canary" not in str(raised.value)


def test_reading_a_token() -> None:
    token = read_token(b'{"access_token":"t","expires_in":3599,"token_type":"Bearer"}', NOW_US)
    assert token.value.reveal() == "t"
    assert token.expires_at_us == NOW_US + 3_599_000_000
    assert read_token(b'{"access_token":"t","expires_in":"60"}', NOW_US).expires_at_us == NOW_US + 60_000_000
    assert token.fresh(NOW_US)
    assert not token.fresh(NOW_US + 3_300_000_000)
    for bad in (b"", b"<html>", b"{}", b'{"access_token":""}', b'{"access_token":"t","expires_in":0}'):
        with pytest.raises(ValueError, match="no token"):
            read_token(bad, NOW_US)


def test_who_can_refresh() -> None:
    def fields(*names: str) -> dict[str, Secret]:
        return {name: Secret("x") for name in names}

    assert not refreshable(AuthScheme("bearer"), fields("api_key"))
    assert not refreshable(AuthScheme("azure"), fields("api_key"))
    assert refreshable(AuthScheme("azure"), fields("tenant_id", "client_id", "client_secret"))
    assert refreshable(AuthScheme("gcp"), fields("service_account"))
