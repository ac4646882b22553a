"""AWS Signature Version 4, and Bedrock's own API keys (a plain bearer).

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
Written here because the whole of it is smaller than a dependency would be; proven against AWS's published
vectors and against botocore's signatures (tests/channels/auth/test_sigv4.py).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from gproxy.channels.auth.scheme import Draft, Fields, Scheme, Token, bearer_header, secret_of
from gproxy.channels.vendor import AuthScheme
from gproxy.wire.http import Header

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
# Headers that a hop in between may change, and that AWS's own signers leave out.
_UNSIGNED: Final = frozenset({b"authorization", b"connection", b"expect", b"user-agent", b"x-amzn-trace-id"})


def canonical_request(draft: Draft, headers: Iterable[Header]) -> tuple[str, str]:
    """The canonical request and the list of signed header names. Only S3 would not encode the path twice."""
    folded: dict[str, list[str]] = {}
    for name, value in headers:
        if name not in _UNSIGNED:
            folded.setdefault(name.decode("latin-1").lower(), []).append(" ".join(value.decode("latin-1").split()))
    names = sorted(folded)
    signed = ";".join(names)
    lines = [
        draft.method.decode("ascii"),
        quote(_normal_path(draft.path.decode("ascii")), safe="/-_.~"),
        _canonical_query(draft.query.decode("ascii")),
        *(f"{name}:{','.join(folded[name])}" for name in names),
        "",
        signed,
        hashlib.sha256(draft.body).hexdigest(),
    ]
    return "\n".join(lines), signed


def _normal_path(path: str) -> str:
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            if kept:
                kept.pop()
        elif segment not in {"", "."}:
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _canonical_query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    encoded = sorted((_reencoded(name), _reencoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _reencoded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


def signature(secret: str, stamp: str, region: str, service: str, canonical: str) -> tuple[str, str]:
    """The credential scope and the hex signature of a canonical request. `stamp` is `YYYYMMDDTHHMMSSZ`."""
    day = stamp[:8]
    scope = f"{day}/{region}/{service}/aws4_request"
    to_sign = "\n".join((_ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return scope, hmac.digest(key, to_sign.encode(), "sha256").hex()


def _sign(draft: Draft, scheme: AuthScheme, fields: Fields, now_us: int, _token: Token | None) -> None:
    key = secret_of(fields, "api_key")
    if key:
        draft.headers.append(bearer_header(key))
        return
    stamp = datetime.fromtimestamp(now_us // 1_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
    draft.headers.append((b"x-amz-date", stamp.encode("ascii")))
    session = secret_of(fields, "session_token")
    if session:
        draft.headers.append((b"x-amz-security-token", session.encode("latin-1")))
    canonical, signed = canonical_request(draft, [(b"host", draft.origin.host_header), *draft.headers])
    scope, hexed = signature(
        secret_of(fields, "secret_access_key"), stamp, scheme.param("region"), scheme.param("service"), canonical
    )
    value = (
        f"{_ALGORITHM} Credential={secret_of(fields, 'access_key_id')}/{scope}, "
        f"SignedHeaders={signed}, Signature={hexed}"
    )
    draft.headers.append((b"authorization", value.encode("latin-1")))


SCHEME = Scheme(
    _sign,
    field_sets=(("access_key_id", "secret_access_key"), ("api_key",)),
    optional=("session_token",),
    params=("region", "service"),
)
