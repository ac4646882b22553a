"""What usage can be summed up by, which of it goes together, and what the groups are called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args

from fastapi import Depends, Query

from gproxy.admin.errors import invalid
from gproxy.admin.paging import given
from gproxy.admin.ports import Reader, Row

Together = Literal["user_id", "provider_name", "model_served"]
Alone = Literal[
    "key_id", "route_name", "credential_id", "channel", "operation", "dialect_in", "dialect_out", "model_asked",
    "outcome", "streamed",
]  # fmt: skip
Dimension = Literal[Together, Alone]

ALONE: Final = "Users, providers and models combine; every other column has totals of its own and goes with none."
_TOGETHER: Final = get_args(Together)
_ALONE: Final = get_args(Alone)

_Text = Annotated[str | None, Query(max_length=500)]
_Route = Annotated[str | None, Query(max_length=500, description="Empty: requests that no route led.")]


def _filters(
    user_id: _Text = None,
    provider_name: _Text = None,
    model_served: _Text = None,
    key_id: _Text = None,
    route_name: _Route = None,
    credential_id: _Text = None,
    channel: _Text = None,
    operation: _Text = None,
    dialect_in: _Text = None,
    dialect_out: _Text = None,
    model_asked: _Text = None,
    outcome: _Text = None,
    streamed: bool | None = None,
) -> dict[str, str]:
    return given(
        {
            "user_id": user_id, "provider_name": provider_name, "model_served": model_served, "key_id": key_id,
            "route_name": route_name, "credential_id": credential_id, "channel": channel, "operation": operation,
            "dialect_in": dialect_in, "dialect_out": dialect_out, "model_asked": model_asked, "outcome": outcome,
            "streamed": None if streamed is None else str(streamed).lower(),
        }
    )  # fmt: skip


Filters: TypeAlias = Annotated[dict[str, str], Depends(_filters)]
"""Which part of the usage to sum up; what was not asked for is left out."""


def check(by: Dimension | None, equal: Mapping[str, str]) -> None:
    """Raises `Problem` for what no total is kept of; nothing asked for is passed over in silence."""
    alone = next((each for each in (by, *equal) if each in _ALONE), None)
    if alone is None:
        return
    other = next((name for name in equal if name != alone), None)
    if other is None and by not in {None, alone}:
        other = "by"
    if other is not None:
        raise invalid(
            f"{other}: totals by {alone} are kept by nothing else beside it: leave out one of the two. Groups and filters "
            f"that go together are {', '.join(_TOGETHER)}",
            other,
        )


async def name_of(desk: Reader, by: Dimension, group: str) -> str:
    """What people call it: users, keys and credentials go by ids. What has been deleted keeps its id."""
    resource = {"user_id": "users", "key_id": "keys", "credential_id": "credentials"}.get(by)
    row = None if resource is None else await desk.one(resource, group)
    if row is None:
        return group
    return str(row["name"]) if by == "user_id" else f"{_owner(row)} / {row['label'] or _masked(row)}"


def _owner(row: Row) -> Any:
    return row["user_name"] if "user_name" in row else row["provider_name"]


def _masked(row: Row) -> Any:
    if "masked" in row:
        return row["masked"]
    return next(iter((row["fields"] or {}).values()), row["id"])
