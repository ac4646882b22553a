"""What a database can answer besides rows. Foreign exceptions become one of these at the driver's door.

    StorageError ─┬─ DatabaseUnavailable ── Contention, TooSlow     nothing is wrong with the data: try again
                  ├─ Conflict                               a unique name is taken, or a reference points nowhere
                  ├─ Poison                                 this value can never be stored; its neighbours can
                  ├─ SchemaMissing, NewerSchema             the database is empty, or belongs to a newer gproxy
                  └─ SealError                              a sealed value cannot be opened with the key at hand

A programming error (bad SQL, unknown column) stays a plain `StorageError`.
"""

from __future__ import annotations

from gproxy.ledger.store import StorePoison, StoreUnavailable


class StorageError(Exception):
    """The database could not do what was asked. The text names the operation's fault and never a stored value."""


class DatabaseUnavailable(StorageError, StoreUnavailable):  # noqa: N818 - the state it names is what callers ask for
    """Down, unreachable, locked, read-only, full or too slow. The same call may work later."""


class Contention(DatabaseUnavailable):
    """Another transaction won (deadlock, serialization failure, lock wait). Worth repeating at once, with jitter."""


class TooSlow(DatabaseUnavailable):
    """No answer within the deadline; what was asked may still happen."""


class Conflict(StorageError):  # noqa: N818
    """A unique value is taken or a reference points to nothing. `constraint` names the rule where the engine does."""

    def __init__(self, text: str, constraint: str | None = None) -> None:
        super().__init__(text)
        self.constraint = constraint


class Poison(StorageError, StorePoison):  # noqa: N818
    """A value that this table can never hold. `row_id` and `field` say which, where that is known."""

    def __init__(self, text: str, *, row_id: str | None = None, field: str | None = None) -> None:
        super().__init__(text)
        self.row_id = row_id
        self.field = field


class SchemaMissing(StorageError):  # noqa: N818
    """A table is not there: the database has not been set up (or not far enough)."""


class NewerSchema(StorageError):  # noqa: N818
    """The database was upgraded by a newer gproxy; this one must not touch it."""


class SealError(StorageError):
    """A sealed value cannot be opened: wrong or missing secret key, or it was moved or changed in the database."""
