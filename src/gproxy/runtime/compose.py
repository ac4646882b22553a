"""Builds the concrete world; reads as a parts list. The only place where rooms meet.

The order is the contract's: database and schema, seed, admin, snapshot, journals of the dead, our own journal,
then the parts that serve, then the socket. `World` keeps the parts for as long as the process lives and is what
the lifecycle takes apart again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from gproxy.admin.access import WINDOW_US
from gproxy.admin.mount import ControlPlane
from gproxy.channels.loader import catalog, catalog_with
from gproxy.channels.vendor import Vendor
from gproxy.clock import SystemClock
from gproxy.config.settings import Settings
from gproxy.config.sources import overlaid, stored_fault
from gproxy.console.serve import PREFIX as CONSOLE_PREFIX
from gproxy.console.serve import Console
from gproxy.errors import Failure
from gproxy.ingress import reply
from gproxy.ingress.app import Ingress
from gproxy.ingress.peer import networks
from gproxy.ledger.journal import Journal
from gproxy.ledger.recovery import RecoveryReport, recover, rows_left
from gproxy.ledger.store import StoreUnavailable
from gproxy.pipeline.attempt import Attempts
from gproxy.pipeline.elsewhere import Elsewhere
from gproxy.pipeline.exchange import Exchange
from gproxy.pipeline.in_flight import InFlight
from gproxy.pipeline.pulse import Pulse
from gproxy.pipeline.refresh import Tokens
from gproxy.pipeline.relay import Relay
from gproxy.pipeline.run import Gateway
from gproxy.pipeline.warmth import Warmth
from gproxy.routing.budget import RetryBudgets
from gproxy.routing.health import HealthBoard, HealthRecord
from gproxy.routing.plan import Board
from gproxy.routing.selection import Load, turns_of
from gproxy.runtime import tls, upgrade
from gproxy.runtime.accounts import TEND_EVERY, Accounts, accounts_for
from gproxy.runtime.bindings import HealthStore, LedgerStore, translated
from gproxy.runtime.files import prepare
from gproxy.runtime.health import Health, Ping
from gproxy.runtime.keeper import SWEEP_EVERY as SWEEP_KEPT_EVERY
from gproxy.runtime.keeper import ResponseKeeper
from gproxy.runtime.key_uses import KeyUses
from gproxy.runtime.logs import Log
from gproxy.runtime.notify import activated_sockets
from gproxy.runtime.pages import pages
from gproxy.runtime.patience import Patience
from gproxy.runtime.recorder import FLUSH_EVERY, Recorder, WatchedUpstream
from gproxy.runtime.report import DrainReport
from gproxy.runtime.request_log import RequestLog
from gproxy.runtime.retention import shelves
from gproxy.runtime.trails import Trails
from gproxy.seed.parse import parse
from gproxy.server.asgi import AsgiApp
from gproxy.server.listener import Listener, ListenerConfig, bind
from gproxy.snapshot import Snapshot
from gproxy.storage.changes import revision
from gproxy.storage.engine import Database, connect
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.health import load_statuses
from gproxy.storage.login_tries import sweep_tries
from gproxy.storage.migrate import ensure_schema
from gproxy.storage.seeding import import_seed, is_empty
from gproxy.storage.sessions import sweep_sessions
from gproxy.storage.settings import load_settings
from gproxy.storage.shutdowns import record_shutdown, shutdowns
from gproxy.storage.snapshot import load_snapshot
from gproxy.storage.usage import SqlLedger
from gproxy.storage.users import AdminCreated, AdminDraft, ensure_admin
from gproxy.storage.vault import Vault, open_vault
from gproxy.transport.client import TransportConfig, UpstreamClient
from gproxy.wire.http import Deadlines, Header
from gproxy.workers.health_broadcaster import HealthBroadcaster
from gproxy.workers.periodic import Periodic
from gproxy.workers.quota_reconciler import quota_reconciler
from gproxy.workers.rate_limit_gc import rate_limit_gc
from gproxy.workers.response_keeper import ResponseWriter
from gproxy.workers.retention import retention
from gproxy.workers.usage_sink import UsageSink
from gproxy.workers.worker_set import Phase, WorkerSet

ADOPT_EVERY: Final = 10.0
"""Seconds between two looks for journals whose process died beside us."""

FOLLOW_EVERY: Final = 0.5
"""Seconds between two looks at the configuration's revision: other processes' writes are followed within 1 s."""

USES_EVERY: Final = 30.0
"""Seconds between two writes of when keys were last used."""

SWEEP_EVERY: Final = 60.0
"""Seconds between two sweeps of sessions and login tries that no longer count."""

BEHIND: Final = 5_000
"""Rows waiting in the journal from which readiness turns amber."""

_LAST_WORD: Final = 0.2
_ROLLBACK: Final = 1.0
"""Seconds that giving up a statement in a hanging database may take."""
_COUNTED: Final = 10_000
"""Rows of others that are counted at the end; reading on would take longer than there is time."""


class World:
    """Everything that is alive in this process. Made by `build`; a `lifecycle.Parts`."""

    def __init__(self, settings: Settings, log: Log, state: Callable[[], str]) -> None:
        self.settings = settings
        self.log = log
        self.clock = SystemClock()
        self.in_flight_requests = InFlight(settings.max_in_flight)
        self.health = Health(state, lambda: len(self.in_flight_requests))
        self.db: Database
        self.vault: Vault
        self.snapshot: Snapshot
        self.ledger: SqlLedger
        self.store: LedgerStore
        self.journal: Journal
        self.sink: UsageSink
        self.accounts: Accounts | None = None
        self.broadcaster: HealthBroadcaster[HealthRecord]
        self.board = Board(HealthBoard(), Load(), RetryBudgets())
        self.warmth = Warmth(os.urandom(32))
        self.tokens: Tokens | None = None
        self.channels: Mapping[str, Vendor] = catalog()
        self.upstream: UpstreamClient
        self.workers: WorkerSet
        self.listener: Listener
        self.sockets: list[socket.socket] = []
        self.shared_sockets = False
        """Whether another process holds the listening sockets too (systemd, a predecessor or a successor)."""
        self.tls: ssl.SSLContext | None = None
        self.admin: AdminCreated | None = None
        self.recorder = Recorder(self.clock, _say(log))
        self._rows_of_others = 0
        self.trails = Trails(random.random, _say(log))
        self.key_uses = KeyUses()
        self.keeper = ResponseKeeper(lambda: self.db, self.clock, _say(log), most=settings.max_body)
        self.stopping_at: float | None = None
        """When a stop began, on the monotonic clock."""
        self._loading = asyncio.Lock()

    @property
    def journals(self) -> Path:
        """Where the journals of this data folder are: ours, those of processes beside us, those of the dead."""
        return self.settings.data_dir / "journal"

    async def adopt(self) -> None:
        """Land what processes that are gone have left. Raises `DatabaseUnavailable`."""
        landed = await self.ledger.positions()
        own, forget = self.journal.id, self.ledger.forget_journal
        _told(self.log, await recover(self.journals, self.store, own=own, landed=landed, forget=forget))

    async def reload(self) -> None:
        """SIGHUP: certificates and the configured world anew; what cannot be read leaves the old one in place."""
        settings = self.settings
        if self.tls is not None and settings.tls_cert is not None and settings.tls_key is not None:
            await asyncio.to_thread(tls.load, self.tls, settings.tls_cert, settings.tls_key)
        await self.read_channels()
        await self.load()

    async def read_channels(self) -> None:
        """The channels that come with the product and those of the operator's folder. Raises `CatalogError`."""
        if self.settings.channels is not None:
            self.channels = await asyncio.to_thread(catalog_with, self.settings.channels)

    async def follow(self) -> None:
        """Swap in a newer world when another process has written one."""
        async with translated():
            if await revision(self.db) != self.snapshot.revision:
                await self.load()

    async def sweep(self) -> None:
        """Drop ended sessions, login tries that no longer count, and the last uses of keys that are gone."""
        async with translated():
            await sweep_sessions(self.db)
            await sweep_tries(self.db, window_us=WINDOW_US)
            await self.key_uses.sweep(self.db)

    async def refresh(self, at_least: int) -> None:
        """After a write of this process: the snapshot is at the write's revision or a later one."""
        async with self._loading:
            if self.snapshot.revision < at_least:
                await self._load()

    async def load(self) -> list[str]:
        """Read the configured world and swap it in whole; the old one stays when reading fails.

        What had to be left out is told. One reading at a time, so that an older world never replaces a newer one.
        """
        async with self._loading:
            return await self._load()

    async def _load(self) -> list[str]:
        loaded = await load_snapshot(self.db, self.vault, self.channels, deadlines=_deadlines(self.settings))
        for problem in loaded.problems:
            self.log.warning("left out of the snapshot", problem=str(problem))
        self.snapshot = loaded.snapshot
        self.recorder.set(loaded.snapshot.settings)
        self.trails.set(loaded.snapshot.settings)
        self.keeper.set(loaded.snapshot.settings)
        if self.accounts is not None:
            await self.accounts.repair()  # somebody may have set what was spent
        # What is kept beside the snapshot forgets what is no more.
        providers = self.snapshot.providers
        credentials = {one.id for provider in providers.values() for one in provider.credentials}
        self.board.health.keep(credentials)
        self.board.caps.keep(credentials)
        routes = {name: {one.tier for one in route.members} for name, route in self.snapshot.routes.items()}
        self.board.pace.keep(
            {
                f"{one.provider_name}/{one.model_id}"
                for route in self.snapshot.routes.values()
                if route.hedge_percentile is not None
                for one in route.members
            }
        )
        self.board.load.keep(turns_of(providers, routes))
        self.warmth.keep(providers)
        if self.tokens is not None:
            self.tokens.keep(credentials)
        return [str(problem) for problem in loaded.problems]

    # -- lifecycle.Parts -----------------------------------------------------------------------------------

    def in_flight(self) -> int:
        """Requests being served, health pages and mounted applications included."""
        return self.listener.in_flight

    def announce_close(self) -> None:
        """Every response says `connection: close` from now."""
        self.stopping_at = self.clock.monotonic()
        self.listener.announce_close()

    async def stop_accepting(self) -> None:
        """Serve what the kernel has accepted, then close the listener."""
        for sock in self.sockets:
            sock.close()
        await self.listener.stop_accepting(exclusive=not self.shared_sockets)

    async def close_idle(self, linger: float) -> None:
        """Close connections without a request."""
        await self.listener.close_idle(linger)

    async def wait_idle(self) -> None:
        """Until nothing is in flight."""
        while not await self.listener.wait_idle(self.clock.monotonic() + 60.0):
            pass

    def cut(self) -> int:
        """Interrupt what is left; each request says goodbye in its own dialect."""
        return self.in_flight_requests.cut()

    def abort(self) -> None:
        """Drop what is still connected."""
        self.listener.abort_all()

    async def flush(self, seconds: float, report: DrainReport) -> None:
        """Stop the workers, see to what others left, and take down what was managed."""
        deadline = self.clock.monotonic() + seconds
        stopped = await self.workers.stop(seconds)
        await self._adopt_until(deadline)
        report.late_workers = [*stopped.late, *stopped.failed]
        report.rows_flushed = self.sink.report().flushed
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await self.recorder.backlog.flush(self.db)
                await self.trails.backlog.flush(self.db)
                await self.key_uses.flush(self.db)
        await self._farewell()
        report.health_states_flushed = self.broadcaster.flushed

    async def _adopt_until(self, deadline: float) -> None:
        """Nobody may come after us: what the dead have left is landed now, or counted."""
        own = self.journal.id
        left = deadline - _ROLLBACK - self.clock.monotonic()
        if not rows_left(self.journals, own=own, enough=1):
            return
        landed: dict[str, tuple[int, int]] = {}
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(max(0.0, left)):
                await self.adopt()
                landed = await self.ledger.positions()
        self._rows_of_others = rows_left(self.journals, own=own, landed=landed, enough=_COUNTED)

    async def _farewell(self) -> None:
        if self.accounts is not None:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(_LAST_WORD):
                    await self.accounts.farewell()

    async def previous_report(self) -> str | None:
        """How the last process of this database ended, in one line."""
        ended = await shutdowns(self.db, limit=1)
        if not ended:
            return None
        last = ended[0]
        rows_left = last.report.get("rows_left", 0)
        return (
            f"{last.signal_name}, exit {last.exit_code}, {last.duration_ms / 1000:.2f} s, {rows_left} rows left behind"
        )

    async def close(self, report: DrainReport) -> None:
        """Close the journal, keep the report, close pools and database."""
        report.rows_left = self.journal.end() + self._rows_of_others
        code = report.decide()
        if not report.late_workers:
            try:
                await record_shutdown(
                    self.db,
                    at=report.started_at,
                    signal_name=report.signal,
                    exit_code=code,
                    duration_ms=report.total_ms,
                    report=report.fields(),
                )
            except DatabaseUnavailable as error:
                self.log.warning("the drain report could not be stored", error=str(error))
        if self.tokens is not None:
            await self.tokens.close()
        await self.upstream.close(self.clock.monotonic() + 0.05)
        await self.db.close()


