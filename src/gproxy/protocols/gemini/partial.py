"""Arguments that arrive in pieces (`partialArgs`, Vertex AI's `streamFunctionCallArguments`).

Each piece says a JSON path and a value; a text may go on in later pieces of the same path. The object is whole
when the call stops saying `willContinue`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from gproxy.protocols.gemini.names import named
from gproxy.wire.json import JsonProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEP: Final = re.compile(r"""\.([^.\[\]]+)|\[(\d{1,6})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]""")
_VALUES: Final = ("stringValue", "numberValue", "boolValue")
_FURTHEST: Final = 1024
"""How far ahead of its end an array may be written; lists come in order."""
_DEEPEST: Final = 128


class Arguments:
    """One call's arguments while they arrive."""

    __slots__ = ("_going_on", "value")

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}
        self._going_on = ""

    def take(self, piece: Mapping[str, Any]) -> None:
        """Take one piece. Raises `JsonProblem` when its path makes no sense."""
        fields = named(piece)
        path = fields.get("jsonPath")
        if not isinstance(path, str):
            raise JsonProblem("a piece of arguments has no path", "partialArgs")
        kind = next((key for key in _VALUES if fields.get(key) is not None), None)
        value = fields.get(kind) if kind else None
        self._put(_steps(path), value, more=kind == "stringValue" and self._going_on == path)
        self._going_on = path if fields.get("willContinue") is True else ""

    def _put(self, steps: list[str | int], value: Any, *, more: bool) -> None:
        place: Any = self.value
        for step, then in pairwise(steps):
            inside = _get(place, step)
            if not isinstance(inside, list if isinstance(then, int) else dict):
                inside = [] if isinstance(then, int) else {}
                _set(place, step, inside)
            place = inside
        before = _get(place, steps[-1])
        _set(place, steps[-1], before + value if more and isinstance(before, str) else value)


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    at = 1 if path.startswith("$") else 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None or len(steps) == _DEEPEST:
            raise JsonProblem(f"a piece of arguments has the path {path[:200]!r}", "partialArgs")
        at = found.end()
        name, index, single, double = found.groups()
        quoted = single if single is not None else double
        steps.append(int(index) if index is not None else name if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
    if not steps or isinstance(steps[0], int):
        raise JsonProblem(f"a piece of arguments has the path {path[:200]!r}", "partialArgs")
    return steps


def _get(place: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return place[step] if step < len(place) else None
    return place.get(step)


def _set(place: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        if step > len(place) + _FURTHEST:
            raise JsonProblem("a piece of arguments is too far ahead", "partialArgs")
        place.extend([None] * (step + 1 - len(place)))
    place[step] = value
