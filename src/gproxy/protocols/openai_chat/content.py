"""Chat content parts, both ways; used by requests, answers and streams alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
    NO_EXTRAS,
    Audio,
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
    Refusal,
    Signature,
    Source,
    Text,
    Thinking,
    ToolCall,
    Url,
)
from gproxy.protocols.openai_chat.google import extra_content, signature_of
from gproxy.protocols.reading import at, integer, of_own, problem, required_text, table, tables, text
from gproxy.protocols.signatures import seal, unseal
from gproxy.wire.json import JsonProblem, dumps, loads

if TYPE_CHECKING:
    from collections.abc import Mapping

OWN: Final = Dialect.OPENAI_CHAT

# A data URL's media type may carry parameters; what counts is that the data is base64.
_DATA: Final = "data:"
_BASE64: Final = ";base64,"
_TYPES_BY_SUFFIX: Final = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_IN_CONTENT: Final = Signature(OWN, "thinking")
_REASONING_FIELDS: Final = ("reasoning_content", "reasoning")


# --- reading ---


def source_of(url: str) -> Source:
    """A URL, or the bytes a `data:` URL holds."""
    if url.startswith(_DATA) and _BASE64 in url[:300]:
        media_type, _, data = url.removeprefix(_DATA).partition(_BASE64)
        return Inline(data, media_type.partition(";")[0] or "application/octet-stream")
    return Url(url)


def content(value: Any, where: str) -> tuple[Part, ...]:
    """A message's `content`: null, text, or an array of parts. Raises `JsonProblem`."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (Text(value),)
    if not isinstance(value, list):
        raise problem(where, "a string or an array of parts")
    parts: list[Part] = []
    for i, item in enumerate(value):
        if isinstance(item, str):
            parts.append(Text(item))
        elif isinstance(item, dict):
            parts.append(_part(item, at(where, i)))
        else:
            raise problem(at(where, i), "an object")
    return tuple(parts)


def _part(item: dict[str, Any], where: str) -> Part:
    kind = item.get("type")
    cache, extras = _marker(item)
    match kind:
        case "text" | "input_text" | "output_text":
            return Text(text(item, "text", where) or "", cache=cache, extras=extras)
        case "image_url" | "input_image":
            image = item.get("image_url")
            holder = {"url": image} if isinstance(image, str) else table(item, "image_url", where) or {}
            url = text(holder, "url", at(where, "image_url"))
            if url:
                return Image(source_of(url), text(holder, "detail", where), cache=cache, extras=extras)
        case "input_audio" if isinstance(item.get("input_audio"), dict):
            sound = item["input_audio"]
            codec = text(sound, "format", where)
            return Audio(
                Inline(text(sound, "data", where) or "", f"audio/{codec or 'wav'}"), codec, cache=cache, extras=extras
            )
        case "file" if isinstance(item.get("file"), dict):
            return _file(item["file"], cache, extras, where)
        case "refusal":
            return Refusal(text(item, "refusal", where) or "")
        case "thinking":
            return _mistral_thinking(item)
        case _:
            pass
    return Opaque(OWN, str(kind), item)


def _file(item: dict[str, Any], cache: CacheMark | None, extras: Extras, where: str) -> Part:
    name = text(item, "filename", where)
    data, file_id = text(item, "file_data", where), text(item, "file_id", where)
    if data is None:
        if not file_id:
            raise problem(at(where, "file"), "an object with `file_data` or `file_id`")
        return File(FileRef(file_id), name, cache=cache, extras=extras)
    source = source_of(data)
    if isinstance(source, Url) and "://" not in data[:12]:
        suffix = (name or "").rpartition(".")[2].lower()
        source = Inline(data, _TYPES_BY_SUFFIX.get(suffix, "application/pdf"))
    return File(source, name, cache=cache, extras=extras)


