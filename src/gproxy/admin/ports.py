"""What the control plane asks of the world outside: the database, the living parts, the network.

Rows travel as plain mappings in the public form (references with names, secrets masked); the shapes of the API
check them on the way out. Everything here is kept by rooms that only `runtime` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gproxy.channels.vendor import Vendor
from gproxy.clock import Clock
from gproxy.pipeline.in_flight import InFlight
from gproxy.pipeline.ports import Upstream
from gproxy.pipeline.refresh import Tokens
from gproxy.routing.plan import Board
from gproxy.secret import Secret
from gproxy.seed.schema import Seed
from gproxy.snapshot import Snapshot
from gproxy.wire.http import Header

Row: TypeAlias = dict[str, Any]
Values: TypeAlias = Mapping[str, Any]
Moment: TypeAlias = tuple[int, str]
"""A place in a list that is sorted by time: microseconds since the epoch, and the row's id."""


class Taken(Exception):  # noqa: N818 - the state it names is what callers ask for
    """A unique value is taken, or a reference points to nothing."""


class Unstorable(Exception):  # noqa: N818
    """A value that the database can never hold."""


class Unavailable(Exception):  # noqa: N818
    """The database does not answer now; the same call may work later."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who is acting, for the audit log."""

    user_id: str | None
    name: str
    address: str | None


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose a living session is."""

    session_id: str
    user_id: str
    user_name: str
    is_admin: bool
    expires_at: int


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list by time is wanted: [since, until) in microseconds, after `before`, at most `limit`."""

    since: int
    until: int
    before: Moment | None
    limit: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an import did or would do.

    `changes` is one line per row in the order of the document, `diff` the rows that differ, secrets masked.
    """

    changes: Sequence[Row]
    diff: Sequence[Row]
    applied: bool


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback changed or would change, and the revision it made."""

    revision: int
    changes: Sequence[Row]


class Reader(Protocol):
    """Reads configured resources. Raises `Unavailable`."""

    async def page(self, resource: str, equal: Values, *, search: str, after: str, limit: int) -> list[Row]:
        """At most `limit` rows after the id `after`, oldest first."""
        ...

    async def one(self, resource: str, reference: str) -> Row | None:
        """The row with this id, else the one with this name."""
        ...


class Writer(Reader, Protocol):
    """One transaction of configuration changes. Raises `Taken`, `Unstorable`, `Unavailable`."""

    async def create(self, resource: str, values: Values) -> tuple[str, Secret | None]:
        """Add a row; its id, and its secret when that was generated."""
        ...

    async def change(self, resource: str, row_id: str, values: Values, *, if_version: int | None) -> bool:
        """Set some values; false when the row is not there or not at that version."""
        ...

    async def delete(self, resource: str, row_id: str, *, if_version: int | None) -> bool:
        """Remove a row; false when it is not there or not at that version."""
        ...

    async def put_settings(self, values: Values) -> None:
        """Store settings; None removes one."""
        ...

    async def enabled_admins(self) -> int:
        """How many users can administer."""
        ...

    async def note(
        self, action: str, resource: str, row_id: str | None, before: Values | None, after: Values | None
    ) -> None:
        """Leave an audit row."""
        ...


class Desk(Reader, Protocol):
    """The configuration."""

    def write(self, actor: Actor) -> AbstractAsyncContextManager[Writer]:
        """All of it or nothing; when it ends well, this process's snapshot has it before the block is left."""
        ...

    async def record(self, actor: Actor, action: str, resource: str, row_id: str | None) -> None:
        """Leave an audit row for something that changes no configuration."""
        ...

    async def settings(self) -> dict[str, Any]:
        """The stored settings."""
        ...

    async def reveal(self, resource: str, row_id: str) -> dict[str, Secret] | None:
        """The secrets of a credential or key in clear."""
        ...

    async def reload(self) -> Row:
        """Read the configuration anew; revision, and what had to be left out."""
        ...

    async def revisions(self, *, before: int, limit: int) -> list[Row]:
        """Configuration writes before that revision, the latest first."""
        ...

    async def changes_of(self, revision: int) -> list[Row] | None:
        """What a revision changed, secrets masked; None when it is not on record."""
        ...

    async def roll_back(self, revision: int, actor: Actor, *, dry_run: bool) -> RolledBack | None:
        """Make the configuration what it was after `revision`; None when that is older than what is on record.

        Raises what `Writer` raises.
        """
        ...

    async def export(self, *, with_secrets: bool) -> str:
        """The configured world as a seed document (TOML)."""
        ...

    async def bring_in(self, seed: Seed, actor: Actor, *, dry_run: bool) -> Report:
        """Bring a document into what is there, in one transaction. Raises what `Writer` raises."""
        ...


