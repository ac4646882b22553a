"""Answers kept for their callers, by user; a conversation is read and forgotten as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gproxy.protocols.openai_responses.kept import Chain, KeptResponse
from gproxy.storage import sql
from gproxy.storage.engine import LONGEST_STATEMENT, Session

_COLUMNS: Final = (
    "id", "user_id", "conversation_id", "previous_id", "at", "said_json", "answer_json", "provider_name",
    "credential_id",
)  # fmt: skip
_WITH_SIZE: Final = (*_COLUMNS, "size")
_REPLACED: Final = tuple(name for name in _WITH_SIZE if name not in {"id", "user_id"})
MOST_TURNS: Final = 900
"""Answers in one conversation. MySQL ends a recursion after 1,000 steps with an error (`cte_max_recursion_depth`)."""
_BATCH: Final = 64

_CHAIN: Final = """
WITH RECURSIVE chain (id, previous_id, size, depth) AS (
  SELECT id, previous_id, size, 0 FROM kept_responses WHERE id = ? AND user_id = ?
  UNION ALL
  SELECT older.id, older.previous_id, older.size, chain.depth + 1
  FROM kept_responses older JOIN chain ON older.id = chain.previous_id
  WHERE older.user_id = ? AND chain.depth < ?
)
SELECT id, size FROM chain ORDER BY depth DESC
"""
_ENDED: Final = """
SELECT conversation_id FROM kept_responses GROUP BY conversation_id HAVING MAX(at) < ? LIMIT ?
"""


async def put(tx: Session, rows: Sequence[KeptResponse]) -> None:
    """Store some; the last of an id counts, so that a batch may be sent twice, and a server may count from 1 again."""
    keep = sql.upsert(tx.dialect, "kept_responses", _WITH_SIZE, ("user_id", "id"), replace=_REPLACED)
    await tx.executemany(
        keep,
        [
            (
                row.id, row.user_id, row.conversation_id, row.previous_id, row.at, row.said, row.answer,
                row.provider_name, row.credential_id, row.size,
            )
            for row in rows
        ],
    )  # fmt: skip


async def one(db: Session, user_id: str, response_id: str) -> KeptResponse | None:
    """One answer of this user's."""
    rows = await db.fetch(
        sql.select("kept_responses", _COLUMNS, "WHERE id = ? AND user_id = ?"), (response_id, user_id)
    )
    return KeptResponse(*rows[0]) if rows else None


async def chain(db: Session, user_id: str, response_id: str, *, most: int) -> Chain:
    """The conversation that ends with an answer of this user's; at most `most` characters of it are read."""
    steps = await db.fetch(_CHAIN, (response_id, user_id, user_id, MOST_TURNS))
    if not steps:
        return Chain(others=bool(await db.fetch("SELECT 1 FROM kept_responses WHERE id = ?", (response_id,))))
    if len(steps) > MOST_TURNS or sum(size for _, size in steps) > most:
        return Chain(too_long=True)
    found: dict[str, KeptResponse] = {}
    for start in range(0, len(steps), _BATCH):
        these, ids = sql.one_of("id", [step[0] for step in steps[start : start + _BATCH]])
        where = f"WHERE user_id = ? AND {these}"
        rows = await db.fetch(sql.select("kept_responses", _COLUMNS, where), [user_id, *ids])
        found |= {row[0]: KeptResponse(*row) for row in rows}
    # One that was deleted between the two readings leaves a hole, and what stands before it cannot be used.
    kept: list[KeptResponse] = []
    for step in reversed(steps):
        if step[0] not in found:
            break
        kept.append(found[step[0]])
    return Chain(tuple(reversed(kept)))


async def forget(db: Session, user_id: str, response_id: str) -> bool:
    """Delete one answer of this user's; whether there was one."""
    return bool(await db.execute(sql.delete("kept_responses", "id = ? AND user_id = ?"), (response_id, user_id)))


async def sweep(db: Session, *, before: int, conversations: int = 200) -> int:
    """Drop conversations whose last answer is older (microseconds), so many at most; how many went.

    An answer stays for as long as its conversation goes on: without its beginning nobody could continue it.
    """
    ended = await db.fetch(_ENDED, (before, conversations), timeout=LONGEST_STATEMENT)
    if ended:
        these, ids = sql.one_of("conversation_id", [row[0] for row in ended])
        await db.execute(sql.delete("kept_responses", these), ids)
    return len(ended)
