"""What stands inside a message of the Responses API, both ways; used by requests, answers and streams alike.

An assistant's part carries in its own extras, under `item`, what the item around it said besides its content (its
id, its phase): a turn may hold several items, and each must come back as the item it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.operation import Dialect
from gproxy.canonical.part import (
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
    ServerToolCall,
    ServerToolResult,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Url,
)
from gproxy.canonical.response import Logprobs, TokenChance
from gproxy.protocols.figures import count
from gproxy.protocols.reading import at, of_own, problem, table, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OWN: Final = Dialect.OPENAI_RESPONSES
ITEM: Final = "item"
"""The key of a part's own extras under which the item around it is described."""
INSTRUCTIONS: Final = "instructions"
"""Marks, in a text's own extras, that it came as `instructions` and not as a message."""
CONTENT: Final = "content:"
"""In front of the kind of an `Opaque` that stood inside a message, not beside it."""

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
_TEXTS: Final = frozenset({"input_text", "output_text", "text"})
_MARKS: Final = ("prompt_cache_breakpoint", "cache_control")


# --- reading ---


def content(value: Any, where: str) -> tuple[Part, ...]:
    """A message's `content` or a tool's `output`: null, text, or an array of parts. Raises `JsonProblem`."""
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
            parts.append(part_of(item, at(where, i)))
        else:
            raise problem(at(where, i), "an object")
    return tuple(parts)


def part_of(item: dict[str, Any], where: str) -> Part:
    """One content part. Raises `JsonProblem`."""
    kind = text(item, "type", where)
    if kind in _TEXTS:
        cache, extras = _left(item, "text", "annotations", "logprobs")
        return Text(text(item, "text", where) or "", citations_of(item.get("annotations")), cache=cache, extras=extras)
    match kind:
        case "refusal":
            return Refusal(text(item, "refusal", where) or "")
        case "input_image":
            source = _image_source(item, where)
            if source is not None:
                cache, extras = _left(item, "image_url", "file_id", "detail")
                return Image(source, text(item, "detail", where), cache=cache, extras=extras)
        case "input_file":
            cache, extras = _left(item, "file_data", "file_url", "file_id", "filename")
            return File(_file_source(item, where), text(item, "filename", where), cache=cache, extras=extras)
        case "input_audio":
            sound = table(item, "input_audio", where) or {}
            codec = text(sound, "format", at(where, "input_audio"))
            data = text(sound, "data", at(where, "input_audio")) or ""
            cache, extras = _left(item, "input_audio")
            return Audio(Inline(data, f"audio/{codec or 'wav'}"), codec, cache=cache, extras=extras)
        case _:
            pass
    return Opaque(OWN, f"{CONTENT}{kind}", item)


def source_of(url: str, media_type: str | None = None) -> Source:
    """A URL, or the bytes that a `data:` URL holds."""
    if url.startswith(_DATA) and _BASE64 in url[:300]:
        found, _, data = url.removeprefix(_DATA).partition(_BASE64)
        return Inline(data, found.partition(";")[0] or media_type or "application/octet-stream")
    return Url(url, media_type)


def _image_source(item: dict[str, Any], where: str) -> Source | None:
    image = item.get("image_url")
    if isinstance(image, dict):  # the form of chat completions
        image = text(image, "url", at(where, "image_url"))
    if image is not None and not isinstance(image, str):
        raise problem(at(where, "image_url"), "a string")
    file_id = text(item, "file_id", where)
    if image:
        return source_of(image)
    return FileRef(file_id) if file_id else None


def _file_source(item: dict[str, Any], where: str) -> Source:
    name = text(item, "filename", where)
    data, url, file_id = (text(item, key, where) for key in ("file_data", "file_url", "file_id"))
    guess = _TYPES_BY_SUFFIX.get((name or "").rpartition(".")[2].lower())
    if data is not None:
        source = source_of(data, guess)
        return source if isinstance(source, Inline) else Inline(data, guess or "application/pdf")
    if url:
        return Url(url, guess)
    if not file_id:
        raise problem(where, "an object with `file_data`, `file_url` or `file_id`")
    return FileRef(file_id)


