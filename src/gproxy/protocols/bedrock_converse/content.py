"""Reading Converse's content blocks and citations; used by answers and streams alike.

A block that others know becomes their part; what only this dialect knows is carried as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    Citation,
    CitationKind,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Text,
    Thinking,
    ToolCall,
)
from gproxy.protocols.figures import count, part_of
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Iterable

OWN: Final = Dialect.BEDROCK_CONVERSE

# Nova user guide, "Using system tools".
_SERVER_TOOLS: Final = {
    "nova_grounding": ServerToolKind.WEB_SEARCH,
    "nova_code_interpreter": ServerToolKind.CODE_EXECUTION,
}
_PLACES: Final = {
    "documentChar": CitationKind.DOCUMENT,
    "documentPage": CitationKind.PAGE,
    "documentChunk": CitationKind.OTHER,
    "searchResultLocation": CitationKind.OTHER,
}


def blocks(content: Any) -> tuple[Part, ...]:
    """The parts of a message. What makes no sense is passed over: the rest of an answer is still one."""
    found = [_block(item, f"tooluse_{at}") for at, item in enumerate(content) if isinstance(item, dict)]
    return tuple(part for part in found if part is not None)


def _block(item: dict[str, Any], spare_id: str) -> Part | None:
    kind, value = next(iter(item.items()), ("", None))
    match kind, value:
        case "text", str():
            return Text(value) if value else None
        case "reasoningContent", dict():
            return _reasoning(value)
        case "toolUse", dict():
            return call(value, spare_id, dumps(value.get("input") or {}).decode())
        case "toolResult", dict():
            return result(value)
        case "citationsContent", dict():
            return _cited(value)
        case "image", dict():
            return image(value.get("format"), text_of(part_of(value.get("source"), "bytes")), item)
        case "", _:
            return None
        case _:
            return Opaque(OWN, kind, item)


def text_of(value: Any) -> str:
    """A text, or nothing."""
    return value if isinstance(value, str) else ""


def _reasoning(value: dict[str, Any]) -> Part | None:
    redacted = text_of(value.get("redactedContent"))
    if redacted:
        return RedactedThinking(Signature(OWN, redacted))
    said = value.get("reasoningText")
    if not isinstance(said, dict):
        return None
    return Thinking(text_of(said.get("text")), signature_of(said.get("signature")))


def signature_of(value: Any) -> Signature | None:
    """A signature of thinking."""
    return Signature(OWN, value) if isinstance(value, str) and value else None


def call(value: dict[str, Any], spare_id: str, arguments: str) -> ToolCall | ServerToolCall:
    """A tool call: the client's to run, or one that the model's service has run itself."""
    own_id, name = text_of(value.get("toolUseId")) or spare_id, text_of(value.get("name"))
    if value.get("type") == "server_tool_use":
        return ServerToolCall(own_id, _SERVER_TOOLS.get(name, ServerToolKind.OTHER), name, arguments)
    return ToolCall(own_id, name, arguments)


def result(value: dict[str, Any]) -> ServerToolResult:
    """What a tool of the model's service gave: texts as they are, anything else as its JSON."""
    content = value.get("content")
    items = [item for item in content if isinstance(item, dict)] if isinstance(content, list) else []
    said = [text_of(item.get("text")) or dumps(item.get("json", item)).decode() for item in items]
    status = value.get("status")
    return ServerToolResult(
        text_of(value.get("toolUseId")),
        _SERVER_TOOLS.get(text_of(value.get("type")).removesuffix("_result"), ServerToolKind.OTHER),
        tuple(Text(one) for one in said),
        is_error=None if status is None else status == "error",
        extras={OWN: {"toolResult": value}},
    )


def image(kind: Any, data: str, item: dict[str, Any]) -> Part:
    """A picture that the model made."""
    if not data or not isinstance(kind, str):
        return Opaque(OWN, "image", item)
    return Image(Inline(data, f"image/{kind}"))


def _cited(value: dict[str, Any]) -> Text | None:
    said, cited = value.get("content"), value.get("citations")
    text = joined(said if isinstance(said, list) else ())
    found = [citation(one) for one in cited if isinstance(one, dict)] if isinstance(cited, list) else []
    return Text(text, tuple(found)) if text or found else None


def joined(items: Iterable[Any]) -> str:
    """The texts of a list of `{"text": …}`."""
    return "".join(text_of(part_of(item, "text")) for item in items)


def citation(value: dict[str, Any]) -> Citation:
    """One citation. Its place is one of several kinds, of which the wire names one."""
    place = value.get("location")
    kind, where = next(iter(place.items()), ("", None)) if isinstance(place, dict) else ("", None)
    quoted, source = value.get("sourceContent"), text_of(value.get("source"))
    url = text_of(part_of(where, "url")) or (source if source.startswith(("https://", "http://")) else "")
    return Citation(
        CitationKind.URL if url else _PLACES.get(kind, CitationKind.OTHER),
        url=url or None,
        title=text_of(value.get("title")) or text_of(part_of(where, "domain")) or None,
        quote=joined(quoted if isinstance(quoted, list) else ()) or None,
        document=count(part_of(where, "documentIndex")),
        start=count(part_of(where, "start")),
        end=count(part_of(where, "end")),
        extras={OWN: value},
    )
