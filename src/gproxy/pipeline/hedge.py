"""A second attempt for a request whose first one is late; the first that has an answer is the answer.

    first ───────────────┬─ late ────────────► outrun: cancelled, settled, charged for what was seen of it
                         └─ second ──► answer ──► client

The second starts when the first has been silent for longer than the route's percentile of its member's first-byte
times (`routing.pace`), and only if everything it may cost fits beside what the first may cost: it has a reservation of
its own. Both have their own row in the ledger and are charged by the one rule that holds for every attempt.

An attempt wins with the first frame that says something, or with a whole answer that is one; an error never wins. From
then on it alone talks to the client, and before its first byte leaves the other is cancelled and settled. Where one
fails, the other goes on; where both fail, the request goes on like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Protocol

from gproxy.access.limits import Standing
from gproxy.clock import Clock
from gproxy.errors import Refused
from gproxy.pipeline.exchange import Cause, Exchange, Interrupted
from gproxy.pipeline.projection import Tariff
from gproxy.pipeline.reserve import Granted
from gproxy.pipeline.tariffs import tariff_of
from gproxy.pipeline.warmth import Conversation
from gproxy.routing.pace import Mark, Pace
from gproxy.routing.plan import Attempt as Step
from gproxy.routing.plan import Plan
from gproxy.wire.http import Header

if TYPE_CHECKING:
    from gproxy.pipeline.attempt import Failed

_FAREWELL: Final = 0.25
"""Seconds that a winner waits for the other to be settled. It takes a turn of the loop; a bug must not cost an answer."""

BRANCH: Final[ContextVar[Exchange | None]] = ContextVar("branch", default=None)
"""The attempt's own exchange, in the task that makes one of several attempts at the same time."""


class Attempting(Protocol):
    """Makes one attempt; None when it answered the client."""

    def __call__(self, x: Exchange, step: Step, /) -> Coroutine[Any, Any, Failed | None]:
        """Raises what attempts raise."""
        ...


class Lane:
    """The request's admission as one of two attempts sees it: it ends with the one that answers."""

    def __init__(self, granted: Granted, hedge: Hedge) -> None:
        self.cap = granted.cap
        self._granted = granted
        self._hedge = hedge

    @property
    def sent(self) -> bool:
        """See `Granted.sent`."""
        return self._granted.sent

    @sent.setter
    def sent(self, sent: bool) -> None:
        self._granted.sent = sent

    @property
    def left(self) -> int | None:
        """See `Granted.left`."""
        return self._granted.left

    @property
    def standings(self) -> Sequence[Standing]:
        """See `Granted.standings`."""
        return self._granted.standings

    async def cover(self, tariff: Tariff) -> int:
        """See `Granted.cover`. Nothing has to be awaited: both bounds are held before the second attempt starts."""
        return await self._granted.cover(tariff)

    def charge(self, attempt_id: str, cost: int) -> None:
        """See `Granted.charge`."""
        self._granted.charge(attempt_id, cost)

    def finish(self, tokens: int) -> None:
        """The attempt is over. The request is when it has won, which it cannot before the other is over too."""
        del tokens
        if self._hedge.winner is not None and self._hedge.winner.lane is self:
            self._granted.finish(self._hedge.tokens)

    def headers(self, tokens: int | None = None) -> list[Header]:
        """How the limits stand, with the tokens of both attempts."""
        return self._granted.headers(None if tokens is None else self._hedge.tokens)

    def receipt(self) -> list[Header]:
        """See `Granted.receipt`."""
        return self._granted.receipt()


class Runner:
    """One of the attempts while they race."""

    def __init__(self, x: Exchange, step: Step, granted: Granted, hedge: Hedge) -> None:
        self.step = step
        self.branch = x.branch()
        self.branch.race = hedge
        self.branch.admission = self.lane = Lane(granted, hedge)
        self.task: asyncio.Task[Failed | None]

    def start(self, attempt: Attempting) -> None:
        """Run in a task of its own."""
        name = f"attempt {self.step.number} of {self.branch.request_id}"
        self.task = asyncio.create_task(self._run(attempt), name=name)  # noqa: TID251 - owned by the hedge, which waits for its end
        self.branch.owner = self.task

    @property
    def tokens(self) -> int:
        """What it used."""
        return self.branch.tokens_in + self.branch.tokens_out

    async def _run(self, attempt: Attempting) -> Failed | None:
        BRANCH.set(self.branch)
        try:
            if self.branch.cause is not None:  # it is over before it began, and nothing of it is on record
                raise Interrupted
            return await attempt(self.branch, self.step)
        finally:
            if self.step.taken is not None:
                self.step.taken.settle()