async def build(world: World, *, before_snapshot: Callable[[World], object] | None = None) -> None:
    """Bring the world to life, part by part. Raises what the parts raise; `serve` turns it into one clear line."""
    settings, log, clock = world.settings, world.log, world.clock
    await asyncio.to_thread(prepare, settings.data_dir)
    await world.read_channels()
    dsn = settings.database.reveal()
    patience = Patience(log, endless=not dsn.startswith("sqlite"))
    db = world.db = await patience.take(lambda: connect(dsn, durability=settings.durability))
    if await patience.take(lambda: ensure_schema(db)):
        log.info("database set up", database=db.dialect)
    world.vault = await patience.take(lambda: open_vault(db, settings.secret_key))
    ledger = world.ledger = SqlLedger(db)
    store = world.store = LedgerStore(ledger)
    journals = world.journals
    landed = await patience.take(ledger.positions)
    _told(log, await recover(journals, store, landed=landed, forget=ledger.forget_journal))
    await patience.take(lambda: _seed(world))
    settings = world.settings = overlaid(settings, await patience.take(lambda: load_settings(db)))
    world.in_flight_requests.limit = settings.max_in_flight
    world.sockets, world.shared_sockets = listening_sockets(settings)
    if settings.tls_cert is not None and settings.tls_key is not None:
        world.tls = await asyncio.to_thread(tls.server_context, settings.tls_cert, settings.tls_key)
    world.admin = await _admin(world, patience)
    if before_snapshot is not None:
        pending = before_snapshot(world)
        if asyncio.iscoroutine(pending):
            await pending
    await patience.take(world.load)

    world.journal = Journal.create(
        journals, clock, power=settings.durability == "power", max_bytes=settings.journal_max_bytes // settings.workers
    )
    accounts = accounts_for(
        settings, ledger=ledger, store=store, db=world.db, clock=clock, snapshot=lambda: world.snapshot
    )
    world.board.caps.share = accounts.share
    await patience.take(accounts.restore)
    store.accounts = world.accounts = accounts
    dice = random.SystemRandom().random
    say = _say(log)
    world.sink = UsageSink(world.journal, store, clock, dice, say)
    world.broadcaster = HealthBroadcaster(HealthStore(world.db), clock, dice, say)
    await patience.take(lambda: _restore_health(world))

    world.upstream = UpstreamClient(
        TransportConfig(
            read_high_water=settings.upstream_high_water,
            ca_file=None if settings.ca_file is None else str(settings.ca_file),
        )
    )
    pulse = Pulse(world.journal)
    relay = Relay(journal=world.journal, pulse=pulse, clock=clock)
    watched = WatchedUpstream(world.upstream, world.recorder, clock)
    proxy = None if settings.proxy is None else settings.proxy.reveal()
    attempts = Attempts(
        upstream=watched,
        journal=world.journal,
        relay=relay,
        load=world.board.load,
        clock=clock,
        dice=random.random,
        health_changed=lambda: _health_changed(world),
        keeper=world.keeper,
        proxy=proxy,
    )
    world.tokens = attempts.tokens
    ingress = Ingress(
        snapshot=lambda: world.snapshot,
        gateway=Gateway(
            attempts=attempts,
            board=world.board,
            counters=accounts.counters,
            max_attempts=settings.max_attempts,
            warmth=world.warmth,
            keeper=world.keeper,
            clock=clock,
        ),
        keeper=world.keeper,
        elsewhere=Elsewhere(upstream=watched, tokens=attempts.tokens, clock=clock, proxy=proxy),
        in_flight=world.in_flight_requests,
        clock=clock,
        max_body=settings.max_body,
        pages=pages(world.health),
        mounts=((CONSOLE_PREFIX, Console()), *ControlPlane(lambda: _control_plane(world)).mounts()),
        on_done=_at_the_end(world, RequestLog(log, clock)),
        watcher=world.recorder,
        trusted_proxies=networks(settings.trusted_proxies),
    )

    async def beat() -> None:
        pulse.beat(clock.monotonic(), clock.now_us())

    world.workers = WorkerSet(
        [
            world.sink,
            world.broadcaster,
            quota_reconciler(store, say),
            rate_limit_gc([accounts.counters], clock, say),
            Periodic("stream_pulse", 1.0, beat, say),
            Periodic("accounts", TEND_EVERY, accounts.tend, say),
            *accounts.workers(say),
            Periodic("journal_adopter", ADOPT_EVERY, world.adopt, say),
            Periodic("request_log", FLUSH_EVERY, lambda: world.recorder.backlog.flush(world.db), say),
            Periodic("request_trails", FLUSH_EVERY, lambda: world.trails.flush(world.db), say),
            Periodic("key_uses", USES_EVERY, lambda: world.key_uses.flush(world.db), say),
            ResponseWriter(world.keeper, say),
            Periodic("response_gc", SWEEP_KEPT_EVERY, world.keeper.sweep, say),
            Periodic("session_gc", SWEEP_EVERY, world.sweep, say),
            retention(shelves(world.db, ledger, lambda: world.snapshot, clock), clock, say),
            Periodic("snapshot_watcher", FOLLOW_EVERY, world.follow, say),
        ],
        clock,
        dice,
        say,
    )
    _register_pings(world)
    world.listener = Listener(
        ingress,
        _listener_config(settings),
        render_error=_render_error,
        on_unhandled=lambda error: log.error("unhandled error", error=f"{type(error).__name__}: {error}"),
    )
    world.workers.start()
    # The listener takes its sockets for itself; ours are kept for a successor.
    await world.listener.start([sock.dup() for sock in world.sockets], world.tls)


