"""Limit windows shared through Redis: exact over all instances, one round trip per request.

The arithmetic is that of `access.limits`, in one script over Redis's own clock: sixty slots per window, all claims or
none. Redis is a cache of the ledger here, never the truth:

* it comes up empty (restart, FLUSHALL, eviction): the first instance to notice fills the windows from the ledger;
* it goes away, for all or for some: an instance that cannot reach it falls back to its share of each limit, less its
  part of what everybody let through before. Those that still reach it leave that share alone: instances say every
  second that they are there (`tick`), and whoever has not been heard of is taken to live on its share. So that both
  never use the same share, an instance waits until it must be missed before it does (`PRESENT` seconds at most);
* it comes back: what was let through meanwhile is counted before the first request asks.

Allowances (`allowances`) are given out by the same script, so that a request asks Redis once for all it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from gproxy.access.limits import Claim, Counted, Exceeded, Standing, Windows
from gproxy.access.shares import Shares
from gproxy.clock import Clock
from gproxy.ids import new_id
from gproxy.storage import redis_scripts
from gproxy.storage.allowances import OPEN_SECONDS, Allowance, Draw, Drawn, NotCovered, Purse, Taken
from gproxy.storage.drivers import transport_is_gone
from gproxy.storage.errors import StorageError
from gproxy.window import SLOTS

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

TIMEOUT: Final = 0.5
"""Seconds one call may take; a slower Redis is as good as none."""
CONNECTIONS: Final = 16
"""Requests that ask Redis at once. A burst that opened a connection for each of its own would be late for opening
them, and Redis runs one script at a time anyway."""
REST: Final = 0.5
"""Seconds after a failure in which Redis is not asked."""

PRESENT: Final = 2.5
"""Seconds for which an instance counts as one that reaches Redis after it has said so."""

_FOR_UPKEEP: Final = 4
"""Connections beside those: corrections, being there, filling and coming back."""
_LATE: Final = 5.0
"""Seconds after which what was drawn may not be used: this process stood still."""
_TRIES: Final = 3
"""How often Redis is asked for one request before it is given up, if it answers in between."""
_US: Final = 1_000_000
_PREFIX: Final = "{gproxy}:w:"
_ALLOWANCE: Final = "{gproxy}:a:"
_EPOCH: Final = "{gproxy}:epoch"
_THERE: Final = "{gproxy}:there"

Key = tuple[str, str, float]


class RedisLimits:
    """`Limits` over Redis. `fill` brings what the ledger knows of the recent past into the windows it is given."""

    def __init__(self, url: str, clock: Clock, shares: Shares, fill: Callable[[Shares], Awaitable[None]]) -> None:
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
        except ImportError:
            raise StorageError("--redis-url needs the Redis driver: install gproxy[redis]") from None

        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS + _FOR_UPKEEP,
            timeout=TIMEOUT,
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis: Redis = Redis.from_pool(pool)
        self._count = self._redis.register_script(redis_scripts.COUNT)
        self._correct = self._redis.register_script(redis_scripts.CORRECT)
        self._raise = self._redis.register_script(redis_scripts.RAISE)
        self._be_there = self._redis.register_script(redis_scripts.BE_THERE)
        self._give = self._redis.register_script(redis_scripts.GIVE)
        self._take = self._redis.register_script(redis_scripts.TAKE)
        self._back = self._redis.register_script(redis_scripts.GIVE_BACK)
        self._id = new_id()
        self._clock_ahead: float | None = None
        """How far Redis's clock is ahead of ours, seconds; too little rather than too much."""
        self._there_until = 0.0
        self._leaving = False
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._asking = 0
        self._settled = asyncio.Event()
        self._answered_at = 0.0
        self._clock = clock
        self._shares = shares
        self._fill = fill
        self._rest_until = 0.0
        self._away = False
        self._meanwhile: list[tuple[Key, float, int]] = []
        self._late: list[tuple[str, int, int]] = []
        self._flushing = asyncio.Lock()
        self._changing = asyncio.Lock()
        self.on_work: Callable[[], None] | None = None

    @property
    def away(self) -> bool:
        """Whether limits are kept by share at the moment because Redis does not answer."""
        return self._away

    @property
    def purse(self) -> Purse:
        """Redis gives out allowances."""
        return self

    @property
    def open(self) -> bool:
        """Whether Redis is worth asking."""
        return not (self._leaving or self._away or self._clock.monotonic() < self._rest_until)

    async def count(self, claims: Sequence[Claim]) -> Counted | Exceeded:
        """Count every claim or none, in Redis if it answers, otherwise within this instance's share.

        Raises `DatabaseUnavailable` when neither Redis nor the ledger can say what was let through before.
        """
        if not claims:
            return Counted((), (), ())
        if self._late or self._flushing.locked():
            await self.flush()
        for tries in range(_TRIES):
            if not self._leaving and self._clock.monotonic() >= self._rest_until:
                try:
                    outcome = await self._counted(claims)
                except self._faults():
                    self._rest()
                else:
                    assert not isinstance(outcome, Drawn | NotCovered)
                    return outcome
            if await self._leave(surely=tries + 1 == _TRIES):
                break
        return await self._by_share(claims)

    async def tick(self) -> None:
        """Once a second: be there for the others, or come back. Never raises for a Redis that is away."""
        if self._leaving or self._clock.monotonic() < self._rest_until:
            return
        try:
            if self._away:
                await self._return()
            else:
                await self._renew()
        except self._faults():
            self._rest()

    def correct(self, counted: Counted, tokens: int) -> None:
        """Replace reserved tokens by used ones, afterwards."""
        self._change(counted, {"total_tokens": tokens}, only_named=True)
        self._shares.windows.correct(_mirrored(counted), tokens)

    def withdraw(self, counted: Counted) -> None:
        """Take a request back, afterwards."""
        self._change(counted, {}, only_named=False)
        self._shares.windows.withdraw(_mirrored(counted))

    async def flush(self) -> None:
        """Send corrections. One that does not arrive leaves its window a little too full; it is not tried twice."""
        async with self._flushing:
            late, self._late = self._late, []
            if not late or self._clock.monotonic() < self._rest_until:
                return
            try:
                async with _asked(TIMEOUT):
                    for key, slot, difference in late:
                        await self._correct(keys=[key], args=[slot, difference])
            except self._faults():
                self._rest()

    async def close(self) -> None:
        """Be there no more, and close the connections."""
        with suppress(*self._faults()):
            async with _asked(TIMEOUT):
                await self._redis.zrem(_THERE, self._id)
        await self._redis.aclose()

    # -- allowances ------------------------------------------------------------------------------------------------

    async def draw(self, claims: Sequence[Claim], draw: Draw) -> Drawn | NotCovered | Exceeded | None:
        """See `Purse.draw`. An answer that comes late is none: what it drew may have ended meanwhile."""
        if self._late or self._flushing.locked():
            await self.flush()
        if not self.open:
            return None
        began = self._clock.monotonic()
        try:
            outcome = await self._counted(claims, draw)
        except self._faults():
            self._rest()
            return None
        if isinstance(outcome, Drawn) and self._clock.monotonic() > began + _LATE:
            self.withdraw(outcome.counted)
            return None
        assert not isinstance(outcome, Counted)
        return outcome

    async def give(self, allowance: Allowance) -> Taken | None:
        """See `Purse.give`."""
        one = allowance
        args: list[str | int] = [one.id, one.amount, one.ends, one.quota, one.beyond, OPEN_SECONDS * _US]
        return _taken(await self._told(self._give, one.user_id, args))

    async def take(self, user_id: str, allowance_id: str = "") -> Taken | None:
        """See `Purse.take`."""
        return _taken(await self._told(self._take, user_id, [allowance_id]))

    async def give_back(self, user_id: str, allowance_id: str, amount: int) -> bool | None:
        """See `Purse.give_back`."""
        answer = await self._told(self._back, user_id, [allowance_id, amount])
        return None if answer is None else bool(answer)

    async def _told(self, script: AsyncScript, user_id: str, args: list[str | int]) -> Any:
        if not self.open:
            return None
        try:
            async with _asked(TIMEOUT):
                return await script(keys=[_ALLOWANCE + user_id], args=args)
        except self._faults():
            self._rest()
            return None

    # -- Redis -----------------------------------------------------------------------------------------------------

    async def _counted(
        self, claims: Sequence[Claim], draw: Draw | None = None
    ) -> Counted | Exceeded | Drawn | NotCovered:
        if self._away:
            await self._return()
        answer = await self._ask(claims, draw)
        if answer[0] == -1:
            await self._begin()
            answer = await self._ask(claims, draw)
        if answer[0] == -2 and not (self._leaving or self._away):
            await self._renew()
            answer = await self._ask(claims, draw)
        if answer[0] == -3:
            return NotCovered(Taken(_text(answer[1]), int(answer[2])))
        if answer[0] < 0:
            raise TimeoutError("this instance is not there for the others")
        drawn = None if draw is None or answer[0] == 0 else answer[-3:]
        counted = self._outcome(claims, [int(one) for one in (answer if drawn is None else answer[:-3])])
        if drawn is None or isinstance(counted, Exceeded):
            return counted
        return Drawn(counted, _text(drawn[0]), int(drawn[1]) + int(drawn[2]))

    def _outcome(self, claims: Sequence[Claim], answer: list[int]) -> Counted | Exceeded:
        n = len(claims)
        if answer[0] == 0:
            tail = answer[3:]
            standings = tuple(
                Standing(claim, max(0, claim.limit - used), reset / _US)
                for claim, used, reset in zip(claims, tail[:n], tail[n:], strict=True)
            )
            return Exceeded(claims[answer[1] - 1], answer[2] / _US, standings)
        slots, costs, used, resets = (answer[1 + n * part : 1 + n * (part + 1)] for part in range(4))
        granted = tuple(_at(claim, cost) for claim, cost in zip(claims, costs, strict=True))
        standings = tuple(
            Standing(claim, max(0, claim.limit - total), reset / _US)
            for claim, total, reset in zip(granted, used, resets, strict=True)
        )
        # The mirror is what this instance would know if Redis went away now.
        now = self._clock.monotonic()
        mirror = tuple(self._shares.windows.add(claim, now) for claim in granted)
        return Counted(granted, tuple(slots) + mirror, standings)

    async def _ask(self, claims: Sequence[Claim], draw: Draw | None) -> list[Any]:
        who = _ALLOWANCE + ("" if draw is None else draw.user_id)
        keys = [_EPOCH, _THERE, who, *(_key(claim.row_id, claim.dimension, claim.length) for claim in claims)]
        args: list[int | str] = [
            value for claim in claims for value in (int(claim.length * _US), claim.limit, claim.cost, claim.needs)
        ]
        args += [self._id, self._shares.membership.count]
        args += [-1, 0, 0] if draw is None else [draw.amount, draw.quota, draw.now]
        # The wait for a turn is no sign of a slow Redis, so it is not in the time of the call; it ends with the calls
        # before it, each of which has its own. What was found out meanwhile holds for those that waited, too.
        async with self._turn:
            if self._leaving or self._away or self._clock.monotonic() < self._rest_until:
                raise TimeoutError("Redis did not answer those before")
            self._asking += 1
            try:
                async with _asked(TIMEOUT):
                    answer: Any = await self._count(keys=keys, args=args)
            finally:
                self._asking -= 1
                self._settled.set()
        return list(answer)

    async def _begin(self) -> None:
        """Redis is empty: bring in what the ledger and this instance know."""
        async with self._changing:
            async with _asked(TIMEOUT):
                if await self._redis.exists(_EPOCH):
                    return
            known = Shares()
            await self._fill(known)
            await self._push(known.windows, "most")
            await self._push(self._shares.windows, "most")
            async with _asked(TIMEOUT):
                await self._redis.set(_EPOCH, new_id())

    async def _return(self) -> None:
        """Redis is back: what was let through without it is counted there first."""
        async with self._changing:
            if not self._away:
                return
            await self._tell_time()
            now = self._clock.monotonic()
            async with _asked(2 * TIMEOUT):
                for (row_id, dimension, length), at, cost in self._meanwhile:
                    args: list[str | int] = [int(length * _US), "add", int((now - at) * _US), cost]
                    await self._raise(keys=[_key(row_id, dimension, length)], args=args)
            self._meanwhile.clear()
            self._away = False
            await self._renew()

    async def _tell_time(self) -> float:
        """How far Redis's clock is ahead; it answers, so it is there."""
        async with _asked(TIMEOUT):
            seconds, micros = await self._redis.time()
        self._clock_ahead = ahead = float(seconds + micros / _US - self._clock.monotonic())
        return ahead

    async def _renew(self) -> None:
        """Say that this instance reaches Redis; from before it is sent, until the end of that time, it may count as there."""
        ahead = await self._tell_time() if self._clock_ahead is None else self._clock_ahead
        until = self._clock.monotonic() + PRESENT
        self._there_until = max(self._there_until, until)
        async with _asked(TIMEOUT):
            now = await self._be_there(keys=[_THERE], args=[self._id, int((until + ahead) * _US)])
        self._clock_ahead = int(now) / _US - self._clock.monotonic()

    async def _push(self, windows: Windows, how: str) -> None:
        now = self._clock.monotonic()
        for (row_id, dimension, length), moments in windows.moments().items():
            args: list[Any] = [int(length * _US), how]
            for at, cost in moments.items():
                args += [int((now - at) * _US), cost]
            async with _asked(TIMEOUT):
                await self._raise(keys=[_key(row_id, dimension, length)], args=args)

    # -- without Redis -----------------------------------------------------------------------------------------------

    async def _leave(self, *, surely: bool) -> bool:
        """Live on this instance's share from now on, once nobody can take it for one that is there any more.

        False when Redis has answered meanwhile and may be asked again, unless it must be left `surely`.
        """
        since = self._clock.monotonic()
        async with self._changing:
            if self._away:
                return True
            if self._answered_at > since and not surely:
                return False  # whoever was before us has waited for us
            self._leaving = True
            try:
                if self._shares.membership.count > 1 and not await self._missed(surely=surely):
                    return False
                await self._fill(self._shares)
                self._away = True
            finally:
                self._leaving = False
        return True

    async def _missed(self, *, surely: bool) -> bool:
        """Wait until the others must miss this instance; false when Redis answers before that."""
        while (left := self._there_until - self._clock.monotonic()) > 0:
            await asyncio.sleep(min(left, REST))
            if not surely:
                with suppress(*self._faults()):
                    await self._tell_time()
                    self._answered_at = self._clock.monotonic()
                    self._rest_until = 0.0
                    return False
        while self._asking:  # what Redis counts for us at this moment is part of our share
            self._settled.clear()
            await self._settled.wait()
        return True

    async def _by_share(self, claims: Sequence[Claim]) -> Counted | Exceeded:
        now = self._clock.monotonic()
        outcome = self._shares.count(claims, now)
        if isinstance(outcome, Exceeded):
            return outcome
        self._meanwhile += [((one.row_id, one.dimension, one.length), now, one.cost) for one in outcome.claims]
        return Counted(outcome.claims, (-1,) * len(outcome.claims) + outcome.slots, outcome.standings)

    def _change(self, counted: Counted, costs: Mapping[str, int], *, only_named: bool) -> None:
        for claim, slot in zip(counted.claims, counted.slots, strict=False):
            if slot >= 0 and (claim.dimension in costs or not only_named):
                difference = costs.get(claim.dimension, 0) - claim.cost
                self._late.append((_key(claim.row_id, claim.dimension, claim.length), slot, difference))
        if self._late and self.on_work is not None:
            self.on_work()

    def _rest(self) -> None:
        self._rest_until = self._clock.monotonic() + REST

    @staticmethod
    def _faults() -> tuple[type[Exception], ...]:
        from redis.exceptions import RedisError

        return RedisError, OSError, TimeoutError


@asynccontextmanager
async def _asked(seconds: float) -> AsyncIterator[None]:
    """A call to Redis. Raises `TimeoutError` after so long.

    A lost connection is an `OSError` here, also one that the driver takes for a bug of its own.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except RuntimeError as error:
        if not transport_is_gone(error):
            raise
        raise ConnectionResetError(str(error)) from error


def _mirrored(counted: Counted) -> Counted:
    """The part of a count that is in this process's own windows."""
    return Counted(counted.claims, counted.slots[len(counted.claims) :], counted.standings)


def _taken(answer: Any) -> Taken | None:
    return None if answer is None else Taken(_text(answer[0]), int(answer[1]))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _at(claim: Claim, cost: int) -> Claim:
    return claim if cost == claim.cost else claim.costing(cost)


def _key(row_id: str, dimension: str, length: float) -> str:
    return f"{_PREFIX}{row_id}:{dimension}:{length:g}"


assert SLOTS == 60, "the scripts count sixty slots"
