"""What a channel's catalog file says, as values. One instance per file, made by `loader`.

Nothing here reads files, knows a dialect's bodies or touches the network. A provider's own settings are laid
over a `Vendor` by `overrides.resolve`, which returns another `Vendor`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from gproxy.canonical.operation import Dialect, Operation


class Support(StrEnum):
    """How a channel serves an operation in a dialect."""

    NATIVE = "native"
    TRANSLATE = "translate"
    LOCAL = "local"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class AuthScheme:
    """How requests are signed: `kind` names a scheme of `channels.auth`, `params` are its settings."""

    kind: str
    params: tuple[tuple[str, str], ...] = ()

    def param(self, name: str, default: str = "") -> str:
        """One setting of the scheme."""
        return next((value for key, value in self.params if key == name), default)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an operation of a dialect lives at this vendor.

    `path` is appended to the provider's base path; `{model}` in it is replaced by the percent-encoded upstream
    model name, any other `{name}` by the provider's setting or the credential's public field of that name.
    `query` is a fixed query string without `?`; the same placeholders work there.
    """

    operation: Operation
    dialect: Dialect
    support: Support
    method: str = "POST"
    path: str = ""
    query: str = ""
    to: Dialect | None = None
    """With `support = translate`: the dialect to translate to."""
    batch_path: str = ""
    """Where the batch form of the operation lives, when it has a path of its own (Gemini's embeddings)."""
    auth: AuthScheme | None = None
    """Signs this endpoint instead of the vendor's own scheme."""
    quirks: tuple[str, ...] = ()
    """Body functions of `quirks`, in order, for requests to this endpoint."""
    set_headers: tuple[tuple[bytes, bytes], ...] = ()
    """Like the vendor's, for this endpoint only."""
    framing: str = "sse"
    """How a stream is framed on the wire: `sse` or `eventstream` (AWS)."""


EndpointTable: TypeAlias = dict[tuple[Operation, Dialect], Endpoint]


@dataclass(frozen=True, slots=True)
class VerdictRule:
    """One line of the table that turns an upstream answer into a verdict; the first match wins.

    `status` is an exact code or a class (`5xx`). `code` matches the structured error's `code`, `type` or one of
    its `reasons` exactly. `message_prefix` is for the rare vendor whose structured fields do not tell a bad key
    from a bad request. `rest` is how long to stay away, in seconds, when the vendor does not say.
    """

    status: str
    verdict: str
    code: str | None = None
    message_prefix: str | None = None
    rest: float | None = None


@dataclass(frozen=True, slots=True)
class LimitHeader:
    """A pair of headers by which a vendor tells what is left and when it is full again.

    `form` says how `reset` is written: `duration` (`6m0s`, `120ms`), `seconds`, `rfc3339`, `epoch_ms`, `epoch_s`.
    """

    remaining: bytes
    reset: bytes
    form: str


@dataclass(frozen=True, slots=True)
class Variant:
    """Endpoints that differ for some models (`models` globs) or when a provider has a setting (`setting`)."""

    endpoints: EndpointTable
    models: re.Pattern[str] | None = None
    globs: tuple[str, ...] = ()
    setting: str | None = None


@dataclass(frozen=True, slots=True)
class Vendor:
    """One channel."""

    name: str
    label: str
    base_url: str
    auth: AuthScheme
    endpoints: EndpointTable
    forward_headers: frozenset[bytes]
    """Request headers of the caller that may travel on, in lower case."""
    set_headers: tuple[tuple[bytes, bytes], ...]
    """Headers every request to this vendor carries unless the caller's own (forwarded) one is there."""
    verdicts: tuple[VerdictRule, ...]
    quirks: tuple[str, ...]
    """Every quirk any of its endpoints uses."""
    prices: str | None
    """The vendor id in the bundled price data."""
    docs: str = ""
    """The vendor's own page, for operators."""
    base_path: str = ""
    """A path every base URL of this vendor ends with; added when an operator leaves it out."""
    limits: tuple[LimitHeader, ...] = ()
    variants: tuple[Variant, ...] = ()
    needs: tuple[str, ...] = ()
    """Settings without which a provider of this channel cannot work."""
    defaults: tuple[tuple[str, str], ...] = ()
    """Values of placeholders when neither settings nor credential give one."""
    keyless: bool = False
    """Whether a credential may be empty (a self-hosted engine without a key)."""
    asks_usage: bool = True
    """Whether this vendor accepts `stream_options.include_usage` (it reports usage unasked where not)."""
    custom_tools: bool = False
    """Whether its chat completions have tools of type `custom`, which take free text; most servers know only functions."""
    keeps_responses: bool = False
    """Whether its Responses API keeps answers (`store`, `previous_response_id`); where not, the gateway does."""
    files_path: str = ""
    """Where the vendor's files live, or nothing."""
    error_header: bytes = b""
    """The response header in which this vendor names an error, or nothing."""
    betas: tuple[str, ...] = ()
    """Values that are always in `anthropic-beta`, beside the caller's own."""

    def endpoint(self, operation: Operation, dialect: Dialect, model: str | None = None) -> Endpoint | None:
        """The entry for an operation in a dialect, for one upstream model; None means unsupported."""
        found = None
        if model is not None and self.variants:
            for variant in self.variants:
                if variant.models is not None and variant.models.match(model):
                    found = variant.endpoints.get((operation, dialect))
                    if found is not None:
                        break
        if found is None:
            found = self.endpoints.get((operation, dialect))
        return None if found is None or found.support is Support.UNSUPPORTED else found

    def speaks(self, operation: Operation = Operation.GENERATE, model: str | None = None) -> tuple[Dialect, ...]:
        """The dialects this channel serves natively for an operation."""
        found = (self.endpoint(operation, dialect, model) for dialect in Dialect)
        return tuple(entry.dialect for entry in found if entry is not None and entry.support is Support.NATIVE)
