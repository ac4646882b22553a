"""One row of a document, read key by key; everything wrong is noted and reading goes on."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from gproxy.ledger.pricing import PRICE_FIELDS, PriceError, RateCard
from gproxy.secret import Secret
from gproxy.seed.problems import Problem
from gproxy.seed.schema import NAME_LENGTH

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LARGEST: Final = 2**63 - 1
_MOST_USD: Final = Decimal(9_000_000_000)


class Row:
    """A table of the document. Each reader takes one key; `done` complains about the keys nobody took."""

    def __init__(
        self, table: str, number: int | None, values: object, problems: list[Problem], *, at: str = ""
    ) -> None:
        self.table = table
        self.number = number
        self._problems = problems
        self._at = at
        self._taken: set[str] = set()
        self.usable = isinstance(values, Mapping)
        self._values: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        if not self.usable:
            self.complain(None, "must be a table")

    def complain(self, key: str | None, text: str) -> None:
        """Note a problem with a key of this row."""
        path = ".".join(part for part in (self._at, key) if part) or None
        self._problems.append(Problem(self.table, self.number, path, text))

    def take(self, key: str) -> Any:
        """The raw value, None when absent."""
        self._taken.add(key)
        return self._values.get(key)

    def text(self, key: str, *, required: bool = False, most: int = NAME_LENGTH) -> str | None:
        """A text without control characters or spaces around it; None when absent or wrong."""
        value = self.take(key)
        if value is None:
            if required:
                self._missing(key)
            return None
        fault = text_fault(value, most)
        if fault:
            self.complain(key, fault)
            return None
        return str(value)

    def secret(self, key: str, *, required: bool = False, most: int = 10_000) -> Secret | None:
        """A text that does not print; nothing of it is ever repeated in a complaint."""
        value = self.take(key)
        if value is None:
            if required:
                self._missing(key)
            return None
        if not isinstance(value, str):
            self.complain(key, f"must be a text, not {kind_of(value)}")
        elif not value:
            self.complain(key, "must not be empty")
        elif len(value) > most:
            self.complain(key, f"is longer than {most} characters")
        elif "\0" in value:
            self.complain(key, "must not contain NUL")
        else:
            return Secret(value)
        return None

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.complain(key, f"must be true or false, not {kind_of(value)}")
            return default
        return value

    def whole(self, key: str, *, least: int = 0, most: int = LARGEST) -> int | None:
        """A whole number within bounds; None when absent or wrong."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.complain(key, f"must be a whole number, not {kind_of(value)}")
        elif not least <= value <= most:
            self.complain(key, f"must be between {least} and {most}" if most < LARGEST else f"must be at least {least}")
        else:
            return value
        return None

    def whole_or(self, key: str, default: int, *, least: int = 0, most: int = LARGEST) -> int:
        """The same with a default."""
        found = self.whole(key, least=least, most=most)
        return default if found is None else found

    def usd(self, key: str) -> int | None:
        """An amount in USD, as nano-USD; None when absent or wrong."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.complain(key, f"must be an amount in USD, not {kind_of(value)}")
            return None
        amount = Decimal(value)
        if not amount.is_finite() or amount < 0:
            self.complain(key, "must be a finite amount of at least 0 USD")
        elif amount > _MOST_USD:
            self.complain(key, f"is above {_MOST_USD:,} USD")
        elif len(amount.as_tuple().digits) > 28 or amount.scaleb(9) != amount.scaleb(9).to_integral_value():
            self.complain(key, "is finer than 0.000000001 USD")
        else:
            return int(amount.scaleb(9))
        return None

    def choice(self, key: str, allowed: Sequence[str]) -> str | None:
        """One of a closed set of words; None when absent or wrong."""
        value = self.take(key)
        if value is None:
            return None
        if value not in allowed:
            self.complain(key, f"must be one of {', '.join(allowed)}{did_you_mean(value, allowed)}")
            return None
        return str(value)

    def moment(self, key: str) -> int | None:
        """A date and time with an offset, or microseconds since the epoch."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, datetime) and value.tzinfo is not None:
            return (value - _EPOCH) // timedelta(microseconds=1)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST:
            return value
        self.complain(key, "must be a date and time with an offset, such as 2027-01-31T12:00:00Z")
        return None

    def rows(self, key: str) -> list[Row]:
        """An array of tables under this row."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.complain(key, "must be a list of tables")
            return []
        path = f"{self._at}.{key}" if self._at else key
        return [
            Row(self.table, self.number, each, self._problems, at=f"{path}[{index}]")
            for index, each in enumerate(value, start=1)
        ]

    def rest(self) -> dict[str, Any]:
        """Every key nobody has taken, as it stands."""
        left = {key: value for key, value in self._values.items() if key not in self._taken}
        self._taken.update(left)
        return left

    def card(self) -> RateCard | None:
        """The price fields, None when there are none."""
        given = {name: self._values[name] for name in self._values if name in PRICE_FIELDS}
        self._taken.update(given)
        if not given:
            return None
        try:
            found = RateCard.from_fields(given)
        except PriceError as error:
            self.complain(error.field, error.text)
            return None
        return found if found.priced else None

    def done(self, known: Collection[str] = ()) -> None:
        """Complain about the keys nobody took; `known` are further names to suggest."""
        for key in self._values:
            if key not in self._taken:
                self.complain(key, f"unknown key{did_you_mean(key, {*self._taken, *known})}")

    def _missing(self, key: str) -> None:
        # Noted once: the caller sees None and leaves the row out.
        if self.usable:
            self.complain(key, "is missing")


def text_fault(value: object, most: int = NAME_LENGTH) -> str | None:
    """Why this cannot be a name or label, or None."""
    if not isinstance(value, str):
        return f"must be a text, not {kind_of(value)}"
    if not value:
        return "must not be empty"
    if len(value) > most:
        return f"is longer than {most} characters"
    if value != value.strip():
        return "must not begin or end with a space"
    if any(c < " " or c == "\x7f" for c in value):
        return "must not contain control characters"
    return None


def kind_of(value: object) -> str:
    """What a value is, in the words of a person who writes TOML."""
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "true or false"),
        ((int, float, Decimal), "a number"),
        (str, "a text"),
        (list, "a list"),
        (dict, "a table"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "a date or time")


def did_you_mean(word: object, known: Collection[str]) -> str:
    """`; did you mean x?` when something is near."""
    near = difflib.get_close_matches(word.lower(), sorted(known), 1, 0.6) if isinstance(word, str) else []
    return f"; did you mean {near[0]}?" if near else ""
