"""How configuration is written, and how other processes learn of it: one counter that every write moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gproxy.clock import SystemClock
from gproxy.storage.engine import Database, Session, Transaction


@asynccontextmanager
async def config_write(db: Database) -> AsyncIterator[Transaction]:
    """A transaction that changes configuration.

    The counter is moved first: its row lock puts configuration writers in a line, on every engine, so that each
    sees what the one before it wrote.
    """
    async with db.transaction() as tx:
        await tx.execute(
            "UPDATE revisions SET revision = revision + 1, updated_at = ? WHERE id = 1", (SystemClock.now_us(),)
        )
        yield tx


async def revision(db: Session) -> int:
    """The counter; a process whose snapshot is of another revision loads a new one."""
    return int((await db.fetch("SELECT revision FROM revisions WHERE id = 1"))[0][0])
