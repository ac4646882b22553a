"""API keys: how one is found in a request, made, and looked up. A key in clear is never a lookup key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl

from gproxy.secret import Secret
from gproxy.wire.http import Header

PREFIX: Final = "sk-gp-"
_CARRIERS: Final = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
_QUERY_LIMIT: Final = 64
_BLOCK: Final = 64
"""Bytes that SHA-256 takes at once."""


def presented_key(headers: Iterable[Header], query: str) -> Secret | None:
    """The key a request carries, or None.

    `Authorization: Bearer`, then `x-api-key`, then `x-goog-api-key`, then `?key=`; the first one that is not
    empty wins.
    """
    bearer = api_key = goog = b""
    for name, value in headers:
        if name not in _CARRIERS:
            continue
        if name == b"authorization":
            if not bearer and value[:7].lower() == b"bearer ":
                bearer = value[7:].strip()
        elif name == b"x-api-key":
            api_key = api_key or value.strip()
        else:
            goog = goog or value.strip()
    found = bearer or api_key or goog
    if found:
        return Secret(found.decode("latin-1"))
    if "key=" in query:
        try:
            fields = parse_qsl(query, max_num_fields=_QUERY_LIMIT)
        except ValueError:  # more fields than any client sends: whatever it is, it is not a key
            return None
        for field, text in fields:
            if field == "key" and text:
                return Secret(text)
    return None


def digest_of(key: Secret, digest_key: bytes) -> bytes:
    """HMAC-SHA256 of the key: what is stored and looked up.

    Keyed, because a digest table must be useless without the installation's own key; not a password hash,
    because API keys are long random strings and this runs on every request. Two keys share a digest only if
    HMAC-SHA256 collides, so a dictionary lookup by digest leaks nothing about how much of a guess was right.
    """
    inner, outer = _begun(digest_key)
    digest = inner.copy()
    digest.update(key.reveal().encode("utf-8", "surrogatepass"))
    whole = outer.copy()
    whole.update(digest.digest())
    return whole.digest()


@lru_cache(maxsize=8)
def _begun(digest_key: bytes) -> tuple[hashlib._Hash, hashlib._Hash]:
    """The two hashes of an HMAC (RFC 2104 section 2) after the key went in: with them a digest takes a third of the time."""
    if len(digest_key) > _BLOCK:
        digest_key = hashlib.sha256(digest_key).digest()
    padded = digest_key.ljust(_BLOCK, b"\0")
    return hashlib.sha256(bytes(byte ^ 0x36 for byte in padded)), hashlib.sha256(bytes(byte ^ 0x5C for byte in padded))


def new_key(noise: bytes) -> Secret:
    """A fresh key from at least 24 random bytes: a prefix people and secret scanners recognise, then hex."""
    if len(noise) < 24:
        raise ValueError("an API key needs at least 24 random bytes")
    return Secret(PREFIX + noise.hex())
