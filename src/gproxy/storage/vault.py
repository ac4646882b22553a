"""The keys of one database: the right secret key is proven at start, the digest key of API keys is kept here.

A canary row says whether the database is encrypted and with which key. A database that was started without a
secret key is encrypted in one transaction when it first sees one; the same code changes the key.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gproxy.access.keys import digest_of
from gproxy.secret import Secret
from gproxy.storage import sql
from gproxy.storage.engine import LONGEST_STATEMENT, Database, Session
from gproxy.storage.errors import SealError
from gproxy.storage.sealing import PLAIN, Sealer, sealers
from gproxy.storage.settings import INTERNAL, put_if_absent

CANARY: Final = f"{INTERNAL}canary"
DIGEST_KEY: Final = f"{INTERNAL}digest_key"
_CANARY_TEXT: Final = "gproxy"

_SEALED: Final = (
    ("users", "id", "password", "WHERE password IS NOT NULL"),
    ("user_keys", "id", "api_key", ""),
    ("credentials", "id", "secret_json", ""),
    ("settings", "name", "value", f"WHERE name IN ('{CANARY}', '{DIGEST_KEY}')"),
)
"""Every sealed column there is: table, row id, column, which rows."""


@dataclass(frozen=True, slots=True, repr=False)
class Vault:
    """What reads and writes secrets of one database."""

    sealer: Sealer
    digest_key: bytes

    def digest(self, api_key: Secret) -> str:
        """The hex digest under which an API key is stored."""
        return digest_of(api_key, self.digest_key).hex()


async def open_vault(db: Database, secret_key: Secret | None, *, old_keys: Sequence[Secret] = ()) -> Vault:
    """Prove the key and load the digest key, making both on an empty database.

    `old_keys` are accepted for reading while a key change is under way. Raises `SealError` with one clear line
    when the key is wrong or missing.
    """
    sealer = sealers(secret_key, old_keys)
    stored = await _stored(db)
    if CANARY not in stored or DIGEST_KEY not in stored:
        async with db.transaction() as tx:
            for name, text in ((CANARY, _CANARY_TEXT), (DIGEST_KEY, os.urandom(32).hex())):
                await put_if_absent(tx, name, sealer.seal(text, table="settings", row=name, column="value"))
        # Read again: another instance may have been first, with a key of its own.
        stored = await _stored(db)
    if stored[CANARY].startswith(PLAIN) and sealer.encrypts:
        await reseal(db, sealer, accept_plain=True)
        stored = await _stored(db)
    try:
        if _open(sealer, CANARY, stored[CANARY]).reveal() != _CANARY_TEXT:
            raise SealError("the canary was changed")
        digest_key = bytes.fromhex(_open(sealer, DIGEST_KEY, stored[DIGEST_KEY]).reveal())
    except SealError as error:
        if not sealer.encrypts:
            raise SealError("the database is encrypted: start with its secret key (DATABASE_SECRET_KEY)") from error
        raise SealError("wrong secret key for this database (DATABASE_SECRET_KEY)") from error
    return Vault(sealer, digest_key)


async def reseal(db: Database, sealer: Sealer, *, accept_plain: bool = False) -> int:
    """Seal every secret anew with the sealer's first key, in one transaction: all old or all new. How many."""
    count = 0
    async with db.transaction() as tx:
        # Configuration writers wait here, so that no row escapes.
        await tx.execute("UPDATE revisions SET revision = revision + 1 WHERE id = 1")
        for table, key, column, where in _SEALED:
            rows = await tx.fetch(sql.select(table, (key, column), where), timeout=LONGEST_STATEMENT)
            fresh = [
                (
                    sealer.seal(
                        sealer.open(text, table=table, row=row, column=column, accept_plain=accept_plain).reveal(),
                        table=table,
                        row=row,
                        column=column,
                    ),
                    row,
                )
                for row, text in rows
            ]
            await tx.executemany(sql.update(table, (column,), f"{key} = ?"), fresh, timeout=LONGEST_STATEMENT)
            count += len(fresh)
    return count


async def _stored(db: Session) -> dict[str, str]:
    rows = await db.fetch("SELECT name, value FROM settings WHERE name IN (?, ?)", (CANARY, DIGEST_KEY))
    return {str(name): str(value) for name, value in rows}


def _open(sealer: Sealer, name: str, stored: str) -> Secret:
    return sealer.open(stored, table="settings", row=name, column="value")
