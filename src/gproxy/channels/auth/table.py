"""Every way of signing by name. A new one is a file beside this and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gproxy.channels.auth import azure, bearer, gcp, header_key, none, query_key, sigv4
from gproxy.channels.auth.scheme import Scheme

SCHEMES: Final[Mapping[str, Scheme]] = {
    "azure": azure.SCHEME,
    "bearer": bearer.SCHEME,
    "gcp": gcp.SCHEME,
    "header_key": header_key.SCHEME,
    "none": none.SCHEME,
    "query_key": query_key.SCHEME,
    "sigv4": sigv4.SCHEME,
}
