"""Every configuration write as a numbered revision, and the way back to one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field

from gproxy.admin.errors import Problem, not_found
from gproxy.admin.fields import Shown
from gproxy.admin.gate import caller_of
from gproxy.admin.paging import FAR, Cursor, Limit, Listed, below, cursor_of, listed
from gproxy.admin.ports import Ports, Row

Number = Annotated[int, Path(alias="id", ge=0, le=FAR, description="The revision's number.")]


class Revision(Shown):
    """One configuration write."""

    revision: int
    at: int
    actor_id: str | None
    actor_name: str
    address: str | None
    action: str = Field(description="write, import or rollback.")
    row_count: int = Field(description="How many rows it changed.")


class Change(Shown):
    """A row that was changed; an update tells only what differs, secrets are dots."""

    resource: str
    id: str
    name: str
    action: Literal["create", "update", "delete"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class RevisionRead(Revision):
    """One configuration write with its changes."""

    changes: list[Change]


class RolledBack(Shown):
    """What a rollback did, or would do."""

    applied: bool
    revision: int = Field(description="The revision that is in force now.")
    changes: list[Change]


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add the routes."""

    async def list_revisions(limit: Limit = 100, cursor: Cursor = "") -> dict[str, Any]:
        rows = await ports.desk.revisions(before=below(cursor), limit=limit + 1)
        return listed(rows, limit, lambda row: cursor_of(row["revision"]))

    async def read_revision(number: Number) -> Row:
        rows = await ports.desk.revisions(before=min(number + 1, FAR), limit=1)
        changes = await ports.desk.changes_of(number)
        if changes is None or not rows or rows[0]["revision"] != number:
            raise not_found("revision", str(number))
        return {**rows[0], "changes": changes}

    async def roll_back(
        request: Request,
        number: Number,
        dry_run: Annotated[bool, Query(description="Tell what would change, and change nothing.")] = False,
    ) -> Row:
        latest = await ports.desk.revisions(before=FAR, limit=1)
        if not latest or number > latest[0]["revision"]:
            raise not_found("revision", str(number))
        done = await ports.desk.roll_back(number, caller_of(request).actor, dry_run=dry_run)
        if done is None:
            raise Problem(409, f"revision {number} is older than what is on record")
        return {"applied": not dry_run, "revision": done.revision, "changes": done.changes}

    add = router.add_api_route
    add("/admin/revisions", list_revisions, response_model=Listed[Revision], operation_id="list_revisions",
        summary="List what was written to the configuration, newest first")  # fmt: skip
    add("/admin/revisions/{id}", read_revision, response_model=RevisionRead, operation_id="get_revision",
        summary="Read what a revision changed")  # fmt: skip
    add("/admin/revisions/{id}/rollback", roll_back, methods=["POST"], response_model=RolledBack,
        operation_id="roll_back", summary="Make the configuration what it was after this revision",
        description="In one transaction, as a new revision. Deleted rows come back with their ids and secrets, "
        "rows made since go; what was spent stays. Users who change lose their sessions.")  # fmt: skip
