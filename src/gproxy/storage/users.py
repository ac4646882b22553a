"""Users and what they hold: keys, permissions, file permissions, rate limits, budgets. And the first admin.

Writers are called inside `changes.config_write`. Passwords arrive hashed (`sealing.hash_password` takes 30 ms
and has no place inside a transaction).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Final

from gproxy.access.keys import new_key
from gproxy.clock import SystemClock
from gproxy.ids import new_id
from gproxy.secret import Secret
from gproxy.storage import sql
from gproxy.storage.changes import config_write
from gproxy.storage.engine import Database, Session
from gproxy.storage.errors import Conflict
from gproxy.storage.sealing import hash_password, password_matches
from gproxy.storage.shelf import Shelf, birth
from gproxy.storage.vault import Vault

DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class UserRow:
    """`password` is the sealed PHC string; None: cannot log in."""

    id: str
    name: str
    password: str | None = field(repr=False)
    is_admin: bool
    enabled: bool
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """`api_key` is sealed; `masked` is what people may see. `expires_at` in microseconds since the epoch."""

    id: str
    user_id: str
    api_key: str = field(repr=False)
    digest: str = field(repr=False)
    masked: str
    label: str | None
    enabled: bool
    expires_at: int | None
    on_disconnect: str | None
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class PermissionRow:
    """`provider_id` None: any provider."""

    id: str
    user_id: str
    provider_id: str | None
    model_pattern: str
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class FilePermissionRow:
    """A user may use a provider's file API."""

    id: str
    user_id: str
    provider_id: str
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class RateLimitRow:
    """None: not limited. The window is in seconds."""

    id: str
    user_id: str
    model_pattern: str
    rpm: int | None
    rpd: int | None
    total_tokens: int | None
    total_tokens_window: int
    created_at: int
    updated_at: int
    version: int


@dataclass(frozen=True, slots=True)
class QuotaRow:
    """A user's budget in nano-USD; `quota_nano_usd` None: unlimited."""

    user_id: str
    quota_nano_usd: int | None
    cost_used_nano_usd: int
    reserved_nano_usd: int
    updated_at: int
    version: int


QUOTA_COLUMNS: Final = tuple(each.name for each in fields(QuotaRow))

USERS: Final = Shelf("users", UserRow)
KEYS: Final = Shelf("user_keys", KeyRow)
PERMISSIONS: Final = Shelf("permissions", PermissionRow)
FILE_PERMISSIONS: Final = Shelf("file_permissions", FilePermissionRow)
RATE_LIMITS: Final = Shelf("rate_limits", RateLimitRow)


async def create_user(
    tx: Session, vault: Vault, *, name: str, password_hash: str | None, is_admin: bool = False, enabled: bool = True
) -> UserRow:
    """Add a user. Raises `Conflict` when the name is taken."""
    row_id = new_id()
    row = UserRow(row_id, name, sealed_password(vault, row_id, password_hash), is_admin, enabled, *birth())
    await USERS.insert(tx, row)
    return row


def sealed_password(vault: Vault, user_id: str, password_hash: str | None) -> str | None:
    """A PHC string as the user's row holds it."""
    if password_hash is None:
        return None
    return vault.sealer.seal(password_hash, table="users", row=user_id, column="password")


async def set_password(
    tx: Session, vault: Vault, user_id: str, password_hash: str | None, *, if_version: int | None = None
) -> bool:
    """Replace a user's password; false when there is no such user (at that version)."""
    sealed = sealed_password(vault, user_id, password_hash)
    return await USERS.change(tx, user_id, {"password": sealed}, if_version=if_version)


def stored_password(vault: Vault, user: UserRow) -> Secret | None:
    """The PHC string behind the seal."""
    if user.password is None:
        return None
    return vault.sealer.open(user.password, table="users", row=user.id, column="password")


_NOBODY: Final = "$argon2id$v=19$m=19456,t=2,p=1$Z3Byb3h5LW5vYm9keSEhIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


def password_of(vault: Vault, user: UserRow | None, password: Secret) -> bool:
    """Whether an enabled user has this password. Takes as long for a user who does not exist. About 30 ms of CPU."""
    phc = stored_password(vault, user) if user is not None and user.enabled else None
    return password_matches(password, _NOBODY if phc is None else phc.reveal()) and phc is not None


async def create_key(
    tx: Session,
    vault: Vault,
    *,
    user_id: str,
    api_key: Secret | None = None,
    label: str | None = None,
    enabled: bool = True,
    expires_at: int | None = None,
    on_disconnect: str | None = None,
) -> tuple[KeyRow, Secret]:
    """Add a key, generated unless given; the key in clear is returned and not to be had from the row.

    Raises `Conflict` when the key exists already or the user does not.
    """
    row_id = new_id()
    secret = api_key or new_key(os.urandom(24))
    row = KeyRow(
        row_id,
        user_id,
        vault.sealer.seal(secret.reveal(), table="user_keys", row=row_id, column="api_key"),
        vault.digest(secret),
        secret.masked(),
        label,
        enabled,
        expires_at,
        on_disconnect,
        *birth(),
    )
    await KEYS.insert(tx, row)
    return row, secret


