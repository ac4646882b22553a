"""Reading Anthropic's content blocks and citations; used by requests, answers and streams alike.

A block that others know becomes their part; what only this dialect knows is carried as it is. Fields nobody reads
stay in the part's extras under their own names, so that writing the part gives the same block again.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    NO_EXTRAS,
    CacheMark,
    Citation,
    CitationKind,
    Extras,
    File,
    FileRef,
    Image,
    Inline,
    Opaque,
    Part,
    RedactedThinking,
    ServerToolCall,
    ServerToolKind,
    ServerToolResult,
    Signature,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Url,
)
from gproxy.protocols.figures import count
from gproxy.protocols.reading import at, flag, problem, required_text, rest, table, text
from gproxy.protocols.signatures import unseal
from gproxy.wire.json import dumps

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = Dialect.ANTHROPIC_MESSAGES

BORROWED: Final = "gproxy.next:"
"""Begins the data of a redacted thinking block that is none: it holds a foreign vendor's signature of the part
behind it, for which this dialect has no field. Clients send such blocks back untouched."""

LENT_RUN: Final = "gproxy_"
"""Begins the ids of a foreign vendor's own tool runs, as they are shown to a client: its history is sent back with
them, and no server of this dialect knows them."""

_TOOL_KINDS: Final = (
    ("web_search", ServerToolKind.WEB_SEARCH),
    ("web_fetch", ServerToolKind.WEB_FETCH),
    ("bash_code_execution", ServerToolKind.CODE_EXECUTION),
    ("text_editor_code_execution", ServerToolKind.CODE_EXECUTION),
    ("code_execution", ServerToolKind.CODE_EXECUTION),
    ("mcp", ServerToolKind.MCP),
)
_CALLS: Final = frozenset({"server_tool_use", "mcp_tool_use"})
_RESULT: Final = "_tool_result"
_TEXT_READ: Final = frozenset({"type", "text", "citations", "cache_control"})
_THINKING_READ: Final = frozenset({"type", "thinking", "signature", "cache_control"})
_CALL_READ: Final = frozenset({"type", "id", "name", "input", "cache_control"})
_SERVER_CALL_READ: Final = frozenset({"id", "name", "input"})
_RESULT_READ: Final = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
_IMAGE_READ: Final = frozenset({"type", "source", "cache_control"})
_DOCUMENT_READ: Final = frozenset({"type", "source", "title", "context", "citations", "cache_control"})


def blocks(value: Any, where: str, names: dict[str, str] | None = None, spare_id: str = "") -> tuple[Part, ...]:
    """A `content`: text or an array of blocks. `names` knows and learns which call is of which tool.

    `spare_id` begins the ids of calls that have none; without it a call must have one. Raises `JsonProblem`.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(value),)
    if not isinstance(value, list):
        raise problem(where, "a string or an array of content blocks")
    names = {} if names is None else names
    parts: list[Part] = []
    borrowed: Signature | None = None
    for i, item in enumerate(value):
        here = at(where, i)
        if not isinstance(item, dict):
            raise problem(here, "an object")
        part = block(item, here, names, f"{spare_id}{i}" if spare_id else "")
        match part:
            case RedactedThinking() if part.data.value.startswith(BORROWED):
                borrowed = lent(part)
                continue
            case ToolCall():
                names[part.id] = part.name
            case _:
                pass
        parts.append(signed(part, borrowed))
        borrowed = None
    return tuple(parts)


def lent(part: RedactedThinking) -> Signature:
    """The signature that a stand-in block holds for the part behind it."""
    return unseal(part.data.value.removeprefix(BORROWED), OWN)


def signed(part: Part, signature: Signature | None) -> Part:
    """The part with a signature that was held for it."""
    match part:
        case ToolCall() if signature is not None:
            return ToolCall(part.id, part.name, part.arguments, part.custom, signature, part.cache, part.extras)
        case Text() if signature is not None:
            return Text(part.text, part.citations, signature, part.cache, part.extras)
        case _:
            return part


