"""Errors as Google writes them, and reading them.

`{"error": {"code", "message", "status", "details"}}` (google.rpc.Status); our stable code is the reason of an
`ErrorInfo` detail. In a stream it is one more frame or array element.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gproxy.protocols import complaints
from gproxy.protocols.figures import part_of
from gproxy.wire.json import JsonProblem, dumps, loads_lenient

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
_NAMES: Final = frozenset(_STATUSES.values()) | {"FAILED_PRECONDITION", "OUT_OF_RANGE", "CANCELLED", "DATA_LOSS"}


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
    try:
        found = of_value(loads_lenient(body))
    except JsonProblem:
        found = None
    return found or complaints.read(body)


def of_value(value: Any) -> VendorError | None:
    """The complaint in a decoded body or chunk, with the field it blames; None when it does not look like one."""
    found = complaints.of_value(value)
    if found is None or found.param is not None:
        return found
    details = part_of(part_of(value[0] if isinstance(value, list) else value, "error"), "details")
    for detail in details if isinstance(details, list) else ():
        violations = part_of(detail, "fieldViolations")
        for violation in violations if isinstance(violations, list) else ():
            field = part_of(violation, "field")
            if isinstance(field, str) and field:
                return replace(found, param=field)
    return found


def _error(failure: Failure, vendor: VendorError | None) -> dict[str, Any]:
    status = failure.status
    name = _STATUSES.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    if vendor is not None and vendor.type in _NAMES:
        name = vendor.type
    reason = (vendor.code or vendor.type if vendor else None) or failure.kind.value
    details: list[dict[str, Any]] = [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "gproxy"}
    ]
    field = failure.param or (vendor.param if vendor else None)
    if field:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": field, "description": failure.text}],
            }
        )
    if failure.retry_after is not None:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": _duration(failure.retry_after)}
        )
    return {"code": status, "message": failure.text, "status": name, "details": details}


def _duration(seconds: float) -> str:
    """A protobuf duration: plain decimals, no exponent."""
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
