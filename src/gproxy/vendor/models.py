"""Model lists and single models in the three shapes clients know."""

from __future__ import annotations

from typing import Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.vendor.voice import encode

NAMES: Final = ("sim", "sim-large", "sim-embedding")
_CREATED: Final = 1_735_689_600
_CREATED_TEXT: Final = "2025-01-01T00:00:00Z"


def _one(dialect: Dialect, name: str) -> dict[str, Any]:
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            return {"type": "model", "id": name, "display_name": name.title(), "created_at": _CREATED_TEXT}
        case Dialect.GEMINI:
            verb = "embedContent" if "embedding" in name else "generateContent"
            return {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name.title(),
                "description": "A simulated model.",
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": [verb, "countTokens"],
            }
        case _:
            return {"id": name, "object": "model", "created": _CREATED, "owned_by": "simulated"}


def list_of(dialect: Dialect) -> bytes:
    """The whole list."""
    rows = [_one(dialect, name) for name in NAMES]
    match dialect:
        case Dialect.ANTHROPIC_MESSAGES:
            ends = {"first_id": NAMES[0], "last_id": NAMES[-1]}
            return encode({"data": rows, "has_more": False, **ends})
        case Dialect.GEMINI:
            return encode({"models": rows})
        case _:
            return encode({"object": "list", "data": rows})


def one_of(dialect: Dialect, name: str) -> bytes | None:
    """One model, or None when there is no such name."""
    return encode(_one(dialect, name)) if name in NAMES else None