def reveal_key(vault: Vault, key: KeyRow) -> Secret:
    """The API key in clear."""
    return vault.sealer.open(key.api_key, table="user_keys", row=key.id, column="api_key")


async def grant(tx: Session, *, user_id: str, provider_id: str | None, model_pattern: str) -> PermissionRow:
    """Add a permission. Raises `Conflict` when the same row is there already."""
    if await PERMISSIONS.find(tx, user_id=user_id, provider_id=provider_id, model_pattern=model_pattern):
        raise Conflict("the user has this permission already", "permissions")
    row = PermissionRow(new_id(), user_id, provider_id, model_pattern, *birth())
    await PERMISSIONS.insert(tx, row)
    return row


async def grant_files(tx: Session, *, user_id: str, provider_id: str) -> FilePermissionRow:
    """Add a file permission. Raises `Conflict`."""
    row = FilePermissionRow(new_id(), user_id, provider_id, *birth())
    await FILE_PERMISSIONS.insert(tx, row)
    return row


async def limit_rate(
    tx: Session,
    *,
    user_id: str,
    model_pattern: str,
    rpm: int | None = None,
    rpd: int | None = None,
    total_tokens: int | None = None,
    total_tokens_window: int = DAY,
) -> RateLimitRow:
    """Add a rate limit. Raises `Conflict` when the user has one for this pattern."""
    row = RateLimitRow(new_id(), user_id, model_pattern, rpm, rpd, total_tokens, total_tokens_window, *birth())
    await RATE_LIMITS.insert(tx, row)
    return row


async def quotas(db: Session, *, user_id: str | None = None) -> list[QuotaRow]:
    """Budgets of all users that exist, or of one."""
    query = sql.select(
        "user_quotas q JOIN users u ON u.id = q.user_id",
        tuple(f"q.{column}" for column in QUOTA_COLUMNS),
        f"{'' if user_id is None else 'WHERE q.user_id = ?'} ORDER BY q.user_id",
    )
    rows = await db.fetch(query, () if user_id is None else (user_id,))
    return [QuotaRow(*row) for row in rows]


async def set_quota(tx: Session, user_id: str, quota_nano_usd: int | None, *, if_version: int | None = None) -> bool:
    """Set a user's budget, leaving what was spent alone; false when it is not at `if_version` any more."""
    now = SystemClock.now_us()
    where, at_version = ("user_id = ?", ()) if if_version is None else ("user_id = ? AND version = ?", (if_version,))
    changed = await tx.execute(
        sql.bump("user_quotas", ("quota_nano_usd",), where), (quota_nano_usd, now, user_id, *at_version)
    )
    if changed or if_version is not None:
        return changed == 1
    # The ledger may add the row in this moment (a first charge); then it gets the budget all the same.
    statement = sql.upsert(tx.dialect, "user_quotas", QUOTA_COLUMNS, ("user_id",), replace=("quota_nano_usd",))
    await tx.execute(statement, (user_id, quota_nano_usd, 0, 0, now, 1))
    return True


async def open_quota(tx: Session, *, user_id: str, quota_nano_usd: int | None, cost_used_nano_usd: int) -> None:
    """Give a user without a budget one, of which some may be spent already. Raises `Conflict`."""
    await tx.execute(
        sql.insert("user_quotas", QUOTA_COLUMNS),
        (user_id, quota_nano_usd, cost_used_nano_usd, 0, SystemClock.now_us(), 1),
    )
    if cost_used_nano_usd:
        # Spent elsewhere, so there are no rows for it: kept as a retired sum, or it would look like drift.
        await tx.execute(
            sql.insert("usage_retired", ("user_id", "attempts", "cost_nano_usd")), (user_id, 0, cost_used_nano_usd)
        )


async def delete_user(tx: Session, user_id: str, *, if_version: int | None = None) -> bool:
    """Remove a user with keys, permissions and limits. The ledger keeps rows and the amount spent."""
    if not await USERS.delete(tx, user_id, if_version=if_version):
        return False
    await tx.execute("UPDATE user_quotas SET quota_nano_usd = NULL WHERE user_id = ?", (user_id,))
    return True


@dataclass(frozen=True, slots=True)
class AdminCreated:
    """An admin made or reset at start. `password` and `api_key` are set where they were generated: print them once."""

    name: str
    password: Secret | None
    api_key: Secret | None
    reset: bool


class AdminDraft:
    """What a generated admin would be given. Kept from try to try, so that what an unanswered commit made is shown."""

    def __init__(self) -> None:
        self.password = Secret(os.urandom(18).hex())
        self.api_key = new_key(os.urandom(24))
        self.made: AdminCreated | None = None
        """What the last try would have written."""


async def ensure_admin(
    db: Database,
    vault: Vault,
    *,
    name: str,
    password: Secret | None,
    api_key: Secret | None,
    explicit: bool,
    draft: AdminDraft | None = None,
) -> AdminCreated | None:
    """See to it that somebody can administer; None when nothing had to be done.

    Without an enabled admin who has an enabled key: an enabled admin of that name gets a key, otherwise one is
    made with a `*` permission (under the next free name: a tenant who happens to be called so is not promoted).
    With `explicit` the user of that name is reset to the values given, whoever else there is. Raises `Conflict`
    when the key given belongs to somebody else. A caller who repeats it after `DatabaseUnavailable` gives the same `draft`.
    """
    draft = draft or AdminDraft()
    if draft.made is not None and await _committed(db, vault, draft.made):
        return draft.made
    if not explicit and await _admin_exists(db):
        return None
    user = await _named_admin(db, name, explicit=explicit)
    if user is not None and explicit and await _stands(db, vault, user, password, api_key):
        return None
    generated = draft.password if password is None else None
    chosen = password or generated
    hashed = None if chosen is None else hash_password(chosen)  # before the transaction: it takes its time
    async with config_write(db) as tx:
        if not explicit and await _admin_exists(tx):
            return None  # another instance was first
        user = await _named_admin(tx, name, explicit=explicit)
        if user is None:
            free = await _free_name(tx, name)
            user = await create_user(tx, vault, name=free, password_hash=hashed, is_admin=True)
            await grant(tx, user_id=user.id, provider_id=None, model_pattern="*")
            key = await _admin_key(tx, vault, user.id, api_key, draft)
            draft.made = AdminCreated(free, generated, key, reset=False)
            return draft.made
        await USERS.change(tx, user.id, {"is_admin": True, "enabled": True})
        if password is not None or user.password is None:
            await set_password(tx, vault, user.id, hashed)
        shown = generated if user.password is None else None
        draft.made = AdminCreated(user.name, shown, await _admin_key(tx, vault, user.id, api_key, draft), reset=True)
        return draft.made


async def _committed(db: Session, vault: Vault, made: AdminCreated) -> bool:
    """Whether what an earlier try made, and is yet to be shown, is in the database."""
    if made.api_key is not None:
        return await KEYS.find(db, digest=vault.digest(made.api_key)) is not None
    user = await USERS.find(db, name=made.name)
    return made.password is not None and user is not None and password_of(vault, user, made.password)


async def _named_admin(db: Session, name: str, *, explicit: bool) -> UserRow | None:
    """The user who is to administer: whoever has the name when the operator says so, else only an enabled admin."""
    user = await USERS.find(db, name=name)
    return user if user is None or explicit or (user.is_admin and user.enabled) else None


async def _free_name(db: Session, name: str) -> str:
    free, number = name, 1
    while await USERS.find(db, name=free) is not None:
        number += 1
        free = f"{name}-{number}"
    return free


async def _admin_key(
    tx: Session, vault: Vault, user_id: str, api_key: Secret | None, draft: AdminDraft
) -> Secret | None:
    """Make sure the admin holds the key given, or any enabled one; the key when it was generated."""
    now = SystemClock.now_us()
    if api_key is None:
        for key in await KEYS.all(tx, user_id=user_id, enabled=True):
            if key.expires_at is None or key.expires_at > now:
                return None
        return (await create_key(tx, vault, user_id=user_id, api_key=draft.api_key, label="first admin"))[1]
    held = await KEYS.find(tx, digest=vault.digest(api_key))
    if held is None:
        await create_key(tx, vault, user_id=user_id, api_key=api_key, label="first admin")
    elif held.user_id != user_id:
        raise Conflict("the admin API key belongs to another user already", "user_keys")
    else:
        await KEYS.change(tx, held.id, {"enabled": True, "expires_at": None})
    return None


async def _stands(db: Session, vault: Vault, user: UserRow, password: Secret | None, api_key: Secret | None) -> bool:
    """Whether that admin already is as the explicit values say; a restart then changes nothing."""
    if not (user.is_admin and user.enabled):
        return False
    if password is None and user.password is None:
        return False
    if password is not None and not password_of(vault, user, password):
        stored = stored_password(vault, user)
        if stored is None or stored != password:  # given as a PHC string
            return False
    keys = await KEYS.all(db, user_id=user.id, enabled=True)
    now = SystemClock.now_us()
    living = [key for key in keys if key.expires_at is None or key.expires_at > now]
    return bool(living) if api_key is None else vault.digest(api_key) in {key.digest for key in living}


async def _admin_exists(db: Session) -> bool:
    return bool(
        await db.fetch(
            "SELECT u.id FROM users u JOIN user_keys k ON k.user_id = u.id WHERE u.is_admin = 1 AND u.enabled = 1"
            " AND k.enabled = 1 AND (k.expires_at IS NULL OR k.expires_at > ?) LIMIT 1",
            (SystemClock.now_us(),),
        )
    )
