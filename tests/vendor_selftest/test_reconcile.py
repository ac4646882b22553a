"""A judge that cannot condemn is none: every kind of lie is planted and must be found; the truth must pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gproxy.vendor.tally import Figures
from tests.vendor.count import Count, Counted
from tests.vendor.ledger import read_sqlite
from tests.vendor.load import Call
from tests.vendor.reconcile import judge_samples, per_million, reconcile, table

PRICE = per_million(prompt=0.4, output=1.6, cache_read=0.1)


def counted(n: int, nonce: str | None, **more: Any) -> Counted:
    facts: dict[str, Any] = {
        "n": n,
        "at": 1_000_000 * n,
        "method": "POST",
        "path": "/v1/chat/completions",
        "model": "gpt",
        "credential": "aaaa",
        "nonce": nonce,
        "dialect": "openai_chat",
        "operation": "stream",
        "stream": True,
        "max_output": None,
        "connection": 1,
        "correlation": {},
        "how": "complete",
        "status": 200,
        "declared": Figures(input=10 + n, output=5 + n, cache_read=2),
        "usage_sent": True,
        "tokens_sent": 5 + n,
        "bytes_sent": 900,
    }
    return Counted(**{**facts, **more})


def row_of(attempt: Counted, **more: Any) -> dict[str, Any]:
    tokens = attempt.declared or Figures()
    row: dict[str, Any] = {
        "attempt_id": f"a{attempt.n}",
        "request_id": f"r-{attempt.nonce}",
        "at": attempt.at - 1000,
        "user_id": "u1",
        "credential_id": "cred-1",
        "operation": attempt.operation,
        "model_asked": "main/gpt",
        "model_served": "gpt",
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_5m_tokens": None,
        "cache_write_1h_tokens": None,
        "source": "reported",
        "outcome": "complete",
        "status": 200,
        "attempt_no": 1,
        "excess_nano_usd": 0,
        **more,
    }
    if "cost_nano_usd" not in row:
        shown = Figures(row["input_tokens"] or 0, row["output_tokens"] or 0, row["cache_read_tokens"] or 0)
        row["cost_nano_usd"] = 0 if row["outcome"] == "failed" else PRICE(row, shown)
    return row


class World:
    """Three honest requests, the second with a failed first attempt."""

    def __init__(self) -> None:
        self.attempts = [
            counted(1, "a"),
            counted(2, "b", status=503, declared=None, usage_sent=False, tokens_sent=0),
            counted(3, "b"),
            counted(4, "c", operation="generate", stream=False),
        ]
        self.rows = [
            row_of(self.attempts[0]),
            row_of(
                self.attempts[1],
                outcome="failed",
                status=503,
                source="estimated",
                input_tokens=None,
                output_tokens=None,
                cache_read_tokens=None,
            ),
            row_of(self.attempts[2], attempt_no=2),
            row_of(self.attempts[3]),
        ]
        self.calls = [
            Call(nonce, "openai_chat", True, status=200, request_id=f"r-{nonce}", complete=True, legal=True, tokens=9)
            for nonce in "abc"
        ]
        self.quota: dict[str, Any] = {"user_id": "u1", "quota_nano_usd": 10**9, "reserved_nano_usd": 0}
        self.problems: list[str] = []
        self.more: dict[str, Any] = {}

    def judged(self) -> list[str]:
        spent = sum(row["cost_nano_usd"] for row in self.rows)
        quota = {"cost_used_nano_usd": spent, **self.quota}
        found = reconcile(
            Count(self.attempts, 0, self.problems),
            self.rows,
            [quota],
            price=PRICE,
            calls=self.calls,
            credentials={"aaaa": "cred-1"},
            **self.more,
        )
        return [violation.kind for violation in found]


def test_the_truth_passes() -> None:
    assert World().judged() == []
    assert table([]) == "reconciled: no violation"


def lose(world: World) -> None:
    del world.rows[3]


def lose_one_try(world: World) -> None:
    del world.rows[1]
    world.rows[1]["attempt_no"] = 1


def double_by_id(world: World) -> None:
    world.rows.append(dict(world.rows[0], request_id="r-else"))


def double_by_request(world: World) -> None:
    world.rows.append(dict(world.rows[0], attempt_id="other", attempt_no=2))


def phantom(world: World) -> None:
    world.rows.append(dict(world.rows[0], attempt_id="ghost", request_id="r-ghost", model_served="x", model_asked="x"))


def interrupted_phantom_without_a_kill(world: World) -> None:
    ghost = row_of(counted(9, "ghost"), outcome="interrupted", output_tokens=None, model_served="x", model_asked="x")
    world.rows.append(ghost)


def wrong_tokens(world: World) -> None:
    world.rows[0] = row_of(world.attempts[0], output_tokens=7)


def cached_billed_twice(world: World) -> None:
    world.rows[0] = row_of(world.attempts[0], input_tokens=13)


def one_nano_off(world: World) -> None:
    world.rows[0]["cost_nano_usd"] += 1


def complete_but_estimated(world: World) -> None:
    world.rows[0]["source"] = "estimated"


def free_although_received(world: World) -> None:
    world.attempts[0] = counted(1, "a", how="client_closed", usage_sent=False, tokens_sent=4)
    zero = {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0}
    world.rows[0] = row_of(world.attempts[0], source="partial", outcome="cancelled", **zero)


def too_little_for_what_was_received(world: World) -> None:
    world.attempts[0] = counted(1, "a", how="client_closed", usage_sent=False, tokens_sent=30)
    world.calls[0].tokens = 30
    world.rows[0] = row_of(world.attempts[0], source="partial", outcome="cancelled", output_tokens=6)
    world.more["checkpoint_tokens"] = 20


def cut_called_complete(world: World) -> None:
    world.attempts[0] = counted(1, "a", how="cut", usage_sent=False, tokens_sent=2)


def error_called_complete(world: World) -> None:
    world.rows[1] = row_of(world.attempts[1], source="estimated")


def failure_that_costs(world: World) -> None:
    world.rows[1]["cost_nano_usd"] = 5


def other_credential(world: World) -> None:
    world.rows[0]["credential_id"] = "cred-2"


def attempt_numbers(world: World) -> None:
    world.rows[2]["attempt_no"] = 1


def quota_drift(world: World) -> None:
    world.quota["cost_used_nano_usd"] = 1


def still_held(world: World) -> None:
    world.quota["reserved_nano_usd"] = 3


def overspent(world: World) -> None:
    world.quota["quota_nano_usd"] = 100


def hole_in_the_count(world: World) -> None:
    world.problems.append("1 attempt numbers are missing")


def client_left_hanging(world: World) -> None:
    world.calls[0] = Call("a", "openai_chat", True, status=200, request_id="r-a", faults=["message_stop missing"])


def client_cut_off(world: World) -> None:
    world.calls[0] = Call("a", "openai_chat", True, status=200, request_id="r-a", broken="closed inside the answer")


ALSO: dict[Callable[[World], None], set[str]] = {
    # The remaining row stands for the failed try, and so tells the wrong story about it too.
    lose_one_try: {"OUTCOME", "USAGE"},
}


@pytest.mark.parametrize(
    ("lie", "kinds"),
    [
        (lose, {"LOST"}),
        (lose_one_try, {"LOST"}),
        (double_by_id, {"DOUBLED", "PHANTOM"}),
        (double_by_request, {"DOUBLED"}),
        (phantom, {"PHANTOM"}),
        (interrupted_phantom_without_a_kill, {"PHANTOM"}),
        (wrong_tokens, {"USAGE"}),
        (cached_billed_twice, {"USAGE"}),
        (one_nano_off, {"COST"}),
        (complete_but_estimated, {"USAGE"}),
        (free_although_received, {"UNBILLED"}),
        (too_little_for_what_was_received, {"UNBILLED"}),
        (cut_called_complete, {"OUTCOME"}),
        (error_called_complete, {"OUTCOME"}),
        (failure_that_costs, {"COST"}),
        (other_credential, {"CREDENTIAL"}),
        (attempt_numbers, {"ATTEMPTS"}),
        (quota_drift, {"QUOTA"}),
        (still_held, {"HELD"}),
        (overspent, {"OVERSPENT"}),
        (hole_in_the_count, {"COUNT"}),
        (client_left_hanging, {"CLIENT"}),
        (client_cut_off, {"CLIENT"}),
    ],
)
def test_every_lie_is_found(lie: Callable[[World], None], kinds: set[str]) -> None:
    world = World()
    lie(world)
    found = set(world.judged())
    assert kinds <= found
    # A lie may break more than one rule, but an honest part must not be blamed for it.
    assert found - kinds <= ALSO.get(lie, set())


def test_a_kill_excuses_only_what_it_explains() -> None:
    world = World()
    world.more["killed"] = True
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    world.rows.append(row_of(counted(9, "z"), attempt_id="z", outcome="interrupted", source="estimated", **none))
    world.calls.append(Call("z", "openai_chat", True, broken="closed without an answer", sent=True, total=9.0))
    assert world.judged() == []
    world.rows.append(dict(world.rows[-1], attempt_id="z2", request_id="r-z2"))
    assert world.judged() == ["PHANTOM"]  # one call broke, so one such row is explained, not two
    del world.rows[-1]
    world.rows[-1] = dict(world.rows[-1], output_tokens=4, cost_nano_usd=4 * 1600)
    assert world.judged() == ["PHANTOM"]
    world = World()
    world.more["killed"] = True
    lose(world)
    assert world.judged() == ["LOST"]


def test_a_client_that_left_before_the_vendor_read_excuses_one_row() -> None:
    world = World()
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    world.rows.append(row_of(counted(9, "z"), outcome="cancelled", source="estimated", **none))
    assert world.judged() == ["PHANTOM"]
    world.calls.append(Call("z", "openai_chat", True, aborted="head", sent=True))
    assert world.judged() == []
    world.rows.append(row_of(counted(8, "y"), outcome="cancelled", source="estimated", **none))
    assert world.judged() == ["PHANTOM"]


def test_a_kill_may_cost_one_checkpoint_and_no_more() -> None:
    def world(output: int) -> World:
        made = World()
        made.more = {"killed": True, "checkpoint_tokens": 10}
        made.attempts[0] = counted(1, "a", how="client_closed", usage_sent=False, tokens_sent=20)
        made.calls[0] = Call("a", "openai_chat", True, request_id="r-a", broken="cut", sent=True, tokens=18)
        figures = {"source": "partial", "outcome": "interrupted", "output_tokens": output}
        made.rows[0] = row_of(made.attempts[0], **figures)
        return made

    assert world(8).judged() == []
    assert world(7).judged() == ["UNBILLED"]


def test_unreachable_excuses_only_free_failures() -> None:
    world = World()
    world.more["unreachable"] = True
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    world.rows.append(row_of(counted(9, "z"), outcome="failed", status=502, source="estimated", **none))
    assert world.judged() == []
    world.rows[-1]["outcome"] = "complete"
    assert "PHANTOM" in world.judged()


def test_a_vendor_that_hangs_up_behind_its_answer_excuses_one_free_502() -> None:
    world = World()
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    world.rows.append(row_of(counted(9, "z"), outcome="failed", status=502, source="estimated", **none))
    assert world.judged() == ["PHANTOM"]
    world.attempts[0] = counted(1, "a", fail="drop_after")
    assert world.judged() == []
    world.rows[-1]["status"] = 200  # an answer came, so somebody was asked
    assert world.judged() == ["PHANTOM"]
    world.rows[-1]["status"] = 502
    world.rows.append(dict(world.rows[-1], attempt_id="z2", request_id="r-z2"))
    assert world.judged() == ["PHANTOM"]


def test_a_request_that_hit_a_dying_connection_is_not_the_one_that_was_answered() -> None:
    world = World()
    world.attempts[0] = counted(1, "a", fail="drop_after")
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    lost = {"outcome": "failed", "status": 502, "source": "estimated", "attempt_no": 2, **none}
    world.rows.append(row_of(counted(9, "b"), **lost))
    world.rows[2]["attempt_no"] = 3
    assert world.judged() == []


def test_of_two_rows_without_figures_the_cancelled_one_belongs_to_the_client_that_left() -> None:
    """A killed gateway answers with no request id, so both are matched by time: here it points the wrong way."""
    none = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}
    cut = {"how": "client_closed", "status": 0, "usage_sent": False, "tokens_sent": 0}
    world = World()
    world.more["killed"] = True
    left = counted(5, "left", **cut)
    world.attempts.append(left)
    cancelled = row_of(left, outcome="cancelled", status=0, source="estimated", **none)
    interrupted = row_of(left, outcome="interrupted", status=0, source="estimated", **none)
    world.rows += [
        {**cancelled, "attempt_id": "x", "request_id": "r-x", "at": left.at - 300_000},
        {**interrupted, "attempt_id": "y", "request_id": "r-y"},
    ]
    world.calls += [
        Call("left", "openai_chat", True, aborted="head", sent=True),
        Call("killed", "openai_chat", True, broken="closed without an answer", sent=True, total=9.0),
    ]
    assert world.judged() == []


NONE = {"input_tokens": None, "output_tokens": None, "cache_read_tokens": None}


def killed_world() -> World:
    """The truth, and a gateway that was killed; the tests add calls whose clients never learned a request id."""
    world = World()
    world.more["killed"] = True
    return world


def left(nonce: str, began: float, **more: Any) -> Call:
    return Call(nonce, "openai_chat", True, **{"aborted": "head", "sent": True, "started_at": began, **more})


def broke(nonce: str, began: float, ended: float) -> Call:
    why = "closed without an answer"
    return Call(nonce, "openai_chat", True, broken=why, sent=True, started_at=began, total=ended - began)


def test_a_client_that_left_just_before_the_kill_leaves_an_interrupted_row() -> None:
    """The gateway died before it noticed; the `cancelled` row of a client of its next life is not this call's."""
    world = killed_world()
    seen = counted(5, "left", how="client_closed", usage_sent=False, tokens_sent=1)
    world.attempts.append(seen)
    world.calls += [left("left", 4.99), left("later", 5.3)]
    world.rows.append(row_of(seen, attempt_id="x", request_id="?1", outcome="interrupted", source="estimated", **NONE))
    later = row_of(seen, attempt_id="y", request_id="?2", outcome="cancelled", status=0, at=5_400_000, **NONE)
    world.rows.append(later)
    assert world.judged() == []
    del world.rows[-2]
    assert sorted(world.judged()) == ["LOST"]  # the later one stands for its own call only


