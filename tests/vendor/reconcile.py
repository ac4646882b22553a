"""The judge of the ledger: does it say exactly what the vendor saw? From outside, by two files and a database.

    vendor's count (I: what happened)  ⟷  usages rows (what the ledger says)  ⟷  user_quotas (what was charged)

How an attempt finds its row: the load generator puts a nonce into every request. The vendor records it with each
attempt, the client's log says which request id the gateway answered with, and the rows carry that id. A nonce inside
the model name joins rows directly. Calls whose client never learned an id (the gateway was killed) are matched by
what both sides still know: model, credential, tokens, and the order of things, which no delay can turn round: a call
begins, its row is born, the vendor reads the request. Where that leaves a choice, the judge takes the reading that
accuses least (`assignment.py`): it condemns only what no reading explains.

The rules, with the names of the invariants in the fault catalogue:

    LOST      I1  the vendor saw an attempt and no row exists
    DOUBLED   I1  two rows for one attempt, or one attempt id twice
    PHANTOM   I2  a row without an attempt. Excused, if it has no output, by what ended between the row and the
                  vendor's reading, each time once: a call that its client aborted and the vendor never saw excuses a
                  `cancelled` row, and where the gateway was killed (`killed=True`) also an `interrupted` one, for it
                  may have died before it noticed; a call that broke when the gateway was killed excuses an
                  `interrupted` row born before that (any, if there is no log). Excused are also a `cancelled` row
                  beside another attempt at the same request that was the answer (a hedge's second may be outrun so
                  soon); and `failed` rows of cost zero when the vendor was unreachable (`unreachable=True`), or
                  one with the gateway's own 502 for each time the vendor hung up behind an answer: the next
                  request may have been on its way to that connection
    USAGE     I3  a `reported` row whose tokens are not the vendor's figures, or an answer the vendor completed with
                  figures that the row calls complete without them
    COST      I3  settled cost ≠ tokens of the row times price, to the nano-USD
    UNBILLED  I3  the vendor produced output that reached a client, and the row charges no output (a killed gateway
                  may miss what came after its last progress record: `checkpoint_tokens`)
    OUTCOME       the vendor's answer was cut and the row says `complete`
    CREDENTIAL    the row names another credential than the one the vendor saw
    ATTEMPTS      attempt numbers of a request are not 1..k
    QUOTA     I4  cost_used ≠ Σ of the user's rows (plus what was there before)
    HELD      I4  reserved ≠ 0 at rest
    OVERSPENT I5  settled cost above the quota beyond the rows' own `excess`
    COUNT         the count file itself is broken, so nothing can be judged
    CLIENT    I10 a client got something that is neither a complete answer nor a well-formed error
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from gproxy.vendor.tally import Figures
from tests.vendor.assignment import cheapest
from tests.vendor.count import Count, Counted, read_count
from tests.vendor.load import Call

Row = Mapping[str, Any]
Price = Callable[[Row, Figures], int]
"""(row, tokens) → nano-USD. The row says model and price version."""

BILLED_OPERATIONS = frozenset({"generate", "stream", "embed"})
_HANGS_UP = frozenset({"drop_after", "length_short"})
"""Scripts that end a connection which both sides could take for a good one."""
_COLUMNS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    kind: str
    text: str
    nonce: str | None = None
    attempt: int | None = None
    row: str | None = None

    def __str__(self) -> str:
        where = [
            f"{name}={value}" for name in ("nonce", "attempt", "row") if (value := getattr(self, name)) is not None
        ]
        return f"{self.kind}: {self.text}" + (f" [{' '.join(where)}]" if where else "")


def per_million(
    *, prompt: float = 0, output: float = 0, cache_read: float = 0, cache_write_5m: float = 0, cache_write_1h: float = 0
) -> Price:
    """A flat price in USD per million tokens. One USD per million tokens is 1000 nano-USD per token; must be whole."""
    rates = {
        name: round(usd * 1000)
        for name, usd in (
            ("input", prompt),
            ("output", output),
            ("cache_read", cache_read),
            ("cache_write_5m", cache_write_5m),
            ("cache_write_1h", cache_write_1h),
        )
    }
    return lambda row, tokens: sum(rate * getattr(tokens, name) for name, rate in rates.items())


def tokens_of(row: Row) -> Figures:
    """A row's tokens; what it does not know counts as nothing."""
    return Figures(**{name: row.get(column) or 0 for name, column in _COLUMNS.items()})


