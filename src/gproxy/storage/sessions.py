"""Sessions of people: kept by the digest of their token, so that they outlive a restart and a leak of the table.

Tokens themselves are made and shown by whoever asks for a session; nothing here ever sees one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.storage import sql
from gproxy.storage.engine import Session


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One session. Times in microseconds since the epoch; `address` is where the login came from."""

    id: str
    user_id: str
    digest: str = field(repr=False)
    address: str | None
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a living session is. Only enabled users have one."""

    session_id: str
    user_id: str
    user_name: str
    is_admin: bool
    expires_at: int


_COLUMNS: Final = ("id", "user_id", "digest", "address", "created_at", "expires_at")


async def open_session(db: Session, *, user_id: str, digest: str, address: str | None, seconds: int) -> SessionRow:
    """Keep a session. Raises `Conflict` when the user is gone."""
    now = SystemClock.now_us()
    row = SessionRow(new_id(), user_id, digest, address, now, now + seconds * 1_000_000)
    await db.execute(
        sql.insert("sessions", _COLUMNS),
        (row.id, row.user_id, row.digest, row.address, row.created_at, row.expires_at),
    )
    return row


async def holder_of(db: Session, digest: str) -> Holder | None:
    """The user behind a token's digest; None when the session ended, or the user was disabled or deleted."""
    rows = await db.fetch(
        "SELECT s.id, s.user_id, u.name, u.is_admin, s.expires_at FROM sessions s JOIN users u ON u.id = s.user_id"
        " WHERE s.digest = ? AND s.expires_at > ? AND u.enabled = 1",
        (digest, SystemClock.now_us()),
    )
    if not rows:
        return None
    session_id, user_id, name, is_admin, expires_at = rows[0]
    return Holder(session_id, user_id, name, bool(is_admin), expires_at)


async def end_session(db: Session, session_id: str) -> bool:
    """Log out; false when it had ended already."""
    return await db.execute("DELETE FROM sessions WHERE id = ?", (session_id,)) == 1


async def end_sessions_of(tx: Session, user_id: str) -> int:
    """Log a user out everywhere; how many sessions there were."""
    return await tx.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,))


async def sweep_sessions(db: Session) -> int:
    """Drop what has expired; how many went."""
    return await db.execute("DELETE FROM sessions WHERE expires_at <= ?", (SystemClock.now_us(),))
