"""The health machine: what each verdict does, and what must hold whatever happens."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gproxy.channels.verdicts import Scope, Verdict, VerdictKind
from gproxy.ids import CredentialId
from gproxy.routing.health import (
    HEALTHY,
    LONGEST_REST,
    LONGEST_TOLD,
    MAX_STATES,
    PROBATION,
    HealthBoard,
    HealthRecord,
    Status,
    observe,
    rest_after,
)
from tests.routing.world import OK, broke, said

A, B = CredentialId("a"), CredentialId("b")


def test_a_rest_without_a_word_grows_and_a_success_ends_the_streak() -> None:
    state, now, rests = HEALTHY, 100.0, []
    for _ in range(8):
        state = observe(state, said(500), now, 0.0)
        rests.append(state.until - now)
        now = state.until
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60]
    assert observe(state, OK, now, 0.0) == HEALTHY


def test_jitter_only_shortens() -> None:
    for streak in range(40):
        assert rest_after(streak, 0.0) == min(2.0**streak, LONGEST_REST)
        assert rest_after(streak, 0.999) > 0.74 * rest_after(streak, 0.0)


def test_a_told_rest_is_kept_exactly() -> None:
    state = observe(HEALTHY, said(429, "30"), 100.0, 0.5)
    assert (state.status, state.until, state.streak) == (Status.COOLDOWN, 130.0, 0)
    assert "rate limited" in state.reason


def test_one_storm_is_one_failure() -> None:
    state = observe(HEALTHY, said(503), 100.0, 0.0)
    for late in (100.1, 100.5, 100.9):
        assert observe(state, said(503), late, 0.0) == state
    longer = observe(state, said(429, "30"), 100.5, 0.0)
    assert longer.until == 130.5
    assert observe(longer, said(429, "5"), 100.6, 0.0).until == 130.5


def test_a_late_success_does_not_end_a_rest() -> None:
    state = observe(HEALTHY, said(429, "30"), 100.0, 0.0)
    assert observe(state, OK, 110.0, 0.0) == state
    assert observe(state, OK, 130.0, 0.0) == HEALTHY


def test_a_bad_key_stays_disabled() -> None:
    state = observe(HEALTHY, said(401), 100.0, 0.0)
    assert (state.status, state.until) == (Status.DISABLED, math.inf)
    for verdict in (OK, said(500), said(429, "1"), said(400)):
        assert observe(state, verdict, 1e9, 0.0) == state


def test_the_callers_mistake_changes_nothing() -> None:
    for state in (HEALTHY, observe(HEALTHY, said(500), 1.0, 0.0)):
        assert observe(state, said(400), 2.0, 0.0) == state
        assert observe(state, said(404), 2.0, 0.0) == state


VERDICTS = st.sampled_from(
    [OK, said(400), said(401), said(429), said(429, "5"), said(429, "99999"), said(503), broke()]
)


@given(st.lists(st.tuples(VERDICTS, st.floats(0, 100), st.floats(0, 0.99)), max_size=40))
def test_whatever_happens(events: list[tuple[Verdict, float, float]]) -> None:
    state, now, disabled = HEALTHY, 0.0, False
    for verdict, passed, dice in events:
        now += passed
        before = state
        state = observe(state, verdict, now, dice)
        disabled = disabled or verdict.kind is VerdictKind.BAD_KEY
        assert (state.status is Status.DISABLED) == disabled
        if state.status is Status.COOLDOWN:
            assert state.until <= now + LONGEST_TOLD or state == before
        if before.status is Status.COOLDOWN and now < before.until:
            assert state.until >= before.until
        if verdict.retryable and not disabled:
            assert not state.usable(now)


def test_a_limit_on_one_model_leaves_the_others() -> None:
    board = HealthBoard()
    assert board.observe(A, "m", said(429, "10"), 0.0, 0.0)
    assert not board.usable(A, "m", 1.0)
    assert board.usable(A, "other", 1.0)
    assert board.usable(B, "m", 1.0)
    assert board.usable(A, "m", 10.0)
    assert board.free_at(A, "m", 1.0) == 10.0
    assert "rate limited" in board.reason(A, "m")
    assert board.reason(A, "other") == ""


def test_a_dead_host_rests_the_whole_credential() -> None:
    board = HealthBoard()
    board.observe(A, "m", broke(), 0.0, 0.0)
    assert not board.usable(A, "other", 0.5)


def test_a_key_without_access_to_one_model_serves_the_others() -> None:
    board = HealthBoard()
    verdict = Verdict(VerdictKind.BAD_KEY, True, Scope.CREDENTIAL_MODEL, 60.0, "no access")
    board.observe(A, "m", verdict, 0.0, 0.0)
    assert not board.usable(A, "m", 59.0)
    assert board.usable(A, "other", 0.0)


def test_after_a_rest_one_goes_first() -> None:
    board = HealthBoard()
    board.observe(A, "m", said(503), 0.0, 0.0)
    assert board.usable(A, "m", 1.0)
    board.claim(A, "m", 1.0)
    assert not board.usable(A, "m", 1.5)
    board.observe(A, "m", OK, 1.6, 0.0)
    assert board.usable(A, "m", 1.6)
    board.claim(A, "m", 1.6)
    assert board.usable(A, "m", 1.6)


def test_a_slow_probe_does_not_hold_everyone_up() -> None:
    board = HealthBoard()
    board.observe(A, "m", said(503), 0.0, 0.0)
    board.claim(A, "m", 1.0)
    assert board.usable(A, "m", 1.0 + PROBATION)


def test_a_failed_probe_rests_longer() -> None:
    board = HealthBoard()
    board.observe(A, "m", said(503), 0.0, 0.0)
    board.claim(A, "m", 1.0)
    board.observe(A, "m", said(503), 1.1, 0.0)
    assert board.free_at(A, "m", 1.2) == pytest.approx(3.1)


def test_enabling_forgets_everything() -> None:
    board = HealthBoard()
    board.observe(A, "m", said(401), 0.0, 0.0)
    board.observe(A, "m", said(500), 0.0, 0.0)
    board.enable(A)
    assert board.usable(A, "m", 0.0)
    assert board.listing(0.0, 0) == []
    board.disable(A, "by an admin")
    assert not board.usable(A, "x", 1e12)
    assert board.reason(A, "x") == "by an admin"


def test_what_changed_is_taken_once() -> None:
    board = HealthBoard()
    assert board.take_dirty(0.0, 0) == []
    board.observe(A, "m", said(429, "10"), 5.0, 0.0)
    board.observe(B, "m", said(401), 5.0, 0.0)
    assert board.dirty is True
    taken = board.take_dirty(6.0, 1_000_000)
    by_id = {record.credential_id: record for record in taken}
    assert by_id[A] == HealthRecord(A, "m", Status.COOLDOWN, 10_000_000, 0, "rate limited (429)")
    assert (by_id[B].status, by_id[B].until_us, by_id[B].model) == (Status.DISABLED, None, None)
    assert board.take_dirty(6.0, 0) == []
    board.observe(A, "m", OK, 20.0, 0.0)
    assert [(record.credential_id, record.status) for record in board.take_dirty(20.0, 0)] == [(A, Status.HEALTHY)]


def test_nothing_changed_is_nothing_to_store() -> None:
    board = HealthBoard()
    assert not board.observe(A, "m", OK, 0.0, 0.0)
    assert not board.observe(A, "m", said(400), 0.0, 0.0)
    assert not board.dirty


def test_a_restart_remembers() -> None:
    before = HealthBoard()
    before.observe(A, "m", said(429, "100"), 1000.0, 0.0)
    before.observe(A, "n", said(500), 1000.0, 0.0)
    before.observe(B, "m", said(403), 1000.0, 0.0)
    records = before.take_dirty(1000.0, 50_000_000)
    after = HealthBoard()
    after.restore(records, 5.0, 90_000_000)  # 40 seconds later, on another monotonic clock
    assert after.free_at(A, "m", 5.0) == pytest.approx(65.0)
    assert after.usable(A, "n", 5.0)
    assert after.free_at(B, "x", 5.0) == math.inf
    assert not after.dirty
    after.claim(A, "n", 5.0)
    assert not after.usable(A, "n", 5.5)


def test_a_clock_set_back_makes_no_endless_rest() -> None:
    board = HealthBoard()
    board.restore([HealthRecord(A, None, Status.COOLDOWN, 10**16, 1, "x")], 0.0, 0)
    assert board.free_at(A, "m", 0.0) == LONGEST_TOLD
    board.restore([HealthRecord(B, None, Status.HEALTHY, None, 0, "")], 0.0, 0)
    assert board.usable(B, "m", 0.0)


def test_removed_credentials_are_forgotten() -> None:
    board = HealthBoard()
    board.observe(A, "m", said(401), 0.0, 0.0)
    board.observe(B, "m", said(401), 0.0, 0.0)
    board.keep([B])
    assert [record.credential_id for record in board.listing(0.0, 0)] == [B]
    assert [record.credential_id for record in board.take_dirty(0.0, 0)] == [B]


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    board = HealthBoard()
    board.disable(B, "x")
    for number in range(MAX_STATES + 50):
        board.observe(A, f"m-{number}", said(500), 0.0, 0.0)
    assert len(board.listing(0.0, 0)) <= MAX_STATES
    assert not board.usable(B, "m", 0.0)
    board.observe(A, "late", said(500), 100.0, 0.0)
    assert len(board.listing(100.0, 0)) == 2
