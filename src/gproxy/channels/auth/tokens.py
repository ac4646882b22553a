"""Reading what a token endpoint answered, and whether a credential needs a token at all."""

from __future__ import annotations

import msgspec

from gproxy.channels.auth.scheme import Fields, Token
from gproxy.channels.auth.table import SCHEMES
from gproxy.channels.vendor import AuthScheme
from gproxy.secret import Secret


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int | str = 3600


def read_token(body: bytes, now_us: int) -> Token:
    """The token in a token endpoint's 200 answer (RFC 6749 section 5.1). Raises `ValueError`."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        lifetime = int(answer.expires_in)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError("the token endpoint's answer holds no token") from error
    if not answer.access_token or lifetime <= 0:
        raise ValueError("the token endpoint's answer holds no token")
    return Token(Secret(answer.access_token), now_us + lifetime * 1_000_000)


def refreshable(scheme: AuthScheme, fields: Fields) -> bool:
    """Whether a 401 may be cured by fetching a new token."""
    return SCHEMES[scheme.kind].by_token(fields)