def _at_the_end(world: World, line: RequestLog) -> Callable[[Exchange], None]:
    """Everybody who wants to know that a request is over."""
    recorder, trails, uses = world.recorder, world.trails, world.key_uses

    def done(x: Exchange) -> None:
        line(x)
        if x.principal is not None:
            uses.note(x.principal.key_id, x.started_us)
        recorder.done(x)
        trails.done(x)

    return done


async def _seed(world: World) -> None:
    """Import the seed file into an empty database; otherwise the database is the truth and the file is ignored."""
    path: Path = world.settings.config
    if not await asyncio.to_thread(path.is_file):
        if world.settings.explicit("config"):
            raise FileNotFoundError(f"there is no seed file {path} (--config)")
        return
    if not await is_empty(world.db):
        world.log.info("seed file ignored: the database already holds a configuration", file=str(path))
        return
    text = await asyncio.to_thread(path.read_text, "utf-8")
    seed = parse(text, os.environ, world.channels, check_setting=stored_fault)
    imported = await import_seed(world.db, world.vault, seed, only_if_empty=True)
    if imported is not None:
        world.log.info(
            "seed file imported",
            file=str(path),
            providers=imported.providers,
            models=imported.models,
            users=imported.users,
        )


async def _admin(world: World, patience: Patience) -> AdminCreated | None:
    settings = world.settings
    draft = AdminDraft()
    return await patience.take(
        lambda: ensure_admin(
            world.db,
            world.vault,
            name=settings.admin_user,
            password=settings.admin_password,
            api_key=settings.admin_api_key,
            explicit=any(settings.explicit(name) for name in ("admin_password", "admin_api_key")),
            draft=draft,
        )
    )


