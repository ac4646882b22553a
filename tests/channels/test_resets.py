"""When to come back: seconds, dates, milliseconds, and the nonsense that is found in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.resets import duration, reset_of, retry_after
from gproxy.channels.vendor import LimitHeader

NOW_US = 1_446_534_000_000_000  # Tue, 03 Nov 2015 07:00:00 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1", 1.0),
        (b"120", 120.0),
        (b" 5 ", 5.0),
        (b"0.5", 0.5),
        (b"1000000000", 1e9),
        (b"Tue, 03 Nov 2015 07:00:30 GMT", 30.0),
        (b"Tuesday, 03-Nov-15 07:01:00 GMT", 60.0),
        (b"Tue Nov  3 07:02:00 2015", 120.0),
        (b"Tue, 03 Nov 2015 08:00:10 +0100", 10.0),
        (b"0", None),
        (b"-1", None),
        (b"-0", None),
        (b"1e9", None),
        (b"inf", None),
        (b"nan", None),
        (b"NaN", None),
        (b"0x10", None),
        (b"1,2", None),
        (b"1 2", None),
        (b"+5", None),
        (b"soon", None),
        (b"", None),
        (b"9" * 40, None),
        (b"\xd9\xa1", None),
        (b"Mon, 02 Nov 2015 07:00:00 GMT", None),
        (b"Tue, 03 Nov 2015 07:00:00 GMT", None),
        (b"Tue, 99 Nov 2015 07:00:30 GMT", None),
        (b"Tue, 03 Nov 99999 07:00:30 GMT", None),
        (b"GMT", None),
        (b"\x00", None),
    ],
)
def test_retry_after(value: bytes, expected: float | None) -> None:
    assert retry_after([(b"retry-after", value)], NOW_US) == expected


def test_milliseconds_are_more_exact_unless_they_say_nothing() -> None:
    assert retry_after([(b"retry-after", b"2"), (b"retry-after-ms", b"1500")], NOW_US) == 1.5
    assert retry_after([(b"retry-after", b"1"), (b"retry-after-ms", b"0")], NOW_US) == 1
    assert retry_after([(b"retry-after-ms", b"x")], NOW_US) is None
    assert retry_after([], NOW_US) is None


@given(st.binary(max_size=60))
def test_never_anything_but_a_positive_wait(value: bytes) -> None:
    wait = retry_after([(b"retry-after", value)], NOW_US)
    assert wait is None or 0 < wait < float("inf")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("120ms", 0.12),
        ("1h2m3.5s", 3723.5),
        ("1d", 86400.0),
        ("2m59.56s", 179.56),
        ("7.66s", 7.66),
        ("12", 12.0),
        ("0s", None),
        ("", None),
        ("s", None),
        ("-1s", None),
        ("1s1m", None),
        ("1 s", None),
        ("later", None),
    ],
)
def test_durations(text: str, expected: float | None) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("seconds", "59.7", 59.7),
        ("rfc3339", "2015-11-03T07:00:09Z", 9.0),
        ("rfc3339", "2015-11-03T07:00:09", 9.0),
        ("rfc3339", "2015-11-03T06:59:00Z", None),
        ("rfc3339", "tomorrow", None),
        ("epoch_s", "1446534030", 30.0),
        ("epoch_ms", "1446534030000", 30.0),
        ("epoch_ms", "x", None),
        ("duration", "9s", 9.0),
    ],
)
def test_reset_headers(form: str, text: str, expected: float | None) -> None:
    limits = [LimitHeader(b"left", b"reset", form)]
    assert reset_of(limits, [(b"left", b"0"), (b"reset", text.encode())], NOW_US) == expected
    assert reset_of(limits, [(b"left", b"1"), (b"reset", text.encode())], NOW_US) is None
    assert reset_of(limits, [(b"reset", text.encode())], NOW_US) is None
    assert reset_of(limits, [(b"left", b"none"), (b"reset", text.encode())], NOW_US) is None
