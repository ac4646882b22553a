"""The only place that turns a `Failure` into a status and a body, in the caller's own dialect."""

from __future__ import annotations

import math
from typing import Final

from gproxy.canonical.operation import Dialect
from gproxy.errors import Failure, Kind
from gproxy.protocols.anthropic_messages import errors as anthropic_errors
from gproxy.protocols.gemini import errors as gemini_errors
from gproxy.protocols.openai_chat import errors as openai_errors
from gproxy.wire.http import Header

# A caller that retries these only repeats the refusal; the official SDKs obey this header.
_NO_RETRY: Final = frozenset(
    {Kind.INVALID_API_KEY, Kind.QUOTA_EXCEEDED, Kind.FORBIDDEN, Kind.INVALID_REQUEST, Kind.UNSUPPORTED}
)


def dialect_of_path(path: str | None) -> Dialect:
    """The dialect a caller of this path most likely speaks; for refusals that come before routing."""
    if path is not None:
        if "/messages" in path:
            return Dialect.ANTHROPIC_MESSAGES
        if "/v1beta" in path or path.startswith("/models/") or (":" in path and "/models/" in path):
            return Dialect.GEMINI
    return Dialect.OPENAI_CHAT


def render(failure: Failure, dialect: Dialect, request_id: str) -> tuple[int, list[Header], bytes]:
    """Status, headers and body of a refusal."""
    if failure.verbatim is not None:
        content_type, body = failure.verbatim
        return failure.status, [(b"content-type", content_type), *failure.headers], body
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            body = anthropic_errors.render(failure, request_id=request_id)
        case Dialect.GEMINI:
            body = gemini_errors.render(failure)
        case _:
            body = openai_errors.render(failure)
    headers: list[Header] = [(b"content-type", b"application/json"), *failure.headers]
    if failure.kind in _NO_RETRY:
        headers.append((b"x-should-retry", b"false"))
    if failure.retry_after is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(failure.retry_after))).encode("ascii")))
    return failure.status, headers, body
