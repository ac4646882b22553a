"""Answers kept for their callers: found from the moment they leave, written to the database right after.

What is not written yet is kept in memory and found there. When this process dies before it could write, or the database
stays away until too much waits, an answer is lost for those who want to go on from it, and they are told that it is not
there; everything else about it (its usage, its bytes) is nobody's business here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from gproxy.clock import Clock
from gproxy.ledger.store import StoreUnavailable
from gproxy.pipeline.ports import Answered
from gproxy.protocols.openai_responses.kept import Chain, KeptResponse, is_own
from gproxy.storage import kept_responses
from gproxy.storage.engine import Database
from gproxy.storage.errors import Conflict, DatabaseUnavailable, Poison

DAYS: Final = 30
"""Days for which a conversation is kept after its last answer; OpenAI's own service keeps answers that long."""
SETTING: Final = "conversation_retention_days"
SWEEP_EVERY: Final = 300.0
"""Seconds between two looks for conversations whose time is over."""
MOST_BYTES: Final = 64 * 1024 * 1024
"""Bytes that may wait to be written; beyond them new answers are not kept, and counted."""
LARGEST: Final = 12 * 1024 * 1024
"""Bytes of one answer with its request that are kept. MariaDB's default packet is 16 MiB."""
_BATCH: Final = 32
_DAY_US: Final = 86_400_000_000
_LONGEST_DAYS: Final = 36_500
_SWEEPS: Final = 50
# Another process may have given out an id whose answer it has not written yet: a moment's patience, then it is unknown.
_PATIENCE: Final = (0.05, 0.1, 0.2, 0.4)


class ResponseKeeper:
    """One per process; a `pipeline.ports.Keeper` and what `workers.response_keeper` writes with."""

    def __init__(
        self, db: Callable[[], Database], clock: Clock, say: Callable[[str, Mapping[str, object]], None], *, most: int
    ) -> None:
        """`most` is how many bytes of a conversation are read at most: those that a request may have."""
        self._db = db
        self._clock = clock
        self._say = say
        self._most = most
        self._days = DAYS
        self._waiting: dict[tuple[str, str], Answered] = {}
        self._bytes = 0
        self._writing = asyncio.Lock()
        self.dropped = 0
        self._told = 0
        self.on_work: Callable[[], None] | None = None

    def set(self, settings: Mapping[str, str]) -> None:
        """Take the stored setting; 0 days keep nothing."""
        text = settings.get(SETTING, "")
        self._days = min(int(text), _LONGEST_DAYS) if text.isdecimal() else DAYS

    @property
    def on(self) -> bool:
        """Whether answers are kept at all."""
        return self._days > 0

    @property
    def waiting(self) -> int:
        """Answers that are not in the database yet."""
        return len(self._waiting)

    def keep(self, answered: Answered) -> None:
        """Take an answer; what does not fit is left out and counted."""
        size = answered.size
        if size > LARGEST or self._bytes + size > MOST_BYTES:
            self.dropped += 1
        else:
            key = (answered.user_id, answered.id)
            before = self._waiting.pop(key, None)
            self._waiting[key] = answered
            self._bytes += size - (0 if before is None else before.size)
        if self.on_work is not None:
            self.on_work()

    # --- reading ---

    async def chain(self, user_id: str, response_id: str) -> Chain:
        """The conversation that ends with this answer, wherever its parts are. Raises `StoreUnavailable`."""
        latest: list[KeptResponse] = []
        older: str | None = response_id
        while older is not None and (kept := self._held(user_id, older)) is not None:
            latest.append(kept)
            older = kept.previous_id
        size = sum(kept.size for kept in latest)
        if size > self._most or len(latest) > kept_responses.MOST_TURNS:
            return Chain(too_long=True)
        if older is None:
            return Chain(tuple(reversed(latest)))
        if not latest and any(waiting == older and owner != user_id for owner, waiting in self._waiting):
            return Chain(others=True)
        found = await self._read(user_id, older, self._most - size, patient=not latest)
        return found if found.too_long or not latest else Chain((*found.responses, *reversed(latest)))

    async def _read(self, user_id: str, response_id: str, most: int, *, patient: bool) -> Chain:
        found = await kept_responses.chain(self._db(), user_id, response_id, most=most)
        for pause in _PATIENCE if patient and self.on and is_own(response_id) else ():
            if found.responses or found.too_long or found.others:
                break
            await asyncio.sleep(pause)
            found = await kept_responses.chain(self._db(), user_id, response_id, most=most)
        return found

    async def one(self, user_id: str, response_id: str) -> KeptResponse | None:
        """One answer of this user's. Raises `StoreUnavailable`."""
        held = self._held(user_id, response_id)
        if held is not None:
            return held
        found = await kept_responses.one(self._db(), user_id, response_id)
        for pause in _PATIENCE if self.on and is_own(response_id) else ():
            if found is not None:
                break
            await asyncio.sleep(pause)
            found = await kept_responses.one(self._db(), user_id, response_id)
        return found

    def _held(self, user_id: str, response_id: str) -> KeptResponse | None:
        answered = self._waiting.get((user_id, response_id))
        return None if answered is None else answered.kept()

    async def forget(self, user_id: str, response_id: str) -> bool:
        """Delete one answer of this user's; whether there was one. Raises `StoreUnavailable`."""
        if self._held(user_id, response_id) is not None:
            await self.flush()  # what is being written cannot be taken back before
        return await kept_responses.forget(self._db(), user_id, response_id)

    # --- writing ---

    async def flush(self) -> None:
        """Write what waits. An answer that no database takes is dropped; those beside it land. Raises `StoreUnavailable`."""
        async with self._writing:
            while self._waiting:
                batch = list(self._waiting.values())[:_BATCH]
                rows = [kept for answered in batch if (kept := answered.kept()) is not None]
                self.dropped += len(batch) - len(rows)
                await self._write(rows)
                for answered in batch:
                    key = (answered.user_id, answered.id)
                    if self._waiting.get(key) is answered:  # otherwise a later one of the same id has come meanwhile
                        del self._waiting[key]
                        self._bytes -= answered.size
        if self.dropped > self._told:
            self._say("responses not kept: too large, or too many wait for the database", {"dropped": self.dropped})
            self._told = self.dropped

    async def _write(self, rows: list[KeptResponse]) -> None:
        if not rows:
            return
        try:
            async with self._db().transaction() as tx:
                await kept_responses.put(tx, rows)
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from error
        except (Poison, Conflict):  # a conflict: their user was deleted meanwhile
            if len(rows) == 1:
                self.dropped += 1
                return
            for row in rows:
                await self._write([row])

    async def sweep(self) -> None:
        """Drop conversations whose time is over. Raises `StoreUnavailable`."""
        before = self._clock.now_us() - self._days * _DAY_US
        for _ in range(_SWEEPS):
            if not await kept_responses.sweep(self._db(), before=before):
                break
