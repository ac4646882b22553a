"""What a usage row may hold, and the row as plain values for a driver. Knows widths and types, no SQL.

Every row of the ledger passes here, nearly all of them good. So a batch is first tried whole, by a decoder that knows
the bounds (1 us a row); only what that refuses is looked at field by field, to find the fault and name it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import GenericAlias
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from gproxy.ledger.record import UsageRow
from gproxy.storage.errors import Poison

COLUMNS: Final = tuple(each.name for each in msgspec.structs.fields(UsageRow))
Values: TypeAlias = tuple[Any, ...]
"""One row's values, in the order of `COLUMNS`."""

ROLLUP_KEY: Final = ("period", "starts_at", "user_id", "provider_name", "model_served")
ROLLUP_SUMS: Final = (
    "attempts",
    "failures",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
"""What the hour and day totals are kept by, and the figures they add up."""

DIMENSIONS: Final = (
    "key_id",
    "route_name",
    "credential_id",
    "channel",
    "operation",
    "dialect_in",
    "dialect_out",
    "model_asked",
    "outcome",
    "streamed",
)
BY_KEY: Final = ("period", "dimension", "starts_at", "value")
"""Columns of the ledger that have totals of their own, one by one, and the key of those (`usage_rollups_by`).

All of them together as one key would be a table as long as the ledger. So two of them cannot be asked at once, nor one
of them and a column of `ROLLUP_KEY`. A row without a route counts under the empty value, so that the groups of every
dimension add up to the whole; `streamed` is `true` or `false`.
"""

_INT64: Final = 2**63
_INT32: Final = 2**31

# How long a text may be, by column; the widths of the table. Everything else is a name of 200 characters.
_WIDTHS: Final = {
    **dict.fromkeys(("attempt_id", "request_id", "user_id", "key_id", "credential_id"), 36),
    **dict.fromkeys(("dialect_in", "dialect_out", "operation", "source", "outcome"), 40),
}
_NAME_WIDTH: Final = 200
_SMALL: Final = frozenset({"status", "attempt_no"})
_NULLABLE: Final = frozenset(
    {
        "route_name", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
        "cache_write_1h_tokens", "reasoning_tokens", "audio_tokens", "first_byte_ms",
    }
)  # fmt: skip
_FLAG: Final = COLUMNS.index("streamed")


def checked(rows: Sequence[UsageRow]) -> list[Values]:
    """The rows as plain values: no enums, no booleans.

    Refuses what one of the engines could not hold, so that all of them refuse the same. Raises `Poison`, naming row
    and field.
    """
    try:
        plain = [msgspec.structs.astuple(row) for row in rows]
        # There and back costs less than one look at each field. JSON's escapes show a NUL character, wherever it is.
        found: list[Values] = _good.decode(msgspec.msgpack.encode(plain))
        if b"\\u0000" not in msgspec.json.encode(plain):
            return [(*values[:_FLAG], int(values[_FLAG]), *values[_FLAG + 1 :]) for values in found]
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError, TypeError):
        pass
    for row in rows:
        check(row)
    return [_plain(row) for row in rows]


def fault_of(name: str, value: Any) -> str | None:
    """What is wrong with a value in that column, for people."""
    if value is None:
        return None if name in _NULLABLE else "is missing"
    if isinstance(value, str):
        if len(value) > _WIDTHS.get(name, _NAME_WIDTH):
            return f"is longer than {_WIDTHS.get(name, _NAME_WIDTH)} characters"
        if "\0" in value:
            return "holds a NUL character"
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            return "holds half a character (a lone surrogate)"
        return None
    if isinstance(value, int):
        bound = _INT32 if name in _SMALL else _INT64
        return None if -bound <= value < bound else "is too large a number"
    return f"is a {type(value).__name__}"


def check(row: UsageRow) -> None:
    """Look at one row field by field. Raises `Poison`."""
    for name in COLUMNS:
        fault = fault_of(name, getattr(row, name))
        if fault:
            raise Poison(f"{name} {fault}", row_id=row.attempt_id, field=name)


def _plain(row: UsageRow) -> Values:
    return tuple(
        str(value) if isinstance(value, str) else int(value) if isinstance(value, bool) else value
        for value in msgspec.structs.astuple(row)
    )


def _bounded(name: str, kind: Any) -> Any:
    """The type of a column with the bounds of `fault_of`."""
    if kind is bool:
        return kind
    if kind in {int, int | None}:
        bound = _INT32 if name in _SMALL else _INT64
        bounded: Any = Annotated[int, Meta(ge=-bound, le=bound - 1)]
    else:
        bounded = Annotated[str, Meta(max_length=_WIDTHS.get(name, _NAME_WIDTH))]
    return bounded | None if name in _NULLABLE else bounded


_ROW: Final = GenericAlias(tuple, tuple(_bounded(each.name, each.type) for each in msgspec.structs.fields(UsageRow)))
_good: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(GenericAlias(list, (_ROW,)))
