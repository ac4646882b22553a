"""What can go wrong, as values.

    caller's fault ───────────┐
    vendor's fault ───────────┼──►  Failure(kind, text, …)  ──►  ingress/reply.py  ──►  status + body in the caller's dialect
    gateway's state ──────────┘

`Failure` is what a caller is told. `UpstreamFault` is what the network did to one attempt: the pipeline
decides from it whether to try again and which `Failure` remains. Nothing here knows HTTP bodies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The stable codes of the public API; the value is the `code` callers see."""

    INVALID_REQUEST = "invalid_request"
    INVALID_API_KEY = "invalid_api_key"
    QUOTA_EXCEEDED = "quota_exceeded"
    FORBIDDEN = "forbidden"
    MODEL_NOT_FOUND = "model_not_found"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UPGRADE_REQUIRED = "upgrade_required"
    RATE_LIMITED = "rate_limited"
    HEADERS_TOO_LARGE = "headers_too_large"
    UPSTREAM_RATE_LIMITED = "upstream_rate_limited"
    INTERNAL = "internal_error"
    UNSUPPORTED = "unsupported"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    NO_CREDENTIAL = "no_credential"
    LEDGER_UNAVAILABLE = "ledger_unavailable"


STATUS: Final[dict[Kind, int]] = {
    Kind.INVALID_REQUEST: 400,
    Kind.INVALID_API_KEY: 401,
    Kind.QUOTA_EXCEEDED: 402,
    Kind.FORBIDDEN: 403,
    Kind.MODEL_NOT_FOUND: 404,
    Kind.NOT_FOUND: 404,
    Kind.METHOD_NOT_ALLOWED: 405,
    Kind.REQUEST_TIMEOUT: 408,
    Kind.PAYLOAD_TOO_LARGE: 413,
    Kind.UNSUPPORTED_MEDIA_TYPE: 415,
    Kind.UPGRADE_REQUIRED: 426,
    Kind.RATE_LIMITED: 429,
    Kind.UPSTREAM_RATE_LIMITED: 429,
    Kind.HEADERS_TOO_LARGE: 431,
    Kind.INTERNAL: 500,
    Kind.UNSUPPORTED: 501,
    Kind.UPSTREAM_ERROR: 502,
    Kind.OVERLOADED: 503,
    Kind.DRAINING: 503,
    Kind.NO_CREDENTIAL: 503,
    Kind.LEDGER_UNAVAILABLE: 503,
    Kind.UPSTREAM_TIMEOUT: 504,
}


class Blame(StrEnum):
    """Whose fault a failure is; decides the log level and who is asked to act."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


_UPSTREAM_KINDS: Final = frozenset({Kind.UPSTREAM_ERROR, Kind.UPSTREAM_TIMEOUT, Kind.UPSTREAM_RATE_LIMITED})
_GATEWAY_KINDS: Final = frozenset(
    {Kind.INTERNAL, Kind.OVERLOADED, Kind.DRAINING, Kind.NO_CREDENTIAL, Kind.LEDGER_UNAVAILABLE}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A refusal or a fault, ready to be told to a caller in any dialect.

    `text` is public: it names the field and the fix and holds no secret. `param` is the request field at
    fault, if one is. `retry_after` is in seconds. `upstream_status` is set when a vendor's own 4xx answer is
    passed on; then it is the status the caller gets.
    """

    kind: Kind
    text: str
    param: str | None = None
    retry_after: float | None = None
    upstream_status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())
    verbatim: tuple[bytes, bytes] | None = None
    """Content type and body of a vendor's own complaint that is passed on as it is, because the caller speaks
    the vendor's dialect."""

    @property
    def status(self) -> int:
        """The HTTP status a caller sees."""
        return self.upstream_status or STATUS[self.kind]

    @property
    def blame(self) -> Blame:
        """Whose fault it is."""
        if self.kind in _UPSTREAM_KINDS:
            return Blame.UPSTREAM
        return Blame.GATEWAY if self.kind in _GATEWAY_KINDS else Blame.CLIENT


class Refused(Exception):  # noqa: N818 - it is a refusal, and often no error of ours
    """Carries a `Failure` up to the one place that answers the caller."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class ClientGone(Exception):  # noqa: N818 - it names what happened
    """The caller's connection is lost; there is nobody left to answer."""


class Phase(StrEnum):
    """Where in an upstream call something broke."""

    CONNECT = "connect"
    TLS = "tls"
    SEND = "send"
    HEAD = "head"
    BODY = "body"


class UpstreamFault(Exception):  # noqa: N818 - named for what happened to the attempt
    """The network failed one attempt.

    `reason` is a short public word or sentence (`connection refused`, `first byte timeout`, `body truncated`).
    `timeout` tells a deadline from a break. `unprocessed` is true only when it is certain that the vendor did
    not process the request (nothing was sent, or the pooled connection was already closed by the peer).
    """

    def __init__(self, phase: Phase, reason: str, *, timeout: bool = False, unprocessed: bool = False) -> None:
        super().__init__(f"{phase}: {reason}")
        self.phase = phase
        self.reason = reason
        self.timeout = timeout
        self.unprocessed = unprocessed
