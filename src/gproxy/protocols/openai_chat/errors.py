"""Errors as OpenAI writes them, and reading them.

`{"error": {"message", "type", "param", "code"}}`; in a stream the same object as one `data` frame, on which the
official SDKs raise. No `[DONE]` follows it: that would tell a careless client that the answer is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gproxy.protocols.complaints import read as decode
from gproxy.protocols.openai_error import render
from gproxy.wire import sse

if TYPE_CHECKING:
    from gproxy.canonical.failure import VendorError
    from gproxy.errors import Failure

__all__ = ["decode", "render", "stream_error"]


def stream_error(failure: Failure, *, vendor: VendorError | None = None) -> bytes:
    """The last frame of a stream that has begun and cannot go on."""
    return sse.encode(render(failure, vendor=vendor))
