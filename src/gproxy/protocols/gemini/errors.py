"""Errors as Google writes them, and reading them.

`{"error": {"code", "message", "status", "details"}}` (google.rpc.Status); our stable code is the reason of an
`ErrorInfo` detail. In a stream it is one more frame or array element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.protocols import complaints
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

# google.rpc.Code by HTTP status (google/rpc/code.proto).
_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def render(failure: Failure, *, vendor: VendorError | None = None) -> bytes:
    """The error body for a failure. `vendor`: the vendor's own complaint, whose names are kept when it is passed on."""
    return dumps({"error": _error(failure, vendor)})


def stream_error(failure: Failure, *, vendor: VendorError | None = None, array: bool = False) -> bytes:
    """The last frame of a stream that has begun and cannot go on.

    `array`: the stream is a JSON array with at least one element already written; the array is closed.
    """
    body = render(failure, vendor=vendor)
    return b",\n" + body + b"\n]" if array else b"data: " + body + b"\r\n\r\n"


def decode(body: bytes) -> VendorError:
    """A vendor's error body taken apart; never fails."""
    return complaints.read(body)


def _error(failure: Failure, vendor: VendorError | None) -> dict[str, Any]:
    status = failure.status
    name = _STATUSES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    reason = (vendor.code or vendor.type if vendor else None) or failure.kind.value
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "gproxy"}
    ]
    if failure.param:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": failure.param, "description": failure.text}],
            }
        )
    if failure.retry_after is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{failure.retry_after:g}s"})
    return {"code": status, "message": failure.text, "status": name, "details": details}