@dataclass(slots=True)
class _Case:
    """What is known while judging."""

    rows: Sequence[Row]
    price: Price | None
    calls: Mapping[str, Call]
    credentials: Mapping[str, str]
    killed: bool
    unreachable: bool
    checkpoint_tokens: int | None
    answered: frozenset[str] = frozenset()
    """Requests of which some attempt is complete."""
    unread: Sequence[_Unread] = ()
    """What may have a row although the vendor never read it."""
    found: list[Violation] = field(default_factory=list)

    def say(self, kind: str, text: str, attempt: Counted | None = None, row: Row | None = None) -> None:
        self.found.append(_violation(kind, text, attempt, row))


def _violation(kind: str, text: str, attempt: Counted | None = None, row: Row | None = None) -> Violation:
    return Violation(
        kind,
        text,
        attempt.nonce if attempt else None,
        attempt.n if attempt else None,
        str(row["attempt_id"]) if row is not None else None,
    )


@dataclass(frozen=True, slots=True)
class _Unread:
    """A request, or one try of it, that ended before the vendor had read it: it explains one row without an attempt."""

    outcomes: frozenset[str]
    nonce: str | None = None
    since: float = 0.0
    until: float = math.inf
    """When its row can have been born, in microseconds since the epoch."""

    def explains(self, row: Row, nonce: str | None) -> bool:
        """Whether this row can be its own; `nonce`: of the request that the row is known to belong to."""
        own = nonce is None or self.nonce is None or nonce == self.nonce
        return own and row["outcome"] in self.outcomes and self.since <= row["at"] <= self.until


def reconcile(
    count: Count | Path,
    rows: Sequence[Row],
    quotas: Sequence[Row] = (),
    *,
    price: Price | None = None,
    calls: Iterable[Call] = (),
    credentials: Mapping[str, str] | None = None,
    operations: Collection[str] = BILLED_OPERATIONS,
    killed: bool = False,
    unreachable: bool = False,
    checkpoint_tokens: int | None = None,
    cost_before: Mapping[str, int] | None = None,
) -> list[Violation]:
    """Every violation found; an empty list is the proof.

    `count` is the vendor's file, `rows` all of `usages`, `quotas` all of `user_quotas`. `calls` is the clients' log.
    `credentials` maps a credential's digest to its `credential_id`. `checkpoint_tokens`: how many output tokens a
    row that was not reported may be below what the client received; None asks only that it is not nothing.
    `cost_before` is each user's `cost_used` that the rows do not explain (seeded, or retired by retention).
    """
    folded = read_count(count) if isinstance(count, Path) else count
    log = {call.nonce: call for call in calls}
    case = _Case(rows, price, log, credentials or {}, killed, unreachable, checkpoint_tokens)
    for problem in folded.problems:
        case.say("COUNT", problem)
    attempts = [attempt for attempt in folded.attempts if attempt.operation in operations]
    judged = [row for row in rows if row["operation"] in operations]
    _same_id_twice(case, rows)
    case.answered = frozenset(str(row["request_id"]) for row in rows if row["outcome"] == "complete")
    case.unread = list(_unread(case, attempts))
    pairs, lonely_attempts, lonely_rows = _match(case, attempts, judged)
    for attempt, row in pairs:
        case.found += _flaws(case, attempt, row)
    for attempt in lonely_attempts:
        case.say("LOST", f"the vendor saw {attempt.model!r} ({attempt.how}) and there is no row", attempt)
    for row in lonely_rows:
        case.say("PHANTOM", f"row ({row['outcome']}, status {row['status']}) without an attempt", row=row)
    for row in judged:
        _judge_cost(case, row)
    _judge_quotas(case, quotas, cost_before or {})
    for call in log.values():
        if call.problem is not None and not (killed and call.broken):
            case.found.append(Violation("CLIENT", call.problem, call.nonce))
    return case.found


