"""The error object that OpenAI's APIs share: `{"message", "type", "param", "code"}`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gproxy.errors import Kind
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

# OpenAI's own words where it has them (platform docs, "Error codes").
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
