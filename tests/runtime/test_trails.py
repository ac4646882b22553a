"""Which requests leave a trail, and what happens when there are too many of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from gproxy.errors import Kind
from gproxy.pipeline.exchange import Exchange
from gproxy.runtime import trails as t
from gproxy.runtime.trails import Trails, share_of
from tests.pipeline.test_trail import alice, exchange, refused


def quiet(event: str, fields: Mapping[str, Any]) -> None:
    """Nobody listens."""


def served(attempts: int = 1) -> Exchange:
    x = exchange("m", alice((None, "*")))
    x.outcome, x.answered_status, x.attempts = "complete", 200, attempts
    x.provider_name, x.credential_id = "main", "one"
    return x


def kept(x: Exchange, share: str = "", dice: float = 0.5) -> bool:
    trails = Trails(lambda: dice, quiet)
    trails.set({"trail_share": share})
    trails.done(x)
    return len(trails.backlog) == 1


async def test_failures_are_kept_and_of_the_others_a_share() -> None:
    assert not kept(served())
    assert not kept(served(attempts=0)), "answered here"
    assert kept(served(attempts=2)), "an attempt failed on the way"
    assert kept(refused(exchange("m", alice()), Kind.FORBIDDEN))
    for outcome in ("interrupted", "cancelled", "failed"):
        x = served()
        x.outcome = outcome
        assert kept(x)
    assert kept(served(), share="0.6")
    assert not kept(served(), share="0.4")
    assert kept(served(), share="1", dice=0.999)


@pytest.mark.parametrize(
    ("text", "share"), [("", 0.0), ("0.25", 0.25), ("1", 1.0), ("1.5", 0.0), ("-1", 0.0), ("nan", 0.0), ("x", 0.0)]
)
def test_share(text: str, share: float) -> None:
    assert share_of(text) == share


async def test_strangers_get_little_room_and_nobody_unbounded_room() -> None:
    trails = Trails(lambda: 0.5, quiet)
    for _ in range(t.MOST_STRANGERS + 5):
        trails.done(refused(exchange("m"), Kind.INVALID_API_KEY))
    assert (len(trails.backlog), trails.backlog.dropped) == (t.MOST_STRANGERS, 5)
    for _ in range(t.MOST_WAITING):
        trails.done(refused(exchange("m", alice()), Kind.FORBIDDEN))
    assert (len(trails.backlog), trails.backlog.dropped) == (t.MOST_WAITING, 5 + t.MOST_STRANGERS)


async def test_a_trail_that_cannot_be_told_is_said_and_nothing_else_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[tuple[str, Mapping[str, Any]]] = []
    trails = Trails(lambda: 0.5, lambda event, fields: said.append((event, fields)))

    def broken(x: Exchange) -> None:
        raise KeyError(x.request_id)

    monkeypatch.setattr(t, "trail_of", broken)
    trails.done(refused(exchange("m", alice()), Kind.FORBIDDEN))
    assert len(trails.backlog) == 0
    assert said == [("a trail could not be told", {"request_id": "request-1", "error": "KeyError('request-1')"})]
