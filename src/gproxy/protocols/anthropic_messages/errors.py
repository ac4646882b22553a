"""Errors as Anthropic writes them, and reading them.

`{"type": "error", "error": {"type", "message"}, "request_id"}`; in a stream the same object as `event: error`.
The dialect has no code, so ours stands beside the type, where SDKs carry unknown fields along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.errors import Kind
from gproxy.protocols.complaints import read as decode
from gproxy.wire import sse
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

__all__ = ["broken_stream", "decode", "render", "stream_error"]

# Anthropic's own words (API docs, "Errors").
_TYPES: Final = {
    Kind.OVERLOADED: "overloaded_error",
    Kind.DRAINING: "overloaded_error",
    Kind.NO_CREDENTIAL: "overloaded_error",
}
_TYPES_BY_STATUS: Final = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_OWN_NAMES: Final = ("_error", "_too_large")
"""How every error type of this dialect ends."""


def render(failure: Failure, *, vendor: VendorError | None = None, request_id: str | None = None) -> bytes:
    """The error body for a failure. `vendor`: the vendor's own complaint, whose names are kept when it is passed on."""
    status = failure.status
    kind = _TYPES.get(failure.kind) or _TYPES_BY_STATUS.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "api_error"
    error: dict[str, Any] = {
        "type": (_own_name(vendor) if vendor else None) or kind,
        "message": failure.text,
        "code": (vendor.code if vendor else None) or failure.kind.value,
    }
    body: dict[str, Any] = {"type": "error", "error": error}
    if request_id is not None:
        body["request_id"] = request_id
    return dumps(body)


def stream_error(failure: Failure, *, vendor: VendorError | None = None, request_id: str | None = None) -> bytes:
    """The last frame of a stream that has begun and cannot go on."""
    return sse.encode(render(failure, vendor=vendor, request_id=request_id), "error")


def broken_stream(error: VendorError) -> bytes:
    """The last frame of a stream whose vendor failed after it had begun."""
    kind = _own_name(error) or _TYPES_BY_STATUS.get(error.status or 500, "api_error")
    fields = {"type": kind, "message": error.message, "code": error.code or Kind.UPSTREAM_ERROR.value}
    return sse.encode(dumps({"type": "error", "error": fields}), "error")


def _own_name(vendor: VendorError) -> str | None:
    return vendor.type if vendor.type and vendor.type.endswith(_OWN_NAMES) else None
