"""Counts by duration, and the percentiles that are read from them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.ledger.latency import BOUNDS_MS, bucket_of, percentile


def test_the_bounds_rise_by_a_half_octave() -> None:
    assert BOUNDS_MS[0] == 1
    assert BOUNDS_MS[-1] >= 3600_000
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
    large = [bound for bound in BOUNDS_MS if bound > 16]
    assert all(1.35 < high / low < 1.48 for low, high in pairwise(large))


@pytest.mark.parametrize(
    ("ms", "bucket"), [(0, 0), (1, 0), (2, 1), (5, 4), (BOUNDS_MS[-1], len(BOUNDS_MS) - 1), (10**12, len(BOUNDS_MS))]
)
def test_a_duration_has_one_bucket(ms: int, bucket: int) -> None:
    assert bucket_of(ms) == bucket


def test_nothing_has_no_percentile() -> None:
    assert percentile({}, 0.5) is None
    assert percentile({3: 0}, 0.5) is None


def test_the_open_bucket_tells_its_lower_end() -> None:
    assert percentile({len(BOUNDS_MS): 4}, 0.99) == BOUNDS_MS[-1]


@given(st.lists(st.integers(10, 3_000_000), min_size=1, max_size=300), st.sampled_from((0.5, 0.9, 0.95, 0.99, 1.0)))
def test_a_percentile_is_in_the_bucket_of_the_true_one(durations: list[int], share: float) -> None:
    counts: dict[int, int] = {}
    for each in durations:
        counts[bucket_of(each)] = counts.get(bucket_of(each), 0) + 1
    true = sorted(durations)[max(0, math.ceil(share * len(durations)) - 1)]
    told = percentile(counts, share)
    assert told is not None
    bucket = bucket_of(true)
    assert (BOUNDS_MS[bucket - 1] if bucket else 0) <= told <= BOUNDS_MS[bucket]