def _mistral_thinking(item: dict[str, Any]) -> Thinking:
    pieces = item.get("thinking")
    if isinstance(pieces, list):
        pieces = "".join(
            piece["text"] for piece in pieces if isinstance(piece, dict) and isinstance(piece.get("text"), str)
        )
    return Thinking(pieces if isinstance(pieces, str) else "", _IN_CONTENT)


def _marker(item: dict[str, Any]) -> tuple[CacheMark | None, Extras]:
    """A cache marker and the wire's own form of it."""
    own = {key: item[key] for key in ("cache_control", "prompt_cache_breakpoint") if isinstance(item.get(key), dict)}
    if not own:
        return None, NO_EXTRAS
    ttl = own.get("cache_control", {}).get("ttl")
    return CacheMark(ttl if isinstance(ttl, str) else None), {OWN: own}


def thinking_of(message: Mapping[str, Any]) -> list[Part]:
    """Reasoning as chat servers write it: one field with the text, and OpenRouter's list of details.

    The chat dialect has no signature of its own, so the signature names where the reasoning stood: when it comes
    back, it is written to the same place.
    """
    field = next((key for key in _REASONING_FIELDS if isinstance(message.get(key), str) and message[key]), None)
    said = message[field] if field else ""
    details = message.get("reasoning_details")
    parts = [_detail(detail) for detail in (details if isinstance(details, list) else ()) if isinstance(detail, dict)]
    if not said:
        return parts
    shown = [part for part in parts if isinstance(part, Thinking)]
    if not any(part.text for part in shown):
        if len(shown) == 1:
            i = parts.index(shown[0])
            parts[i] = Thinking(said, shown[0].signature, shown[0].summary, shown[0].id)
        else:
            parts.insert(0, Thinking(said, Signature(OWN, field or "")))
    return parts


def _detail(detail: dict[str, Any]) -> Part:
    kind = detail.get("type")
    own_id = detail.get("id") if isinstance(detail.get("id"), str) else None
    if kind == "reasoning.encrypted" and isinstance(detail.get("data"), str):
        return RedactedThinking(_detail_signature(detail, "data"), own_id)
    key = "summary" if kind == "reasoning.summary" else "text"
    said = detail.get(key)
    return Thinking(
        said if isinstance(said, str) else "", _detail_signature(detail, "signature"), key == "summary", own_id
    )


def _detail_signature(detail: dict[str, Any], key: str) -> Signature:
    value = detail.get(key)
    if isinstance(value, str):
        signature = unseal(value, OWN)
        if signature.origin is not OWN:
            return signature
    kept = {k: v for k, v in detail.items() if k not in ("text", "summary")}
    return Signature(OWN, dumps(kept).decode())


def tool_calls_of(message: Mapping[str, Any], where: str, id_base: str) -> list[Part]:
    """`tool_calls`, and the legacy `function_call`. A call without an id gets one that is the same every time.

    Raises `JsonProblem` for one without a name: no tool can be meant.
    """
    parts: list[Part] = []
    for i, call in enumerate(tables(message, "tool_calls", where) or ()):
        here = at(at(where, "tool_calls"), i)
        call_id = text(call, "id", here) or f"{id_base}{i}"
        cache, extras = _marker(call)
        if call.get("type") == "custom" and isinstance(call.get("custom"), dict):
            custom = call["custom"]
            parts.append(
                ToolCall(
                    call_id,
                    required_text(custom, "name", at(here, "custom")),
                    text(custom, "input", at(here, "custom")) or "",
                    custom=True,
                    cache=cache,
                )
            )
            continue
        function = table(call, "function", here) or {}
        parts.append(
            ToolCall(
                call_id,
                required_text(function, "name", at(here, "function")),
                arguments_of(function),
                signature=signature_of(call),
                cache=cache,
                extras=extras,
            )
        )
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and legacy.get("name"):
        name = text(legacy, "name", at(where, "function_call")) or ""
        parts.append(ToolCall(f"{id_base}{name}", name, arguments_of(legacy), extras={OWN: {"function_call": True}}))
    return parts


