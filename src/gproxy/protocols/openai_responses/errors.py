"""Errors as the Responses API writes them, and reading them.

A body is OpenAI's usual `{"error": {…}}`. In a stream it is `event: error`; the API's description has the fields
at the top, the service sends them under `error`, and the SDKs raise on the latter: both are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.errors import Kind
from gproxy.protocols import complaints
from gproxy.wire import sse
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

_TYPES: Final = {
    Kind.QUOTA_EXCEEDED: "insufficient_quota",
    Kind.INVALID_API_KEY: "authentication_error",
    Kind.FORBIDDEN: "permission_error",
}
_TYPES_BY_STATUS: Final = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}


def render(failure: Failure, *, vendor: VendorError | None = None) -> bytes:
    """The error body for a failure. `vendor`: the vendor's own complaint, whose names are kept when it is passed on."""
    return dumps({"error": told(failure, vendor)})


def stream_error(failure: Failure, *, vendor: VendorError | None = None, sequence_number: int = 0) -> bytes:
    """The last frame of a stream that has begun and cannot go on."""
    error = told(failure, vendor)
    body: dict[str, Any] = {
        "type": "error",
        "sequence_number": sequence_number,
        "code": error["code"],
        "message": error["message"],
        "param": error["param"],
        "error": error,
    }
    return sse.encode(dumps(body), "error")


def decode(body: bytes) -> VendorError:
    """A vendor's error body taken apart; never fails."""
    return complaints.read(body)


def told(failure: Failure, vendor: VendorError | None = None) -> dict[str, str | None]:
    """The error object."""
    status = failure.status
    kind = _TYPES.get(failure.kind) or _TYPES_BY_STATUS.get(status)
    if kind is None:
        kind = "invalid_request_error" if status < 500 else "server_error"
    return {
        "message": failure.text,
        "type": (vendor.type if vendor else None) or kind,
        "param": failure.param or (vendor.param if vendor else None),
        "code": (vendor.code if vendor else None) or failure.kind.value,
    }
