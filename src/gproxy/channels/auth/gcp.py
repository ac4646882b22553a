"""Google Cloud service accounts: a signed assertion is exchanged for an access token (RFC 7523, RS256).

https://developers.google.com/identity/protocols/oauth2/service-account
A credential holds the service account's JSON key file as one field, or its parts as fields of their own.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from gproxy.channels.address import parse_base_url
from gproxy.channels.auth.scheme import (
    Draft,
    Fields,
    Scheme,
    Token,
    TokenExchange,
    TokenNeeded,
    bearer_header,
    secret_of,
)
from gproxy.channels.vendor import AuthScheme

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
LIFETIME_S: Final = 3600  # the longest Google grants


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """The parts of a key file that matter. The private key does not print."""

    client_email: str
    private_key: str
    private_key_id: str
    project_id: str
    token_uri: str

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


class _KeyFile(msgspec.Struct):
    client_email: str
    private_key: str
    private_key_id: str = ""
    project_id: str = ""
    token_uri: str = TOKEN_URI


def service_account(fields: Fields) -> ServiceAccount:
    """Read a credential's fields. Raises `ValueError` with a sentence that holds no secret."""
    whole = secret_of(fields, "service_account")
    if whole:
        try:
            read = msgspec.json.decode(whole, type=_KeyFile)
        except msgspec.MsgspecError as error:
            raise ValueError(f"is not a service account key file: {error}") from None
    else:
        read = _KeyFile(secret_of(fields, "client_email"), secret_of(fields, "private_key"))
        read.private_key_id = secret_of(fields, "private_key_id")
    # A key pasted through an environment variable or a form often has its line breaks spelled out.
    key = read.private_key.replace("\\n", "\n")
    return ServiceAccount(
        read.client_email,
        key,
        read.private_key_id,
        secret_of(fields, "project_id") or read.project_id,
        secret_of(fields, "token_uri") or read.token_uri,
    )


def assertion(account: ServiceAccount, now_us: int, scope: str = SCOPE) -> str:
    """The signed JWT that asks for a token, valid for an hour from `now_us`."""
    # Loaded here: one call an hour needs it, every start would pay for it.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(account.private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the private key is not a readable PEM key") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the private key of a service account is an RSA key")  # noqa: TRY004 - a bad value
    issued = now_us // 1_000_000
    header = {"alg": "RS256", "typ": "JWT"} | ({"kid": account.private_key_id} if account.private_key_id else {})
    claims = {
        "iss": account.client_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + LIFETIME_S,
    }
    signed = _b64(msgspec.json.encode(header)) + b"." + _b64(msgspec.json.encode(claims))
    return (signed + b"." + _b64(key.sign(signed, padding.PKCS1v15(), hashes.SHA256()))).decode("ascii")


def check_key(account: ServiceAccount) -> None:
    """Raises `ValueError` unless the account can sign; for the moment a credential is saved."""
    assertion(account, 0)


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _exchange(scheme: AuthScheme, fields: Fields, now_us: int) -> TokenExchange:
    account = service_account(fields)
    origin = parse_base_url(account.token_uri).origin
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": assertion(account, now_us, scheme.param("scope", SCOPE)),
    }
    return TokenExchange(
        origin,
        (urlsplit(account.token_uri).path or "/").encode("ascii"),
        ((b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")),
        urlencode(form).encode("ascii"),
    )


def _sign(draft: Draft, scheme: AuthScheme, fields: Fields, now_us: int, token: Token | None) -> None:
    if token is None:
        raise TokenNeeded(_exchange(scheme, fields, now_us))
    draft.headers.append(bearer_header(token.value.reveal()))


SCHEME = Scheme(
    _sign,
    field_sets=(("service_account",), ("client_email", "private_key")),
    optional=("project_id", "private_key_id", "client_id", "token_uri"),
    params=("scope",),
    by_token=lambda _fields: True,
)
