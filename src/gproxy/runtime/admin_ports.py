"""The control plane's ports over the database and the living parts. Imported when the control plane is first asked.

Storage's errors become the ports' errors here, and every write ends with this process's snapshot being at least
as new as the write.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gproxy import __version__
from gproxy.admin.app import build_app
from gproxy.admin.ports import (
    Actor,
    Holder,
    Page,
    Ports,
    Report,
    RolledBack,
    Row,
    SettingNote,
    StopPlan,
    Taken,
    Unavailable,
    Unstorable,
    Values,
)
from gproxy.config.settings import Settings, all_settings
from gproxy.config.sources import stored_fault
from gproxy.ingress.peer import client_address, networks
from gproxy.pipeline.refresh import Tokens
from gproxy.pipeline.trail import read
from gproxy.secret import Secret
from gproxy.seed.render import render
from gproxy.seed.schema import GLOBAL_KEYS, Seed
from gproxy.seed.veil import render_veiled
from gproxy.server.asgi import AsgiApp
from gproxy.storage import audit, history, login_tries, request_log, resource_writing, resources, sessions, trails
from gproxy.storage import providers as p
from gproxy.storage import users as u
from gproxy.storage.changes import config_write
from gproxy.storage.changes import revision as current_revision
from gproxy.storage.engine import Transaction
from gproxy.storage.errors import Conflict, DatabaseUnavailable, Poison, SealError
from gproxy.storage.export import export_seed
from gproxy.storage.health import health_changes
from gproxy.storage.latencies import latencies
from gproxy.storage.merging import Merger
from gproxy.storage.sealing import hash_password, password_matches
from gproxy.storage.settings import load_settings, put_settings
from gproxy.storage.shutdowns import shutdown, shutdowns
from gproxy.storage.usage_reading import totals, usage_page
from gproxy.storage.vault import Vault

if TYPE_CHECKING:
    from gproxy.runtime.compose import World

_PASSWORDS_AT_ONCE: Final = 2
"""Hashes under way: each takes 19 MiB and 30 ms, and the data plane wants its cores."""

_STORED_TEXTS: Final = {
    "retention_days": "Days for which request logs and the history of credentials are kept, 30 unless set, and usage rows, which stay unless set.",
    "body_retention_days": "Days for which the bodies of request logs are kept; 7 unless set.",
    "usage_retention_days": "Days for which usage rows are kept; `retention_days` unless set. What was spent and the totals stay.",
    "trail_share": "Share (0 to 1) of the requests that went well whose decision trail is kept, beside all failures; 0 unless set.",
    "trail_retention_days": "Days for which decision trails are kept; 7 unless set.",
    "conversation_retention_days": "Days for which kept responses and their conversations are kept after the last turn; "
    "30 unless set, 0 keeps none.",
    "enable_upstream_log": "Log what is sent to vendors and what they answer.",
    "enable_upstream_log_body": "Log the bodies of it too.",
    "enable_downstream_log": "Log what clients send and are answered.",
    "enable_downstream_log_body": "Log the bodies of it too.",
}


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DatabaseUnavailable as error:
        raise Unavailable(str(error)) from error
    except Conflict as error:
        raise Taken("this is taken already, or refers to something that is gone") from error
    except Poison as error:
        raise Unstorable("a value cannot be stored: it is too long or holds characters no database takes") from error
    except SealError as error:
        raise Taken(f"a stored secret cannot be opened: {error}") from error


class _Reads:
    def __init__(self, db: Any, vault: Vault) -> None:
        self._session = db
        self._vault = vault

    async def page(self, resource: str, equal: Values, *, search: str, after: str, limit: int) -> list[Row]:
        """See `admin.ports.Reader`."""
        with _translated():
            return await resources.page(
                self._session, self._vault, resource, equal=equal, search=search, after=after, limit=limit
            )

    async def one(self, resource: str, reference: str) -> Row | None:
        """See `admin.ports.Reader`."""
        with _translated():
            return await resources.one(self._session, self._vault, resource, reference)


class SqlWriter(_Reads):
    """`admin.ports.Writer` on one transaction."""

    def __init__(self, tx: Transaction, vault: Vault, actor: Actor) -> None:
        super().__init__(tx, vault)
        self._tx = tx
        self._actor = actor
        self.changes: history.Changes = {}
        """What was written so far, for the revision."""

    async def create(self, resource: str, values: Values) -> tuple[str, Secret | None]:
        """Add a row."""
        with _translated():
            row_id, secret = await resource_writing.create(self._tx, self._vault, resource, values)
            before: history.Image = {}
            if resource == "quotas":  # the row may be there: what was spent
                before = {
                    key: {**row, "quota_nano_usd": None} for key, row in (await self._image(resource, row_id)).items()
                }
            await self._remember(resource, row_id, before)
        return row_id, secret

    async def change(self, resource: str, row_id: str, values: Values, *, if_version: int | None) -> bool:
        """Set some values."""
        with _translated():
            before = await self._image(resource, row_id)
            done = await resource_writing.change(self._tx, self._vault, resource, row_id, values, if_version=if_version)
            await self._remember(resource, row_id, before)
        return done

    async def delete(self, resource: str, row_id: str, *, if_version: int | None) -> bool:
        """Remove a row."""
        with _translated():
            before = await self._image(resource, row_id, owned=True)
            done = await resource_writing.delete(self._tx, resource, row_id, if_version=if_version)
            await self._remember(resource, row_id, before, owned=True)
        return done

    async def put_settings(self, values: Values) -> None:
        """Store settings."""
        with _translated():
            before = {name: await self._image("settings", name) for name in values}
            await put_settings(self._tx, values)
            for name, image in before.items():
                await self._remember("settings", name, image)

    async def _image(self, resource: str, row_id: str, *, owned: bool = False) -> history.Image:
        return await history.image(self._tx, resource, row_id, owned=owned)

    async def _remember(self, resource: str, row_id: str, before: history.Image, *, owned: bool = False) -> None:
        after = await self._image(resource, row_id, owned=owned)
        self.changes = history.joined(self.changes, history.compared(before, after))

    async def enabled_admins(self) -> int:
        """How many users can administer."""
        with _translated():
            return await resource_writing.enabled_admins(self._tx)

    async def note(
        self, action: str, resource: str, row_id: str | None, before: Values | None, after: Values | None
    ) -> None:
        """Leave an audit row."""
        with _translated():
            await _note(self._tx, self._actor, action, resource, row_id, before, after)


async def _note(
    tx: Transaction,
    actor: Actor,
    action: str,
    resource: str,
    row_id: str | None,
    before: Values | None,
    after: Values | None,
) -> None:
    await audit.note(
        tx,
        actor_id=actor.user_id,
        actor_name=actor.name,
        address=actor.address,
        action=action,
        resource=resource,
        resource_id=row_id,
        before=before,
        after=after,
    )


async def _keep(tx: Transaction, written: int, changes: history.Changes, actor: Actor, action: str) -> None:
    if changes:
        await history.keep(
            tx, written, changes, actor_id=actor.user_id, actor_name=actor.name, address=actor.address, action=action
        )


class SqlDesk(_Reads):
    """`admin.ports.Desk`."""

    def __init__(self, world: World) -> None:
        super().__init__(world.db, world.vault)
        self._world = world

    @asynccontextmanager
    async def write(self, actor: Actor) -> AsyncIterator[SqlWriter]:
        """One transaction, then the snapshot."""
        with _translated():
            async with config_write(self._world.db) as tx:
                writer = SqlWriter(tx, self._vault, actor)
                yield writer
                written = await current_revision(tx)
                await _keep(tx, written, writer.changes, actor, "write")
        await self._follow(written)

    async def _follow(self, written: int) -> None:
        try:
            await self._world.refresh(written)
        except DatabaseUnavailable as error:
            # The write stands; the watcher brings this process up to it once the database answers again.
            self._world.log.warning("a change is stored but not yet in force here", error=str(error))

    async def record(self, actor: Actor, action: str, resource: str, row_id: str | None) -> None:
        """Leave an audit row."""
        with _translated():
            async with self._world.db.transaction() as tx:
                await _note(tx, actor, action, resource, row_id, None, None)

    async def settings(self) -> dict[str, Any]:
        """The stored settings."""
        with _translated():
            return await load_settings(self._world.db)

    async def reveal(self, resource: str, row_id: str) -> dict[str, Secret] | None:
        """The secrets of a credential or key."""
        with _translated():
            if resource == "keys":
                key = await u.KEYS.get(self._world.db, row_id)
                return None if key is None else {"api_key": u.reveal_key(self._vault, key)}
            row = await p.CREDENTIALS.get(self._world.db, row_id)
            return None if row is None else p.reveal_credential(self._vault, row)

    async def reload(self) -> Row:
        """Read the configuration anew."""
        with _translated():
            problems = await self._world.load()
        return {"revision": self._world.snapshot.revision, "problems": problems}

    async def revisions(self, *, before: int, limit: int) -> list[Row]:
        """Configuration writes, the latest first."""
        with _translated():
            return [asdict(row) for row in await history.revisions(self._world.db, before=before, limit=limit)]

    async def changes_of(self, revision: int) -> list[Row] | None:
        """What a revision changed."""
        with _translated():
            changes = await history.changes_of(self._world.db, revision)
        return None if changes is None else history.shown(changes)

    async def roll_back(self, revision: int, actor: Actor, *, dry_run: bool) -> RolledBack | None:
        """Make the configuration what it was after a revision."""
        changes: history.Changes = {}
        written = self._world.snapshot.revision
        try:
            with _translated():
                async with config_write(self._world.db) as tx:
                    changes = await history.go_back(tx, revision)
                    if await resource_writing.enabled_admins(tx) == 0:
                        raise Taken("the configuration of that revision has no enabled administrator")
                    if dry_run:
                        raise _Undone
                    written = await current_revision(tx)
                    await _keep(tx, written, changes, actor, "rollback")
                    after = {"to": revision, "rows": len(changes)}
                    await _note(tx, actor, "rollback", "configuration", str(revision), None, after)
        except _Undone:
            pass
        except history.CannotGoBack:
            return None
        else:
            await self._follow(written)
        return RolledBack(written, history.shown(changes))

    async def export(self, *, with_secrets: bool) -> str:
        """The configured world as TOML."""
        with _translated():
            seed = await export_seed(self._world.db, self._vault)
        return render(seed) if with_secrets else render_veiled(seed)

    async def bring_in(self, seed: Seed, actor: Actor, *, dry_run: bool) -> Report:
        """Merge a document into the configuration."""
        try:
            with _translated():
                hashes = await self._new_passwords(seed)
                async with config_write(self._world.db) as tx:
                    before = await history.whole_image(tx)
                    merged = await Merger(tx, self._vault, hashes).merge(seed)
                    changes = history.compared(before, await history.whole_image(tx))
                    if dry_run:
                        raise _Undone
                    if await resource_writing.enabled_admins(tx) == 0:
                        raise Taken("the document leaves no enabled administrator")
                    for each in merged:
                        if each.action != "same":
                            after = {"name": each.name, "action": each.action, "fields": list(each.fields)}
                            await _note(tx, actor, "import", each.table, each.row_id, None, after)
                    written = await current_revision(tx)
                    await _keep(tx, written, changes, actor, "import")
        except _Undone:
            pass
        else:
            await self._follow(written)
        rows = [
            {"table": each.table, "name": each.name, "action": each.action, "fields": list(each.fields)}
            for each in merged
        ]
        return Report(rows, history.shown(changes), applied=not dry_run)

    async def _new_passwords(self, seed: Seed) -> dict[str, str]:
        """Hashes for the passwords that are not the users' already. 30 ms each: off the loop, before the transaction."""
        given = {user.name: user.password for user in seed.users if user.password is not None}
        if not given:
            return {}
        held = {row.name: u.stored_password(self._vault, row) for row in await u.USERS.all(self._world.db)}

        def work() -> dict[str, str]:
            hashes = {}
            for name, password in given.items():
                stored = held.get(name)
                if stored is None or not (stored == password or password_matches(password, stored.reveal())):
                    hashes[name] = hash_password(password)
            return hashes

        return await asyncio.to_thread(work)