# Matching


def _same_id_twice(case: _Case, rows: Sequence[Row]) -> None:
    seen: set[str] = set()
    for row in rows:
        if row["attempt_id"] in seen:
            case.say("DOUBLED", "this attempt id stands twice in the ledger", row=row)
        seen.add(row["attempt_id"])


Pairs = list[tuple[Counted, Row]]


def _match(case: _Case, attempts: list[Counted], rows: list[Row]) -> tuple[Pairs, list[Counted], list[Row]]:
    nonce_by_request = {call.request_id: nonce for nonce, call in case.calls.items() if call.request_id}
    nonces = {attempt.nonce for attempt in attempts if attempt.nonce}
    rows_of: dict[str, list[Row]] = defaultdict(list)
    loose_rows: list[tuple[Row, str | None]] = []
    for row in rows:
        nonce = nonce_by_request.get(row["request_id"]) or _nonce_in(row, nonces)
        if nonce is None:
            loose_rows.append((row, None))
        else:
            rows_of[nonce].append(row)
    attempts_of: dict[str, list[Counted]] = defaultdict(list)
    loose_attempts: list[Counted] = []
    for attempt in attempts:
        if attempt.nonce is not None and attempt.nonce in rows_of:
            attempts_of[attempt.nonce].append(attempt)
        else:
            loose_attempts.append(attempt)
    pairs: Pairs = []
    for nonce, its_rows in rows_of.items():
        its_attempts = attempts_of.get(nonce, [])
        its_rows.sort(key=lambda row: (row["attempt_no"], row["at"]))
        if [row["attempt_no"] for row in its_rows] != list(range(1, len(its_rows) + 1)):
            numbers = [row["attempt_no"] for row in its_rows]
            case.say("ATTEMPTS", f"attempt numbers {numbers}", its_attempts[0] if its_attempts else None, its_rows[0])
        paired, left, over = _pair_up(its_attempts, its_rows)
        pairs += paired
        # Some of a request's attempts may have been joined by id and others not: what is left tries the loose match.
        loose_attempts += left
        if its_attempts and over and not all(_excusable(case, row, nonce) for row in over):
            for row in over:
                case.say("DOUBLED", f"{len(its_rows)} rows for {len(its_attempts)} attempts", its_attempts[0], row)
        else:
            loose_rows += ((row, nonce) for row in over)
    more, lonely_attempts, lonely_rows = _loose(case, loose_attempts, loose_rows)
    return pairs + more, lonely_attempts, lonely_rows


def _nonce_in(row: Row, nonces: Collection[str]) -> str | None:
    asked = str(row["model_asked"])
    if "n=" not in asked:
        return None
    nonce = asked.partition("n=")[2].replace("~", ",").replace(";", ",").split(",")[0]
    return nonce if nonce in nonces else None


def _pair_up(attempts: list[Counted], rows: list[Row]) -> tuple[Pairs, list[Counted], list[Row]]:
    """In order; where the numbers differ, rows that reached no vendor (failed before it) are left over first."""
    rows = list(rows)
    numbers = [int(row["attempt_no"]) for row in rows]
    if len(rows) < len(attempts) and len(set(numbers)) == len(numbers) and max(numbers) <= len(attempts):
        # Some are lost: the numbers tell which, so that the others are not blamed.
        taken = {number - 1 for number in numbers}
        pairs = [(attempts[number - 1], row) for number, row in zip(numbers, rows, strict=True)]
        return pairs, [attempt for at, attempt in enumerate(attempts) if at not in taken], []
    surplus = len(rows) - len(attempts)
    over: list[Row] = []
    # The gateway's own word for "no answer came" is the likeliest to have had no question.
    for row in sorted(filter(_reached_nobody, rows), key=lambda row: bool(row["status"] != 502)):
        if surplus <= 0:
            break
        rows.remove(row)
        over.append(row)
        surplus -= 1
    size = min(len(rows), len(attempts))
    return list(zip(attempts[:size], rows[:size], strict=True)), attempts[size:], over + rows[size:]


