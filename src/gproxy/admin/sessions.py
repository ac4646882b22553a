"""Logging in and out. A stranger learns from text and time only that something did not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, SecretStr, StringConstraints

from gproxy.admin.access import TRIES, WINDOW_US
from gproxy.admin.errors import Problem
from gproxy.admin.fields import Shape, secret
from gproxy.admin.gate import Gate, address_of, caller_of, cookies_for, own_page, without_cookies
from gproxy.admin.ports import Actor, Ports
from gproxy.secret import Secret

SECONDS: Final = 86_400
SESSION_PREFIX: Final = "gps_"


class Login(Shape):
    """Who wants in."""

    # Anything is taken here: what cannot be a user's name is simply not one.
    username: Annotated[str, StringConstraints(max_length=1000)]
    password: SecretStr = Field(max_length=1000)


class LoggedIn(BaseModel):
    """A session. For browsers it is also in an HttpOnly cookie, and `csrf_token` in one that scripts can read."""

    user_id: str
    user_name: str
    session_token: str = Field(description="Send it as `Authorization: Bearer …`.")
    expires_in_secs: int
    is_admin: bool
    csrf_token: str = Field(description="Browsers send it as `x-csrf-token` with every unsafe request.")


async def count_try(ports: Ports, subjects: Sequence[str], text: str) -> None:
    """Count a try to guess a password, for each of those it is held against. Raises `Problem` (429)."""
    wait = await ports.doors.note_try(subjects, most=TRIES, window_us=WINDOW_US)
    if wait:
        raise Problem(429, text, headers={"retry-after": str(int(wait) + 1)})


def add_routes(router: APIRouter, ports: Ports, gate: Gate) -> None:
    """Add `/login` and `/logout`."""

    async def login(request: Request, response: Response, body: Login) -> LoggedIn:
        own_page(request, required=False)
        address = address_of(request)
        account, place = ports.doors.seal("login name", body.username), ports.doors.seal("login address", address)
        await count_try(ports, (account, place), "too many tries to log in: wait, or use an API key")
        user = await ports.doors.check_password(body.username, secret(body.password))
        if user is None:
            raise Problem(401, "this name and password do not fit", code="invalid_credentials")
        await ports.doors.forgive(account, place)
        token = SESSION_PREFIX + ports.noise(24).hex()
        holder = await ports.doors.open_session(user["id"], ports.doors.digest(Secret(token)), address, SECONDS)
        await ports.desk.record(Actor(user["id"], user["name"], address), "login", "sessions", holder.session_id)
        csrf = gate.csrf_token(holder.session_id)
        cookies_for(response, request, token, csrf, SECONDS)
        return LoggedIn(
            user_id=user["id"],
            user_name=user["name"],
            session_token=token,
            expires_in_secs=SECONDS,
            is_admin=user["is_admin"],
            csrf_token=csrf,
        )

    async def logout(request: Request, response: Response) -> None:
        caller = caller_of(request)
        assert caller.session_id is not None
        await ports.doors.end_session(caller.session_id)
        without_cookies(response)

    router.add_api_route(
        "/login", login, methods=["POST"], response_model=LoggedIn, operation_id="login", summary="Log in",
        description="At most 10 tries in 15 minutes per name and per address.",
    )  # fmt: skip
    router.add_api_route("/logout", logout, methods=["POST"], status_code=204, operation_id="logout", summary="Log out")
