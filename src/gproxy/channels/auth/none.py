"""No signature at all: engines on the operator's own network."""

from __future__ import annotations

from gproxy.channels.auth.scheme import Draft, Fields, Scheme, Token
from gproxy.channels.vendor import AuthScheme


def _sign(_draft: Draft, _scheme: AuthScheme, _fields: Fields, _now_us: int, _token: Token | None) -> None:
    return


SCHEME = Scheme(_sign, field_sets=((),), optional=("api_key",), steady=True)
