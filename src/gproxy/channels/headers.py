"""Which header names may never travel, whatever a catalog file or a provider's settings say."""

from __future__ import annotations

import re
from typing import Final

from gproxy.wire.http import HOP_BY_HOP

CREDENTIALS: Final = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"x-amz-security-token",
        b"cookie",
        b"set-cookie",
    }
)
"""What a caller proves itself with. It is ours to read and never the vendor's."""

FRAMING: Final = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-encoding",
    b"content-type",
    b"accept-encoding",
    b"expect",
}
"""What describes the body and the connection: the transport's and the request builder's business."""

_FORWARDING: Final = re.compile(rb"forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|cf-.*|x-gproxy-.*")
TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
"""A header name in lower case (RFC 9110 section 5.6.2)."""
VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
"""A header value without CR, LF, NUL or other control characters (RFC 9110 section 5.5)."""


def may_forward(name: bytes) -> bool:
    """Whether a caller's header of this name may be put on a forward list at all."""
    return name not in CREDENTIALS and name not in FRAMING and _FORWARDING.fullmatch(name) is None


def may_set(name: bytes) -> bool:
    """Whether an operator may set a header of this name. Secrets belong into credentials, not into settings."""
    return may_forward(name) and TOKEN.fullmatch(name) is not None
