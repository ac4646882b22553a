"""Writing parts as Converse's content blocks (Bedrock API reference, "ContentBlock").

What Bedrock would refuse is not written: blank texts, pictures behind links, unsigned or foreign thinking, other
vendors' files and tools. Bytes stand in base64, as in every JSON of AWS.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gproxy.canonical.loss import Feature, Losses
from gproxy.canonical.part import (
    Audio,
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
from gproxy.protocols.bedrock_converse.content import OWN
from gproxy.protocols.bedrock_converse.families import Family, Place
from gproxy.protocols.bedrock_converse.names import CallIds, DocumentNames
from gproxy.wire.json import JsonProblem, loads

if TYPE_CHECKING:
    from gproxy.canonical.part import CacheMark

_IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
_WORD: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_SHEET: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    _WORD: "docx",
    "application/vnd.ms-excel": "xls",
    _SHEET: "xlsx",
    "text/html": "html",
    "text/markdown": "md",
    "text/plain": "txt",
}
# Text with a form of its own is read as text.
_TEXTUAL: Final = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})
_VIDEOS: Final = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}
_SOUNDS: Final = {
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/opus": "opus",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/mp4": "mp4",
    "audio/ogg": "ogg",
    "audio/pcm": "pcm",
    "audio/l16": "pcm",
    "audio/webm": "webm",
}
_CODECS: Final = {"pcm16": "pcm"}
_BUCKET: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes the blocks of one request."""

    losses: Losses
    family: Family
    ids: CallIds = field(default_factory=CallIds)
    documents: DocumentNames = field(default_factory=DocumentNames)

    def blocks(self, parts: tuple[Part, ...], where: str, place: Place = Place.MESSAGES) -> list[dict[str, Any]]:
        """The blocks for some parts, each with the cache point that stands on it."""
        out: list[dict[str, Any]] = []
        for part in parts:
            item = self._block(part, where)
            if item is not None:
                out.append(item)
            if out:
                out += self.cached(getattr(part, "cache", None), place, where)
        return out

    def cached(self, cache: CacheMark | None, place: Place, where: str) -> list[dict[str, Any]]:
        """A cache point where the model has them. Five minutes is how long one lives unasked."""
        if cache is None:
            return []
        if place not in self.family.caches:
            self.losses.add(Feature.CACHE_CONTROL, where)
            return []
        point = {"type": "default"}
        if cache.ttl == "1h":
            if self.family.keeps_1h:
                point["ttl"] = cache.ttl
            else:
                self.losses.add(Feature.CACHE_CONTROL, where)
        return [{"cachePoint": point}]

    def _block(self, part: Part, where: str) -> dict[str, Any] | None:
        match part:
            case Text():
                return self._text(part, where)
            case ToolCall():
                return self._call(part, where)
            case ToolResult():
                return self._result(part, where)
            case Thinking():
                return self._thinking(part, where)
            case RedactedThinking():
                if part.data.origin is OWN:
                    return {"reasoningContent": {"redactedContent": part.data.value}}
                self.losses.add(Feature.REDACTED_THINKING, where)
            case Image():
                return self._image(part, where)
            case File():
                return self._file(part, where)
            case Audio():
                return self._audio(part, where)
            case Refusal():
                self.losses.add(Feature.REFUSAL, where)
                return _said(part.text)
            case ServerToolCall() | ServerToolResult():
                self.losses.add(Feature.SERVER_TOOL, where)
            case Opaque():
                if part.dialect is OWN:
                    return dict(part.payload)
                self.losses.add(Feature.OTHER, where)
        return None

    def _text(self, part: Text, where: str) -> dict[str, Any] | None:
        if part.citations:
            self.losses.add(Feature.CITATIONS, where)
        if part.signature is not None:
            self.losses.add(Feature.SIGNATURE, where)
        return _said(part.text)

    def _thinking(self, part: Thinking, where: str) -> dict[str, Any] | None:
        if part.signature is None or part.signature.origin is not OWN:
            self.losses.add(Feature.THINKING, where)
            return None
        return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature.value}}}

    def _call(self, part: ToolCall, where: str) -> dict[str, Any]:
        if part.signature is not None:
            self.losses.add(Feature.SIGNATURE, where)
        if part.custom:
            self.losses.add(Feature.CUSTOM_TOOL, where)
            value: dict[str, Any] = {"input": part.arguments}
        else:
            value, fits = _object(part.arguments)
            if not fits:
                self.losses.add(Feature.TOOL_ARGUMENTS, where)
        return {"toolUse": {"toolUseId": self.ids.id_of(part.id), "name": part.name, "input": value}}

    def _result(self, part: ToolResult, where: str) -> dict[str, Any]:
        inner: list[dict[str, Any]] = []
        for one in part.parts:
            if isinstance(one, Text | Image | File):
                item = self._block(one, where)
                inner += [] if item is None else [item]
            else:
                self.losses.add(Feature.TOOL_RESULT_PARTS, where)
        result: dict[str, Any] = {"toolUseId": self.ids.id_of(part.call_id), "content": inner}
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}

    def _image(self, part: Image, where: str) -> dict[str, Any] | None:
        if part.detail not in (None, "auto"):
            self.losses.add(Feature.IMAGE_DETAIL, where)
        kind = _IMAGES.get(part.source.media_type or "") or _ending(part.source, _IMAGES.values())
        source = self._source(part.source)
        if kind is None or source is None:
            self.losses.add(_missed(part.source, Feature.IMAGE), where)
            return None
        return {"image": {"format": kind, "source": source}}

    def _file(self, part: File, where: str) -> dict[str, Any] | None:
        kind = part.source.media_type or ""
        match kind.partition("/")[0]:
            case "image":
                return self._image(Image(part.source), where)
            case "video":
                return self._media("video", _VIDEOS.get(kind), part.source, Feature.VIDEO, where)
            case "audio":
                return self._media("audio", _SOUNDS.get(kind), part.source, Feature.AUDIO, where)
            case _:
                return self._document(part, kind, where)

    def _document(self, part: File, kind: str, where: str) -> dict[str, Any] | None:
        form = _DOCUMENTS.get(kind) or _ending(part.source, _DOCUMENTS.values())
        if form is None and (kind.startswith("text/") or kind in _TEXTUAL):
            form = "txt"
        source = self._source(part.source)
        if form is None or source is None:
            self.losses.add(_missed(part.source, Feature.FILE), where)
            return None
        name = part.name or ""
        stem = name.removesuffix(f".{form}")
        item: dict[str, Any] = {"format": form, "name": self.documents.name_of(stem), "source": source}
        if part.context is not None:
            item["context"] = part.context
        if part.cite is not None:
            item["citations"] = {"enabled": part.cite}
        return {"document": item}

    def _audio(self, part: Audio, where: str) -> dict[str, Any] | None:
        if part.transcript:  # an answer of earlier, which the model cannot be given back as sound
            self.losses.add(Feature.AUDIO, where)
            return _said(part.transcript)
        kind = _SOUNDS.get(part.source.media_type or "") or _CODECS.get(part.format or "", part.format)
        return self._media("audio", kind, part.source, Feature.AUDIO, where)

    def _media(
        self, name: str, kind: str | None, where_from: Source, feature: Feature, where: str
    ) -> dict[str, Any] | None:
        source = self._source(where_from)
        if kind is None or source is None:
            self.losses.add(_missed(where_from, feature), where)
            return None
        return {name: {"format": kind, "source": source}}

    @staticmethod
    def _source(source: Source) -> dict[str, Any] | None:
        """The bytes, or where they lie in S3; nothing else can be read there."""
        match source:
            case Inline(data) if data:
                return {"bytes": data}
            case Url(url) if url.startswith(_BUCKET):
                return {"s3Location": {"uri": url}}
            case _:
                return None


def _said(text: str) -> dict[str, Any] | None:
    return {"text": text} if text.strip() else None


def _missed(source: Source, feature: Feature) -> Feature:
    return Feature.FILE_REFERENCE if isinstance(source, FileRef) else feature


def _ending(source: Source, known: Any) -> str | None:
    """The format that the end of an S3 address tells, where nobody said a media type."""
    if not isinstance(source, Url) or source.media_type is not None:
        return None
    ending = source.url.rpartition(".")[2].lower()
    return ending if ending in known else None


def _object(arguments: str) -> tuple[dict[str, Any], bool]:
    if not arguments.strip():
        return {}, True
    try:
        value = loads(arguments.encode())
    except JsonProblem:
        return {"input": arguments}, False
    return (value, True) if isinstance(value, dict) else ({"input": value}, False)
