"""How often somebody has tried to log in, per account name and per address, across restarts and instances.

A try is counted before the password is looked at, so that a thousand guesses sent at once are ten guesses.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gproxy.clock import SystemClock
from gproxy.storage import sql
from gproxy.storage.engine import Database, Session


async def note_try(db: Database, subjects: Sequence[str], *, most: int, window_us: int) -> float:
    """Count a try for every subject, unless one of them has used up its `most` within the window.

    Zero when it was counted, otherwise the seconds until a try is possible again; nothing is counted then.
    """
    ordered = sorted(set(subjects))  # always in the same order, so that two logins cannot wait for each other
    async with db.transaction() as tx:
        statement = sql.upsert(tx.dialect, "login_tries", ("subject", "tries_json", "updated_at"), ("subject",))
        await tx.executemany(statement, [(subject, "[]", SystemClock.now_us()) for subject in ordered])
        locked = {subject: await _recent(tx, subject, 0) for subject in ordered}
        now = SystemClock.now_us()  # once the rows are ours: whoever had them before us tried before us
        found = {subject: [at for at in tries if at > now - window_us] for subject, tries in locked.items()}
        full = [tries[-most] for tries in found.values() if len(tries) >= most]
        if full:
            return max((max(full) + window_us - now) / 1_000_000, 1.0)
        for subject, tries in found.items():
            await _store(tx, subject, [*tries, now], now)
    return 0.0


async def forgive(db: Database, account: str, address: str) -> None:
    """A login that succeeded: the account begins anew, the address gets this one try back."""
    now = SystemClock.now_us()
    async with db.transaction() as tx:
        for subject in sorted({account, address}):
            tries = await _recent(tx, subject, 0)
            await _store(tx, subject, [] if subject == account else tries[:-1], now)


async def sweep_tries(db: Session, *, window_us: int) -> int:
    """Drop what no longer counts; how many rows went."""
    return await db.execute("DELETE FROM login_tries WHERE updated_at <= ?", (SystemClock.now_us() - window_us,))


async def _recent(tx: Session, subject: str, since: int) -> list[int]:
    query = sql.locking(tx.dialect, "SELECT tries_json FROM login_tries WHERE subject = ?")
    rows = await tx.fetch(query, (subject,))
    tries = msgspec.json.decode(rows[0][0], type=list[int]) if rows else []
    return sorted(moment for moment in tries if moment > since)


async def _store(tx: Session, subject: str, tries: Sequence[int], now: int) -> None:
    await tx.execute(
        "UPDATE login_tries SET tries_json = ?, updated_at = ? WHERE subject = ?",
        (msgspec.json.encode(tries).decode(), now, subject),
    )