def _reached_nobody(row: Row) -> bool:
    return row["outcome"] in {"failed", "interrupted", "cancelled"} and not row["output_tokens"]


_LOST: Final = 10**15
_ACCUSED: Final = 10**12
_CONTRADICTED: Final = 10**11
_CHOICES: Final = (100, 1_000, None)
"""How many of its likeliest partners each row is tried with: more only where so many leave somebody over on both sides.
(Rows that were all born before the vendor read the first of their requests have the same likeliest ones.)"""


def _loose(
    case: _Case, attempts: list[Counted], rows: list[tuple[Row, str | None]]
) -> tuple[Pairs, list[Counted], list[Row]]:
    """Match what has no request id in common: the most pairs first, then the fewest violations, then the likeliest.

    A row comes with the nonce of its request, if that is known; then only what is unread of that request is its own.
    """
    attempts = sorted(attempts, key=lambda attempt: attempt.at)
    by_key: dict[object, _Line] = defaultdict(_Line)
    for at, attempt in enumerate(attempts):
        by_key[_attempt_key(case, attempt)].places.append(at)
    for line in by_key.values():
        line.draw(case, attempts)
    ways = [_ways(case, attempts, by_key, row, nonce) for row, nonce in rows]
    nobodys = len(attempts) + len(case.unread)
    for most in _CHOICES:
        taken = cheapest(
            [
                {**{at: cost for cost, at in (*likely[:most], *excused[:most])}, nobodys + number: nobody}
                for number, (likely, excused, nobody) in enumerate(ways)
            ]
        )
        used = set(taken)
        left = [attempt for at, attempt in enumerate(attempts) if at not in used]
        lonely = [row for at, (row, _) in zip(taken, rows, strict=True) if at >= nobodys and not _needs_none(case, row)]
        if not (left and lonely):
            break
    return [(attempts[at], row) for at, (row, _) in zip(taken, rows, strict=True) if at < len(attempts)], left, lonely


def _ways(
    case: _Case, attempts: Sequence[Counted], by_key: Mapping[object, _Line], row: Row, nonce: str | None
) -> tuple[list[tuple[int, int]], list[tuple[int, int]], int]:
    """What a row can be the row of, as (cost, place): attempts, then what is unread, the likeliest first; and of nothing."""
    likely: list[tuple[int, int]] = []
    if nonce is None:
        found = {at for key in _row_keys(case, row) if key in by_key for at in by_key[key].possible(row["at"])}
        likely = sorted((_unlikely(case, attempts[at], row) - _LOST, at) for at in found)
    excused: list[tuple[int, int]] = []
    if _excusable(case, row, nonce):
        excused = sorted(
            (min(_CONTRADICTED, int(row["at"] - unread.since)), at)
            for at, unread in enumerate(case.unread, len(attempts))
            if unread.explains(row, nonce)
        )
    return likely, excused, 0 if _needs_none(case, row) else _ACCUSED


@dataclass(slots=True)
class _Line:
    """Attempts in the order the vendor read them, by their places in the list of all."""

    places: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    began: list[int] = field(default_factory=list)
    """When the call of each began."""
    earliest: list[int] = field(default_factory=list)
    """The earliest beginning from each on, so that a search knows when to stop."""

    def draw(self, case: _Case, attempts: Sequence[Counted]) -> None:
        for at in self.places:
            call = case.calls.get(attempts[at].nonce or "")
            self.read.append(attempts[at].at)
            self.began.append(0 if call is None else int(call.started_at * 1e6))
        self.earliest = list(accumulate(reversed(self.began), min))[::-1]

    def possible(self, born: int) -> Iterator[int]:
        """Cause before effect: the call begins, its row is born, only then a byte goes to the vendor."""
        for at in range(bisect_left(self.read, born), len(self.read)):
            if self.earliest[at] > born:
                return
            if self.began[at] <= born:
                yield self.places[at]


