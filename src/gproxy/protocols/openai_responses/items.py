"""Items of a conversation that the assistant's side makes, both ways: messages, reasoning, calls, the vendor's own tools.

Nobody but the Responses API says in an item of its own that a hosted tool ran: such items travel whole, in the
extras of the neutral part they become, and are written back unharmed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    Extras,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.protocols.openai_responses.content import ITEM, OWN, content
from gproxy.protocols.reading import at, of_own, required_text, tables, text
from gproxy.protocols.signatures import seal, unseal
from gproxy.wire.json import JsonProblem, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Key = tuple[str, int]
"""Which part of an item: `text`, `summary`, `thought`, `call`, … and the place among those of its name."""

_OF: Final = "of"
_KINDS: Final = {
    "web_search_call": ServerToolKind.WEB_SEARCH,
    "file_search_call": ServerToolKind.FILE_SEARCH,
    "code_interpreter_call": ServerToolKind.CODE_EXECUTION,
    "image_generation_call": ServerToolKind.IMAGE_GENERATION,
    "computer_call": ServerToolKind.COMPUTER,
    "mcp_call": ServerToolKind.MCP,
}
_NAMES: Final = {
    ServerToolKind.WEB_SEARCH: "web_search",
    ServerToolKind.FILE_SEARCH: "file_search",
    ServerToolKind.CODE_EXECUTION: "code_interpreter",
    ServerToolKind.IMAGE_GENERATION: "image_generation",
    ServerToolKind.COMPUTER: "computer",
}
_QUIET: Final = frozenset({"completed", "in_progress"})
"""States that say nothing: an item is in progress until it is done."""
_BOUND: Final = "gproxy.of:"


# --- reading ---


def parts_of(item: Mapping[str, Any], where: str, fallback_id: str = "") -> list[tuple[Key, Part]]:
    """The parts of one finished item. Raises `JsonProblem`.

    `fallback_id` is a call's id where the vendor gave none; without it that is a problem of its own.
    """
    kind = item.get("type") or "message"
    match kind:
        case "message" if item.get("role", "assistant") == "assistant":
            return _message(item, where)  # a compacted conversation holds the words of others, too
        case "reasoning":
            return _reasoning(item, where)
        case "function_call" | "custom_tool_call":
            return [(("call", 0), call_of(item, where, fallback_id))]
        case "image_generation_call" if isinstance(item.get("result"), str) and item["result"]:
            codec = item.get("output_format")
            media_type = f"image/{codec if isinstance(codec, str) and codec else 'png'}"
            left = {key: value for key, value in item.items() if key != "result"}
            return [(("image", 0), Image(Inline(item["result"], media_type), extras={OWN: {ITEM: left}}))]
        case str() if kind.endswith("_call"):
            return _server_tool(item, kind, where)
        case str() if kind.endswith("_output"):
            call_id = text(item, "call_id", where) or text(item, "id", where) or ""
            known = _KINDS.get(kind.removesuffix("_output"), ServerToolKind.OTHER)
            return [(("result", 0), ServerToolResult(call_id, known, extras={OWN: {ITEM: dict(item)}}))]
        case _:
            return [(("opaque", 0), Opaque(OWN, str(kind), item))]


def is_item(part: Opaque) -> bool:
    """Whether an opaque part of this dialect is an item by itself."""
    return part.dialect is OWN and not part.kind.startswith("content:")


def left_of(item: Mapping[str, Any], *read: str) -> Extras:
    """What an item says besides its content: its id, its phase, and whatever nobody knows."""
    left = {key: value for key, value in item.items() if key != "type" and key not in read and value is not None}
    if isinstance(left.get("status"), str) and left["status"] in _QUIET:
        del left["status"]
    return {OWN: {ITEM: left}}


def joined(extras: Extras, more: Extras) -> Extras:
    """Two accounts of a part in this dialect's own extras."""
    return {OWN: {**of_own(extras, OWN), **of_own(more, OWN)}}


