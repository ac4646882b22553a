"""What a user does with their own things. Whatever belongs to somebody else is not there (404)."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr

from gproxy.admin.clerk import Clerk, etag
from gproxy.admin.dashboard_routes import Period, Series, series_of
from gproxy.admin.errors import Problem, not_found
from gproxy.admin.fields import Flag, Moment, Name, Password, Shape, optional, secret
from gproxy.admin.gate import Caller, Gate, caller_of, without_cookies
from gproxy.admin.key_routes import Rotation, rotated
from gproxy.admin.paging import Cursor, Limit, Listed, Since, Until, after, cursor_of, listed
from gproxy.admin.people_resources import KEYS, USERS, Key, KeyCreate, KeyMade, KeyPatch, UserPatch, remaining
from gproxy.admin.ports import Ports, Row
from gproxy.admin.reach import callable_names, principal_of
from gproxy.admin.record_routes import Id, Summary, Text, Usage, summary_of, usages_page
from gproxy.admin.resource_routes import IfMatch
from gproxy.admin.sessions import count_try

MOST_KEYS: Final = 100
"""A user's own keys; an administrator may give out more."""


class Me(BaseModel):
    """Who is asking."""

    user_id: str
    name: str
    is_admin: bool
    via: str = Field(description="`key`, `bearer` or `cookie`: by what the caller is known.")
    csrf_token: str | None = Field(description="For a session: what `x-csrf-token` must hold.")


class OwnQuota(BaseModel):
    """One's budget, in USD as decimal texts."""

    user_id: str
    quota: str | None = Field(description="null: unlimited.")
    cost_used: str
    reserved: str
    remaining: str | None = Field(description="Never below 0; null: unlimited.")


class OwnModel(BaseModel):
    """A name one may put into a request's model field."""

    id: str
    kind: str = Field(description="`model`, `alias` or `route`.")
    provider_name: str | None
    display_name: str | None


class OwnModels(BaseModel):
    """Everything one may call, by name."""

    items: list[OwnModel]


class OwnKeyCreate(Shape):
    """A new key of one's own; always generated."""

    label: Name | None = None
    expires_at: Moment | None = None


class OwnKeyPatch(Shape):
    """What to change."""

    label: Name | None = None
    enabled: Flag = optional()
    expires_at: Moment | None = None


class PasswordChange(Shape):
    """Ends all of one's sessions, this one too."""

    current_password: SecretStr = Field(max_length=1000)
    new_password: Password