def arguments_of(function: Mapping[str, Any]) -> str:
    """The arguments as text; some servers send the object itself."""
    value = function.get("arguments")
    if value is None:
        return ""
    return value if isinstance(value, str) else dumps(value).decode()


def citations_of(value: Any) -> tuple[Citation, ...]:
    """`annotations` as citations; those of unknown kinds keep their own form."""
    found: list[Citation] = []
    for item in value if isinstance(value, list) else ():
        if not isinstance(item, dict):
            continue
        cited = item.get("url_citation")
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            title, quote = cited.get("title"), cited.get("content")
            found.append(
                Citation(
                    CitationKind.URL,
                    url=cited["url"],
                    title=title if isinstance(title, str) else None,
                    quote=quote if isinstance(quote, str) else None,
                    start=_position(cited, "start_index"),
                    end=_position(cited, "end_index"),
                )
            )
        else:
            found.append(Citation(CitationKind.OTHER, extras={OWN: item}))
    return tuple(found)


def _position(cited: dict[str, Any], key: str) -> int | None:
    try:
        return integer(cited, key)
    except JsonProblem:
        return None


# --- writing ---


def url_of(source: Source) -> str | None:
    """The URL form of a source; None for a file that only its vendor knows."""
    match source:
        case Inline():
            return f"{_DATA}{source.media_type}{_BASE64}{source.data}"
        case Url():
            return source.url
        case FileRef():
            return None


def written_parts(parts: tuple[Part, ...], losses: Losses, where: str) -> list[dict[str, Any]]:
    """Parts as chat content parts. What does not stand in content (thinking, calls, results) is not looked at."""
    out: list[dict[str, Any]] = []
    for part in parts:
        item = _written(part, losses, where)
        if item is not None:
            out.append(item)
    return out


def _written(part: Part, losses: Losses, where: str) -> dict[str, Any] | None:
    item: dict[str, Any] | None = None
    match part:
        case Text():
            item = {"type": "text", "text": part.text}
            if part.citations:
                losses.add(Feature.CITATIONS, where)
        case Image():
            url = url_of(part.source)
            if url is None:
                losses.add(Feature.FILE_REFERENCE, where)
                return None
            item = {"type": "image_url", "image_url": {"url": url}}
            if part.detail is not None:
                item["image_url"]["detail"] = part.detail
        case File():
            item = _written_file(part, losses, where)
        case Audio(source=Inline() as source):
            codec = part.format or source.media_type.rpartition("/")[2].removeprefix("x-")
            item = {"type": "input_audio", "input_audio": {"data": source.data, "format": codec}}
        case Audio():
            losses.add(Feature.AUDIO, where)
        case Refusal():
            item = {"type": "refusal", "refusal": part.text}
        case Opaque():
            if part.dialect is OWN:
                return dict(part.payload)
            losses.add(Feature.OTHER, where)
        case _:
            return None
    if item is not None and not isinstance(part, Refusal | Opaque):
        mark(item, part, losses, where)
    return item


def _written_file(part: File, losses: Losses, where: str) -> dict[str, Any] | None:
    if part.cite:
        losses.add(Feature.CITATIONS, where)
    if part.context:
        losses.add(Feature.OTHER, at(where, "context"))
    media_type = part.source.media_type or ""
    if media_type.startswith("video/"):
        losses.add(Feature.VIDEO, where)
        return None
    match part.source:
        case Inline(data, kind):
            # A file needs a name here; the vendor tells its type from it and from the data URL.
            suffix = next((s for s, known in _TYPES_BY_SUFFIX.items() if known == kind), "bin")
            item = {"filename": part.name or f"file.{suffix}", "file_data": f"{_DATA}{kind}{_BASE64}{data}"}
        case FileRef(file_id):
            item = {"file_id": file_id}
            if part.name:
                item["filename"] = part.name
        case Url(url):
            item = {"file_data": url}
            if part.name:
                item["filename"] = part.name
            losses.add(Feature.FILE, where)
            return None
    return {"type": "file", "file": item}