def _unlikely(case: _Case, attempt: Counted, row: Row) -> int:
    """How unlike a pair looks, in microseconds: a row is born just before the vendor reads the request.

    What contradicts weighs as much as half a second: a row without output for an answer that was sent, a complete
    row for one that was not, another status. What contradicts the client's own log, which did not leave, outweighs any
    delay, and so does every violation.
    """
    apart = min(attempt.at - int(row["at"]), _CONTRADICTED)
    if _reached_nobody(row) and attempt.tokens_sent:
        apart += 500_000
    if (row["outcome"] == "complete") != (attempt.how == "complete"):
        apart += 500_000
    if row["status"] != attempt.status:
        apart += 500_000
    call = case.calls.get(attempt.nonce or "")
    if call is not None and row["outcome"] == "cancelled" and call.aborted is None:
        apart += _CONTRADICTED
    return apart + _ACCUSED * len(_flaws(case, attempt, row))


def _row_keys(case: _Case, row: Row) -> list[object]:
    asked, served = str(row["model_asked"]), str(row["model_served"] or "")
    names = {name for name in (asked, asked.partition("/")[2], served) if name}
    return [(name, row["credential_id"] if case.credentials else None) for name in names]


def _attempt_key(case: _Case, attempt: Counted) -> object:
    return attempt.model, case.credentials.get(attempt.credential or "") if case.credentials else None


def _unread(case: _Case, attempts: Sequence[Counted]) -> Iterator[_Unread]:
    reached = {attempt.nonce for attempt in attempts}
    left = frozenset({"cancelled", "interrupted"} if case.killed else {"cancelled"})
    for call in case.calls.values():
        began = int(call.started_at * 1e6)
        if call.sent and call.aborted is not None and call.nonce not in reached:
            yield _Unread(left, call.nonce, began)
        elif call.sent and call.broken is not None and case.killed:
            yield _Unread(frozenset({"interrupted"}), call.nonce, began, (call.started_at + call.total) * 1e6)
    for attempt in attempts:
        if attempt.fail in _HANGS_UP:
            yield _Unread(frozenset({"failed"}))


def _outrun(case: _Case, row: Row) -> bool:
    """Whether another attempt at the same request was the answer, so that nothing of this one reached the client."""
    return bool(row["outcome"] == "cancelled" and str(row["request_id"]) in case.answered)


def _needs_none(case: _Case, row: Row) -> bool:
    """Whether this row may be without an attempt as often as it likes."""
    if row["output_tokens"]:
        return False
    match row["outcome"]:
        case "failed":
            return case.unreachable and not row["cost_nano_usd"]
        case "interrupted":
            return case.killed and not case.calls
        case _:
            return _outrun(case, row)


def _excusable(case: _Case, row: Row, nonce: str | None) -> bool:
    """Whether there is something unread that this row could stand for."""
    if _needs_none(case, row):
        return True
    if row["output_tokens"] or (row["outcome"] == "failed" and (row["cost_nano_usd"] or row["status"] != 502)):
        return False
    return any(unread.explains(row, nonce) for unread in case.unread)


# Judging