def test_a_client_that_left_may_have_been_answered_all_the_same() -> None:
    """Its answer was short and complete before the gateway read the end of its connection."""
    world = killed_world()
    seen = counted(5, "left")
    world.attempts.append(seen)
    world.calls += [left("left", 4.9), left("unread", 4.9)]
    world.rows.append(row_of(seen, attempt_id="x", request_id="?1"))
    world.rows.append(row_of(seen, attempt_id="y", request_id="?2", outcome="cancelled", status=0, **NONE))
    assert world.judged() == []
    del world.rows[-2]
    assert world.judged() != []


def test_equal_figures_of_two_lives_are_not_mixed_up() -> None:
    """One was cut by the kill and has no figures; the other, of the next life, has exactly those it would have had."""
    world = killed_world()
    figures = Figures(input=1007, output=19, cache_read=0)
    cut = counted(5, "cut", how="client_closed", usage_sent=False, tokens_sent=2, declared=figures)
    whole = counted(6, "whole", declared=figures, tokens_sent=19)
    world.attempts += [cut, whole]
    world.calls += [broke("cut", 4.9, 5.1), left("whole", 5.9), left("unread", 4.8)]
    world.rows += [
        row_of(cut, attempt_id="x", request_id="?1", outcome="interrupted", source="estimated", **NONE),
        row_of(whole, attempt_id="y", request_id="?2"),
        row_of(cut, attempt_id="z", request_id="?3", outcome="cancelled", status=0, at=4_850_000, **NONE),
    ]
    assert world.judged() == []
    for lost in (-3, -2):
        row = world.rows.pop(lost)
        assert "LOST" in world.judged()
        world.rows.insert(len(world.rows) + lost + 1, row)
    assert world.judged() == []


