"""The three drivers behind one small protocol; each module is imported only when its address is used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

Row: TypeAlias = tuple[Any, ...]


class Link(Protocol):
    """One connection. Every method raises only errors of `storage.errors`; statements are in the driver's own form."""

    @property
    def usable(self) -> bool:
        """False once the connection is lost or its state is unknown; it is then abandoned, not reused."""
        ...

    async def fetch(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """All rows of a query."""
        ...

    async def execute(self, sql: str, params: Sequence[Any]) -> int:
        """Run a statement; the number of rows it matched."""
        ...

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement once per row of parameters."""
        ...

    async def begin(self) -> None:
        """Begin a transaction that will write."""
        ...

    async def commit(self) -> None:
        """Make it stay."""
        ...

    async def rollback(self) -> None:
        """Undo it."""
        ...

    async def close(self) -> None:
        """Leave politely."""
        ...

    def abandon(self) -> None:
        """Drop the connection now, whatever it is doing. Never blocks, safe to call twice."""
        ...


def transport_is_gone(error: BaseException) -> bool:
    """Whether a RuntimeError is the event loop's word for a transport that is closed already, and no bug of ours."""
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("transport" in text or "handler is closed" in text)
