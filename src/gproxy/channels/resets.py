"""When a vendor says to come back: `retry-after` and the limit headers, in the forms they are found in.

Nonsense (negative, zero, infinite, unparsable, a date in the past) is as if it were not there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from gproxy.channels.vendor import LimitHeader
from gproxy.wire.http import Header

_NUMBER: Final = re.compile(r"\d{1,18}(?:\.\d{1,9})?")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS: Final = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)


def retry_after(headers: Sequence[Header], now_us: int) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (RFC 9110 section 10.2.3), or None."""
    by_name = {name: value for name, value in reversed(headers) if name in {b"retry-after", b"retry-after-ms"}}
    millis = _number(by_name.get(b"retry-after-ms", b"").decode("latin-1"))
    if millis is not None:
        return millis / 1000
    text = by_name.get(b"retry-after", b"").decode("latin-1").strip()
    return _number(text) or _until(_date(text), now_us)


def reset_of(limits: Sequence[LimitHeader], headers: Sequence[Header], now_us: int) -> float | None:
    """Seconds until every exhausted limit is full again; None when no header says that one is exhausted."""
    if not limits:
        return None
    by_name = {name: value.decode("latin-1").strip() for name, value in reversed(headers)}
    waits = [
        wait
        for limit in limits
        if _exhausted(by_name.get(limit.remaining))
        and (wait := _reset(by_name.get(limit.reset, ""), limit.form, now_us)) is not None
    ]
    return max(waits, default=None)


def _exhausted(remaining: str | None) -> bool:
    try:
        return remaining is not None and float(remaining) <= 0
    except ValueError:
        return False


def _reset(text: str, form: str, now_us: int) -> float | None:
    match form:
        case "duration":
            return duration(text)
        case "seconds":
            return _number(text)
        case "rfc3339":
            return _until(_rfc3339(text), now_us)
        case "epoch_ms":
            at = _number(text)
            return None if at is None else _until(at / 1000, now_us)
        case _:
            return _until(_number(text), now_us)


def duration(text: str) -> float | None:
    """`6m0s`, `120ms`, `1h2m3.5s` or bare seconds, in seconds; None for anything else and for zero."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return _number(text)
    seconds = sum(unit * float(part) for unit, part in zip(_UNITS, found.groups(), strict=True) if part)
    return seconds if seconds > 0 and math.isfinite(seconds) else None


def _number(text: str) -> float | None:
    text = text.strip()
    if not text.isascii() or _NUMBER.fullmatch(text) is None:
        return None
    value = float(text)
    return value if value > 0 else None


def _date(text: str) -> float | None:
    if not text or text[0].isdigit():
        return None
    # Loaded here: dates are rare, and the module drags half of `email` in.
    from email.utils import parsedate_to_datetime

    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def _rfc3339(text: str) -> float | None:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _until(at: float | None, now_us: int) -> float | None:
    wait = None if at is None else at - now_us / 1_000_000
    return wait if wait is not None and wait > 0 else None