def test_the_choice_that_explains_all_is_found() -> None:
    """The nearest row of the first attempt is the only one that the second can have."""
    world = killed_world()
    cut = {"how": "client_closed", "status": 0, "usage_sent": False, "tokens_sent": 0}
    first, second = counted(5, "first", **cut), counted(6, "second", at=5_000_000, **cut)
    world.attempts += [first, second]
    world.calls += [broke("first", 4.5, 5.1), broke("second", 4.95, 5.1)]
    gone = {"outcome": "interrupted", "status": 0, "source": "estimated", **NONE}
    world.rows += [
        row_of(first, attempt_id="x", request_id="?1", at=4_990_000, **gone),
        row_of(first, attempt_id="y", request_id="?2", at=4_600_000, **gone),
    ]
    assert world.judged() == []


def test_a_row_that_was_born_after_the_vendor_had_read_is_not_the_attempts() -> None:
    world = World()
    world.calls = []
    world.rows[0]["at"] = world.attempts[0].at + 1
    assert sorted(world.judged()) == ["LOST", "PHANTOM"]


def test_a_row_that_was_born_before_its_call_is_not_the_calls() -> None:
    world = killed_world()
    seen = counted(5, "left")
    world.attempts.append(seen)
    world.calls.append(left("left", 4.9))
    world.rows.append(row_of(seen, attempt_id="x", request_id="?1", at=4_800_000))
    assert sorted(world.judged()) == ["LOST", "PHANTOM"]