def add_routes(router: APIRouter, ports: Ports, gate: Gate) -> None:
    """Add `/user/*`."""
    clerk = Clerk(ports)

    async def own_key(caller: Caller, key_id: str) -> Row:
        row = await ports.desk.one("keys", key_id)
        if row is None or row["user_id"] != caller.user_id:
            raise not_found("key", key_id)
        return row

    async def room_for_a_key(caller: Caller) -> None:
        held = await ports.desk.page("keys", {"user_id": caller.user_id}, search="", after="", limit=MOST_KEYS)
        if len(held) >= MOST_KEYS:
            raise Problem(409, f"you have {MOST_KEYS} keys already: delete one first")

    async def me(request: Request) -> Me:
        caller = caller_of(request)
        csrf = None if caller.session_id is None else gate.csrf_token(caller.session_id)
        return Me(user_id=caller.user_id, name=caller.name, is_admin=caller.is_admin, via=caller.via, csrf_token=csrf)

    async def change_password(request: Request, response: Response, body: PasswordChange) -> None:
        caller = caller_of(request)
        subjects = (ports.doors.seal("password", caller.user_id), ports.doors.seal("login address", caller.address))
        await count_try(ports, subjects, "too many tries: wait")
        if await ports.doors.check_password(caller.name, secret(body.current_password)) is None:
            raise Problem(403, "current_password: does not fit", field="current_password", code="invalid_credentials")
        await ports.doors.forgive(*subjects)
        await clerk.alteration(
            caller.actor, USERS, caller.user_id, UserPatch(password=body.new_password), if_match=None
        )
        without_cookies(response)

    async def list_keys(request: Request, limit: Limit = 100, cursor: Cursor = "") -> dict[str, Any]:
        equal = {"user_id": caller_of(request).user_id}
        rows = await ports.desk.page("keys", equal, search="", after=after(cursor), limit=limit + 1)
        return listed(rows, limit, lambda row: cursor_of(row["id"]))

    async def create_key(request: Request, response: Response, body: OwnKeyCreate) -> Row:
        caller = caller_of(request)
        await room_for_a_key(caller)
        wanted = KeyCreate(user_id=caller.user_id, label=body.label, expires_at=body.expires_at)
        made = await clerk.creation(caller.actor, KEYS, wanted)
        response.headers["etag"] = etag(made.row)
        return made.whole

    async def read_key(request: Request, response: Response, row_id: Id) -> Row:
        row = await own_key(caller_of(request), row_id)
        response.headers["etag"] = etag(row)
        return row

    async def change_key(
        request: Request,
        response: Response,
        row_id: Id,
        body: OwnKeyPatch,
        if_match: IfMatch = None,
    ) -> Row:
        caller = caller_of(request)
        held = await own_key(caller, row_id)
        wanted = KeyPatch(**body.model_dump(exclude_unset=True))
        row = await clerk.alteration(caller.actor, KEYS, held["id"], wanted, if_match)
        response.headers["etag"] = etag(row)
        return row

    async def delete_key(request: Request, row_id: Id, if_match: IfMatch = None) -> None:
        caller = caller_of(request)
        held = await own_key(caller, row_id)
        await clerk.removal(caller.actor, KEYS, held["id"], if_match)

    async def rotate_key(request: Request, response: Response, row_id: Id, body: Rotation) -> Row:
        caller = caller_of(request)
        held = await own_key(caller, row_id)
        await room_for_a_key(caller)
        made = await rotated(ports, clerk, caller.actor, held["id"], body.overlap_secs)
        response.headers["etag"] = etag(made.row)
        return made.whole

    async def quota(request: Request) -> Row:
        user_id = caller_of(request).user_id
        row = await ports.desk.one("quotas", user_id)
        if row is None or row["user_id"] != user_id:
            return {"user_id": user_id, "quota": None, "cost_used": "0", "reserved": "0", "remaining": None}
        return {**row, "remaining": remaining(row)}

    async def usages(
        request: Request,
        since: Since = 0,
        until: Until = None,
        limit: Limit = 100,
        cursor: Cursor = "",
        key_id: Text = None,
        model_asked: Text = None,
        model_served: Text = None,
        provider_name: Text = None,
        request_id: Text = None,
        outcome: Text = None,
    ) -> dict[str, Any]:
        equal = {
            "user_id": caller_of(request).user_id, "key_id": key_id, "model_asked": model_asked,
            "model_served": model_served, "provider_name": provider_name, "request_id": request_id,
            "outcome": outcome,
        }  # fmt: skip
        return await usages_page(ports, equal, since=since, until=until, cursor=cursor, limit=limit)

    async def usage_summary(request: Request, since: Since = 0, until: Until = None, model_served: Text = None) -> Row:
        equal = {"user_id": caller_of(request).user_id, "model_served": model_served}
        return await summary_of(ports, since=since, until=until, equal=equal)

    async def usage_series(
        request: Request, since: Since = 0, until: Until = None, period: Period = "hour", model_served: Text = None
    ) -> Row:
        equal = {"user_id": caller_of(request).user_id, "model_served": model_served}
        return await series_of(ports, since=since, until=until, period=period, by=None, equal=equal)

    async def models(request: Request) -> dict[str, Any]:
        user = await ports.desk.one("users", caller_of(request).user_id)
        if user is None:
            raise not_found("user", caller_of(request).user_id)
        return {"items": callable_names(ports.snapshot(), await principal_of(ports, user))}

    add = router.add_api_route
    add("/user/me", me, response_model=Me, operation_id="get_me", summary="Who am I")
    add("/user/password", change_password, methods=["POST"], status_code=204, operation_id="change_password",
        summary="Change one's password", description="Ends all of one's sessions, this one too.")  # fmt: skip
    add("/user/keys", list_keys, response_model=Listed[Key], operation_id="list_own_keys", summary="List one's keys")
    add("/user/keys", create_key, methods=["POST"], response_model=KeyMade, status_code=201,
        operation_id="create_own_key", summary="Make a key", description="It is shown this once.")  # fmt: skip
    add("/user/keys/{id}", read_key, response_model=Key, operation_id="get_own_key", summary="Read one's key")
    add("/user/keys/{id}", change_key, methods=["PATCH"], response_model=Key, operation_id="update_own_key",
        summary="Change one's key")  # fmt: skip
    add("/user/keys/{id}", delete_key, methods=["DELETE"], status_code=204, operation_id="delete_own_key",
        summary="Delete one's key")  # fmt: skip
    add("/user/keys/{id}/rotate", rotate_key, methods=["POST"], response_model=KeyMade, status_code=201,
        operation_id="rotate_own_key", summary="Replace one's key",
        description="A new key; the old one works on for `overlap_secs`.")  # fmt: skip
    add("/user/quota", quota, response_model=OwnQuota, operation_id="get_own_quota", summary="One's budget")
    add("/user/usages", usages, response_model=Listed[Usage], operation_id="list_own_usages",
        summary="List one's attempts, newest first")  # fmt: skip
    add("/user/usages/summary", usage_summary, response_model=Summary, operation_id="own_usage_summary",
        summary="Sum up one's attempts")  # fmt: skip
    add("/user/usages/series", usage_series, response_model=Series, operation_id="own_usage_series",
        summary="One's figures over time")  # fmt: skip
    add("/user/models", models, response_model=OwnModels, operation_id="list_own_models",
        summary="The names one may call")  # fmt: skip
