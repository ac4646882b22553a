"""The right key opens the database, the wrong one is refused at once, and a new one is all or nothing."""

from __future__ import annotations

import asyncio
import gzip
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest

from gproxy.secret import Secret
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import SealError
from gproxy.storage.export import export_seed
from gproxy.storage.migrate import ensure_schema
from gproxy.storage.sealing import hash_password
from gproxy.storage.users import ensure_admin
from gproxy.storage.vault import Vault, open_vault, reseal
from tests.storage.conftest import Place

KEY, OTHER = Secret("the first key"), Secret("the second key")
CANARIES = ("sk-canary-upstream-5b1d", "sk-canary-user-77aa", "canary-password-1c9e")


async def fill(db: Database, vault: Vault) -> None:
    upstream, key, password = (Secret(text) for text in CANARIES)
    async with config_write(db) as tx:
        provider = await p.create_provider(tx, name="a", channel="openai")
        await p.create_credential(tx, vault, provider_id=provider.id, fields={"api_key": upstream})
        user = await u.create_user(tx, vault, name="alice", password_hash=hash_password(password))
        await u.create_key(tx, vault, user_id=user.id, api_key=key)


async def test_the_same_key_opens_again(db: Database) -> None:
    first = await open_vault(db, KEY)
    again = await open_vault(db, KEY)
    assert first.digest_key == again.digest_key
    assert first.digest(Secret("k")) == again.digest(Secret("k")) != first.digest(Secret("K"))
    assert repr(first.digest_key) not in repr(first)


async def test_wrong_and_missing_keys_are_refused_with_one_line(db: Database) -> None:
    await open_vault(db, KEY)
    with pytest.raises(SealError, match=r"^wrong secret key for this database \(DATABASE_SECRET_KEY\)$"):
        await open_vault(db, OTHER)
    with pytest.raises(SealError, match=r"^the database is encrypted: start with its secret key"):
        await open_vault(db, None)


async def test_a_planted_canary_does_not_help(db: Database) -> None:
    """Whoever can write to the database cannot make a wrong key pass by replacing the canary alone."""
    vault = await open_vault(db, KEY)
    await fill(db, vault)
    forged = (await open_vault_on_paper(OTHER))["_canary"]
    await db.execute("UPDATE settings SET value = ? WHERE name = '_canary'", (forged,))
    with pytest.raises(SealError, match="wrong secret key"):
        await open_vault(db, OTHER)


async def open_vault_on_paper(key: Secret) -> dict[str, str]:
    from gproxy.storage.sealing import Sealer

    return {"_canary": Sealer(key).seal("gproxy", table="settings", row="_canary", column="value")}


async def test_a_first_key_encrypts_what_was_in_clear(db: Database) -> None:
    clear = await open_vault(db, None)
    await fill(db, clear)
    ((stored,),) = await db.fetch("SELECT secret_json FROM credentials")
    assert stored.startswith("plain:")
    vault = await open_vault(db, KEY)
    assert vault.digest_key == clear.digest_key
    for table, column in (("credentials", "secret_json"), ("user_keys", "api_key"), ("users", "password")):
        ((stored,),) = await db.fetch(f"SELECT {column} FROM {table}")
        assert stored.startswith("v1:")
    assert (await export_seed(db, vault)).users[0].keys[0].api_key.reveal() == CANARIES[1]
    with pytest.raises(SealError):
        await open_vault(db, None)


async def test_changing_the_key(db: Database) -> None:
    await fill(db, await open_vault(db, KEY))
    both = await open_vault(db, OTHER, old_keys=[KEY])
    assert (await export_seed(db, both)).users[0].keys[0].api_key.reveal() == CANARIES[1]
    assert await reseal(db, both.sealer) == 5
    vault = await open_vault(db, OTHER)
    assert (await export_seed(db, vault)).providers[0].credentials[0].fields["api_key"].reveal() == CANARIES[0]
    with pytest.raises(SealError):
        await open_vault(db, KEY)


async def test_a_key_change_that_fails_changes_nothing(db: Database) -> None:
    vault = await open_vault(db, KEY)
    await fill(db, vault)
    await db.execute("UPDATE users SET password = 'v1:broken:a:b'")
    before = await db.fetch("SELECT secret_json FROM credentials")
    both = await open_vault(db, OTHER, old_keys=[KEY])
    with pytest.raises(SealError):
        await reseal(db, both.sealer)
    assert await db.fetch("SELECT secret_json FROM credentials") == before
    await open_vault(db, KEY)


async def test_two_instances_make_one_digest_key(place: Place, db: Database) -> None:
    other = await connect(place.dsn)
    try:
        first, second = await asyncio.gather(open_vault(db, KEY), open_vault(other, KEY))
        assert first.digest_key == second.digest_key
    finally:
        await other.close()


async def test_swapping_two_rows_is_noticed(db: Database) -> None:
    vault = await open_vault(db, KEY)
    await fill(db, vault)
    async with config_write(db) as tx:
        (provider,) = await p.PROVIDERS.all(tx)
        other = await p.create_credential(tx, vault, provider_id=provider.id, fields={"api_key": Secret("mine")})
        (first, *_) = await p.CREDENTIALS.all(tx)
        await tx.execute("UPDATE credentials SET secret_json = ? WHERE id = ?", (first.secret_json, other.id))
    moved = await p.CREDENTIALS.get(db, other.id)
    assert moved is not None
    with pytest.raises(SealError):
        p.reveal_credential(vault, moved)


async def test_no_secret_lies_in_the_file(tmp_path: Path) -> None:
    """Every byte of the database, its log included, against every secret in the encodings it could hide in."""
    db = await connect(f"sqlite:///{tmp_path}/x.db")
    await ensure_schema(db)
    vault = await open_vault(db, KEY)
    await fill(db, vault)
    await ensure_admin(db, vault, name="root", password=Secret("canary-admin-0f"), api_key=None, explicit=False)
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())  # noqa: ASYNC240 - a few KiB, in a test
    for secret in (*CANARIES, "canary-admin-0f", KEY.reveal(), vault.digest_key.hex()):
        raw = secret.encode()
        for form in (
            raw,
            raw.hex().encode(),
            b64encode(raw)[:-2],
            urlsafe_b64encode(raw)[:-2],
            gzip.compress(raw)[10:-8],
        ):
            assert form not in everything
    assert vault.digest_key not in everything
    await db.close()