def test_a_call_that_ended_unread_excuses_one_row_of_its_own_time() -> None:
    def judged(*calls: Call, at: int = 5_000_000, outcome: str = "interrupted", killed: bool = True) -> list[str]:
        world = World()
        world.more["killed"] = killed
        world.calls += calls
        ghost = row_of(counted(5, "z"), request_id="?", outcome=outcome, status=0, source="estimated", **NONE)
        world.rows.append({**ghost, "at": at})
        return world.judged()

    assert judged(left("z", 4.9)) == []  # killed before it noticed
    assert judged(left("z", 4.9), killed=False) == ["PHANTOM"]
    assert judged(left("z", 4.9), outcome="cancelled") == []
    assert judged(left("z", 5.1), outcome="cancelled") == ["PHANTOM"]  # the row is older than the call
    assert judged(broke("z", 4.9, 5.1)) == []
    assert judged(broke("z", 4.9, 5.1), outcome="cancelled") == ["PHANTOM"]  # this client did not leave
    assert judged(broke("z", 4.9, 5.1), at=5_200_000) == ["PHANTOM"]  # the gateway was dead by then
    assert judged(broke("z", 5.1, 5.2)) == ["PHANTOM"]


def test_a_row_of_a_known_request_is_not_excused_by_another_call() -> None:
    world = killed_world()
    world.calls.append(broke("z", 4.0, 9.0))
    world.rows.append(row_of(counted(5, "c"), attempt_no=2, outcome="interrupted", source="estimated", **NONE))
    assert world.judged() == ["DOUBLED"]