class _Undone(Exception):  # noqa: N818 - it ends a rehearsal
    """Rolls a dry run back."""


class SqlDoors:
    """`admin.ports.Doors`."""

    def __init__(self, world: World) -> None:
        self._db = world.db
        self._vault = world.vault
        self._hashing = asyncio.Semaphore(_PASSWORDS_AT_ONCE)

    def digest(self, token: Secret) -> str:
        """The keyed digest of a session token."""
        return self.seal("session", token.reveal())

    def seal(self, purpose: str, text: str) -> str:
        """A keyed digest for one purpose."""
        content = f"{purpose}\0{text}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._vault.digest_key, content, "sha256").hex()

    async def hash_password(self, password: Secret) -> str:
        """Off the loop."""
        async with self._hashing:
            return await asyncio.to_thread(hash_password, password)

    async def check_password(self, name: str, password: Secret) -> Row | None:
        """The same work for everybody, off the loop."""
        with _translated():
            user = None
            # A name no database takes is nobody's; asking would only make the database complain.
            if 0 < len(name) <= 200 and name.isprintable():
                user = await u.USERS.find(self._db, name=name)
            async with self._hashing:
                good = await asyncio.to_thread(u.password_of, self._vault, user, password)
        return {"id": user.id, "name": user.name, "is_admin": user.is_admin} if good and user is not None else None

    async def open_session(self, user_id: str, digest: str, address: str | None, seconds: int) -> Holder:
        """Keep a session."""
        with _translated():
            row = await sessions.open_session(
                self._db, user_id=user_id, digest=digest, address=address, seconds=seconds
            )
            held = await sessions.holder_of(self._db, digest)
        if held is None:
            raise Taken("the user was disabled in this moment")
        return Holder(row.id, held.user_id, held.user_name, held.is_admin, held.expires_at)

    async def holder(self, digest: str) -> Holder | None:
        """Whose session this is."""
        with _translated():
            held = await sessions.holder_of(self._db, digest)
        return None if held is None else Holder(**asdict(held))

    async def end_session(self, session_id: str) -> None:
        """Log out."""
        with _translated():
            await sessions.end_session(self._db, session_id)

    async def note_try(self, subjects: Sequence[str], *, most: int, window_us: int) -> float:
        """Count a try."""
        with _translated():
            return await login_tries.note_try(self._db, subjects, most=most, window_us=window_us)

    async def forgive(self, account: str, address: str) -> None:
        """After a login that succeeded."""
        with _translated():
            await login_tries.forgive(self._db, account, address)


