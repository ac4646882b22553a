"""What was let through lately, read from the ledger: how limit windows are filled again after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gproxy.access.shares import Through
from gproxy.storage import sql
from gproxy.storage.engine import LONGEST_STATEMENT, Session

_BATCH: Final = 256


async def let_through(
    db: Session, user_ids: Sequence[str], since: int, stretch: int, *, phase: int = 0, until: int | None = None
) -> list[Through]:
    """What these users sent since a moment (microseconds), summed over stretches of `stretch` microseconds.

    A stretch begins where a moment plus `phase` is a multiple of its length; what is in it is told as of `until` after
    its beginning (its end, unless said otherwise). A request is counted once however many attempts it took, in the
    stretch of its first one. Operations that consume no limit are left out.
    """
    told = stretch if until is None else until
    found: list[Through] = []
    for start in range(0, len(user_ids), _BATCH):
        these, ids = sql.one_of("user_id", user_ids[start : start + _BATCH])
        rows = await db.fetch(
            "SELECT user_id, model_asked, at - ((at + ?) % ?) AS began, SUM(CASE WHEN attempt_no = 1 THEN 1 ELSE 0 END),"  # noqa: S608 - placeholders only
            " SUM(COALESCE(input_tokens, 0) + COALESCE(output_tokens, 0) + COALESCE(cache_read_tokens, 0)"
            " + COALESCE(cache_write_5m_tokens, 0) + COALESCE(cache_write_1h_tokens, 0))"
            f" FROM usages WHERE {these} AND at >= ? AND operation <> 'count_tokens'"
            " GROUP BY user_id, model_asked, began",
            [phase, stretch, *ids, since],
            timeout=LONGEST_STATEMENT,
        )
        found += [
            Through(user_id, model, int(began) + told, int(requests), int(tokens))
            for user_id, model, began, requests, tokens in rows
        ]
    return found
