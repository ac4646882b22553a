"""How long answers took, as counts by duration: small enough to be kept for ever, and they add up.

A percentile of an hour cannot be made from percentiles of its minutes, but from counts it can. The bounds are a
factor of the square root of two apart, so that a percentile read from them is off by a few per cent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

BOUNDS_MS: Final = tuple(sorted({round(2 ** (half / 2)) for half in range(45)}))
"""Upper ends of the buckets, milliseconds: 1 ms to 70 minutes. What took longer is in one more bucket."""


def bucket_of(ms: int) -> int:
    """The number of the bucket that a duration (milliseconds) falls into."""
    return bisect_left(BOUNDS_MS, ms)


def percentile(counts: Mapping[int, int], share: float) -> int | None:
    """The duration (milliseconds) within which this share (0 to 1) of the counted answers came; None of none.

    Inside a bucket durations are taken to be spread evenly; of the last, open bucket the lower end is told.
    """
    whole = sum(counts.values())
    if not whole:
        return None
    wanted, seen = share * whole, 0
    for bucket in sorted(counts):
        held = counts[bucket]
        if held and seen + held >= wanted:
            low = BOUNDS_MS[bucket - 1] if bucket else 0
            high = BOUNDS_MS[bucket] if bucket < len(BOUNDS_MS) else low
            return round(low + (high - low) * (wanted - seen) / held)
        seen += held
    return BOUNDS_MS[-1]
