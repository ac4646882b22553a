"""Google's schemas as JSON Schema, and JSON Schema as Google takes it."""

from __future__ import annotations

from typing import Any

import pytest

from gproxy.canonical.loss import Feature, Losses
from gproxy.protocols.gemini.schema import to_json_schema, written


@pytest.mark.parametrize(
    ("google", "expected"),
    [
        ({"type": "STRING"}, {"type": "string"}),
        ({"type": 6}, {"type": "object"}),
        ({"type": "TYPE_UNSPECIFIED", "title": "t"}, {"title": "t"}),
        ({"type": "STRING", "nullable": True}, {"type": ["string", "null"]}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"nullable": True, "any_of": [{"type": "STRING"}]}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        ({"type": "ARRAY", "minItems": "2", "items": {"type": "INTEGER"}},
         {"type": "array", "minItems": 2, "items": {"type": "integer"}}),
        ({"type": "OBJECT", "properties": {"any_of": {"type": "NUMBER"}, "b": {"type": "BOOLEAN", "example": True}}},
         {"type": "object", "properties": {"any_of": {"type": "number"}, "b": {"type": "boolean", "examples": [True]}}}),
        ({"type": "object", "$defs": {"a": {"type": "null"}}, "additionalProperties": False},
         {"type": "object", "$defs": {"a": {"type": "null"}}, "additionalProperties": False}),
        ({"type": "STRING", "default": {"type": "STRING"}}, {"type": "string", "default": {"type": "STRING"}}),
    ],
)  # fmt: skip
def test_read(google: dict[str, Any], expected: dict[str, Any]) -> None:
    assert to_json_schema(google) == expected
    assert to_json_schema(expected) == expected


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        ({"$schema": "x", "type": "object", "properties": {}}, {"type": "object", "properties": {}}, None),
        ({"const": "a"}, {"enum": ["a"], "type": "string"}, None),
        ({"const": 1, "type": "integer"}, {"enum": [1], "type": "integer"}, None),
        ({"properties": {"const": {"const": "x", "type": "string"}}},
         {"properties": {"const": {"enum": ["x"], "type": "string"}}}, None),
        ({"items": {"multipleOf": 2}}, {"items": {"multipleOf": 2}}, "tools[0].items.multipleOf"),
        ({"anyOf": [{}, {"not": {}}]}, {"anyOf": [{}, {"not": {}}]}, "tools[0].anyOf[1].not"),
        ({"type": "object", "additionalProperties": False, "$ref": "#/$defs/a"},
         {"type": "object", "additionalProperties": False, "$ref": "#/$defs/a"}, None),
    ],
)  # fmt: skip
def test_written(schema: dict[str, Any], expected: dict[str, Any], lost: str | None) -> None:
    losses = Losses()
    assert written(schema, losses, Feature.OTHER, "tools[0]") == expected
    assert [loss.field for loss in losses.found] == ([lost] if lost else [])


def test_depth_is_bounded() -> None:
    schema: dict[str, Any] = {"type": "STRING"}
    for _ in range(5000):
        schema = {"items": schema}
    assert to_json_schema(schema)["items"]
    assert written(schema, Losses(), Feature.OTHER, "s")["items"]
