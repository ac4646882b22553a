"""A string that does not print."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn


class Secret:
    """Holds a credential. `reveal()` is the only way out; it cannot be printed, compared by `==` in time, or pickled."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value: Final = value

    def reveal(self) -> str:
        """The secret itself. Call it where the bytes leave for the network or the sealed column, nowhere else."""
        return self._value

    def masked(self) -> str:
        """What people may see: the prefix and the last four characters, or only dots when it is short."""
        if len(self._value) < 12:
            return "…"
        return f"{self._value[:3]}…{self._value[-4:]}"

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is never pickled")
