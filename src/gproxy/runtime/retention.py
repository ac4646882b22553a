"""How long things are kept, from the stored settings, and the shelves that the retention worker empties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from gproxy.access.shares import lengths
from gproxy.clock import Clock
from gproxy.snapshot import Snapshot
from gproxy.storage import request_log
from gproxy.storage.engine import Database
from gproxy.storage.health import delete_changes_before
from gproxy.storage.trails import delete_trails_before
from gproxy.storage.usage import SqlLedger
from gproxy.workers.retention import Shelf

LOG_DAYS: Final = 30
BODY_DAYS: Final = 7
TRAIL_DAYS: Final = 7
_DAY_US: Final = 86_400_000_000
_US: Final = 1_000_000
_LONGEST_DAYS: Final = 36_500


def days_of(settings: Mapping[str, str], name: str) -> int | None:
    """A stored number of days; None when none is set. Zero is none: what is not to be kept is not switched on."""
    text = settings.get(name, "")
    return min(int(text), _LONGEST_DAYS) if text.isdecimal() and int(text) else None


def log_days(settings: Mapping[str, str]) -> int:
    """For how many days logs of requests are kept."""
    return days_of(settings, "retention_days") or LOG_DAYS


def body_days(settings: Mapping[str, str]) -> int:
    """For how many days their bodies are kept: never longer than the logs they belong to."""
    return min(log_days(settings), days_of(settings, "body_retention_days") or BODY_DAYS)


def trail_days(settings: Mapping[str, str]) -> int:
    """For how many days trails are kept."""
    return days_of(settings, "trail_retention_days") or TRAIL_DAYS


def usage_days(settings: Mapping[str, str]) -> int | None:
    """For how many days usage rows are kept; None: for good, which is what nobody has decided otherwise means."""
    return days_of(settings, "usage_retention_days") or days_of(settings, "retention_days")


def usage_cutoff(snapshot: Snapshot, now_us: int) -> int | None:
    """Before when usage rows go; None: all stay.

    A row that a limit's window still covers stays in any case: a start fills the windows from the rows again, and
    would otherwise let more through than the limit.
    """
    days = usage_days(snapshot.settings)
    if days is None:
        return None
    windows = {length for one in snapshot.keys.values() for row in one.rate_limits for length in lengths([row])}
    return now_us - max(days * _DAY_US, round(max(windows, default=0.0) * _US) + _DAY_US)


def shelves(db: Database, ledger: SqlLedger, snapshot: Callable[[], Snapshot], clock: Clock) -> list[Shelf]:
    """Everything that is kept for a time."""

    def older_than(days: Callable[[Mapping[str, str]], int]) -> Callable[[], int]:
        return lambda: clock.now_us() - days(snapshot().settings) * _DAY_US

    return [
        Shelf(
            "request_bodies",
            older_than(body_days),
            lambda before, limit: request_log.delete_bodies_before(db, before, limit),
        ),
        Shelf(
            "request_logs",
            older_than(log_days),
            lambda before, limit: request_log.delete_logs_before(db, before, limit),
        ),
        Shelf(
            "credential_history",
            older_than(log_days),
            lambda before, limit: delete_changes_before(db, before, limit),
        ),
        Shelf(
            "request_trails",
            older_than(trail_days),
            lambda before, limit: delete_trails_before(db, before, limit),
        ),
        Shelf("usages", lambda: usage_cutoff(snapshot(), clock.now_us()), ledger.delete_usages_before),
    ]