class Doors(Protocol):
    """Sessions and passwords. Raises `Unavailable`."""

    def digest(self, token: Secret) -> str:
        """The keyed digest under which a token is stored."""
        ...

    def seal(self, purpose: str, text: str) -> str:
        """A keyed digest of a text for one purpose (a CSRF token, a throttled name)."""
        ...

    async def hash_password(self, password: Secret) -> str:
        """The Argon2id hash; off the loop."""
        ...

    async def check_password(self, name: str, password: Secret) -> Row | None:
        """The enabled user of that name, if the password is theirs. Takes the same time for everybody; off the loop."""
        ...

    async def open_session(self, user_id: str, digest: str, address: str | None, seconds: int) -> Holder:
        """Keep a session."""
        ...

    async def holder(self, digest: str) -> Holder | None:
        """Whose session this is, if it lives."""
        ...

    async def end_session(self, session_id: str) -> None:
        """Log out."""
        ...

    async def note_try(self, subjects: Sequence[str], *, most: int, window_us: int) -> float:
        """Count a try to log in; the seconds to wait when there were too many already, then none is counted."""
        ...

    async def forgive(self, account: str, address: str) -> None:
        """After a login that succeeded."""
        ...


class Records(Protocol):
    """What has been written down while the gateway ran. Raises `Unavailable`."""

    async def usages(self, equal: Values, page: Page) -> list[Row]:
        """Ledger rows, newest first."""
        ...

    async def totals(self, period: str, since: int, until: int, by: tuple[str, ...], equal: Values) -> list[Row]:
        """Sums of the hourly or daily rollups that start in [since, until)."""
        ...

    async def latencies(self, period: str, since: int, until: int, equal: Values) -> list[Row]:
        """How many whole answers of each hour or day that starts in [since, until) fell into which bucket."""
        ...

    async def health_changes(self, credential_id: str, page: Page, *, whole: bool) -> list[Row]:
        """What a credential became and when, newest first; `whole`: leave out what concerns single models."""
        ...

    async def requests(self, equal: Values, page: Page, *, bodies: bool) -> list[Row]:
        """Logged requests, newest first."""
        ...

    async def trail(self, request_id: str) -> Row | None:
        """The decision trail of a request, where one was kept (`pipeline.trail.Trail`, and when and whose)."""
        ...

    async def audit(self, equal: Values, page: Page) -> list[Row]:
        """Audit rows, newest first."""
        ...

    async def shutdowns(self, page: Page) -> list[Row]:
        """Drain reports, newest first."""
        ...

    async def shutdown(self, row_id: str) -> Row | None:
        """One drain report."""
        ...


@dataclass(frozen=True, slots=True)
class SettingNote:
    """What is known about a setting that lives in the database."""

    name: str
    kinds: tuple[type, ...]
    text: str
    default: str | None
    in_force: str | None
    origin: str
    needs_restart: bool


@dataclass(frozen=True, slots=True)
class StopPlan:
    """How long a stop may take, phase by phase, and how long one has been under way (None: there is none). Seconds."""

    delay: float
    drain: float
    worker: float
    elapsed: float | None


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything the control plane is given."""

    desk: Desk
    doors: Doors
    records: Records
    snapshot: Callable[[], Snapshot]
    board: Board
    in_flight: InFlight
    stop_plan: Callable[[], StopPlan]
    upstream: Upstream
    proxy: str | None
    tokens: Tokens
    """For credentials that sign with an access token."""
    channels: Mapping[str, Vendor]
    clock: Clock
    setting_notes: Callable[[], Sequence[SettingNote]]
    setting_fault: Callable[[str, str], str | None]
    health_changed: Callable[[], None]
    """Call it after changing the board: what changed is stored."""
    key_used: Callable[[str], None]
    """Call it when somebody was let in by a key."""
    client_address: Callable[[str | None, Sequence[Header]], str | None]
    """Peer and headers → where a request really comes from (trusted proxies are believed)."""
    noise: Callable[[int], bytes]
    version: str
