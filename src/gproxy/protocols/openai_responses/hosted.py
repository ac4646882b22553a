"""Other dialects' hosted tools in the words of this one: searches, code runs, MCP calls.

Only what both sides know is written; the events of a run are those of the API reference's "Streaming events".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.part import ServerToolKind, Text
from gproxy.wire.json import JsonProblem, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gproxy.canonical.part import ServerToolCall, ServerToolResult

PHASES: Final[Mapping[str, tuple[str, ...]]] = {
    "web_search_call": ("in_progress", "searching", "completed"),
    "file_search_call": ("in_progress", "searching", "completed"),
    "code_interpreter_call": ("in_progress", "interpreting", "completed"),
    "image_generation_call": ("in_progress", "generating", "completed"),
    "mcp_call": ("in_progress", "completed", "failed"),
}
"""The events that tell how far a run is, by its item's type."""
TEXTS: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "code_interpreter_call": (("code_interpreter_call_code", "code"),),
    "mcp_call": (("mcp_call_arguments", "arguments"),),
}
"""What of a run is streamed as text: the events' name and the item's field."""
_PREFIXES: Final = {"web_search_call": "ws", "code_interpreter_call": "ci", "mcp_call": "mcp"}


def prefix(item: Mapping[str, Any]) -> str:
    """How the ids of such items begin."""
    return _PREFIXES.get(item["type"], "st")


def begun(call: ServerToolCall) -> dict[str, Any] | None:
    """The item for a run that has begun; None for a tool that this dialect does not know."""
    match call.kind:
        case ServerToolKind.WEB_SEARCH:
            return {"type": "web_search_call", "status": "in_progress", "action": {"type": "search", "query": ""}}
        case ServerToolKind.CODE_EXECUTION:
            fields: dict[str, Any] = {"code": None, "container_id": "", "outputs": None}
            return {"type": "code_interpreter_call", "status": "in_progress", **fields}
        case ServerToolKind.MCP:
            return {
                "type": "mcp_call",
                "status": "in_progress",
                "name": call.name,
                "server_label": "",
                "arguments": "",
                "output": None,
                "error": None,
            }
        case _:
            return None


def called(item: Mapping[str, Any], call: ServerToolCall) -> dict[str, Any]:
    """What is known once the call is complete."""
    said = _arguments(call.arguments)
    match item["type"]:
        case "web_search_call":
            query = said.get("query")
            return {"action": {"type": "search", "query": query if isinstance(query, str) else ""}}
        case "code_interpreter_call":
            code = next((said[key] for key in ("code", "command") if isinstance(said.get(key), str)), None)
            return {"code": code if code is not None else call.arguments}
        case _:
            return {"arguments": call.arguments or "{}"}


def ended(item: dict[str, Any], result: ServerToolResult | None) -> dict[str, Any]:
    """The finished item, with what came of the run."""
    failed = result is not None and bool(result.is_error)
    item = {**item, "status": "failed" if failed else "completed"}
    said = [part.text for part in result.parts if isinstance(part, Text)] if result is not None else []
    match item["type"]:
        case "web_search_call" if result is not None and result.citations:
            sources = [{"type": "url", "url": citation.url} for citation in result.citations if citation.url]
            return {**item, "action": {**item["action"], "sources": sources}}
        case "code_interpreter_call" if said:
            return {**item, "outputs": [{"type": "logs", "logs": text} for text in said]}
        case "mcp_call" if result is not None:
            return {**item, "error" if failed else "output": "\n".join(said)}
        case _:
            return item


def _arguments(text: str) -> dict[str, Any]:
    try:
        value = loads(text.encode("utf-8", "replace"))
    except JsonProblem:
        return {}
    return value if isinstance(value, dict) else {}
