"""Plans as dialogues: what is tried after each verdict, and what is told in the end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gproxy.channels.verdicts import Scope, Verdict, VerdictKind
from gproxy.errors import Kind, Phase
from gproxy.ids import CredentialId
from gproxy.routing.budget import MINIMUM, RetryBudgets
from gproxy.routing.caps import Caps, Standing
from gproxy.routing.health import HealthBoard
from gproxy.routing.plan import UNKNOWN_WAIT, Attempt, Board, Plan, Stop, StopCause
from gproxy.routing.provider import Provider
from gproxy.routing.route import Resolution, resolve
from gproxy.routing.selection import Load
from tests.routing.world import OK, World, broke, credential, provider, route, said, world


class Dialogue:
    """One plan, spoken to: `>> verdict` is answered by what comes next, in short."""

    def __init__(self, where: World, name: str, board: Board | None = None, at: float = 0.0, **options: Any) -> None:
        found = resolve(where, name)
        assert isinstance(found, Resolution)
        self.board = board or new_board()
        self.now = at
        self.plan = Plan(found, self.board, **options)
        self.answer = self.plan.next(None, self.now, 0.0)

    def says(self, verdict: Verdict) -> str:
        self.answer = self.plan.next(verdict, self.now, 0.0)
        return str(self)

    def __str__(self) -> str:
        if isinstance(self.answer, Stop):
            kind = self.answer.failure.kind if self.answer.failure else ""
            return f"stop {self.answer.cause} {kind}".strip()
        again = " refresh" if self.answer.refresh else ""
        return f"{self.answer.number} {self.answer.provider.name}/{self.answer.credential.id}{again}"

    @property
    def wait(self) -> float | None:
        assert isinstance(self.answer, Stop)
        assert self.answer.failure is not None
        return self.answer.failure.retry_after


def new_board() -> Board:
    return Board(HealthBoard(), Load(), RetryBudgets())


THREE = world(provider("p", "a", "b", "c"))


def test_a_dying_key_never_reaches_the_caller() -> None:
    talk = Dialogue(THREE, "p/m")
    assert str(talk) == "1 p/a"
    assert talk.says(said(401)) == "2 p/b"
    assert talk.says(said(429)) == "3 p/c"
    assert isinstance(talk.answer, Attempt)
    talk.plan.finished(talk.answer, OK, 0.0, 0.0)
    again = Dialogue(THREE, "p/m", talk.board)
    assert str(again) == "1 p/c"


def test_the_callers_mistake_is_the_answer() -> None:
    talk = Dialogue(THREE, "p/m")
    assert talk.says(said(400)) == "stop answer"
    assert talk.board.health.listing(0.0, 0) == []


def test_everything_failing_is_told_by_the_last_failure() -> None:
    for last, expected in (
        (said(429), "stop exhausted upstream_rate_limited"),
        (said(500), "stop exhausted upstream_error"),
        (said(529), "stop exhausted upstream_error"),
        (broke(), "stop exhausted upstream_error"),
        (broke(Phase.HEAD, timeout=True), "stop exhausted upstream_timeout"),
        (said(401), "stop no_credential no_credential"),
    ):
        talk = Dialogue(THREE, "p/m")
        assert [talk.says(last) for _ in range(3)] == ["2 p/b", "3 p/c", expected]


def test_a_limit_tells_when_the_first_credential_is_free_again() -> None:
    talk = Dialogue(THREE, "p/m")
    talk.says(said(429, "30"))
    talk.says(said(429, "7"))
    assert talk.says(said(429, "50")) == "stop exhausted upstream_rate_limited"
    assert talk.wait == 7
    later = Dialogue(THREE, "p/m", talk.board, at=5.0)
    assert str(later) == "stop no_credential no_credential"
    assert later.wait == 2
    assert str(Dialogue(THREE, "p/m", talk.board, at=7.0)) == "1 p/b"
    assert str(Dialogue(THREE, "p/other", talk.board, at=5.0)).startswith("1 p/")


def test_all_credentials_dead() -> None:
    talk = Dialogue(THREE, "p/m")
    for _ in range(3):
        talk.says(said(401))
    again = Dialogue(THREE, "p/m", talk.board)
    assert str(again) == "stop no_credential no_credential"
    assert again.wait == UNKNOWN_WAIT
    assert again.plan.attempts == 0
    assert isinstance(again.answer, Stop)
    assert again.answer.failure is not None
    assert again.answer.failure.status == 503


@pytest.mark.parametrize("pool", [(), (credential("x", enabled=False),)])
def test_a_provider_without_credentials(pool: tuple[Any, ...]) -> None:
    assert str(Dialogue(world(provider("p", *pool)), "p/m")) == "stop no_credential no_credential"


def test_an_engine_without_a_key_needs_no_credential() -> None:
    where = world(provider("local", channel="ollama"))
    talk = Dialogue(where, "local/m")
    assert isinstance(talk.answer, Attempt)
    assert talk.answer.credential.fields == {}


def test_a_route_goes_on_to_the_next_member() -> None:
    where = world(provider("p", "a", "b"), provider("q", "c"), routes=[route("r", "q/m2@1", "p/m1@0")])
    talk = Dialogue(where, "r")
    assert str(talk) == "1 p/a"
    assert talk.says(broke()) == "2 p/b"
    assert talk.says(broke()) == "3 q/c"
    assert isinstance(talk.answer, Attempt)
    assert talk.answer.model_id == "m2"


def test_a_resting_member_is_passed_over_from_the_start() -> None:
    where = world(provider("p", "a"), provider("q", "c"), routes=[route("r", "p/m@0", "q/m@1")])
    talk = Dialogue(where, "r")
    talk.says(broke())
    assert str(Dialogue(where, "r", talk.board)) == "1 q/c"


def test_attempts_are_bounded_over_all_members() -> None:
    where = world(provider("p", "a", "b"), provider("q", "c", "d"), routes=[route("r", "p/m@0", "q/m@1")])
    talk = Dialogue(where, "r", max_attempts=3)
    assert [talk.says(said(500)) for _ in range(3)] == ["2 p/b", "3 q/c", "stop attempts_spent upstream_error"]


def account(name: str = "sa") -> Any:
    return credential(name, service_account="{}")


def test_a_token_is_refreshed_once() -> None:
    where = world(provider("v", account("s"), account("t"), channel="vertex", project="p"))
    talk = Dialogue(where, "v/m")
    assert str(talk) == "1 v/s"
    assert talk.says(said(401)) == "2 v/s refresh"
    assert talk.board.health.listing(0.0, 0) == []
    assert talk.says(said(401)) == "3 v/t"
    assert talk.says(said(401)) == "4 v/t refresh"
    assert talk.says(said(200)).startswith("stop")
    assert [record.credential_id for record in talk.board.health.listing(0.0, 0)] == ["s"]


def test_a_key_cannot_be_refreshed() -> None:
    where = world(provider("z", credential("k"), channel="azure_openai", resource="r"))
    assert Dialogue(where, "z/m").says(said(401)) == "stop no_credential no_credential"


def test_a_broken_body_is_not_asked_for_twice() -> None:
    talk = Dialogue(THREE, "p/m")
    assert talk.says(broke(Phase.BODY)) == "stop exhausted upstream_error"
    assert not talk.board.health.usable(CredentialId("a"), "m", 0.0)


def test_no_access_to_the_model_is_the_vendors_to_say() -> None:
    talk = Dialogue(world(provider("p", "a")), "p/m")
    verdict = Verdict(VerdictKind.BAD_KEY, True, Scope.CREDENTIAL_MODEL, 60.0, "no access", 403)
    assert talk.says(verdict) == "stop answer"
    assert talk.board.health.usable(CredentialId("a"), "other", 0.0)


def test_retries_are_bounded_by_the_budget_but_failover_is_not() -> None:
    board = new_board()
    big = world(provider("p", *[f"k{n}" for n in range(40)]), provider("q", "c"), routes=[route("r", "p/m@0", "q/m@1")])
    while board.budgets.of("p").spend(0.0):
        pass
    talk = Dialogue(big, "p/m", board)
    assert talk.says(said(500)) == "stop budget_spent upstream_error"
    failing_over = Dialogue(big, "r", board)
    assert failing_over.says(said(500)) == "2 q/c"
    bad_key = Dialogue(big, "p/m", board)
    assert bad_key.says(said(401)).startswith("2 p/")


def test_a_storm_stays_a_tenth() -> None:
    board, attempts, requests = new_board(), 0, 2000
    pool = world(provider("p", *[f"k{n}" for n in range(50)]))
    for number in range(requests):
        talk = Dialogue(pool, f"p/m{number}", board, at=number / 100)
        while isinstance(talk.answer, Attempt):
            attempts += 1
            talk.says(said(500) if (number + attempts) % 2 else OK)
    assert attempts <= 1.1 * requests + MINIMUM


def test_rotation_and_stickiness_of_plans() -> None:
    board = new_board()
    assert [str(Dialogue(THREE, "p/m", board)) for _ in range(4)] == ["1 p/a", "1 p/b", "1 p/c", "1 p/a"]
    sticky = world(provider("p", "a", "b", rotation="sticky"))
    assert [str(Dialogue(sticky, "p/m", board)) for _ in range(3)] == ["1 p/a"] * 3


def test_favourites_go_first_with_cache_affinity() -> None:
    where = world(provider("p", "a", "b", "c", rotation="cache_affinity"))
    talk = Dialogue(where, "p/m", favourites=lambda _candidate: [CredentialId("c")])
    assert str(talk) == "1 p/c"


def test_a_finished_attempt_is_observed_once() -> None:
    talk = Dialogue(THREE, "p/m")
    assert isinstance(talk.answer, Attempt)
    talk.plan.finished(talk.answer, said(500), 0.0, 0.0)
    talk.plan.finished(talk.answer, said(401), 0.0, 0.0)
    [record] = talk.board.health.listing(0.0, 0)
    assert (record.credential_id, record.status) == ("a", "cooldown")


def test_after_a_rest_only_one_request_probes() -> None:
    where: World = world(provider("p", "a"))
    board = new_board()
    Dialogue(where, "p/m", board).says(said(429, "10"))
    assert str(Dialogue(where, "p/m", board, at=10.0)) == "1 p/a"
    second = Dialogue(where, "p/m", board, at=10.2)
    assert str(second) == "stop no_credential no_credential"
    assert second.wait == pytest.approx(0.8)


VERDICTS = [OK, said(400), said(401), said(429), said(429, "5"), said(500), broke(), broke(Phase.BODY)]
POOL: list[Provider] = [
    provider("p", "a", "b", "c"),
    provider("q", "d"),
    provider("v", account("e"), channel="vertex", project="x"),
]
MIXED = world(*POOL, routes=[route("r", "p/m@0", "q/m@0*3", "v/m@1")])


@settings(max_examples=200)
@given(st.lists(st.sampled_from(VERDICTS), min_size=12, max_size=12), st.integers(1, 8), st.floats(0, 0.99))
def test_any_plan_ends_within_its_bound_and_never_repeats(verdicts: list[Verdict], most: int, dice: float) -> None:
    found = resolve(MIXED, "r")
    assert isinstance(found, Resolution)
    plan = Plan(found, new_board(), max_attempts=most)
    tried: list[tuple[str, bool]] = []
    last: Verdict | None = None
    for verdict in verdicts:
        step = plan.next(last, 0.0, dice)
        if isinstance(step, Stop):
            assert (step.failure is None) == (step.cause is StopCause.ANSWER)
            assert step.failure is None or step.failure.kind is not Kind.INTERNAL
            break
        assert step.number == len(tried) + 1 == plan.attempts
        tried.append((step.credential.id, step.refresh))
        last = verdict
    else:
        pytest.fail("the plan did not end")
    assert len(tried) == len(set(tried)) <= most


def capped(*caps: Caps | None) -> World:
    return world(provider("p", *(credential(name, caps=each) for name, each in zip("abc", caps, strict=False))))


def test_a_credential_at_its_cap_is_passed_over_like_a_resting_one() -> None:
    where, board = capped(Caps(rpm=1), None), new_board()
    assert str(Dialogue(where, "p/m", board, tokens=lambda _: 5)) == "1 p/a"
    assert [str(Dialogue(where, "p/m", board, tokens=lambda _: 5)) for _ in range(3)] == ["1 p/b"] * 3
    assert str(Dialogue(where, "p/m", board, at=62.0, tokens=lambda _: 5)) in {"1 p/a", "1 p/b"}


def test_all_at_their_caps_is_told_with_the_true_wait() -> None:
    where, board = capped(Caps(rpm=1), Caps(tpm=10)), new_board()
    first = Dialogue(where, "p/m", board, at=0.0, tokens=lambda _: 8)
    second = Dialogue(where, "p/m", board, at=20.0, tokens=lambda _: 8)
    assert {str(first), str(second)} == {"1 p/a", "1 p/b"}
    third = Dialogue(where, "p/m", board, at=30.0, tokens=lambda _: 8)
    assert str(third) == "stop no_credential no_credential"
    assert isinstance(third.answer, Stop)
    assert third.answer.failure is not None
    assert "at its caps" in third.answer.failure.text
    assert third.wait is not None
    assert 30.0 <= third.wait <= 31.0  # until what was counted at 0 has left the minute
    assert not isinstance(Dialogue(where, "p/m", board, at=30.0 + third.wait, tokens=lambda _: 8).answer, Stop)


def test_a_wait_is_the_longer_of_rest_and_cap() -> None:
    where, board = capped(Caps(rpm=1)), new_board()
    talk = Dialogue(where, "p/m", board, tokens=lambda _: 0)
    assert isinstance(talk.answer, Attempt)
    assert talk.answer.taken is not None
    talk.answer.taken.used = 0
    talk.answer.taken.settle()
    assert talk.says(said(429, "5")) == "stop exhausted upstream_rate_limited"
    assert talk.wait is not None
    assert talk.wait >= 60.0


def test_what_consumes_nothing_is_not_counted() -> None:
    where, board = capped(Caps(rpm=1)), new_board()
    assert [str(Dialogue(where, "p/m", board)) for _ in range(3)] == ["1 p/a"] * 3
    assert board.caps.standing(CredentialId("a"), 0.0) == Standing()


def test_a_new_token_is_no_second_request() -> None:
    account = credential("a", caps=Caps(rpm=2), client_email="x@y.example", private_key="-", project_id="p")
    where = world(provider("v", account, channel="vertex", project="p"))
    talk = Dialogue(where, "v/m", tokens=lambda _: 0)
    assert isinstance(talk.answer, Attempt)
    assert talk.answer.taken is not None
    talk.answer.taken.used = 0
    talk.answer.taken.settle()
    refused = Verdict(VerdictKind.BAD_KEY, retryable=True, status=401, curable=True)
    assert talk.says(refused) == "2 v/a refresh"
    assert talk.board.caps.standing(CredentialId("a"), 0.0) == Standing(1, 0, 1)


def hedged(talk: Dialogue) -> str:
    second = talk.plan.hedge(talk.now, 0.0)
    return "none" if second is None else f"{second.number} {second.provider.name}/{second.credential.id}"


def test_a_second_attempt_goes_where_the_next_one_would_go() -> None:
    talk = Dialogue(THREE, "p/m")
    assert hedged(talk) == "2 p/b"
    assert talk.says(said(500)) == "3 p/c"
    [record] = talk.board.health.listing(0.0, 0)
    assert record.credential_id == "a", "the verdict is about the first"


def test_where_there_is_no_other_place_it_goes_to_the_same() -> None:
    talk = Dialogue(world(provider("p", "a")), "p/m")
    assert hedged(talk) == "2 p/a"
    rested = Dialogue(THREE, "p/m")
    for key in ("b", "c"):
        rested.board.health.disable(CredentialId(key), "gone")
    assert hedged(rested) == "2 p/a"


def test_a_second_attempt_counts_inside_max_attempts_and_the_retry_budget() -> None:
    assert hedged(Dialogue(THREE, "p/m", max_attempts=1)) == "none"
    talk = Dialogue(THREE, "p/m", max_attempts=2)
    assert hedged(talk) == "2 p/b"
    assert talk.says(said(500)).startswith("stop attempts_spent")
    two = world(provider("p", "a", "b"), provider("q", "x"), routes=[route("r", "p/m@0", "q/m@1")])
    board = new_board()
    made = [hedged(Dialogue(two, "r", board)) for _ in range(MINIMUM + 2)]
    assert [each[:3] for each in made] == ["2 p"] * MINIMUM + ["none"[:3]] * 2
    last = Dialogue(two, "r", board)
    assert hedged(last) == "none"
    # What could not be hedged to can still be failed over to: here another member's first attempt.
    assert last.says(said(500)).startswith("2 q/x")


def test_a_place_that_was_too_dear_for_a_second_attempt_is_not_lost() -> None:
    where, board = world(provider("p", "a"), provider("q", "x"), routes=[route("r", "p/m@0", "q/m@1")]), new_board()
    for _ in range(MINIMUM):
        board.budgets.of("q").spend(0.0)
    talk = Dialogue(where, "r", board)
    assert hedged(talk) == "none"
    assert talk.says(said(500)) == "2 q/x"


def test_caps_hold_for_second_attempts_too() -> None:
    where, board = capped(None, Caps(rpm=1)), new_board()
    talk = Dialogue(where, "p/m", board, tokens=lambda _: 0)
    assert [str(talk), hedged(talk)] == ["1 p/a", "2 p/b"]
    again = Dialogue(where, "p/m", board, tokens=lambda _: 0)
    assert [str(again), hedged(again)] == ["1 p/a", "2 p/a"]


def test_of_two_attempts_the_later_failure_decides_what_comes_next() -> None:
    talk = Dialogue(THREE, "p/m")
    first, second = talk.answer, talk.plan.hedge(0.0, 0.0)
    assert isinstance(first, Attempt)
    assert second is not None
    talk.plan.finished(first, said(429, "50"), 0.0, 0.0)
    talk.plan.go_on_from(second)
    assert talk.says(said(429, "9")) == "3 p/c"
    assert {one.credential_id for one in talk.board.health.listing(0.0, 0)} == {"a", "b"}
    assert talk.says(said(500)).startswith("stop exhausted")


def noted(talk: Dialogue) -> list[tuple[int, str, str]]:
    return [(note.attempt, note.credential.id, note.verdict or note.reason) for note in talk.plan.notes or ()]


def answers(talk: Dialogue, attempt: object) -> None:
    assert isinstance(attempt, Attempt)
    talk.plan.finished(attempt, OK, talk.now, 0.0)


def test_a_plan_that_goes_well_at_once_leaves_no_note() -> None:
    talk = Dialogue(THREE, "p/m")
    answers(talk, talk.answer)
    assert talk.plan.notes is None


def test_what_goes_wrong_is_noted_in_order() -> None:
    talk = Dialogue(THREE, "p/m")
    talk.board.health.disable(CredentialId("b"), "leaked")
    assert talk.says(said(500)) == "2 p/c"
    answers(talk, talk.answer)
    assert noted(talk) == [(1, "a", "broken"), (0, "b", "leaked"), (2, "c", "ok")]
    again = Dialogue(THREE, "p/m", talk.board)
    assert (str(again), noted(again)) == ("1 p/c", [(0, "b", "leaked")])


def test_a_refusal_of_a_token_and_a_full_cap_are_noted() -> None:
    talk = Dialogue(world(provider("v", account("a"), channel="vertex", project="p")), "v/m")
    assert talk.says(said(401, channel="vertex")) == "2 v/a refresh"
    assert noted(talk) == [(1, "a", "bad_key")]
    where, board = world(provider("p", credential("a", caps=Caps(rpm=1)), "b", rotation="sticky")), new_board()
    first, second = (Dialogue(where, "p/m", board, tokens=lambda _: 0) for _ in range(2))
    assert [str(first), noted(first)] == ["1 p/a", []]
    assert [str(second), noted(second)] == ["1 p/b", [(0, "a", "its own cap has no room now")]]


def test_of_two_attempts_at_once_it_is_noted_which_was_late_and_which_answered() -> None:
    talk = Dialogue(THREE, "p/m")
    second = talk.plan.hedge(0.0, 0.0)
    answers(talk, second)
    assert noted(talk) == [(1, "a", "late"), (2, "b", "ok")]
    other = Dialogue(THREE, "p/m")
    second = other.plan.hedge(0.0, 0.0)
    assert second is not None
    other.plan.call_off(second)
    answers(other, other.answer)
    assert noted(other) == [(1, "a", "ok")], "the second was not made after all"
