"""Model lists and single models in the three families' shapes. Pure rendering; who may see what is decided elsewhere.

OpenAI: platform docs, "List models"; Anthropic: "List Models"; Gemini: "models.list".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gproxy.canonical.operation import Dialect

# Vendors date their models; a gateway does not know the dates of all of them and must send a valid one.
_CREATED: Final = 0
_CREATED_AT: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One model as a caller may name it."""

    id: str
    display_name: str | None
    owned_by: str


def render_list(entries: Sequence[Entry], dialect: Dialect) -> dict[str, Any]:
    """The whole list, unpaged."""
    if dialect is Dialect.GEMINI:
        return {"models": [_gemini(entry) for entry in entries]}
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        data = [_anthropic(entry) for entry in entries]
        return {
            "data": data,
            "has_more": False,
            "first_id": entries[0].id if entries else None,
            "last_id": entries[-1].id if entries else None,
        }
    return {"object": "list", "data": [_openai(entry) for entry in entries]}


def render_one(entry: Entry, dialect: Dialect) -> dict[str, Any]:
    """A single model."""
    if dialect is Dialect.GEMINI:
        return _gemini(entry)
    if dialect is Dialect.ANTHROPIC_MESSAGES:
        return _anthropic(entry)
    return _openai(entry)


def _openai(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "object": "model", "created": _CREATED, "owned_by": entry.owned_by}


def _anthropic(entry: Entry) -> dict[str, Any]:
    return {
        "type": "model",
        "id": entry.id,
        "display_name": entry.display_name or entry.id,
        "created_at": _CREATED_AT,
    }


def _gemini(entry: Entry) -> dict[str, Any]:
    return {
        "name": f"models/{entry.id}",
        "baseModelId": entry.id,
        "version": "001",
        "displayName": entry.display_name or entry.id,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }
