"""What a resource is to the control plane: its shapes, and the rules that need more than one field or row.

`upstream_resources` and `people_resources` describe the resources; `clerk` does the work for all of them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import BaseModel

from gproxy.admin.errors import Problem, invalid
from gproxy.admin.fields import Shown
from gproxy.admin.ports import Ports, Row, Writer

Given: TypeAlias = dict[str, Any]
"""The fields a caller sent, checked one by one; secrets and passwords already prepared."""

Prepare: TypeAlias = Callable[[Ports, Given], Awaitable[None]]
"""What takes its time and has no place inside a transaction (hashing); changes the fields in place."""

Check: TypeAlias = Callable[[Ports, Writer, Given, Row | None], Awaitable[dict[str, Any]]]
"""Inside the transaction: fields and the row as it was (None: it is new) → the values to store."""

Guard: TypeAlias = Callable[[Writer, Row], Awaitable[None]]
"""After a change or deletion, inside the transaction: refuses what would lock everybody out."""

Dress: TypeAlias = Callable[[Ports, Sequence[Row]], None]
"""Adds what no table holds (health, prices in force) to rows that are shown."""

Landed: TypeAlias = Callable[[Ports, Row, Given], None]
"""After a change is in force: the row, and the fields that were sent."""


async def _nothing(_ports: Ports, _given: Given) -> None:
    return


async def _unguarded(_writer: Writer, _before: Row) -> None:
    return


def _undressed(_ports: Ports, _rows: Sequence[Row]) -> None:
    return


def _unnoticed(_ports: Ports, _row: Row, _given: Given) -> None:
    return


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of `/admin`."""

    name: str
    """In paths: `providers`."""
    what: str
    """In sentences: `provider`."""
    shown: type[Shown]
    create: type[BaseModel]
    patch: type[BaseModel]
    check: Check
    filters: Mapping[str, type]
    unique: str
    """The field to name when another row has the same."""
    made: type[Shown] | None = None
    """What a creation answers, where it shows more than later readings (a secret, once)."""
    prepare: Prepare = _nothing
    guard: Guard = _unguarded
    dress: Dress = _undressed
    landed: Landed = _unnoticed
    text: str = ""
    ids_only: bool = False
    """Whether only ids address a row; then paths below it are free for actions."""


async def referred(writer: Writer, resource: str, what: str, given: Given, *, required: bool = True) -> Row | None:
    """The row that `<what>_id` or `<what>_name` of a request means; of the two only its id is left in the fields.

    Either field takes an id or a name; without both, there is nothing in the fields and no row. Raises `Problem`.
    """
    by_id, by_name = f"{what}_id", f"{what}_name"
    reference = given.pop(by_id, None)
    field = by_id
    other = given.pop(by_name, None)
    if reference is not None and other is not None:
        raise invalid(f"give either {by_id} or {by_name}", by_name)
    if other is not None:
        reference, field = other, by_name
    if reference is None:
        if required:
            raise invalid(f"{by_name}: is missing", by_name)
        return None
    row = await writer.one(resource, reference)
    if row is None:
        raise Problem(400, f"{field}: there is no {what} {reference[:200]!r}", field=field)
    given[by_id] = row["id"]
    return row
