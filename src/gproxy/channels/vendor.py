"""What a channel's catalog file says, as values. One instance per file, made by `loader`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gproxy.canonical.operation import Dialect, Operation


class Support(StrEnum):
    """How a channel serves an operation in a dialect."""

    NATIVE = "native"
    TRANSLATE = "translate"
    LOCAL = "local"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an operation of a dialect lives at this vendor.

    `path` is appended to the provider's base path; `{model}` in it is replaced by the percent-encoded upstream
    model name. `query` is a fixed query string without `?`.
    """

    operation: Operation
    dialect: Dialect
    support: Support
    method: str = "POST"
    path: str = ""
    query: str = ""
    to: Dialect | None = None
    """With `support = translate`: the dialect to translate to."""


@dataclass(frozen=True, slots=True)
class AuthScheme:
    """How requests are signed: `kind` names a module of `channels.auth`, `params` are its settings."""

    kind: str
    params: tuple[tuple[str, str], ...] = ()
    secret_fields: tuple[str, ...] = ("api_key",)


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """One line of the table that turns an upstream answer into a verdict; the first match wins.

    `status` is an exact code or a class (`5xx`); `code` matches the structured error's `code` or `type` exactly.
    """

    status: str
    verdict: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Vendor:
    """One channel."""

    name: str
    label: str
    base_url: str
    auth: AuthScheme
    endpoints: dict[tuple[Operation, Dialect], Endpoint]
    forward_headers: frozenset[bytes]
    """Request headers of the caller that may travel on, in lower case."""
    set_headers: tuple[tuple[bytes, bytes], ...]
    """Headers every request to this vendor carries unless the caller's own (forwarded) one is there."""
    verdicts: tuple[VerdictRule, ...]
    quirks: tuple[str, ...]
    prices: str | None
    """The vendor id in the bundled price data."""
    docs: str = ""
    """The vendor's own page, for operators."""

    def endpoint(self, operation: Operation, dialect: Dialect) -> Endpoint | None:
        """The entry for an operation in a dialect; None means unsupported."""
        found = self.endpoints.get((operation, dialect))
        return None if found is None or found.support is Support.UNSUPPORTED else found