class Hedge:
    """The attempts of one hedged request until one has won. A `Race`; made for one request and used once."""

    def __init__(
        self,
        x: Exchange,
        plan: Plan,
        granted: Granted,
        *,
        pace: Pace,
        percentile: int,
        talk: Conversation | None,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self.winner: Runner | None = None
        self.last: Step
        """The step whose failure, if it failed, is the request's."""
        self._x = x
        self._plan = plan
        self._granted = granted
        self._pace = pace
        self._percentile = percentile
        self._talk = talk
        self._clock = clock
        self._dice = dice
        self._runners: list[Runner] = []
        self._mark: Mark
        self._late_after: float | None = None
        self._begun_at = 0.0

    @property
    def tokens(self) -> int:
        """What all attempts used so far."""
        return sum(runner.tokens for runner in self._runners)

    async def run(self, step: Step, attempt: Attempting) -> Failed | None:
        """Make the attempt, and a second one when it is late; None when one of them answered the client."""
        self._mark = self._pace.of(step.candidate.load_key, self._x.stream, self._percentile)
        self._late_after = self._mark.late_after
        self.last = step
        first = self._start(step, attempt)
        try:
            if self._late_after is not None:
                with self._x.interruptible():
                    await asyncio.wait({first.task}, timeout=self._late_after)
                await self._second(first, attempt)
            with self._x.interruptible():
                await self._over()
        except BaseException as reason:
            for runner in self._runners:
                if isinstance(reason, Interrupted):
                    runner.branch.interrupt(self._x.cause or Cause.CUT)
                else:
                    runner.task.cancel()
            # They have been told to end and wait for nothing but that: there is no deadline to miss.
            await asyncio.wait([runner.task for runner in self._runners])
            raise
        finally:
            self._gathered()
        return self._outcome()

    async def won(self, x: Exchange, first_byte_at: float) -> None:
        """See `Race.won`. When it returns, the others are settled."""
        runner = next(each for each in self._runners if each.branch is x)
        if self.winner is not None:
            x.interrupt(Cause.OUTRUN)
            raise Interrupted
        self.winner = runner
        others = [each for each in self._runners if each is not runner and not each.task.done()]
        first = self._runners[0]
        if runner is first:
            self._mark.answered(first_byte_at - self._begun_at, self._late_after)
        elif first in others:
            self._mark.outrun()
        for other in others:
            other.branch.interrupt(Cause.OUTRUN)
        if others:
            with x.interruptible():
                await asyncio.wait([other.task for other in others], timeout=_FAREWELL)
        x.attempts = max(each.branch.attempts for each in self._runners)
        for other in self._runners:
            if other is not runner and other.task.done():  # the receipt of the answer tells what all of it cost
                x.cost_nano_usd += other.branch.cost_nano_usd
                other.branch.cost_nano_usd = 0
        self._take_over(x)

    def _start(self, step: Step, attempt: Attempting) -> Runner:
        runner = Runner(self._x, step, self._granted, self)
        if not self._runners:
            self._begun_at = self._clock.monotonic()
        else:
            runner.branch.attempts = self._runners[0].branch.attempts
        self._runners.append(runner)
        runner.start(attempt)
        return runner

    async def _second(self, first: Runner, attempt: Attempting) -> None:
        """Start the second attempt, if it may be."""
        if not self._open(first):
            return
        step = self._plan.hedge(self._clock.monotonic(), self._dice())
        if step is None:
            return
        fits = await self._granted.beside(tariff_of(self._x.snapshot, step.candidate))
        if fits and self._open(first):
            self._start(step, attempt)
        else:
            self._plan.call_off(step)

    def _open(self, first: Runner) -> bool:
        """Whether a second attempt would make sense: the first is on its way, and nobody has answered or left."""
        sent = first.branch.attempts > self._x.attempts
        over = first.task.done() or self.winner is not None or self._x.client.gone or self._x.cause is not None
        return sent and not over

    async def _over(self) -> None:
        """Until one has answered, or all have failed. What failed beside another is told to the health board at once."""
        waiting = {runner.task: runner for runner in self._runners}
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                runner = waiting.pop(task)
                failed = _failure_of(runner)
                if failed is not None and waiting:
                    self._told(runner, failed)

    def _told(self, runner: Runner, failed: Failed) -> None:
        self._plan.finished(runner.step, failed.verdict, self._clock.monotonic(), self._dice())
        if self._talk is not None:
            self._talk.failed(runner.step, failed.verdict)

    def _outcome(self) -> Failed | None:
        if self.winner is not None:
            return self.winner.task.result()
        failures = [(runner, failed) for runner in self._runners if (failed := _failure_of(runner)) is not None]
        if not failures:
            return self._runners[0].task.result()  # raises: it was refused, or it is a bug
        # A vendor's last word on the request itself tells the caller more than another's breakdown.
        last, verdict = next((pair for pair in failures if not pair[1].verdict.retryable), failures[-1])
        for runner, failed in failures:
            if runner is not last:
                self._told(runner, failed)
        self.last = last.step
        self._plan.go_on_from(last.step)
        return verdict

    def _gathered(self) -> None:
        """What the attempts found out is what the request found out."""
        x, runners = self._x, self._runners
        for runner in runners:
            if runner.task.done() and not runner.task.cancelled():
                runner.task.exception()  # looked at, so that nobody warns of it: here it is known what it means
            branch = runner.branch
            x.tokens_in += branch.tokens_in
            x.tokens_out += branch.tokens_out
            x.cost_nano_usd += branch.cost_nano_usd
            x.cause = x.cause or (branch.cause if branch.cause is not Cause.OUTRUN else None)
        last = self.winner or max(runners, key=lambda each: each.branch.attempts)
        self._take_over(last.branch)
        x.attempts = max(each.branch.attempts for each in runners)

    def _take_over(self, branch: Exchange) -> None:
        """What people see of the request is what is known of this attempt."""
        x = self._x
        x.attempts = branch.attempts
        x.provider_name, x.credential_id = branch.provider_name, branch.credential_id
        x.upstream_status, x.answered_status = branch.upstream_status, branch.answered_status
        x.first_byte_at, x.model_served, x.outcome = branch.first_byte_at, branch.model_served, branch.outcome


def _failure_of(runner: Runner) -> Failed | None:
    """How an attempt failed; None when it answered, was outrun, or may not have been made at all."""
    task = runner.task
    if task.cancelled():
        return None
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, Interrupted | Refused):
        return None
    raise error
