"""How credentials are in this process, how they have been, and an administrator's word about it."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from gproxy.admin.errors import not_found
from gproxy.admin.fields import Shape, Shown
from gproxy.admin.gate import caller_of
from gproxy.admin.paging import Cursor, Limit, Listed, Since, Until, after, cursor_of, listed, page_of
from gproxy.admin.ports import Page, Ports, Row
from gproxy.admin.record_routes import Id, Text
from gproxy.admin.upstream_resources import WELL, ailments
from gproxy.ids import CredentialId


class CredentialHealth(Shown):
    """A credential's state in this process, and the models for which it differs."""

    id: str
    provider_name: str
    label: str | None
    enabled: bool
    state: Literal["healthy", "cooldown", "disabled"]
    until: int | None
    reason: str
    models: list[dict[str, Any]]


class HealthPatch(Shape):
    """An administrator's word: `healthy` forgets everything held against it."""

    state: Literal["healthy", "disabled"]
    reason: str = Field(default="disabled by an administrator", max_length=200)


class HealthChange(Shown):
    """What a credential, or one model with it, became."""

    id: str
    at: int
    model: str | None = Field(description="null: the credential as a whole.")
    state: Literal["healthy", "cooldown", "disabled"]
    until: int | None = Field(description="A cooldown ends by itself at this moment.")
    reason: str | None


class HealthHistory(Listed[HealthChange]):
    """Changes, newest first."""

    before: HealthChange | None = Field(
        description="The last change of the credential as a whole before `since`: how it was when the span began."
    )


def add_routes(router: APIRouter, ports: Ports) -> None:
    """Add `/admin/health`."""

    def states() -> dict[str, Row]:
        unwell = ailments(ports)
        by_model: dict[str, list[Row]] = {}
        for (credential_id, model), row in unwell.items():
            if model is not None:
                by_model.setdefault(credential_id, []).append({"model": model, **row})
        found = {}
        for provider in ports.snapshot().providers.values():
            for credential in provider.credentials:
                found[str(credential.id)] = {
                    "id": credential.id,
                    "provider_name": provider.name,
                    "label": credential.label,
                    "enabled": credential.enabled,
                    **unwell.get((credential.id, None), WELL),
                    "models": by_model.get(credential.id, []),
                }
        return found

    def one(credential_id: str) -> Row:
        found = states().get(credential_id)
        if found is None:
            raise not_found("credential", credential_id)
        return found

    async def list_health(
        limit: Limit = 100,
        cursor: Cursor = "",
        provider_name: Text = None,
        state: Literal["healthy", "cooldown", "disabled"] | None = None,
    ) -> dict[str, Any]:
        found, begin = states(), after(cursor)
        rows = [
            found[name]
            for name in sorted(found)
            if name > begin
            and (provider_name is None or found[name]["provider_name"] == provider_name)
            and (state is None or found[name]["state"] == state)
        ]
        return listed(rows[: limit + 1], limit, lambda row: cursor_of(row["id"]))

    async def read_health(row_id: Id) -> Row:
        return one(row_id)

    async def change_health(request: Request, row_id: Id, body: HealthPatch) -> Row:
        before = one(row_id)
        if body.state == "healthy":
            ports.board.health.enable(CredentialId(row_id))
        else:
            ports.board.health.disable(CredentialId(row_id), body.reason)
        ports.health_changed()
        await ports.desk.record(caller_of(request).actor, body.state, "health", before["id"])
        return one(row_id)

    async def history(
        row_id: Id, since: Since = 0, until: Until = None, limit: Limit = 100, cursor: Cursor = ""
    ) -> dict[str, Any]:
        credential = one(row_id)["id"]
        page = page_of(since, until, cursor, limit)
        rows = await ports.records.health_changes(credential, page, whole=False)
        earlier = await ports.records.health_changes(credential, Page(0, since, None, 1), whole=True) if since else []
        told = [_change(row) for row in (*rows, *earlier)]
        found = listed(told[: len(rows)], limit, lambda row: cursor_of(row["at"], row["id"]))
        return {**found, "before": told[len(rows)] if earlier else None}

    add = router.add_api_route
    add("/admin/health", list_health, response_model=Listed[CredentialHealth], operation_id="list_health",
        summary="List how credentials are")  # fmt: skip
    add("/admin/health/{id}", read_health, response_model=CredentialHealth, operation_id="get_health",
        summary="Read how a credential is")  # fmt: skip
    add("/admin/health/{id}", change_health, methods=["PATCH"], response_model=CredentialHealth,
        operation_id="update_health", summary="Call a credential well, or switch it off")  # fmt: skip
    add("/admin/health/{id}/history", history, response_model=HealthHistory, operation_id="get_health_history",
        summary="Read how a credential has been, newest first",
        description="Kept as long as request logs are (`retention_days`).")  # fmt: skip


def _change(row: Row) -> Row:
    return {**row, "model": row["scope"] or None}
