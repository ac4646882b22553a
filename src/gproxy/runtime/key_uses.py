"""When each key was last used: noted with every request, written every half minute.

What was noted since when the process is killed is lost; nothing depends on it but an operator's look at idle keys.
"""

from __future__ import annotations

from gproxy.ledger.store import StoreUnavailable
from gproxy.storage.engine import Database
from gproxy.storage.errors import DatabaseUnavailable
from gproxy.storage.key_uses import forget_gone_keys, save_uses


class KeyUses:
    """One per process."""

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}

    def note(self, key_id: str, at: int) -> None:
        """A key was used (microseconds since the epoch)."""
        self._uses[key_id] = at

    async def flush(self, db: Database) -> None:
        """Write what was noted. Raises `StoreUnavailable`; then it waits for the next time."""
        taken, self._uses = self._uses, {}
        try:
            if taken:
                await save_uses(db, taken)
            taken = {}
        except DatabaseUnavailable as error:
            raise StoreUnavailable(str(error)) from error
        finally:
            self._uses = {**taken, **self._uses}  # what came meanwhile is newer

    @staticmethod
    async def sweep(db: Database) -> None:
        """Forget keys that are no more. Raises `StoreUnavailable`."""
        await forget_gone_keys(db)
