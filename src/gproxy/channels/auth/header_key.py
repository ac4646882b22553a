"""The key in a header of the vendor's own (`x-api-key`, `x-goog-api-key`)."""

from __future__ import annotations

from gproxy.channels.auth.scheme import Draft, Fields, Scheme, Token, secret_of
from gproxy.channels.vendor import AuthScheme


def _sign(draft: Draft, scheme: AuthScheme, fields: Fields, _now_us: int, _token: Token | None) -> None:
    key = secret_of(fields, "api_key")
    if key:
        value = scheme.param("prefix") + key
        draft.headers.append((scheme.param("header", "x-api-key").encode("ascii"), value.encode("latin-1")))


SCHEME = Scheme(_sign, params=("header", "prefix"), steady=True)