def _left(item: dict[str, Any], *read: str) -> tuple[CacheMark | None, Extras]:
    """The cache marker, and the fields nobody read (the marker's own form among them)."""
    left = {key: value for key, value in item.items() if key != "type" and key not in read and value is not None}
    cache = CacheMark() if any(isinstance(left.get(mark), dict) for mark in _MARKS) else None
    return cache, {OWN: left} if left else {}


def citations_of(value: Any) -> tuple[Citation, ...]:
    """`annotations` as citations; each keeps its own form where the neutral one does not say it all."""
    return tuple(citation_of(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def citation_of(item: dict[str, Any]) -> Citation:
    """One annotation."""
    name = item.get("filename")
    start, end = count(item.get("start_index")), count(item.get("end_index"))
    match item.get("type"):
        case "url_citation" if isinstance(item.get("url"), str):
            title, quote = item.get("title"), item.get("content")
            return Citation(
                CitationKind.URL,
                url=item["url"],
                title=title if isinstance(title, str) else None,
                quote=quote if isinstance(quote, str) else None,
                start=start,
                end=end,
                extras={} if item.keys() <= {"type", "url", "title", "start_index", "end_index"} else {OWN: item},
            )
        case "file_citation" | "container_file_citation" | "file_path" if isinstance(item.get("file_id"), str):
            return Citation(
                CitationKind.FILE,
                title=name if isinstance(name, str) else None,
                file_id=item["file_id"],
                start=start,
                end=end,
                extras={OWN: item},
            )
        case _:
            return Citation(CitationKind.OTHER, extras={OWN: item})


def chances_of(value: Any) -> tuple[TokenChance, ...]:
    """`logprobs` of a text."""
    return tuple(_chance(item) for item in value if isinstance(item, dict)) if isinstance(value, list) else ()


def _chance(item: dict[str, Any]) -> TokenChance:
    raw, logprob, token = item.get("bytes"), item.get("logprob"), item.get("token")
    return TokenChance(
        token if isinstance(token, str) else "",
        float(logprob) if isinstance(logprob, int | float) else 0.0,
        tuple(raw) if isinstance(raw, list) else None,
        chances_of(item.get("top_logprobs")),
    )


# --- writing ---


def own_item(part: Part) -> Mapping[str, Any] | None:
    """What this dialect said of the item that the part stood in; None for a part that came from elsewhere."""
    if isinstance(part, Opaque):
        return None
    found = of_own(part.extras, OWN).get(ITEM)
    return found if isinstance(found, dict) else None


def url_of(source: Source) -> str | None:
    """The URL form of a source; None for a file that only its vendor knows."""
    match source:
        case Inline():
            return f"{_DATA}{source.media_type}{_BASE64}{source.data}"
        case Url():
            return source.url
        case FileRef():
            return None


def written_input(parts: Sequence[Part], losses: Losses, where: str) -> list[dict[str, Any]]:
    """Parts that a user, a system or a tool says."""
    written = [_written_input(part, losses, where) for part in parts]
    return [item for item in written if item is not None]


def _written_input(part: Part, losses: Losses, where: str) -> dict[str, Any] | None:
    match part:
        case Text():
            if part.citations:
                losses.add(Feature.CITATIONS, where)
            return _marked({"type": "input_text", "text": part.text}, part, losses, where)
        case Image():
            url = url_of(part.source)
            item: dict[str, Any] = {"type": "input_image"}
            item |= {"image_url": url} if url is not None else {"file_id": _file_id(part.source)}
            if part.detail is not None:
                item["detail"] = part.detail
            return _marked(item, part, losses, where)
        case File():
            return _written_file(part, losses, where)
        case Audio(source=Inline() as sound):
            codec = part.format or sound.media_type.rpartition("/")[2].removeprefix("x-")
            return _marked(
                {"type": "input_audio", "input_audio": {"data": sound.data, "format": codec}}, part, losses, where
            )
        case Audio():
            losses.add(Feature.AUDIO, where)
        case Refusal():
            return {"type": "input_text", "text": part.text}
        case Opaque() if part.dialect is OWN and part.kind.startswith(CONTENT):
            return dict(part.payload)
        case Opaque():
            losses.add(Feature.OTHER, where)
        case Thinking() | RedactedThinking():
            losses.add(Feature.THINKING, where)
        case ServerToolCall() | ServerToolResult():
            losses.add(Feature.SERVER_TOOL, where)
        case ToolCall() | ToolResult():
            losses.add(Feature.OTHER, where)
    return None


def _file_id(source: Source) -> str:
    return source.file_id if isinstance(source, FileRef) else ""


def _written_file(part: File, losses: Losses, where: str) -> dict[str, Any] | None:
    if part.cite:
        losses.add(Feature.CITATIONS, where)
    if part.context:
        losses.add(Feature.OTHER, at(where, "context"))
    if (part.source.media_type or "").startswith("video/"):
        losses.add(Feature.VIDEO, where)
        return None
    item: dict[str, Any] = {"type": "input_file"}
    match part.source:
        case Inline(_, kind):
            # A file that comes as bytes needs a name; the vendor tells its type from it and from the data URL.
            suffix = next((s for s, known in _TYPES_BY_SUFFIX.items() if known == kind), "bin")
            item |= {"filename": part.name or f"file.{suffix}", "file_data": url_of(part.source)}
        case Url(url):
            item["file_url"] = url
        case FileRef(file_id):
            item["file_id"] = file_id
    if part.name and "filename" not in item:
        item["filename"] = part.name
    return _marked(item, part, losses, where)


def _marked(item: dict[str, Any], part: Text | Image | File | Audio, losses: Losses, where: str) -> dict[str, Any]:
    own = {key: value for key, value in of_own(part.extras, OWN).items() if key not in (ITEM, INSTRUCTIONS)}
    if part.cache is not None and not any(mark in own for mark in _MARKS):
        losses.add(Feature.CACHE_CONTROL, where)
    return {**item, **own}


def written_output(part: Text | Refusal, losses: Losses, where: str) -> dict[str, Any]:
    """A part that the assistant says, as it stands in a conversation that is sent."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    item = {"type": "output_text", "text": part.text}
    annotations = written_citations(part.citations, losses, where)
    return _marked({**item, "annotations": annotations} if annotations else item, part, losses, where)


def written_citations(citations: Sequence[Citation], losses: Losses, where: str) -> list[dict[str, Any]]:
    """Citations as `annotations`; what has no place there is a loss."""
    written = [_written_citation(citation, losses, where) for citation in citations]
    return [item for item in written if item is not None]


def _written_citation(citation: Citation, losses: Losses, where: str) -> dict[str, Any] | None:
    own = citation.extras.get(OWN)
    if own is not None:
        return dict(own)
    if citation.kind is CitationKind.URL and citation.url:
        if citation.quote is not None:
            losses.add(Feature.CITATIONS, at(where, "quote"))
        return {
            "type": "url_citation",
            "url": citation.url,
            "title": citation.title or "",
            "start_index": citation.start or 0,
            "end_index": citation.end or 0,
        }
    if citation.kind is CitationKind.FILE and citation.file_id:
        return {
            "type": "file_citation",
            "file_id": citation.file_id,
            "filename": citation.title or "",
            "index": citation.start or 0,
        }
    losses.add(Feature.CITATIONS, where)
    return None


def written_chances(logprobs: Logprobs, losses: Losses) -> list[dict[str, Any]]:
    """`logprobs` of a text; those of a refusal have no place."""
    if logprobs.refusal:
        losses.add(Feature.LOGPROBS, "logprobs")
    return [
        {**_written_chance(chance), "top_logprobs": [_written_chance(top) for top in chance.top]}
        for chance in logprobs.content or ()
    ]


def _written_chance(chance: TokenChance) -> dict[str, Any]:
    raw = chance.token.encode(errors="replace") if chance.bytes is None else chance.bytes
    return {"token": chance.token, "bytes": list(raw), "logprob": chance.logprob}
