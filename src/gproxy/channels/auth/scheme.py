"""The port every way of signing keeps: what it gets, what it may change, what it may ask for.

A signer is a pure function over a `Draft`. It gets the secrets, reveals them into headers or the query, and
nothing else. Signing that needs a token from a third place says so: `TokenNeeded` holds the request that would
fetch one; the caller sends it, keeps the token, and passes it in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from gproxy.channels.vendor import AuthScheme
from gproxy.secret import Secret
from gproxy.wire.http import Header, Origin

Fields: TypeAlias = Mapping[str, Secret]


class Draft(msgspec.Struct):
    """A request about to be signed. `path` and `query` are as on the wire, `query` without its `?`."""

    method: bytes
    origin: Origin
    path: bytes
    query: bytes
    headers: list[Header]
    body: bytes

    def __repr__(self) -> str:
        return f"Draft({self.method!r}, {self.origin!r})"  # everything else may hold a secret or a prompt


@dataclass(frozen=True, slots=True)
class Token:
    """A fetched access token. `expires_at_us` is microseconds since the epoch."""

    value: Secret
    expires_at_us: int

    def fresh(self, now_us: int, margin_s: float = 300) -> bool:
        """Whether it may still be used; it counts as spent `margin_s` seconds early, so that no call meets its end."""
        return now_us + int(margin_s * 1_000_000) < self.expires_at_us


@dataclass(frozen=True, slots=True)
class TokenExchange:
    """The request that fetches a token. The body holds secrets: it is never logged."""

    origin: Origin
    target: bytes
    headers: tuple[Header, ...]
    body: bytes


class TokenNeeded(Exception):  # noqa: N818 - a request for something, not an error
    """Signing cannot go on without a token: send `exchange`, read it with `tokens.read_token`, come again."""

    def __init__(self, exchange: TokenExchange) -> None:
        super().__init__("a token is needed")
        self.exchange = exchange


Sign: TypeAlias = Callable[[Draft, AuthScheme, Fields, int, Token | None], None]
"""(draft, scheme, fields, now in microseconds since the epoch, token) → the draft is changed in place."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way of signing.

    `field_sets` are the sets of secret fields it accepts, the first being the usual one; `optional` fields may
    come with any of them.
    """

    sign: Sign
    field_sets: tuple[tuple[str, ...], ...] = (("api_key",),)
    optional: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    """The settings it knows, for the loader's complaints."""
    steady: bool = False
    """Whether what it writes depends on the credential alone and goes into headers: then it is written once."""
    by_token: Callable[[Fields], bool] = lambda _fields: False
    """Whether a credential signs with a token from a third place, so that a new one may cure a refusal."""


def secret_of(fields: Fields, name: str) -> str:
    """Reveal one field; an absent one is empty. This is where secrets leave their type."""
    value = fields.get(name)
    return "" if value is None else value.reveal()


def bearer_header(value: str) -> Header:
    """`Authorization: Bearer …` (RFC 6750 section 2.1)."""
    return b"authorization", b"Bearer " + value.encode("latin-1")