class SqlRecords:
    """`admin.ports.Records`."""

    def __init__(self, world: World) -> None:
        self._db = world.db

    async def usages(self, equal: Values, page: Page) -> list[Row]:
        """Ledger rows, newest first."""
        with _translated():
            rows = await usage_page(
                self._db, equal=equal, since=page.since, until=page.until, before=page.before, limit=page.limit
            )
        return [{**msgspec.structs.asdict(row), "cost": resources.usd(row.cost_nano_usd)} for row in rows]

    async def totals(self, period: str, since: int, until: int, by: tuple[str, ...], equal: Values) -> list[Row]:
        """Sums of the rollups."""
        with _translated():
            found = await totals(self._db, period=period, since=since, until=until, by=by, equal=equal)
        rows = []
        for each in found:
            row = asdict(each)
            row.update(zip(by, row.pop("group"), strict=True))
            row["cost"] = resources.usd(each.cost_nano_usd)
            rows.append(row)
        return rows

    async def latencies(self, period: str, since: int, until: int, equal: Values) -> list[Row]:
        """Counts by duration."""
        with _translated():
            found = await latencies(self._db, period=period, since=since, until=until, equal=equal)
        return [asdict(row) for row in found]

    async def health_changes(self, credential_id: str, page: Page, *, whole: bool) -> list[Row]:
        """What a credential became."""
        with _translated():
            found = await health_changes(
                self._db, credential_id, since=page.since, until=page.until, before=page.before, limit=page.limit,
                whole=whole,
            )  # fmt: skip
        return [asdict(row) for row in found]

    async def requests(self, equal: Values, page: Page, *, bodies: bool) -> list[Row]:
        """Logged requests, newest first."""
        with _translated():
            rows = await request_log.logged(
                self._db, equal=equal, since=page.since, until=page.until, before=page.before, limit=page.limit,
                bodies=bodies,
            )  # fmt: skip
        return [asdict(row) for row in rows]

    async def trail(self, request_id: str) -> Row | None:
        """The decision trail of a request."""
        with _translated():
            found = await trails.stored_trail(self._db, request_id)
        if found is None:
            return None
        return {"at": found.at, "user_name": found.user_name, **read(found.trail_json)}

    async def audit(self, equal: Values, page: Page) -> list[Row]:
        """Audit rows, newest first."""
        with _translated():
            rows = await audit.audit_rows(
                self._db, equal=equal, since=page.since, until=page.until, before=page.before, limit=page.limit
            )
        return [asdict(row) for row in rows]

    async def shutdowns(self, page: Page) -> list[Row]:
        """Drain reports, newest first."""
        with _translated():
            return [asdict(row) for row in await shutdowns(self._db, before=page.before, limit=page.limit)]

    async def shutdown(self, row_id: str) -> Row | None:
        """One drain report."""
        with _translated():
            found = await shutdown(self._db, row_id)
        return None if found is None else asdict(found)