def test_rows_are_matched_without_request_ids() -> None:
    """The gateway died before it answered: model, credential, tokens and time are all there is."""
    world = World()
    world.calls = []
    assert world.judged() == []
    del world.rows[0]
    assert world.judged() == ["LOST"]
    world = World()
    world.calls = []
    world.rows.append(dict(world.rows[0], attempt_id="again"))
    assert world.judged() == ["PHANTOM"]


def test_many_rows_that_were_born_before_the_vendor_read_anything_are_each_matched() -> None:
    """All of them have the same likeliest attempts."""
    world = World()
    world.calls = []
    same = Figures(input=7, output=3, cache_read=0)
    burst = [counted(number, f"n{number}", declared=same, tokens_sent=3) for number in range(10, 260)]
    world.attempts += burst
    world.rows += [row_of(one, at=5_000_000) for one in burst]
    assert world.judged() == []
    del world.rows[-1]
    assert world.judged() == ["LOST"]


def test_a_nonce_in_the_model_name_joins_directly() -> None:
    attempts = [counted(n, f"m{n}", model=f"sim/tokens=3,n=m{n}") for n in (1, 2)]
    rows = [row_of(a, request_id="?", model_asked=f"main/{a.model}", model_served=a.model) for a in attempts]
    assert reconcile(Count(attempts), rows, price=PRICE) == []
    rows[0]["output_tokens"] += 1
    assert {v.kind for v in reconcile(Count(attempts), rows, price=PRICE)} == {"USAGE", "COST"}
    assert [v.kind for v in reconcile(Count(attempts), rows[1:], price=PRICE)] == ["LOST"]