def _flaws(case: _Case, attempt: Counted, row: Row) -> list[Violation]:
    """What the row says wrongly, if it is this attempt's."""
    found: list[Violation] = []

    def say(kind: str, text: str) -> None:
        found.append(_violation(kind, text, attempt, row))

    billed = attempt.declared or Figures()
    if row["source"] == "reported" and row["outcome"] != "failed":
        said = tokens_of(row)
        for name, column in _COLUMNS.items():
            if getattr(said, name) != getattr(billed, name):
                say("USAGE", f"{column} is {getattr(said, name)}, the vendor declared {getattr(billed, name)}")
    elif row["outcome"] == "complete" and attempt.usage_sent and attempt.how == "complete":
        say("USAGE", f"the vendor's figures arrived, the row says {row['source']}")
    # A reader may close right after the last event, before the vendor has written the end of the body.
    whole = attempt.declared is not None and attempt.usage_sent and attempt.tokens_sent >= attempt.declared.output
    if row["outcome"] == "complete" and attempt.how in {"cut", "client_closed", "stopped"} and not whole:
        say("OUTCOME", f"the vendor's answer was {attempt.how}, the row says complete")
    if row["outcome"] == "complete" and attempt.status >= 400:
        say("OUTCOME", f"the vendor answered {attempt.status}, the row says complete")
    call = case.calls.get(attempt.nonce or "")
    received = call.tokens if call is not None and not _outrun(case, row) else 0
    output = row["output_tokens"] or 0
    died = case.killed and row["outcome"] == "interrupted"
    if attempt.tokens_sent and received and not output and billed.output and not died:
        say("UNBILLED", f"the client received {received} tokens, the row charges none")
    elif case.checkpoint_tokens is not None and attempt.declared and output + case.checkpoint_tokens < received:
        say("UNBILLED", f"the client received {received} tokens, the row charges {output}")
    known = case.credentials.get(attempt.credential or "")
    if known is not None and known != row["credential_id"]:
        say("CREDENTIAL", f"the vendor saw {known}, the row names {row['credential_id']}")
    return found


def _judge_cost(case: _Case, row: Row) -> None:
    if case.price is None or row["outcome"] == "failed":
        if row["outcome"] == "failed" and row["cost_nano_usd"] and not row["output_tokens"] and not row["input_tokens"]:
            case.say("COST", f"a failed attempt costs {row['cost_nano_usd']} nano-USD", row=row)
        return
    right = case.price(row, tokens_of(row))
    if row["cost_nano_usd"] != right:
        case.say("COST", f"cost {row['cost_nano_usd']}, its own tokens cost {right} nano-USD", row=row)


def _judge_quotas(case: _Case, quotas: Sequence[Row], before: Mapping[str, int]) -> None:
    total: dict[str, int] = defaultdict(int)
    excess: dict[str, int] = defaultdict(int)
    for row in case.rows:
        total[row["user_id"]] += row["cost_nano_usd"]
        excess[row["user_id"]] += row["excess_nano_usd"] or 0
    for quota in quotas:
        user = quota["user_id"]
        right = total[user] + before.get(user, 0)
        if quota["cost_used_nano_usd"] != right:
            case.say("QUOTA", f"user {user}: cost_used {quota['cost_used_nano_usd']}, Σ rows {right} nano-USD")
        if quota["reserved_nano_usd"] != 0:
            case.say("HELD", f"user {user}: {quota['reserved_nano_usd']} nano-USD still reserved at rest")
        limit = quota["quota_nano_usd"]
        if limit is not None and quota["cost_used_nano_usd"] > limit + excess[user]:
            case.say("OVERSPENT", f"user {user}: {quota['cost_used_nano_usd']} spent of {limit} nano-USD")


def judge_samples(samples: Iterable[tuple[int, int, int | None]]) -> list[Violation]:
    """I5 over samples of (cost_used, reserved, quota) taken while the load runs."""
    return [
        Violation("OVERSPENT", f"sample {number}: {used} + {held} > {limit} nano-USD")
        for number, (used, held, limit) in enumerate(samples)
        if limit is not None and used + held > limit
    ]


def table(violations: Sequence[Violation], limit: int = 20) -> str:
    """The verdict for people: how many of each kind, and the first of them."""
    if not violations:
        return "reconciled: no violation"
    kinds: dict[str, int] = defaultdict(int)
    for violation in violations:
        kinds[violation.kind] += 1
    lines = [", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items()))]
    return "\n".join(lines + [str(violation) for violation in violations[:limit]])
