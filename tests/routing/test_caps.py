"""Caps of credentials: what passes, what waits, and that waiting as long as told is enough."""

from __future__ import annotations

import copy

from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.ids import CredentialId
from gproxy.routing.caps import BUSY_WAIT, CapBoard, Caps, Standing, Taken, caps_of

KEY = CredentialId("a")

_step = st.tuples(
    st.floats(0, 40, allow_nan=False),  # seconds since the last step
    st.integers(0, 60),  # the most tokens it can take
    st.integers(0, 60),  # the tokens it took, at most as many
    st.booleans(),  # whether an earlier one ends first
    st.booleans(),  # whether it was sent at all
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_step, min_size=1, max_size=80), st.integers(1, 6), st.integers(20, 100), st.integers(1, 4))
def test_no_minute_holds_more_than_the_caps(
    steps: list[tuple[float, int, int, bool, bool]], rpm: int, tpm: int, at_once: int
) -> None:
    board, caps, now = CapBoard(), Caps(rpm, tpm, at_once), 1000.0
    running: list[tuple[Taken, int]] = []
    sent: list[tuple[float, Taken]] = []
    for gap, most, used, ends, was_sent in steps:
        now += gap
        if ends and running:
            taken, took = running.pop(0)
            taken.used = took if was_sent else None
            taken.settle()
        if board.wait_for(KEY, caps, most, now) > 0:
            continue
        taken = board.take(KEY, most, now)
        running.append((taken, min(used, most)))
        sent.append((now, taken))
        assert len(running) <= at_once
    for end in [at for at, _ in sent]:
        within = [taken for at, taken in sent if end - 60.0 < at <= end and not (taken.over and taken.used is None)]
        assert len(within) <= rpm
        taken_up = sum((taken.used or 0) if taken.over else taken.tokens for taken in within)
        lone = max((taken.tokens for taken in within), default=0)
        assert taken_up <= max(tpm, lone)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 40, allow_nan=False), st.integers(0, 60)), min_size=1, max_size=60))
def test_waiting_as_long_as_told_is_enough_and_no_longer(steps: list[tuple[float, int]]) -> None:
    board, caps, now = CapBoard(), Caps(3, 50), 1000.0
    for gap, tokens in steps:
        now += gap
        wait = board.wait_for(KEY, caps, tokens, now)
        later = copy.deepcopy(board)  # asking about the future lets go of the past
        assert wait < 1.1 or later.wait_for(KEY, caps, tokens, now + wait - 1.1) > 0  # 1 s: a slot's length
        assert later.wait_for(KEY, caps, tokens, now + wait + 1e-6) == 0.0
        if wait == 0.0:
            board.take(KEY, tokens, now).used = tokens


def test_requests_under_way_count_with_all_they_can_take() -> None:
    board, caps = CapBoard(), Caps(tpm=100)
    first = board.take(KEY, 80, 0.0)
    assert board.wait_for(KEY, caps, 30, 1.0) > 0
    first.used = 10
    first.settle()
    first.settle()
    assert board.wait_for(KEY, caps, 30, 1.0) == 0.0
    assert board.standing(KEY, 1.0) == Standing(1, 10, 0)


def test_a_request_above_the_cap_passes_alone() -> None:
    board, caps = CapBoard(), Caps(tpm=100)
    assert board.wait_for(KEY, caps, 5000, 0.0) == 0.0
    board.take(KEY, 5000, 0.0)
    assert board.wait_for(KEY, caps, 1, 1.0) > 0


def test_what_was_never_sent_consumed_nothing() -> None:
    board, caps = CapBoard(), Caps(1, 100, 1)
    taken = board.take(KEY, 80, 0.0)
    assert board.wait_for(KEY, caps, 1, 0.0) > 0
    taken.settle()
    assert board.standing(KEY, 0.0) == Standing()
    assert board.wait_for(KEY, caps, 80, 0.0) == 0.0


def test_a_request_turned_away_at_the_door_is_none() -> None:
    board = CapBoard()
    taken = board.take(KEY, 10, 0.0)
    taken.used = 0
    taken.forgive()
    taken.forgive()
    assert board.standing(KEY, 0.0) == Standing()


def test_nobody_knows_when_one_in_flight_ends() -> None:
    board, caps = CapBoard(), Caps(max_in_flight=1)
    taken = board.take(KEY, 0, 0.0)
    assert board.wait_for(KEY, caps, 0, 5.0) == BUSY_WAIT
    taken.used = 0
    taken.settle()
    assert board.wait_for(KEY, caps, 0, 5.0) == 0.0


def test_several_processes_have_a_part_each() -> None:
    parts = [CapBoard(lambda cap, rank=rank: cap // 2 + (rank < cap % 2)) for rank in range(2)]  # type: ignore[misc]
    caps, let_through = Caps(rpm=5), 0
    for board in parts:
        while board.wait_for(KEY, caps, 0, 0.0) == 0.0:
            board.take(KEY, 0, 0.0)
            let_through += 1
    assert let_through == 5
    assert parts[1].wait_for(KEY, Caps(rpm=1), 0, 0.0) == 60.0  # the other has the one there is


def test_a_swap_of_the_configuration_keeps_the_counters_of_those_that_stay() -> None:
    board = CapBoard()
    gone = board.take(CredentialId("b"), 5, 0.0)
    board.take(KEY, 5, 0.0)
    board.keep({KEY})
    gone.settle()  # its credential was removed while it ran
    assert board.standing(KEY, 0.0) == Standing(1, 5, 1)
    assert board.standing(CredentialId("b"), 0.0) == Standing()


def test_no_caps_are_none() -> None:
    assert caps_of(None, None, None) is None
    assert caps_of(None, 7, None) == Caps(tpm=7)
