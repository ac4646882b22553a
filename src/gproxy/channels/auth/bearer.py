"""`Authorization: Bearer <key>`, what most vendors use. A keyless credential sends no header."""

from __future__ import annotations

from gproxy.channels.auth.scheme import Draft, Fields, Scheme, Token, bearer_header, secret_of
from gproxy.channels.vendor import AuthScheme


def _sign(draft: Draft, _scheme: AuthScheme, fields: Fields, _now_us: int, _token: Token | None) -> None:
    key = secret_of(fields, "api_key")
    if key:
        draft.headers.append(bearer_header(key))


SCHEME = Scheme(_sign, steady=True)
