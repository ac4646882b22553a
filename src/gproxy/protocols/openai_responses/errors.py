"""Errors as the Responses API writes them, and reading them.

A body is OpenAI's usual `{"error": {…}}`. In a stream it is `event: error`; the API's description has the fields
at the top, the service sends them under `error`, and the SDKs raise on the latter: both are written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.protocols.complaints import read as decode
from gproxy.protocols.openai_error import render, told
from gproxy.wire import sse
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

__all__ = ["decode", "render", "stream_error", "told"]


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