def _message(item: Mapping[str, Any], where: str) -> list[tuple[Key, Part]]:
    around = left_of(item, "role", "content")
    found: list[tuple[Key, Part]] = []
    for i, part in enumerate(content(item.get("content"), at(where, "content"))):
        match part:
            case Text():
                extras = joined(part.extras, around)
                found.append((("text", i), Text(part.text, part.citations, cache=part.cache, extras=extras)))
            case Refusal():
                found.append((("text", i), Refusal(part.text, around)))
            case _:
                found.append((("text", i), part))
    return found


def _reasoning(item: Mapping[str, Any], where: str) -> list[tuple[Key, Part]]:
    around = left_of(item, "summary", "content", "encrypted_content")
    own_id, sealed = text(item, "id", where), text(item, "encrypted_content", where)
    signature = unseal(sealed, OWN) if sealed else None
    found: list[tuple[Key, Part]] = []
    for key, field in (("summary", "summary"), ("thought", "content")):
        for i, piece in enumerate(tables(item, field, where) or ()):
            said = text(piece, "text", at(at(where, field), i)) or ""
            found.append(((key, i), Thinking(said, summary=key == "summary", id=own_id, extras=around)))
    if found:
        if signature is not None:
            key_of_last, last = found[-1]
            assert isinstance(last, Thinking)
            found[-1] = key_of_last, Thinking(last.text, signature, last.summary, own_id, extras=around)
        return found
    if signature is not None:
        return [(("hidden", 0), RedactedThinking(signature, own_id, around))]
    return [(("hidden", 0), Thinking("", None, summary=True, id=own_id, extras=around))]


def call_of(item: Mapping[str, Any], where: str, fallback_id: str = "") -> ToolCall:
    """A call of one of the client's tools."""
    custom = item.get("type") == "custom_tool_call"
    field = "input" if custom else "arguments"
    said = item.get(field)
    if said is not None and not isinstance(said, str):
        said = dumps(said).decode()  # some servers send the object itself
    call_id = text(item, "call_id", where) or fallback_id or required_text(item, "call_id", where)
    return ToolCall(
        call_id,
        required_text(item, "name", where),
        said or "",
        custom=custom,
        extras=left_of(item, "call_id", "name", field),
    )


def _server_tool(item: Mapping[str, Any], kind: str, where: str) -> list[tuple[Key, Part]]:
    call = server_call(item, kind, where)
    result = _server_result(item, call)
    return [(("server", 0), call)] if result is None else [(("server", 0), call), (("result", 0), result)]


def server_call(item: Mapping[str, Any], kind: str, where: str) -> ServerToolCall:
    """A run of one of the vendor's tools, or of a tool that only this dialect has a name for."""
    known = _KINDS.get(kind, ServerToolKind.OTHER)
    name = item.get("name") if known in (ServerToolKind.MCP, ServerToolKind.OTHER) else None
    return ServerToolCall(
        text(item, "id", where) or text(item, "call_id", where) or kind,
        known,
        name if isinstance(name, str) and name else _NAMES.get(known, kind.removesuffix("_call")),
        _server_arguments(item, known),
        extras={OWN: {ITEM: dict(item)}},
    )


def _server_arguments(item: Mapping[str, Any], kind: ServerToolKind) -> str:
    match kind:
        case ServerToolKind.WEB_SEARCH:
            action = item.get("action")
            said: Any = {k: v for k, v in action.items() if k != "sources"} if isinstance(action, dict) else {}
        case ServerToolKind.CODE_EXECUTION if isinstance(item.get("code"), str):
            said = {"code": item["code"]}
        case ServerToolKind.FILE_SEARCH:
            said = {"queries": item.get("queries") or []}
        case _:
            said = next((item[key] for key in ("arguments", "action", "operation", "input") if item.get(key)), {})
    return said if isinstance(said, str) else dumps(said).decode()