def block(item: dict[str, Any], where: str, names: Mapping[str, str], spare_id: str = "") -> Part:
    """One block. Raises `JsonProblem`."""
    kind = required_text(item, "type", where)
    match kind:
        case "text":
            said = text(item, "text", where) or ""
            cache, extras = marked(item, _TEXT_READ)
            return Text(said, citations(item.get("citations")), cache=cache, extras=extras)
        case "tool_use":
            cache, extras = marked(item, _CALL_READ)
            call_id, name = _id(item, where, spare_id), required_text(item, "name", where)
            return ToolCall(call_id, name, arguments_of(item.get("input")), cache=cache, extras=extras)
        case "tool_result":
            return _tool_result(item, where, names)
        case "thinking":
            cache, extras = marked(item, _THINKING_READ)
            return Thinking(
                text(item, "thinking", where) or "", signature_of(item.get("signature")), cache=cache, extras=extras
            )
        case "redacted_thinking":
            data = text(item, "data", where) or ""
            return RedactedThinking(unseal(data, OWN), extras=rest(item, frozenset({"type", "data"}), OWN))
        case "image":
            return _image(item, where)
        case "document":
            return _document(item, where)
        case "search_result":
            return _search_result(item)
        case _ if kind in _CALLS:
            return _server_call(item, where, spare_id)
        case _ if kind.endswith(_RESULT):
            return _server_result(item, kind, where)
        case _:
            return Opaque(OWN, kind, item)


def signature_of(value: Any) -> Signature | None:
    """A signature; an empty one is what a stream begins with, and none."""
    return unseal(value, OWN) if isinstance(value, str) and value else None


def arguments_of(value: Any) -> str:
    """A tool's `input` as JSON text."""
    return "{}" if value is None else dumps(value).decode()


def marked(item: Mapping[str, Any], known: frozenset[str]) -> tuple[CacheMark | None, Extras]:
    """A block's cache marker and what else nobody read. A marker that says more than its age is kept whole too."""
    extras = rest(item, known, OWN)
    marker = item.get("cache_control")
    if not isinstance(marker, dict):
        return None, extras or NO_EXTRAS
    if marker.keys() - {"type", "ttl"} or marker.get("type") != "ephemeral":
        extras = {OWN: {**extras.get(OWN, {}), "cache_control": marker}}
    return cache_of(marker), extras or NO_EXTRAS


def cache_of(marker: Mapping[str, Any]) -> CacheMark:
    """A cache marker in neutral words."""
    ttl = marker.get("ttl")
    return CacheMark(ttl if isinstance(ttl, str) else None)


def kind_of(name: str) -> ServerToolKind:
    """Which of the vendors' own tools a name of this dialect begins."""
    return next((kind for start, kind in _TOOL_KINDS if name.startswith(start)), ServerToolKind.OTHER)


def _tool_result(item: dict[str, Any], where: str, names: Mapping[str, str]) -> ToolResult:
    call_id = required_text(item, "tool_use_id", where)
    cache, extras = marked(item, _RESULT_READ)
    return ToolResult(
        call_id,
        blocks(item.get("content"), at(where, "content")),
        name=names.get(call_id),
        is_error=flag(item, "is_error", where),
        cache=cache,
        extras=extras,
    )


def _id(item: dict[str, Any], where: str, spare_id: str) -> str:
    return spare_id if spare_id and not item.get("id") else required_text(item, "id", where)


def _server_call(item: dict[str, Any], where: str, spare_id: str) -> ServerToolCall:
    name = text(item, "name", where) or ""
    kind = ServerToolKind.MCP if item["type"] == "mcp_tool_use" else kind_of(name)
    call_id = _id(item, where, spare_id)
    # The block's own type stays with it: that is how writing tells it from another vendor's tool.
    extras = NO_EXTRAS if call_id.startswith(LENT_RUN) else rest(item, _SERVER_CALL_READ, OWN)
    arguments = arguments_of(item.get("input"))
    return ServerToolCall(call_id.removeprefix(LENT_RUN), kind, name, arguments, extras=extras)


