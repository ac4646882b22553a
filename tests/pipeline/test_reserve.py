"""What a refusal says, and what the headers tell."""

from __future__ import annotations

from gproxy.access.counters import Grant, MemoryCounters
from gproxy.access.limits import Claim, Counted, Exceeded, Standing, Windows
from gproxy.access.quotas import Reservation
from gproxy.clock import SystemClock
from gproxy.errors import Kind
from gproxy.pipeline.reserve import Granted, _too_dear, _too_often, limit_headers
from gproxy.wire.http import Header


def claim(dimension: str, limit: int, cost: int = 1, *, row: str = "r", length: float = 60.0) -> Claim:
    return Claim(row, dimension, length, limit, cost)


def found(headers: list[Header] | tuple[Header, ...]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}


def test_the_tightest_row_of_each_kind_is_told() -> None:
    told = found(
        limit_headers(
            [
                Standing(claim("rpm", 60), 10, 12.5),
                Standing(claim("rpd", 100), 3, 86_400.0),
                Standing(claim("total_tokens", 5_000), 4_000, 0.0001),
                Standing(claim("total_tokens", 9_000), 3_999, 3_600.25),
            ]
        )
    )
    assert told == {
        "x-ratelimit-limit-requests": "100",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "86400s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "3999",
        "x-ratelimit-reset-tokens": "3600.25s",
    }
    assert limit_headers([]) == []


def test_a_rate_limit_says_which_and_when_there_is_room() -> None:
    rpm = claim("rpm", 5)
    failure = _too_often(Exceeded(rpm, 41.2, (Standing(rpm, 0, 60.0),)))
    assert failure.kind is Kind.RATE_LIMITED
    assert failure.text == "rate limit reached: 5 requests per minute; there is room again in 42 s"
    assert (found(failure.headers)["x-gproxy-limit"], failure.retry_after) == ("rpm", 41.2)
    day = _too_often(Exceeded(claim("total_tokens", 5_000, 6_000, length=7_200.0), 7_200.0, ()))
    assert day.text == "rate limit reached: 5000 tokens per 2 hours; this request alone could take 6000"
    week = _too_often(Exceeded(claim("total_tokens", 5_000, 10, length=86_400.0), 1.0, ()))
    assert "5000 tokens per day" in week.text


def test_a_short_budget_says_what_it_would_cost_and_what_is_left() -> None:
    failure = _too_dear(12_300_000, 4_000_000)
    assert failure.kind is Kind.QUOTA_EXCEEDED
    assert "up to 0.0123 USD and 0.004 USD of the budget is left" in failure.text
    assert found(failure.headers) == {"x-gproxy-limit": "quota", "x-gproxy-quota-remaining": "0.004"}


def granted(windows: Windows, *claims: Claim) -> Granted:
    counted = windows.count(claims, 0.0)
    assert isinstance(counted, Counted)
    return Granted(MemoryCounters(SystemClock), Grant(Reservation("u", 0), counted), None, None, None)


def test_headers_follow_the_request_to_its_end() -> None:
    windows = Windows()
    admission = granted(windows, claim("rpm", 5), claim("total_tokens", 1_000, 300))
    assert found(admission.headers())["x-ratelimit-remaining-tokens"] == "700"
    assert found(admission.headers(20))["x-ratelimit-remaining-tokens"] == "980"
    admission.finish(0)
    given_back = found(admission.headers(0))
    assert (given_back["x-ratelimit-remaining-tokens"], given_back["x-ratelimit-remaining-requests"]) == ("1000", "5")
    assert "x-gproxy-quota-remaining" not in found(admission.receipt())
