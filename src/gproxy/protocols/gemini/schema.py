"""Schemas: Google's subset of OpenAPI, read as JSON Schema; and JSON Schema as Google takes it.

A `Schema` (`parameters`, `responseSchema`) writes types in capitals, null as `nullable` and counts as text. JSON
Schema has fields of its own (`parametersJsonSchema`, `responseJsonSchema`) in which only some keywords are
enforced (API reference, `GenerationConfig.responseJsonSchema`); the others are let pass and ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.protocols.gemini.names import named
from gproxy.protocols.reading import at

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTS: Final = ("minItems", "maxItems", "minProperties", "maxProperties", "minLength", "maxLength")
_TYPES: Final = (
    "",
    "string",
    "number",
    "integer",
    "boolean",
    "array",
    "object",
    "null",
)  # by number, in `Type`'s order
_LISTS: Final = ("anyOf", "oneOf", "allOf", "prefixItems")
_TABLES: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_SINGLES: Final = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_NOTES: Final = frozenset({"$schema", "$comment"})
_IGNORED: Final = frozenset(
    {
        "not", "if", "then", "else", "contains", "minContains", "maxContains", "propertyNames", "patternProperties",
        "dependentSchemas", "dependentRequired", "unevaluatedProperties", "unevaluatedItems", "multipleOf",
        "exclusiveMinimum", "exclusiveMaximum", "uniqueItems",
    }
)  # fmt: skip
_DEEPEST: Final = 64


def to_json_schema(source: Mapping[str, Any], depth: int = 0) -> dict[str, Any]:
    """A `Schema` as JSON Schema. What is JSON Schema already stays as it is."""
    out: dict[str, Any] = {}
    for key, value in named(source).items():
        if key in _TABLES and isinstance(value, dict):
            out[key] = {name: _inner(inner, depth) for name, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            out[key] = [_inner(inner, depth) for inner in value]
        elif key in _SINGLES:
            out[key] = _inner(value, depth)
        elif key in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            out[key] = int(value)
        elif key == "type":
            kind = _type(value)
            if kind:
                out[key] = kind
        elif key == "example":
            out["examples"] = [value]
        elif key != "nullable":
            out[key] = value
    if named(source).get("nullable") is True:
        _allow_null(out)
    return out


def _inner(value: Any, depth: int) -> Any:
    return to_json_schema(value, depth + 1) if isinstance(value, dict) and depth < _DEEPEST else value


def _type(value: Any) -> Any:
    if isinstance(value, str):
        return "" if value == "TYPE_UNSPECIFIED" else value.lower()
    if isinstance(value, int) and not isinstance(value, bool):
        return _TYPES[value] if 0 <= value < len(_TYPES) else ""
    return value


def _allow_null(schema: dict[str, Any]) -> None:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
        if isinstance(schema.get("enum"), list) and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    elif isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]


def written(schema: Mapping[str, Any], losses: Losses, feature: Feature, where: str, depth: int = 0) -> dict[str, Any]:
    """JSON Schema for one of the JSON Schema fields. Keywords that Google does not enforce are named as lost."""
    out: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NOTES:
            continue
        if key in _IGNORED:
            losses.add(feature, at(where, key))
        if key == "const":
            # Google has no `const`; an enumeration of one says the same.
            out["enum"] = [value]
            if "type" not in schema and isinstance(value, str):
                out["type"] = "string"
        elif key in _TABLES and isinstance(value, dict):
            inside = at(where, key)
            out[key] = {name: _part(v, losses, feature, at(inside, name), depth) for name, v in value.items()}
        elif key in _LISTS and isinstance(value, list):
            inside = at(where, key)
            out[key] = [_part(v, losses, feature, at(inside, i), depth) for i, v in enumerate(value)]
        elif key in _SINGLES:
            out[key] = _part(value, losses, feature, at(where, key), depth)
        else:
            out[key] = value
    return out


def _part(value: Any, losses: Losses, feature: Feature, where: str, depth: int) -> Any:
    return written(value, losses, feature, where, depth + 1) if isinstance(value, dict) and depth < _DEEPEST else value