async def _restore_health(world: World) -> None:
    clock = world.clock
    stored = await load_statuses(world.db)
    world.board.health.restore(HealthStore.records(stored), clock.monotonic(), clock.now_us())


def _control_plane(world: World) -> AsgiApp:
    # Late: its framework takes half a second to import, which a start must not pay.
    from gproxy.runtime.admin_ports import control_plane

    return control_plane(world, lambda: _health_changed(world))


def _health_changed(world: World) -> None:
    board = world.board.health
    if board.dirty:
        for record in board.take_dirty(world.clock.monotonic(), world.clock.now_us()):
            world.broadcaster.mark(f"{record.credential_id} {record.model or ''}", record)


def listening_sockets(settings: Settings) -> tuple[list[socket.socket], bool]:
    """The sockets to listen on, and whether another process holds them too."""
    handed = upgrade.inherited_sockets(os.environ) or activated_sockets(os.environ)
    if handed:
        return handed, True
    uds = None if settings.uds is None else str(settings.uds)
    return bind(settings.host, settings.port, uds=uds), False


def _listener_config(settings: Settings) -> ListenerConfig:
    return ListenerConfig(
        header_timeout=settings.header_timeout,
        body_timeout=settings.body_timeout,
        idle_timeout=settings.keep_alive_timeout,
        write_timeout=settings.write_timeout,
        max_header_bytes=settings.max_header_size,
        write_high_water=settings.write_high_water,
        write_low_water=settings.write_high_water // 4,
        read_high_water=settings.read_high_water,
        max_connections=settings.max_connections,
    )


