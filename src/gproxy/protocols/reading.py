"""Reading a decoded body field by field, so that every complaint names the field and the type it should have.

`where` is the path of the object in the client's body (`messages[3].content[0]`), empty at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gproxy.canonical.loss import Feature
from gproxy.wire.json import JsonProblem, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.loss import Losses
    from gproxy.canonical.operation import Dialect
    from gproxy.canonical.part import Extras


def at(where: str, key: str | int) -> str:
    """The path of a field or an element."""
    if isinstance(key, int):
        return f"{where}[{key}]"
    return f"{where}.{key}" if where else key


def problem(where: str, what: str) -> JsonProblem:
    """`where` must be `what`."""
    return JsonProblem(f"`{where}` must be {what}", where)


def whole_object(body: bytes) -> dict[str, Any]:
    """The body as an object. Raises `JsonProblem`."""
    value = loads(body)
    if not isinstance(value, dict):
        raise JsonProblem("the body must be a JSON object")
    return value


def text(source: Mapping[str, Any], key: str, where: str = "") -> str | None:
    """A string, or None when absent or null."""
    value = source.get(key)
    if value is None or isinstance(value, str):
        return value
    raise problem(at(where, key), "a string")


def required_text(source: Mapping[str, Any], key: str, where: str = "") -> str:
    """A non-empty string."""
    value = text(source, key, where)
    if not value:
        raise problem(at(where, key), "a non-empty string")
    return value


def flag(source: Mapping[str, Any], key: str, where: str = "") -> bool | None:
    """True or false, or None when absent or null."""
    value = source.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise problem(at(where, key), "true or false")


def number(source: Mapping[str, Any], key: str, where: str = "") -> float | None:
    """A number (kept an integer when it is one), or None when absent or null."""
    value = source.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise problem(at(where, key), "a number")


def integer(source: Mapping[str, Any], key: str, where: str = "") -> int | None:
    """A whole number, or None when absent or null."""
    value = number(source, key, where)
    if isinstance(value, float):
        if not value.is_integer():
            raise problem(at(where, key), "an integer")
        value = int(value)
    return value


def table(source: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any] | None:
    """An object, or None when absent or null."""
    value = source.get(key)
    if value is None or isinstance(value, dict):
        return value
    raise problem(at(where, key), "an object")


def array(source: Mapping[str, Any], key: str, where: str = "") -> list[Any] | None:
    """An array, or None when absent or null."""
    value = source.get(key)
    if value is None or isinstance(value, list):
        return value
    raise problem(at(where, key), "an array")


def tables(source: Mapping[str, Any], key: str, where: str = "") -> list[dict[str, Any]] | None:
    """An array of objects, or None when absent or null."""
    found = array(source, key, where)
    for i, item in enumerate(found or ()):
        if not isinstance(item, dict):
            raise problem(at(at(where, key), i), "an object")
    return found


def texts(source: Mapping[str, Any], key: str, where: str = "") -> tuple[str, ...] | None:
    """An array of strings (or one string), or None when absent or null."""
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise problem(at(where, key), "a string or an array of strings")
    return tuple(value)


def rest(source: Mapping[str, Any], known: frozenset[str], own: Dialect) -> Extras:
    """The fields nobody read, as the dialect's own extras."""
    left = {key: value for key, value in source.items() if key not in known}
    return {own: left} if left else {}


def of_own(extras: Extras, own: Dialect) -> Mapping[str, Any]:
    """A dialect's own extras; what belongs to others is not its business."""
    return extras.get(own, {})


def note_foreign(extras: Extras, own: Dialect, losses: Losses, where: str = "") -> None:
    """Name what travels in other dialects' extras as lost: it has no home here."""
    for dialect, fields in extras.items():
        if dialect is not own:
            for key in fields:
                losses.add(Feature.OTHER, at(where, key))