def test_count_tokens_and_lists_need_no_row() -> None:
    attempts = [counted(1, None, operation="count_tokens"), counted(2, None, operation="list_models")]
    assert reconcile(Count(attempts), []) == []
    assert [v.kind for v in reconcile(Count(attempts), [], operations={"count_tokens"})] == ["LOST"]


def test_what_was_spent_before_counts_too() -> None:
    world = World()
    world.quota["cost_used_nano_usd"] = sum(row["cost_nano_usd"] for row in world.rows) + 50
    assert world.judged() == ["QUOTA"]
    world.more["cost_before"] = {"u1": 50}
    assert world.judged() == []


def test_samples_never_exceed_the_limit() -> None:
    assert judge_samples([(5, 5, 10), (1, 99, None)]) == []
    assert [v.kind for v in judge_samples([(5, 6, 10)])] == ["OVERSPENT"]


def test_prices_are_whole_nano_dollars() -> None:
    tokens = Figures(input=3, output=2, cache_read=1, cache_write_5m=1, cache_write_1h=1)
    price = per_million(prompt=3, output=15, cache_read=0.3, cache_write_5m=3.75, cache_write_1h=6)
    assert price({}, tokens) == 3 * 3000 + 2 * 15000 + 300 + 3750 + 6000


def test_a_ledger_in_sqlite_is_read_as_it_stands(tmp_path: Path) -> None:
    world = World()
    path = tmp_path / "gproxy.db"
    names = sorted(world.rows[0])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"CREATE TABLE usages ({', '.join(names)})")
        connection.execute("CREATE TABLE user_quotas (user_id, quota_nano_usd, cost_used_nano_usd, reserved_nano_usd)")
        for row in world.rows:
            connection.execute(f"INSERT INTO usages VALUES ({', '.join('?' * len(names))})", [row[n] for n in names])
        spent = sum(row["cost_nano_usd"] for row in world.rows)
        connection.execute("INSERT INTO user_quotas VALUES ('u1', NULL, ?, 0)", [spent])
    rows, quotas = read_sqlite(path)
    assert rows == world.rows
    assert reconcile(Count(world.attempts), rows, quotas, price=PRICE, calls=world.calls) == []


def test_the_table_counts_kinds() -> None:
    world = World()
    lose(world)
    found = reconcile(Count(world.attempts), world.rows, price=PRICE, calls=world.calls)
    assert table(found).splitlines()[0] == "LOST 1"
    assert "attempt=4" in table(found)