def setting_notes(settings: Settings) -> list[SettingNote]:
    """What is known about each setting that lives in the database."""
    known = {each.name: each for each in all_settings() if each.stored}
    notes = []
    for name, kinds in GLOBAL_KEYS.items():
        setting = known.get(name)
        if setting is None:
            notes.append(SettingNote(name, kinds, _STORED_TEXTS[name], None, None, "default", needs_restart=False))
            continue
        value = getattr(settings, name)
        in_force = None if value is None else setting.kind.show(value)
        notes.append(
            SettingNote(
                name,
                kinds,
                setting.text,
                setting.default_text,
                in_force,
                settings.origin(name).value,
                needs_restart=True,
            )
        )
    return notes


def stop_plan(world: World) -> StopPlan:
    """How long a stop of this process may take, and how far one has come."""
    settings, begun = world.settings, world.stopping_at
    elapsed = None if begun is None else world.clock.monotonic() - begun
    return StopPlan(settings.shutdown_delay, settings.drain_timeout, settings.worker_timeout, elapsed)


def ports_of(world: World, health_changed: Callable[[], None]) -> Ports:
    """The ports of a living process."""
    proxy = world.settings.proxy
    trusted = networks(world.settings.trusted_proxies)
    return Ports(
        desk=SqlDesk(world),
        doors=SqlDoors(world),
        records=SqlRecords(world),
        snapshot=lambda: world.snapshot,
        board=world.board,
        in_flight=world.in_flight_requests,
        stop_plan=lambda: stop_plan(world),
        upstream=world.upstream,
        proxy=None if proxy is None else proxy.reveal(),
        tokens=world.tokens or Tokens(world.upstream, world.clock, None if proxy is None else proxy.reveal()),
        channels=world.channels,
        clock=world.clock,
        setting_notes=lambda: setting_notes(world.settings),
        setting_fault=stored_fault,
        health_changed=health_changed,
        key_used=lambda key_id: world.key_uses.note(key_id, world.clock.now_us()),
        client_address=lambda peer, headers: client_address(peer, headers, trusted),
        noise=os.urandom,
        version=__version__,
    )


def control_plane(world: World, health_changed: Callable[[], None]) -> AsgiApp:
    """The application. Takes half a second; belongs on a thread."""
    return build_app(ports_of(world, health_changed))