def _server_result(item: Mapping[str, Any], call: ServerToolCall) -> ServerToolResult | None:
    """What came of it, for those who have a place for it; the item itself holds the call and the result."""
    if item.get("status") in ("in_progress", "searching", "interpreting"):
        return None
    parts: tuple[Part, ...] = ()
    citations: tuple[Citation, ...] = ()
    match call.kind:
        case ServerToolKind.WEB_SEARCH:
            action = item.get("action")
            urls = _strings(action.get("sources") if isinstance(action, dict) else None, "url")
            citations = tuple(Citation(CitationKind.URL, url) for url in urls)
        case ServerToolKind.CODE_EXECUTION:
            parts = tuple(Text(logs) for logs in _strings(item.get("outputs"), "logs"))
        case ServerToolKind.FILE_SEARCH:
            parts = tuple(Text(said) for said in _strings(item.get("results"), "text"))
        case ServerToolKind.MCP:
            parts = (Text(item["output"]),) if isinstance(item.get("output"), str) else ()
        case _:
            return None
    failed = item.get("status") == "failed" or bool(item.get("error"))
    return ServerToolResult(call.id, call.kind, parts, citations, is_error=failed or None, extras={OWN: {_OF: call.id}})


def _strings(value: Any, key: str) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict) and isinstance(item.get(key), str):
            yield item[key]


def within_call(result: ServerToolResult) -> bool:
    """Whether the result came inside its call's item, which says it already."""
    return _OF in of_own(result.extras, OWN)


# --- signatures that stand on other parts ---


def bound(part: ToolCall | Text) -> str | None:
    """What a reasoning item beside it must hold, so that a part's foreign signature survives the client.

    Gemini signs calls and texts, and wants the signatures back; here only reasoning has a field that clients return.
    """
    if part.signature is None:
        return None
    named = {"signature": seal(part.signature, OWN), **({"call": part.id} if isinstance(part, ToolCall) else {})}
    return _BOUND + dumps(named).decode()


def rebound(parts: list[Part]) -> list[Part]:
    """The parts with such signatures back where they belong, and without the items that carried them."""
    found: list[Part] = []
    places: dict[str | None, int] = {}  # of calls by their id; under None the last text's
    for part in parts:
        match part:
            case RedactedThinking(data=Signature(origin=Dialect.OPENAI_RESPONSES, value=value)) if value.startswith(
                _BOUND
            ):
                _sign(found, places, _named(value.removeprefix(_BOUND)))
                continue
            case ToolCall():
                places[part.id] = len(found)
            case Text():
                places[None] = len(found)
            case _:
                pass
        found.append(part)
    return found


def _named(raw: str) -> dict[str, Any]:
    try:
        value = loads(raw.encode("utf-8", "replace"))
    except JsonProblem:
        return {}  # it went through a client's hands
    return value if isinstance(value, dict) else {}


def _sign(found: list[Part], places: dict[str | None, int], named: dict[str, Any]) -> None:
    value, call = named.get("signature"), named.get("call")
    if not isinstance(value, str) or not isinstance(call, str | None) or call not in places:
        return
    part = found[places[call]]
    if isinstance(part, ToolCall | Text):
        found[places[call]] = replace(part, signature=unseal(value, OWN))


# --- writing ---


def hidden(data: Signature, around: Mapping[str, Any] | None) -> dict[str, Any]:
    """A reasoning item that only its vendor can read."""
    return {"type": "reasoning", **(around or {}), "summary": [], "encrypted_content": seal(data, OWN)}


def pieces(parts: list[Thinking], *, raw: bool) -> list[dict[str, Any]]:
    """The reasoning that stands under `content` (raw) or under `summary`."""
    kind = "reasoning_text" if raw else "summary_text"
    return [{"type": kind, "text": part.text} for part in parts if is_raw(part) is raw]


def is_raw(part: Thinking) -> bool:
    """Whether reasoning is written as the reasoning itself: only where this dialect said so.

    Other vendors' reasoning is shown as a summary, since that is what clients of this dialect show to people.
    """
    return not part.summary and ITEM in of_own(part.extras, OWN)


def same_item(last: Thinking, part: Thinking) -> bool:
    """Whether two pieces of reasoning stood, or can stand, in one item. The signature closes an item."""
    return last.signature is None and of_own(last.extras, OWN).get(ITEM) == of_own(part.extras, OWN).get(ITEM)
