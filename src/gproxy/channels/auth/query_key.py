"""The key in the query string (`?key=`). Only for vendors that take it nowhere else: URLs end up in logs."""

from __future__ import annotations

from urllib.parse import quote

from gproxy.channels.auth.scheme import Draft, Fields, Scheme, Token, secret_of
from gproxy.channels.vendor import AuthScheme


def _sign(draft: Draft, scheme: AuthScheme, fields: Fields, _now_us: int, _token: Token | None) -> None:
    key = secret_of(fields, "api_key")
    if key:
        pair = f"{scheme.param('parameter', 'key')}={quote(key, safe='')}".encode("ascii")
        draft.query = draft.query + b"&" + pair if draft.query else pair


SCHEME = Scheme(_sign, params=("parameter",))
