"""The building blocks of every shape: names, patterns, money, moments, and what they refuse.

The rules for names and patterns are the seed file's own (`seed.schema`, `seed.rows`), so that what the API takes
an export can be read back with.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints

from gproxy.secret import Secret
from gproxy.seed.rows import text_fault
from gproxy.seed.schema import NAME_LENGTH, pattern_fault, provider_name_fault

_SAFE: Final = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
_DEEPEST: Final = 32
_MOST_USD: Final = 9_000_000_000


class Shape(BaseModel):
    """What a caller sends: unknown fields are mistakes."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """What a caller gets."""

    model_config = ConfigDict(extra="ignore")


def absent() -> Any:
    """The default of a field that a patch may leave out but not set to null."""
    return None


def optional(text: str = "") -> Any:
    """A field of a patch: left alone unless given."""
    return Field(default_factory=absent, description=text or None)


def _named(text: str) -> str:
    fault = text_fault(text)
    if fault:
        raise ValueError(fault)
    return text


def _provider_named(text: str) -> str:
    fault = provider_name_fault(text)
    if fault:
        raise ValueError(fault)
    return text


def _pattern(text: str) -> str:
    fault = pattern_fault(text)
    if fault:
        raise ValueError(fault)
    return text


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be an amount in USD, not true or false")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _fine(amount: Decimal) -> Decimal:
    if amount.scaleb(9) != amount.scaleb(9).to_integral_value():
        raise ValueError("is finer than 0.000000001 USD")
    return amount


def _plain(value: Any, depth: int = 0) -> Any:
    """A free JSON value that every database and every JSON reader can hold."""
    if depth > _DEEPEST:
        raise ValueError("is nested too deeply")
    if isinstance(value, dict):
        for key, each in value.items():
            _plain(key, depth + 1)
            _plain(each, depth + 1)
    elif isinstance(value, list):
        for each in value:
            _plain(each, depth + 1)
    elif isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("must not contain NUL or lone surrogates")
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**63 - 1:
        raise ValueError("is too large a number")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_LENGTH), AfterValidator(_named)]
ProviderName = Annotated[Name, AfterValidator(_provider_named)]
Pattern = Annotated[Name, AfterValidator(_pattern)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=_SAFE)]
Positive = Annotated[int, Field(strict=True, ge=1, le=_SAFE)]
Weight = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Share = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Moment = Annotated[int, Field(strict=True, ge=0, le=_SAFE, description="Microseconds since the epoch, UTC.")]
Usd = Annotated[
    Decimal,
    BeforeValidator(_no_bool),
    Field(ge=0, le=_MOST_USD, description="USD, as a number or a decimal text."),
    AfterValidator(_fine),
]
Free = Annotated[dict[str, Any], AfterValidator(_plain)]
Hidden = Annotated[SecretStr, Field(min_length=1, max_length=20_000)]
Password = Annotated[SecretStr, Field(min_length=8, max_length=1000)]


def secret(given: SecretStr) -> Secret:
    """From the library's type to ours."""
    return Secret(given.get_secret_value())


def nano(amount: Decimal | None) -> int | None:
    """USD as nano-USD; None stays None."""
    return None if amount is None else int(amount.scaleb(9))


def usd(amount: Decimal) -> str:
    """USD as a decimal text without trailing zeros."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