def mark(item: dict[str, Any], part: Any, losses: Losses, where: str) -> None:
    """Put a part's own cache marker back; a foreign one has no home in the official dialect."""
    own = {k: v for k, v in of_own(part.extras, OWN).items() if k in ("cache_control", "prompt_cache_breakpoint")}
    item.update(own)
    if part.cache is not None and not own:
        losses.add(Feature.CACHE_CONTROL, where)


def written_call(call: ToolCall, losses: Losses, where: str, *, signs: bool = True) -> dict[str, Any]:
    """A tool call. Arguments that were never written are an empty object, as JSON demands.

    `signs`: whether whoever reads it knows the field that holds a signature, or skips it.
    """
    if call.custom:
        return {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}}
    item: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }
    if signs:
        item.update(extra_content(call, losses, where))
    elif call.signature is not None:
        losses.add(Feature.SIGNATURE, where)
    mark(item, call, losses, where)
    return item


def written_thinking(parts: tuple[Part, ...], *, foreign: bool) -> dict[str, Any]:
    """Message fields for reasoning, each piece where it stood; with `foreign`, other vendors' too.

    In a request only what came from this dialect is written: servers refuse or ignore the rest. In an answer all of
    it is shown, in the field that most chat clients know, and signatures stand in `reasoning_details`.
    """
    fields: dict[str, str] = {}
    details: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Thinking():
                signature = part.signature
                own = signature is not None and signature.origin is OWN
                if not foreign and (not own or signature == _IN_CONTENT):
                    continue
                if own and signature is not None and signature.value.startswith("{"):
                    details.append(_detail_back(signature, part.text, summary=part.summary))
                    continue
                field = (
                    signature.value
                    if own and signature and signature.value in _REASONING_FIELDS
                    else _REASONING_FIELDS[0]
                )
                fields[field] = fields.get(field, "") + part.text
                if signature is not None and not own:
                    details.append({"type": "reasoning.text", "text": "", "signature": seal(signature, OWN)})
            case RedactedThinking(data=signature):
                if signature.origin is OWN:
                    details.append(_detail_back(signature, "", summary=False))
                elif foreign:
                    details.append({"type": "reasoning.encrypted", "data": seal(signature, OWN)})
            case _:
                pass
    out: dict[str, Any] = dict(fields)
    if details:
        out["reasoning_details"] = details
    return out


def mistral_thinking(parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Reasoning that stood inside the content goes back inside it."""
    return [
        {"type": "thinking", "thinking": [{"type": "text", "text": part.text}]}
        for part in parts
        if isinstance(part, Thinking) and part.signature == _IN_CONTENT
    ]


def _detail_back(signature: Signature, said: str, *, summary: bool) -> dict[str, Any]:
    # The signature may have travelled through a client's hands.
    try:
        detail = loads(signature.value.encode("utf-8", "replace"))
    except JsonProblem:
        detail = None
    if not isinstance(detail, dict):
        return {"type": "reasoning.text", "text": said}
    if said or detail.get("type") in ("reasoning.text", "reasoning.summary"):
        detail["summary" if summary else "text"] = said
    return detail


def written_citations(citations: tuple[Citation, ...], offset: int, losses: Losses, where: str) -> list[dict[str, Any]]:
    """Citations as `annotations`; positions are moved by what precedes the text in the joined content."""
    out: list[dict[str, Any]] = []
    for citation in citations:
        if citation.kind is CitationKind.URL and citation.url:
            cited: dict[str, Any] = {
                "url": citation.url,
                "title": citation.title or "",
                "start_index": offset + (citation.start or 0),
                "end_index": offset + (citation.end or 0),
            }
            if citation.quote is not None:
                cited["content"] = citation.quote
            out.append({"type": "url_citation", "url_citation": cited})
        else:
            losses.add(Feature.CITATIONS, where)
    return out
