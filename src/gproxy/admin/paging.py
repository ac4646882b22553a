"""Pages of lists: an opaque cursor that says after which row to go on, so that rows which come and go shift nothing."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, Field

from gproxy.admin.errors import Problem, invalid
from gproxy.admin.ports import Moment, Page, Row

T = TypeVar("T")
FAR: Final = 2**63 - 1
MOST: Final = 1000

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many rows at most.")]
Cursor = Annotated[str, Query(max_length=500, description="`next_cursor` of the page before.")]
Since = Annotated[int, Query(ge=0, le=FAR, description="From this moment on (microseconds since the epoch).")]
Until = Annotated[int | None, Query(ge=0, le=FAR, description="Before this moment (microseconds since the epoch).")]


class Listed(BaseModel, Generic[T]):
    """A page."""

    items: list[T]
    next_cursor: str | None = Field(description="Send it as `cursor` for the next page; null: this was the last.")


def cursor_of(*parts: str | int) -> str:
    """An opaque cursor."""
    text = "\n".join(str(part) for part in parts)
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode("ascii")


def _opened(cursor: str, count: int) -> list[str]:
    try:
        parts = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("utf-8").split("\n")
    except (binascii.Error, ValueError):
        parts = []
    if len(parts) != count or any("\0" in part for part in parts):
        raise _foreign()
    return parts


def _number(part: str) -> int:
    if not part.isdecimal() or len(part) > 19 or int(part) > FAR:
        raise _foreign()
    return int(part)


def _foreign() -> Problem:
    return invalid("cursor: is not one of ours", "cursor")


def after(cursor: str) -> str:
    """The id a cursor of a list by id holds. Raises `Problem`."""
    return _opened(cursor, 1)[0] if cursor else ""


def below(cursor: str) -> int:
    """The number a cursor of a list by falling numbers holds. Raises `Problem`."""
    return _number(_opened(cursor, 1)[0]) if cursor else FAR


def given(equal: Mapping[str, Any]) -> dict[str, Any]:
    """The filters of a list that the caller named."""
    return {name: value for name, value in equal.items() if value is not None}


def page_of(since: int, until: int | None, cursor: str, limit: int) -> Page:
    """A page of a list by time; one row more is asked for, to see whether there is a next page."""
    before: Moment | None = None
    if cursor:
        at, row_id = _opened(cursor, 2)
        before = (_number(at), row_id)
    return Page(since, FAR if until is None else until, before, limit + 1)


def listed(rows: list[Row], limit: int, mark: Callable[[Row], str]) -> dict[str, Any]:
    """A page from one row more than fits."""
    more = len(rows) > limit
    rows = rows[:limit]
    return {"items": rows, "next_cursor": mark(rows[-1]) if more else None}
