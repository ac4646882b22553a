"""Reading a vendor's complaint, whatever shape it came in.

Every dialect has its own error shape, and servers that speak a dialect do not keep to it: the error is a plain
string, its code a number, the message stands under `detail` or at the top, the body is a list or is not JSON.
"""

from __future__ import annotations

import re
from typing import Any, Final

from gproxy.canonical.failure import VendorError
from gproxy.protocols.figures import part_of
from gproxy.wire.json import JsonProblem, loads_lenient

_UNREADABLE: Final = "the vendor answered with an error that has no readable text"
_LONGEST_TEXT: Final = 2000
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def read(body: bytes) -> VendorError:
    """The complaint in an error answer's body; never fails."""
    try:
        value = loads_lenient(body)
    except JsonProblem:
        return VendorError(_plain(body))
    return of_value(value) or VendorError(_UNREADABLE)


def of_value(value: Any) -> VendorError | None:
    """The complaint in a decoded body or stream frame; None when it does not look like one."""
    if isinstance(value, list):
        return of_value(value[0]) if value else None
    if isinstance(value, str):
        return VendorError(value) if value else None
    if not isinstance(value, dict):
        return None
    inner = value.get("error")
    source = inner if isinstance(inner, dict) else value
    message = _message(inner if isinstance(inner, str) else source)
    if message is None and not isinstance(inner, dict):
        return None
    code = source.get("code")
    return VendorError(
        message=message or _text(source.get("type")) or _text(code) or _UNREADABLE,
        type=_text(source.get("type")) or _text(source.get("status")),
        code=_text(code),
        param=_text(source.get("param")),
        status=_status(code, source.get("status_code"), source.get("status")),
        retry_after=_retry_delay(source.get("details")),
        reasons=_reasons(source.get("details")),
    )


def _message(source: Any) -> str | None:
    if isinstance(source, str):
        return source or None
    for key in ("message", "detail", "error_description", "msg", "Message"):
        found = source.get(key)
        if isinstance(found, list):
            # FastAPI's list of field errors.
            found = "; ".join(filter(None, (_text(part_of(item, "msg")) for item in found)))
        if isinstance(found, dict):
            found = _message(found)
        if isinstance(found, str) and found:
            return _with_origin(found, source)
    return None


def _with_origin(message: str, source: dict[str, Any]) -> str:
    """OpenRouter says "Provider returned error" and puts the provider's own body, as text, under `metadata.raw`."""
    raw = part_of(source.get("metadata"), "raw")
    if not isinstance(raw, str) or not raw:
        return message
    inner = read(raw.encode(errors="replace"))
    return message if inner.message == _UNREADABLE else f"{message}: {inner.message}"


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def _status(*values: Any) -> int | None:
    for value in values:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)  # noqa: PLW2901 - the same figure, read
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None


def _retry_delay(details: Any) -> float | None:
    """Google's `RetryInfo.retryDelay` ("29s"), a protobuf duration."""
    for detail in details if isinstance(details, list) else ():
        delay = part_of(detail, "retryDelay")
        found = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if found:
            return float(found.group(1))
    return None


def _reasons(details: Any) -> tuple[str, ...]:
    """Google's `ErrorInfo.reason`."""
    found = (part_of(detail, "reason") for detail in (details if isinstance(details, list) else ()))
    return tuple(reason for reason in found if isinstance(reason, str) and reason)


def _plain(body: bytes) -> str:
    text = body[: 2 * _LONGEST_TEXT].decode(errors="replace").strip()
    if not text or text.startswith("<"):
        return _UNREADABLE
    return text[:_LONGEST_TEXT]
