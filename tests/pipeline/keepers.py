"""Small honest keepers of answers."""

from __future__ import annotations

from gproxy.ledger.store import StoreUnavailable
from gproxy.pipeline.ports import Answered
from gproxy.protocols.openai_responses.kept import Chain, KeptResponse


class Memory:
    """Keeps everything, and nothing for long."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], KeptResponse] = {}
        self.on = True
        self.away = False
        self.most = 1 << 20

    def keep(self, answered: Answered) -> None:
        row = answered.kept()
        if row is not None:
            self.rows[answered.user_id, answered.id] = row

    async def chain(self, user_id: str, response_id: str) -> Chain:
        if self.away:
            raise StoreUnavailable("away")
        found: list[KeptResponse] = []
        at: str | None = response_id
        while at is not None and (user_id, at) in self.rows:
            found.append(self.rows[user_id, at])
            at = found[-1].previous_id
        if not found and any(one == response_id for _, one in self.rows):
            return Chain(others=True)
        if sum(row.size for row in found) > self.most:
            return Chain(too_long=True)
        return Chain(tuple(reversed(found)))

    async def one(self, user_id: str, response_id: str) -> KeptResponse | None:
        return self.rows.get((user_id, response_id))

    async def forget(self, user_id: str, response_id: str) -> bool:
        return self.rows.pop((user_id, response_id), None) is not None
