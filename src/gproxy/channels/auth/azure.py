"""Azure: a resource key in `api-key`, or an Entra ID token for an application (client credentials).

https://learn.microsoft.com/azure/ai-services/openai/reference#authentication
https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

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
from gproxy.wire.http import Origin


def _by_token(fields: Fields) -> bool:
    return not fields.get("api_key")


def _exchange(scheme: AuthScheme, fields: Fields) -> TokenExchange:
    form = {
        "grant_type": "client_credentials",
        "client_id": secret_of(fields, "client_id"),
        "client_secret": secret_of(fields, "client_secret"),
        "scope": scheme.param("scope", "https://cognitiveservices.azure.com/.default"),
    }
    return TokenExchange(
        Origin("https", scheme.param("authority", "login.microsoftonline.com"), 443),
        f"/{quote(secret_of(fields, 'tenant_id'), safe='')}/oauth2/v2.0/token".encode("ascii"),
        ((b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json")),
        urlencode(form).encode("ascii"),
    )


def _sign(draft: Draft, scheme: AuthScheme, fields: Fields, _now_us: int, token: Token | None) -> None:
    if not _by_token(fields):
        draft.headers.append((b"api-key", secret_of(fields, "api_key").encode("latin-1")))
    elif token is None:
        raise TokenNeeded(_exchange(scheme, fields))
    else:
        draft.headers.append(bearer_header(token.value.reveal()))


SCHEME = Scheme(
    _sign,
    field_sets=(("api_key",), ("tenant_id", "client_id", "client_secret")),
    params=("scope", "authority"),
    by_token=_by_token,
)