def _server_result(item: dict[str, Any], kind: str, where: str) -> ServerToolResult:
    inner = item.get("content")
    found: list[Part] = []
    cited: list[Citation] = []
    failed = flag(item, "is_error", where)
    if isinstance(inner, dict):
        failed = True if str(inner.get("type")).endswith("_error") else failed
        said = [inner.get(key) for key in ("stdout", "stderr", "text")]
        found += [Text(words) for words in said if isinstance(words, str) and words]
    for entry in inner if isinstance(inner, list) else ():
        if not isinstance(entry, dict):
            continue
        if isinstance(entry.get("url"), str):
            cited.append(Citation(CitationKind.URL, url=entry["url"], title=_words(entry.get("title"))))
        elif isinstance(entry.get("text"), str):
            found.append(Text(entry["text"]))
    call_id = text(item, "tool_use_id", where) or ""
    own: Extras = NO_EXTRAS if call_id.startswith(LENT_RUN) else {OWN: item}
    return ServerToolResult(
        call_id.removeprefix(LENT_RUN), kind_of(kind), tuple(found), tuple(cited), failed, extras=own
    )


def _words(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _image(item: dict[str, Any], where: str) -> Part:
    source = _source(item, where)
    cache, extras = marked(item, _IMAGE_READ)
    return Opaque(OWN, "image", item) if source is None else Image(source, cache=cache, extras=extras)


def _document(item: dict[str, Any], where: str) -> Part:
    held = table(item, "source", where) or {}
    cache, extras = marked(item, _DOCUMENT_READ)
    source = _source(item, where)
    if held.get("type") == "text":
        source = _plain(text(held, "data", at(where, "source")) or "")
    elif held.get("type") == "content":
        # Blocks inside a document: others get its text, this dialect gets it back whole.
        source = _plain(_joined(held.get("content")))
        extras = {OWN: {**extras.get(OWN, {}), "source": held}}
    if source is None:
        return Opaque(OWN, "document", item)
    cite = table(item, "citations", where)
    return File(
        source,
        name=text(item, "title", where),
        context=text(item, "context", where),
        cite=None if cite is None else bool(cite.get("enabled")),
        cache=cache,
        extras=extras,
    )


def _source(item: dict[str, Any], where: str) -> Source | None:
    held, here = table(item, "source", where) or {}, at(where, "source")
    match held.get("type"):
        case "base64":
            media_type = text(held, "media_type", here) or "application/octet-stream"
            return Inline(text(held, "data", here) or "", media_type)
        case "url":
            return Url(required_text(held, "url", here))
        case "file":
            return FileRef(required_text(held, "file_id", here))
        case _:
            return None


def _plain(said: str) -> Inline:
    return Inline(base64.b64encode(said.encode(errors="replace")).decode(), "text/plain")


def _joined(value: Any) -> str:
    if isinstance(value, str):
        return value
    pieces = [item.get("text") for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    return "\n".join(piece for piece in pieces if isinstance(piece, str))


def _search_result(item: dict[str, Any]) -> Text:
    """A search result that the client brings: its words for those who do not know the block."""
    head = " - ".join(found for key in ("title", "source") if (found := _words(item.get(key))))
    said = "\n".join(filter(None, (head, _joined(item.get("content")))))
    marker = item.get("cache_control")
    return Text(said, cache=cache_of(marker) if isinstance(marker, dict) else None, extras={OWN: item})


# --- citations ---


def citations(value: Any) -> tuple[Citation, ...]:
    """The citations of a text."""
    return tuple(citation(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def citation(item: dict[str, Any]) -> Citation:
    """One citation; the wire's own form stays with it."""
    quote, document = _words(item.get("cited_text")), count(item.get("document_index"))
    title, file_id = _words(item.get("document_title")), _words(item.get("file_id"))
    own: Extras = {OWN: item}
    match item.get("type"):
        case "web_search_result_location":
            url, title = _words(item.get("url")), _words(item.get("title"))
            return Citation(CitationKind.URL, url, title, quote, extras=own)
        case "char_location":
            kind, unit = CitationKind.DOCUMENT, "char_index"
        case "page_location":
            kind, unit = CitationKind.PAGE, "page_number"
        case _:
            title = title or _words(item.get("title"))
            return Citation(CitationKind.OTHER, None, title, quote, document, file_id, extras=own)
    start, end = count(item.get(f"start_{unit}")), count(item.get(f"end_{unit}"))
    return Citation(kind, None, title, quote, document, file_id, start, end, extras=own)
