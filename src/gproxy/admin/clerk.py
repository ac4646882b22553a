"""Does the work for every resource: check, write, audit. One instance serves all routes.

A change is one transaction: the row as it was, the check, the write, the audit row. Secrets go no further than the
values to store; what is shown and audited comes from the database's masked view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from gproxy.admin.errors import Problem, not_found
from gproxy.admin.ports import Actor, Ports, Row, Taken, Writer
from gproxy.admin.resource import Given, Resource


@dataclass(frozen=True, slots=True)
class Made:
    """A new row, and its secret where it was generated or given just now (`shown`: to be told once)."""

    row: Row
    shown: Mapping[str, Any]

    @property
    def whole(self) -> Row:
        """As the creation answers it."""
        return {**self.row, **self.shown}


class Clerk:
    """The verbs of a resource."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    async def given(self, resource: Resource, body: BaseModel, *, creating: bool) -> Given:
        """The fields of a body, with what takes its time done."""
        fields = body.model_dump()
        if not creating:  # only the body's own fields may be left out: what is inside of one has its defaults
            fields = {name: value for name, value in fields.items() if name in body.model_fields_set}
        await resource.prepare(self._ports, fields)
        return fields

    async def find(self, resource: Resource, reference: str) -> Row:
        """One row. Raises `Problem` (404)."""
        row = await self._ports.desk.one(resource.name, reference)
        if row is None:
            raise not_found(resource.what, reference)
        return self.dressed(resource, row)

    def dressed(self, resource: Resource, row: Row) -> Row:
        """A row as it is shown."""
        resource.dress(self._ports, (row,))
        return row

    async def create(self, writer: Writer, resource: Resource, fields: Given) -> Made:
        """Add a row. Raises `Problem`, `Taken`."""
        sent = fields.get("fields")
        values = await resource.check(self._ports, writer, fields, None)
        try:
            row_id, secret = await writer.create(resource.name, values)
        except Taken as taken:
            raise Problem(409, f"{resource.unique}: {taken}", field=resource.unique) from taken
        row = await writer.one(resource.name, row_id)
        assert row is not None
        await writer.note("create", resource.name, row_id, None, row)
        shown: dict[str, Any] = {}
        if secret is not None:
            shown["api_key"] = secret.reveal()
        if sent is not None:
            shown["fields"] = {name: value.get_secret_value() for name, value in sent.items()}
        return Made(row, shown)

    async def change(
        self, writer: Writer, resource: Resource, reference: str, fields: Given, if_match: str | None
    ) -> Row:
        """Change a row. Raises `Problem`, `Taken`."""
        before = await self._held(writer, resource, reference, if_match)
        if not fields:
            return before
        values = await resource.check(self._ports, writer, fields, before)
        try:
            changed = await writer.change(resource.name, before["id"], values, if_version=before["version"])
        except Taken as taken:
            raise Problem(409, f"{resource.unique}: {taken}", field=resource.unique) from taken
        if not changed:
            raise _stale()
        await resource.guard(writer, before)
        row = await writer.one(resource.name, before["id"])
        assert row is not None
        await writer.note("update", resource.name, before["id"], before, row)
        return row

    async def delete(self, writer: Writer, resource: Resource, reference: str, if_match: str | None) -> Row:
        """Remove a row; the row as it was. Raises `Problem`."""
        before = await self._held(writer, resource, reference, if_match)
        if not await writer.delete(resource.name, before["id"], if_version=before["version"]):
            raise _stale()
        await resource.guard(writer, before)
        await writer.note("delete", resource.name, before["id"], before, None)
        return before

    async def _held(self, writer: Writer, resource: Resource, reference: str, if_match: str | None) -> Row:
        row = await writer.one(resource.name, reference)
        if row is None:
            raise not_found(resource.what, reference)
        if if_match is not None and not matches(if_match, row["version"]):
            raise _stale()
        return row

    async def creation(self, actor: Actor, resource: Resource, body: BaseModel) -> Made:
        """A creation of its own transaction."""
        fields = await self.given(resource, body, creating=True)
        async with self._ports.desk.write(actor) as writer:
            made = await self.create(writer, resource, fields)
        self.dressed(resource, made.row)
        return made

    async def alteration(
        self, actor: Actor, resource: Resource, reference: str, body: BaseModel, if_match: str | None
    ) -> Row:
        """A change of its own transaction."""
        fields = await self.given(resource, body, creating=False)
        async with self._ports.desk.write(actor) as writer:
            row = await self.change(writer, resource, reference, fields, if_match)
        resource.landed(self._ports, row, fields)
        return self.dressed(resource, row)

    async def removal(self, actor: Actor, resource: Resource, reference: str, if_match: str | None) -> None:
        """A deletion of its own transaction."""
        async with self._ports.desk.write(actor) as writer:
            await self.delete(writer, resource, reference, if_match)


def etag(row: Row) -> str:
    """The entity tag of a row's version."""
    return f'"{row["version"]}"'


def matches(if_match: str, version: int) -> bool:
    """Whether an `If-Match` names this version. A proxy that compresses may have weakened the tag it passed on."""
    tags = {tag.strip().removeprefix("W/") for tag in if_match.split(",")}
    return "*" in tags or f'"{version}"' in tags


def _stale() -> Problem:
    return Problem(412, "the row has changed since it was read: read it again", field="if-match")