def _deadlines(settings: Settings) -> Deadlines:
    return Deadlines(
        connect=settings.connect_timeout,
        first_byte=settings.first_byte_timeout,
        idle=settings.idle_timeout,
        total=settings.total_timeout,
    )


def _render_error(failure: Failure, path: str | None) -> tuple[list[Header], bytes]:
    _, headers, body = reply.render(failure, reply.dialect_of_path(path), "")
    return headers, body


def _register_pings(world: World) -> None:
    def journal() -> Ping:
        state = world.journal.state()
        if state.refusing is not None:
            return Ping("journal", ready=False, detail=state.refusing)
        behind = state.waiting >= BEHIND or state.held > 0
        return Ping("journal", ready=True, detail=f"{state.waiting} rows wait" if state.waiting else "", amber=behind)

    def database() -> Ping:
        sink = world.sink.report()
        failing = sink.failures > 0
        return Ping("database", ready=True, detail=(sink.last_error or "") if failing else "", amber=failing)

    def workers() -> Ping:
        ill = [state.name for state in world.workers.states() if state.phase is not Phase.RUNNING]
        return Ping("workers", ready=True, detail=", ".join(ill), amber=bool(ill))

    for ping in (journal, database, workers):
        world.health.register(ping)


def _told(log: Log, report: RecoveryReport) -> None:
    if not report.adopted:
        return
    log.info(
        "journal replayed",
        journals=report.adopted,
        rows=report.rows,
        interrupted=report.interrupted,
        new=report.new,
        quarantined=report.quarantined,
        damaged=len(report.damaged),
        left=report.left,
    )


def _say(log: Log) -> Callable[[str, Mapping[str, object]], None]:
    def say(event: str, fields: Mapping[str, object]) -> None:
        log.warning(
            event, **{name: value if isinstance(value, int | float) else str(value) for name, value in fields.items()}
        )

    return say
